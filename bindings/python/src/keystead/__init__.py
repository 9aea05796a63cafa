"""Encrypt data at rest with keys that stay in a KMIP key manager.

    with keystead.Client("keystead.conf") as client:
        key = client.create_key("customer-42")
        message = key.encrypt(b"Ada Lovelace", aad=b"customers/42/name")
        plaintext = client.decrypt(message, aad=b"customers/42/name", expect="customer-42")

Plaintexts, messages and associated data are bytes-like objects; none is copied on its way into the library. Every
failure is a `KeysteadError`. All objects may be shared by threads.
"""

from __future__ import annotations

from ._abi import Code
from ._client import Client, Key, Revocation, decrypted_size, inspect, inspect_protected_dek, key_id, version
from ._errors import (
    ArgumentError,
    ClosedError,
    ConfigurationError,
    DataError,
    ForkedError,
    HostError,
    InternalError,
    KeyNotFound,
    KeyStateError,
    KeysteadError,
    LogError,
    NetworkError,
    NotAuthentic,
    RoleRefused,
    ServerError,
    WrongKey,
)
from ._library import LibraryError, __version__
from ._records import LogRecord
from ._streams import EncryptingWriter
from ._verify import LogChain, LogFinding, LogReport, verify_log

__all__ = [
    "ArgumentError",
    "Client",
    "ClosedError",
    "Code",
    "ConfigurationError",
    "DataError",
    "EncryptingWriter",
    "ForkedError",
    "HostError",
    "InternalError",
    "Key",
    "KeyNotFound",
    "KeyStateError",
    "KeysteadError",
    "LibraryError",
    "LogChain",
    "LogError",
    "LogFinding",
    "LogRecord",
    "LogReport",
    "NetworkError",
    "NotAuthentic",
    "Revocation",
    "RoleRefused",
    "ServerError",
    "WrongKey",
    "__version__",
    "decrypted_size",
    "inspect",
    "inspect_protected_dek",
    "key_id",
    "verify_log",
    "version",
]
