"""The exceptions: one class for each thing a caller may want to do about a failure."""

from __future__ import annotations

from typing import Any

from ._abi import Code


class KeysteadError(Exception):
    """A call failed. `str()` says what was tried, against what, why it failed and what to do."""

    code: int  # a `Code`, or a number that a later version of the library added
    name: str  # its name, for example "NO_SERVER"
    message: str  # the failure in a sentence; holds no key, password or plaintext
    detail: dict[str, Any]  # the failure for programs; "attempts" lists every key server that was tried
    retryable: bool  # whether the same call may succeed later, with nothing changed

    def __init__(self, code: int, name: str, message: str, detail: dict[str, Any], retryable: bool) -> None:
        super().__init__(code, name, message, detail, retryable)  # Whole, so that pickle carries it between processes.
        self.code = code
        self.name = name
        self.message = message
        self.detail = detail
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} [{self.name}]"


class ArgumentError(KeysteadError, ValueError):
    """An argument is malformed, too large or out of range."""


class ClosedError(KeysteadError):
    """The client was closed."""


class ForkedError(KeysteadError):
    """The client or key was made before a fork; open a client in the child."""


class ConfigurationError(KeysteadError):
    """The configuration, or a file it names, cannot be used. `detail` has "file" and, where there is one, "line"."""


class NetworkError(KeysteadError):
    """No key server could be reached or trusted."""


class ServerError(KeysteadError):
    """A key server answered, but not with what was asked."""


class KeyNotFound(ServerError):
    """The key servers have no such key."""


class DataError(KeysteadError):
    """The message, or the key for it, must not be used."""


class NotAuthentic(DataError):
    """The data was altered, belongs to another key or context, or is not a message at all."""


class WrongKey(DataError):
    """The message names another key than the one expected or given."""


class RoleRefused(DataError):
    """The configuration has no mask of this name for this role."""


class KeyStateError(DataError):
    """The key's state, age or quality forbids this use."""


class LogError(KeysteadError):
    """The log or the audit trail cannot be written, and the configuration refuses unlogged work."""


class HostError(KeysteadError):
    """The system refused what the library needs: a file, a thread, locked memory. The message says what to mend."""


class InternalError(KeysteadError):
    """The library failed."""


_BLOCKS = {
    1: ArgumentError,
    2: ConfigurationError,
    3: NetworkError,
    4: ServerError,
    5: DataError,
    9: InternalError,
}

_CLASSES: dict[int, type[KeysteadError]] = {
    Code.CLOSED: ClosedError,
    Code.FORKED: ForkedError,
    Code.KEY_NOT_FOUND: KeyNotFound,
    Code.NOT_AUTHENTIC: NotAuthentic,
    Code.WRONG_KEY: WrongKey,
    Code.ROLE_REFUSED: RoleRefused,
    Code.KEY_STATE: KeyStateError,
    Code.KEY_STALE: KeyStateError,
    Code.KEY_WEAK: KeyStateError,
    Code.ALGORITHM_REFUSED: KeyStateError,
    Code.KEY_REFERENCED: KeyStateError,
    Code.KEY_SPLIT: KeyStateError,
    Code.KEY_SHARED: KeyStateError,
    Code.MEMORY_EXHAUSTED: HostError,
    Code.SYSTEM: HostError,
    Code.LOG_FAILED: LogError,
}


def class_of(code: int) -> type[KeysteadError]:
    return _CLASSES.get(code) or _BLOCKS.get(code // 100, KeysteadError)


def argument_error(message: str) -> KeysteadError:
    """What the library would say, had it seen the argument."""
    code = Code.INVALID_ARGUMENT
    detail = {"code": int(code), "name": code.name, "message": message, "retryable": False}
    return ArgumentError(code, code.name, message, detail, False)
