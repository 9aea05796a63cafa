"""The C interface, generated from include/keystead.h by generate_abi.py; do not edit."""

from __future__ import annotations

from ctypes import CDLL, CFUNCTYPE, POINTER, c_char_p, c_int32, c_size_t, c_void_p
from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """Why a call failed. Later versions of the library may return codes that are not listed here."""

    # An argument is missing, malformed or out of range.
    INVALID_ARGUMENT = 101

    # The client, key or stream is NULL, freed, or a pointer to something else.
    INVALID_HANDLE = 102

    # The output buffer is too small; the size needed was written to *out_len.
    BUFFER_TOO_SMALL = 103

    # The client, key or stream was made before a fork; open a client in the child.
    FORKED = 104

    # The client was closed.
    CLOSED = 105

    # The configuration is not valid TOML, or holds a key or value that is not in the schema.
    CONFIG_INVALID = 201

    # A file of the configuration cannot be read.
    CONFIG_UNREADABLE = 202

    # A file's owner, mode, type or folder lets others read or change it.
    FILE_EXPOSED = 203

    # A certificate or private key cannot be used, or they do not belong together.
    CERTIFICATE_INVALID = 204

    # The policy "strict" forbids this.
    POLICY_REFUSED = 205

    # The configuration, or a file it names, lies on a removable medium or a network mount.
    MOUNT_REFUSED = 206

    # The owner of the configuration is a user who can sign on.
    OWNER_SIGNS_ON = 207

    # Another client of this process, of another name, uses the same client certificate.
    CERTIFICATE_SHARED = 208

    # No configured key server answered; the detail lists every attempt.
    NO_SERVER = 301

    # The key server could not be reached: name not found, refused, unreachable.
    UNREACHABLE = 302

    # The deadline passed.
    DEADLINE = 303

    # The server's certificate was not issued by the configured CA.
    SERVER_UNTRUSTED = 304

    # The server's certificate is expired or not yet valid.
    SERVER_CERTIFICATE_EXPIRED = 305

    # The server's certificate is for another name.
    SERVER_NAME_MISMATCH = 306

    # The server refused our client certificate.
    CLIENT_CERTIFICATE_REFUSED = 307

    # The server does not speak TLS on this port.
    NOT_TLS = 308

    # The TLS handshake or connection failed for another reason.
    TLS_FAILED = 309

    # The connection ended before the whole reply had come.
    CONNECTION_LOST = 310

    # The reply is not valid KMIP.
    REPLY_MALFORMED = 311

    # The server's certificate was revoked by the authority that issued it.
    SERVER_CERTIFICATE_REVOKED = 312

    # The configured revocation lists do not tell whether the server's certificate was revoked.
    REVOCATION_UNKNOWN = 313

    # The key server has no such key.
    KEY_NOT_FOUND = 401

    # The key server refused the operation.
    SERVER_REFUSED = 402

    # The key server, or the KMIP version it speaks, lacks the operation.
    UNSUPPORTED = 403

    # The key server's answer contradicts the request: another name, algorithm or length.
    ANSWER_UNEXPECTED = 404

    # The key server denied permission to this client.
    PERMISSION_DENIED = 405

    # Two active keys carry the same name and version.
    KEY_AMBIGUOUS = 406

    # The key servers show only older versions of the key than were seen before.
    KEY_VERSION_LOST = 407

    # The data was altered, belongs to another key or context, or is not a message at all.
    NOT_AUTHENTIC = 501

    # The message names another key than the one expected or given.
    WRONG_KEY = 502

    # The key's state forbids this use.
    KEY_STATE = 503

    # The key's state could not be verified for longer than max_stale.
    KEY_STALE = 504

    # The key material is printable, constant or otherwise not random.
    KEY_WEAK = 505

    # The algorithm or key length is not allowed.
    ALGORITHM_REFUSED = 506

    # Something is known to need the key, so it is not destroyed.
    KEY_REFERENCED = 507

    # The configuration has no mask of this name for this role.
    ROLE_REFUSED = 508

    # The object is a part of a split key.
    KEY_SPLIT = 509

    # Another client of this process, of another name, uses the same key.
    KEY_SHARED = 510

    # A fault of the library itself; the client or key is not usable any more.
    INTERNAL = 901

    # No locked memory is left for keys.
    MEMORY_EXHAUSTED = 902

    # A system call failed.
    SYSTEM = 903

    # The log or the audit trail could not be written, and the configuration refuses unlogged work.
    LOG_FAILED = 904


# Severities of records, which are those of syslog: the lower, the graver.
SEVERITY_ALERT = 1

# An operation failed for good.
SEVERITY_ERROR = 3

# An operation failed, or something is to be done.
SEVERITY_WARNING = 4

# A change of configuration or operation.
SEVERITY_NOTICE = 5

# An operation that succeeded.
SEVERITY_INFO = 6

# What only the level debug shows.
SEVERITY_DEBUG = 7

# The version may be in other hands. It becomes compromised, and neither encrypts nor decrypts.
REVOCATION_KEY_COMPROMISE = 2

# Another version took its place. It becomes deactivated, and goes on decrypting.
REVOCATION_SUPERSEDED = 5

# Its purpose ended. It becomes deactivated, and goes on decrypting.
REVOCATION_CESSATION_OF_OPERATION = 6

# So many bytes from the start of a stream always hold its header.
STREAM_HEADER_MAX = 256

# An output buffer longer than the input by this is enough for each call on a stream with up to 64 MiB of input.
STREAM_ROOM = 131072

ON_RECORD: Any = CFUNCTYPE(
    None,
    c_void_p,  # void *user_data
    c_int32,  # int32_t severity
    c_char_p,  # const char *event
    c_char_p,  # const char *record
    c_size_t,  # size_t record_len
)

ON_RELEASE: Any = CFUNCTYPE(
    None,
    c_void_p,  # void *user_data
)


class Library:
    """The functions of the library, without their prefix."""

    def __init__(self, dll: CDLL) -> None:

        self.version: Any = dll.keystead_version
        self.version.restype = c_char_p
        self.version.argtypes = []

        self.status_name: Any = dll.keystead_status_name
        self.status_name.restype = c_char_p
        self.status_name.argtypes = [
            c_int32,  # keystead_status status
        ]

        self.error_code: Any = dll.keystead_error_code
        self.error_code.restype = c_int32
        self.error_code.argtypes = [
            c_void_p,  # const keystead_error *error
        ]

        self.error_message: Any = dll.keystead_error_message
        self.error_message.restype = c_char_p
        self.error_message.argtypes = [
            c_void_p,  # const keystead_error *error
        ]

        self.error_detail: Any = dll.keystead_error_detail
        self.error_detail.restype = c_char_p
        self.error_detail.argtypes = [
            c_void_p,  # const keystead_error *error
        ]

        self.error_is_retryable: Any = dll.keystead_error_is_retryable
        self.error_is_retryable.restype = c_int32
        self.error_is_retryable.argtypes = [
            c_void_p,  # const keystead_error *error
        ]

        self.error_free: Any = dll.keystead_error_free
        self.error_free.restype = None
        self.error_free.argtypes = [
            c_void_p,  # keystead_error *error
        ]

        self.bytes_data: Any = dll.keystead_bytes_data
        self.bytes_data.restype = c_void_p
        self.bytes_data.argtypes = [
            c_void_p,  # const keystead_bytes *bytes
        ]

        self.bytes_len: Any = dll.keystead_bytes_len
        self.bytes_len.restype = c_size_t
        self.bytes_len.argtypes = [
            c_void_p,  # const keystead_bytes *bytes
        ]

        self.bytes_free: Any = dll.keystead_bytes_free
        self.bytes_free.restype = None
        self.bytes_free.argtypes = [
            c_void_p,  # keystead_bytes *bytes
        ]

        self.client_open: Any = dll.keystead_client_open
        self.client_open.restype = c_int32
        self.client_open.argtypes = [
            c_char_p,  # const char *config_path
            POINTER(c_void_p),  # keystead_client **out_client
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_open_with: Any = dll.keystead_client_open_with
        self.client_open_with.restype = c_int32
        self.client_open_with.argtypes = [
            c_char_p,  # const char *config_path
            ON_RECORD,  # keystead_on_record on_record
            ON_RELEASE,  # keystead_on_release on_release
            c_void_p,  # void *user_data
            POINTER(c_void_p),  # keystead_client **out_client
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_close: Any = dll.keystead_client_close
        self.client_close.restype = c_int32
        self.client_close.argtypes = [
            c_void_p,  # const keystead_client *client
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_free: Any = dll.keystead_client_free
        self.client_free.restype = None
        self.client_free.argtypes = [
            c_void_p,  # keystead_client *client
        ]

        self.client_key: Any = dll.keystead_client_key
        self.client_key.restype = c_int32
        self.client_key.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_create_key: Any = dll.keystead_client_create_key
        self.client_create_key.restype = c_int32
        self.client_create_key.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_rotate_key: Any = dll.keystead_client_rotate_key
        self.client_rotate_key.restype = c_int32
        self.client_rotate_key.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_decrypt: Any = dll.keystead_client_decrypt
        self.client_decrypt.restype = c_int32
        self.client_decrypt.argtypes = [
            c_void_p,  # const keystead_client *client
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            c_char_p,  # const char *expect
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_reload: Any = dll.keystead_client_reload
        self.client_reload.restype = c_int32
        self.client_reload.argtypes = [
            c_void_p,  # const keystead_client *client
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_decrypt_masked: Any = dll.keystead_client_decrypt_masked
        self.client_decrypt_masked.restype = c_int32
        self.client_decrypt_masked.argtypes = [
            c_void_p,  # const keystead_client *client
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            c_char_p,  # const char *expect
            c_char_p,  # const char *mask
            c_char_p,  # const char *role
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_decrypt_masked_with: Any = dll.keystead_client_decrypt_masked_with
        self.client_decrypt_masked_with.restype = c_int32
        self.client_decrypt_masked_with.argtypes = [
            c_void_p,  # const keystead_client *client
            c_void_p,  # const keystead_key *key
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            c_char_p,  # const char *mask
            c_char_p,  # const char *role
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_status: Any = dll.keystead_client_status
        self.client_status.restype = c_int32
        self.client_status.argtypes = [
            c_void_p,  # const keystead_client *client
            POINTER(c_void_p),  # keystead_bytes **out_json
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_quiesce: Any = dll.keystead_client_quiesce
        self.client_quiesce.restype = c_int32
        self.client_quiesce.argtypes = [
            c_void_p,  # const keystead_client *client
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_create_kek: Any = dll.keystead_client_create_kek
        self.client_create_kek.restype = c_int32
        self.client_create_kek.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            POINTER(c_void_p),  # keystead_bytes **out_kek_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_rotate_kek: Any = dll.keystead_client_rotate_kek
        self.client_rotate_kek.restype = c_int32
        self.client_rotate_kek.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            POINTER(c_void_p),  # keystead_bytes **out_kek_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_revoke_kek: Any = dll.keystead_client_revoke_kek
        self.client_revoke_kek.restype = c_int32
        self.client_revoke_kek.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *kek_id
            c_int32,  # keystead_revocation why
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_destroy_kek: Any = dll.keystead_client_destroy_kek
        self.client_destroy_kek.restype = c_int32
        self.client_destroy_kek.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *kek_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_add_kek_reference: Any = dll.keystead_client_add_kek_reference
        self.client_add_kek_reference.restype = c_int32
        self.client_add_kek_reference.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *kek_id
            c_char_p,  # const char *what
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_remove_kek_reference: Any = dll.keystead_client_remove_kek_reference
        self.client_remove_kek_reference.restype = c_int32
        self.client_remove_kek_reference.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *kek_id
            c_char_p,  # const char *what
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_create_space: Any = dll.keystead_client_create_space
        self.client_create_space.restype = c_int32
        self.client_create_space.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            c_char_p,  # const char *kek
            c_char_p,  # const char *file_path
            c_int32,  # int32_t keep_original
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_unlock_space: Any = dll.keystead_client_unlock_space
        self.client_unlock_space.restype = c_int32
        self.client_unlock_space.argtypes = [
            c_void_p,  # const keystead_client *client
            c_void_p,  # const uint8_t *protected_dek
            c_size_t,  # size_t protected_dek_len
            c_char_p,  # const char *expect
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_rewrap_space: Any = dll.keystead_client_rewrap_space
        self.client_rewrap_space.restype = c_int32
        self.client_rewrap_space.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *kek
            c_char_p,  # const char *file_path
            POINTER(c_void_p),  # keystead_bytes **out_kek_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_discard_original: Any = dll.keystead_client_discard_original
        self.client_discard_original.restype = c_int32
        self.client_discard_original.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *key_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.protected_dek_inspect: Any = dll.keystead_protected_dek_inspect
        self.protected_dek_inspect.restype = c_int32
        self.protected_dek_inspect.argtypes = [
            c_void_p,  # const uint8_t *protected_dek
            c_size_t,  # size_t protected_dek_len
            POINTER(c_void_p),  # keystead_bytes **out_json
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_key_name: Any = dll.keystead_client_key_name
        self.client_key_name.restype = c_int32
        self.client_key_name.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *id
            POINTER(c_void_p),  # keystead_bytes **out_name
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_key_for: Any = dll.keystead_client_key_for
        self.client_key_for.restype = c_int32
        self.client_key_for.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *id
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_register: Any = dll.keystead_client_register
        self.client_register.restype = c_int32
        self.client_register.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *id
            POINTER(c_void_p),  # keystead_key **out_key
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_activate_key: Any = dll.keystead_client_activate_key
        self.client_activate_key.restype = c_int32
        self.client_activate_key.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *key_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_revoke_key: Any = dll.keystead_client_revoke_key
        self.client_revoke_key.restype = c_int32
        self.client_revoke_key.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *key_id
            c_int32,  # keystead_revocation why
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_destroy_key: Any = dll.keystead_client_destroy_key
        self.client_destroy_key.restype = c_int32
        self.client_destroy_key.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *key_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_add_reference: Any = dll.keystead_client_add_reference
        self.client_add_reference.restype = c_int32
        self.client_add_reference.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *key_id
            c_char_p,  # const char *what
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_remove_reference: Any = dll.keystead_client_remove_reference
        self.client_remove_reference.restype = c_int32
        self.client_remove_reference.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *key_id
            c_char_p,  # const char *what
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_purge: Any = dll.keystead_client_purge
        self.client_purge.restype = c_int32
        self.client_purge.argtypes = [
            c_void_p,  # const keystead_client *client
            c_char_p,  # const char *name
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_id: Any = dll.keystead_key_id
        self.key_id.restype = c_int32
        self.key_id.argtypes = [
            c_void_p,  # const keystead_key *key
            POINTER(c_void_p),  # keystead_bytes **out_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_encrypted_size: Any = dll.keystead_key_encrypted_size
        self.key_encrypted_size.restype = c_size_t
        self.key_encrypted_size.argtypes = [
            c_void_p,  # const keystead_key *key
            c_size_t,  # size_t plaintext_len
        ]

        self.key_encrypt: Any = dll.keystead_key_encrypt
        self.key_encrypt.restype = c_int32
        self.key_encrypt.argtypes = [
            c_void_p,  # const keystead_key *key
            c_void_p,  # const uint8_t *plaintext
            c_size_t,  # size_t plaintext_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_decrypt: Any = dll.keystead_key_decrypt
        self.key_decrypt.restype = c_int32
        self.key_decrypt.argtypes = [
            c_void_p,  # const keystead_key *key
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_free: Any = dll.keystead_key_free
        self.key_free.restype = None
        self.key_free.argtypes = [
            c_void_p,  # keystead_key *key
        ]

        self.message_decrypted_size: Any = dll.keystead_message_decrypted_size
        self.message_decrypted_size.restype = c_int32
        self.message_decrypted_size.argtypes = [
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.message_key_id: Any = dll.keystead_message_key_id
        self.message_key_id.restype = c_int32
        self.message_key_id.argtypes = [
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            POINTER(c_void_p),  # keystead_bytes **out_id
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.message_inspect: Any = dll.keystead_message_inspect
        self.message_inspect.restype = c_int32
        self.message_inspect.argtypes = [
            c_void_p,  # const uint8_t *message
            c_size_t,  # size_t message_len
            POINTER(c_void_p),  # keystead_bytes **out_json
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_encrypt_stream: Any = dll.keystead_key_encrypt_stream
        self.key_encrypt_stream.restype = c_int32
        self.key_encrypt_stream.argtypes = [
            c_void_p,  # const keystead_key *key
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            POINTER(c_void_p),  # keystead_encryptor **out_encryptor
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.encryptor_update_size: Any = dll.keystead_encryptor_update_size
        self.encryptor_update_size.restype = c_size_t
        self.encryptor_update_size.argtypes = [
            c_void_p,  # const keystead_encryptor *encryptor
            c_size_t,  # size_t plaintext_len
        ]

        self.encryptor_update: Any = dll.keystead_encryptor_update
        self.encryptor_update.restype = c_int32
        self.encryptor_update.argtypes = [
            c_void_p,  # const keystead_encryptor *encryptor
            c_void_p,  # const uint8_t *plaintext
            c_size_t,  # size_t plaintext_len
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.encryptor_finish: Any = dll.keystead_encryptor_finish
        self.encryptor_finish.restype = c_int32
        self.encryptor_finish.argtypes = [
            c_void_p,  # const keystead_encryptor *encryptor
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.encryptor_free: Any = dll.keystead_encryptor_free
        self.encryptor_free.restype = None
        self.encryptor_free.argtypes = [
            c_void_p,  # keystead_encryptor *encryptor
        ]

        self.client_decrypt_stream: Any = dll.keystead_client_decrypt_stream
        self.client_decrypt_stream.restype = c_int32
        self.client_decrypt_stream.argtypes = [
            c_void_p,  # const keystead_client *client
            c_void_p,  # const uint8_t *start
            c_size_t,  # size_t start_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            c_char_p,  # const char *expect
            POINTER(c_void_p),  # keystead_decryptor **out_decryptor
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_decrypt_stream: Any = dll.keystead_key_decrypt_stream
        self.key_decrypt_stream.restype = c_int32
        self.key_decrypt_stream.argtypes = [
            c_void_p,  # const keystead_key *key
            c_void_p,  # const uint8_t *start
            c_size_t,  # size_t start_len
            c_void_p,  # const uint8_t *aad
            c_size_t,  # size_t aad_len
            POINTER(c_void_p),  # keystead_decryptor **out_decryptor
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.decryptor_header_size: Any = dll.keystead_decryptor_header_size
        self.decryptor_header_size.restype = c_size_t
        self.decryptor_header_size.argtypes = [
            c_void_p,  # const keystead_decryptor *decryptor
        ]

        self.decryptor_update: Any = dll.keystead_decryptor_update
        self.decryptor_update.restype = c_int32
        self.decryptor_update.argtypes = [
            c_void_p,  # const keystead_decryptor *decryptor
            c_void_p,  # const uint8_t *stream
            c_size_t,  # size_t stream_len
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.decryptor_finish: Any = dll.keystead_decryptor_finish
        self.decryptor_finish.restype = c_int32
        self.decryptor_finish.argtypes = [
            c_void_p,  # const keystead_decryptor *decryptor
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.decryptor_free: Any = dll.keystead_decryptor_free
        self.decryptor_free.restype = None
        self.decryptor_free.argtypes = [
            c_void_p,  # keystead_decryptor *decryptor
        ]

        self.key_encrypt_many: Any = dll.keystead_key_encrypt_many
        self.key_encrypt_many.restype = c_int32
        self.key_encrypt_many.argtypes = [
            c_void_p,  # const keystead_key *key
            POINTER(c_void_p),  # const uint8_t *const *plaintexts
            POINTER(c_size_t),  # const size_t *plaintext_lens
            POINTER(c_void_p),  # const uint8_t *const *aads
            POINTER(c_size_t),  # const size_t *aad_lens
            c_size_t,  # size_t count
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_offsets
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.key_decrypt_many: Any = dll.keystead_key_decrypt_many
        self.key_decrypt_many.restype = c_int32
        self.key_decrypt_many.argtypes = [
            c_void_p,  # const keystead_key *key
            POINTER(c_void_p),  # const uint8_t *const *messages
            POINTER(c_size_t),  # const size_t *message_lens
            POINTER(c_void_p),  # const uint8_t *const *aads
            POINTER(c_size_t),  # const size_t *aad_lens
            c_size_t,  # size_t count
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_offsets
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_decrypt_many: Any = dll.keystead_client_decrypt_many
        self.client_decrypt_many.restype = c_int32
        self.client_decrypt_many.argtypes = [
            c_void_p,  # const keystead_client *client
            POINTER(c_void_p),  # const uint8_t *const *messages
            POINTER(c_size_t),  # const size_t *message_lens
            POINTER(c_void_p),  # const uint8_t *const *aads
            POINTER(c_size_t),  # const size_t *aad_lens
            c_size_t,  # size_t count
            c_char_p,  # const char *expect
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_offsets
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.client_reencrypt_many: Any = dll.keystead_client_reencrypt_many
        self.client_reencrypt_many.restype = c_int32
        self.client_reencrypt_many.argtypes = [
            c_void_p,  # const keystead_client *client
            POINTER(c_void_p),  # const uint8_t *const *messages
            POINTER(c_size_t),  # const size_t *message_lens
            POINTER(c_void_p),  # const uint8_t *const *aads
            POINTER(c_size_t),  # const size_t *aad_lens
            c_size_t,  # size_t count
            c_char_p,  # const char *expect
            c_void_p,  # uint8_t *out
            c_size_t,  # size_t out_capacity
            POINTER(c_size_t),  # size_t *out_offsets
            POINTER(c_size_t),  # size_t *out_len
            POINTER(c_void_p),  # keystead_error **err
        ]

        self.log_verify: Any = dll.keystead_log_verify
        self.log_verify.restype = c_int32
        self.log_verify.argtypes = [
            POINTER(c_char_p),  # const char *const *files
            c_size_t,  # size_t file_count
            POINTER(c_char_p),  # const char *const *auditor_keys
            c_size_t,  # size_t auditor_key_count
            c_char_p,  # const char *anchors
            c_char_p,  # const char *of
            c_int32,  # int32_t collected
            POINTER(c_void_p),  # keystead_bytes **out_report
            POINTER(c_void_p),  # keystead_error **err
        ]
