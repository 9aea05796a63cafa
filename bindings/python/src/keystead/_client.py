"""Clients and keys."""

from __future__ import annotations

import json
import os
from ctypes import POINTER, byref, c_char_p, c_size_t, c_void_p, cast, create_string_buffer
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from . import _abi, _records
from ._abi import Code
from ._errors import argument_error
from ._handle import Handle
from ._library import Borrowed, borrow, check, library, new_bytes, path_argument, take_text, text_argument
from ._streams import EncryptingWriter, Readable, Writable, begin_decryption, begin_encryption

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Buffer, Self

    from ._records import OnRecord


class Revocation(IntEnum):
    """Why a version of a key is revoked."""

    KEY_COMPROMISE = _abi.REVOCATION_KEY_COMPROMISE  # it may be in other hands, and neither encrypts nor decrypts
    SUPERSEDED = _abi.REVOCATION_SUPERSEDED  # another version took its place; it goes on decrypting
    CESSATION_OF_OPERATION = _abi.REVOCATION_CESSATION_OF_OPERATION  # its purpose ended; it goes on decrypting


class Key(Handle):
    """A key that is ready to use: it encrypts and decrypts with the CPU alone, in any number of threads.

    It comes from `Client.key` or `Client.create_key`, and follows its name: once that is rotated, it encrypts with the
    newest version.
    """

    def __init__(self, handle: c_void_p, client: Client) -> None:
        functions = library()
        super().__init__(handle, functions.key_free)
        self._client = client  # A client that nobody holds is freed, and that would close its keys.
        self._size = functions.key_encrypted_size
        self._encrypt = functions.key_encrypt
        self._decrypt = functions.key_decrypt

    @property
    def id(self) -> str:
        """The name and version that new messages get: "customer-42/3"."""
        text, error = c_void_p(), c_void_p()
        check(library().key_id(self._handle, byref(text), byref(error)), error)
        return take_text(text)

    def encrypt(self, plaintext: Buffer, aad: Buffer = b"") -> bytes:
        """The message for a plaintext. `aad` is not stored, but must be the same when the message is decrypted: give
        what the value belongs to (table, row, column), so that it is refused anywhere else."""
        source, context = borrow(plaintext), borrow(aad)
        length, error = c_size_t(), c_void_p()
        size = self._size(self._handle, len(source))
        while True:
            out = new_bytes(None, size)
            status = self._encrypt(
                self._handle, source, len(source), context, len(context), out, size, byref(length), byref(error)
            )
            if status != Code.BUFFER_TOO_SMALL:
                break
            # The key was rotated since its size was asked, and its version has one digit more.
            size = length.value
            library().error_free(error)
        check(status, error)
        return _shortened(out, length.value)

    def decrypt(self, message: Buffer, aad: Buffer = b"") -> bytes:
        """The plaintext of a message of this key and version. `Client.decrypt` finds the key of any message."""
        source, context = borrow(message), borrow(aad)
        length, error = c_size_t(), c_void_p()
        size = _decrypted_size(source)
        out = new_bytes(None, size)
        status = self._decrypt(
            self._handle, source, len(source), context, len(context), out, size, byref(length), byref(error)
        )
        check(status, error)
        return _shortened(out, length.value)

    def decrypt_masked(self, message: Buffer, aad: Buffer = b"", *, mask: str, role: str) -> str:
        """As `Client.decrypt_masked`, with this key, whose version the message must name: the way to the messages of a
        data space."""
        source, context = borrow(message), borrow(aad)
        length, error = c_size_t(), c_void_p()
        out = create_string_buffer(len(source))  # More than any mask of it takes.
        status = library().client_decrypt_masked_with(
            self._client._handle,
            self._handle,
            source,
            len(source),
            context,
            len(context),
            text_argument(mask, "the mask's name"),
            text_argument(role, "the role"),
            out,
            len(source),
            byref(length),
            byref(error),
        )
        check(status, error)
        return out.raw[: length.value].decode()

    def encrypt_many(self, plaintexts: Sequence[Buffer], aads: Sequence[Buffer] | None = None) -> list[bytes]:
        """The message for each plaintext of a column, with its own associated data, all in one call."""
        return _many(library().key_encrypt_many, self._handle, plaintexts, aads, ())

    def decrypt_many(self, messages: Sequence[Buffer], aads: Sequence[Buffer] | None = None) -> list[bytes]:
        """The plaintext of each message of this key and version. If one is refused, so are all, and the error tells
        which it was."""
        return _many(library().key_decrypt_many, self._handle, messages, aads, ())

    def encrypt_stream(self, target: Writable, aad: Buffer = b"") -> EncryptingWriter:
        """A file object that encrypts what is written to it, of any length, into a binary file:

            with open("backup.cose", "wb") as target, key.encrypt_stream(target) as stream:
                shutil.copyfileobj(source, stream)

        The stream is complete when it is closed, which leaving the `with` block does, unless by an exception.
        """
        return begin_encryption(self._handle, target, aad)

    def decrypt_stream(self, source: Readable, aad: Buffer = b"") -> io.BufferedReader:
        """As `Client.decrypt_stream`, with this key, which the stream must name with its version: the way to the
        streams of a data space."""
        return begin_decryption(self._handle, source, aad, None)

    def encrypted_size(self, plaintext_size: int) -> int:
        """The size of the message for a plaintext of this size; 0 if no message can hold that much."""
        return int(self._size(self._handle, plaintext_size))

    def encrypt_into(self, plaintext: Buffer, buffer: Buffer, aad: Buffer = b"") -> int:
        """Writes the message to the front of a writable buffer, and returns its size."""
        source, context, target = borrow(plaintext), borrow(aad), Borrowed(buffer, writable=True)
        length, error = c_size_t(), c_void_p()
        status = self._encrypt(
            self._handle, source, len(source), context, len(context), target, len(target), byref(length), byref(error)
        )
        check(status, error)
        return length.value

    def decrypt_into(self, message: Buffer, buffer: Buffer, aad: Buffer = b"") -> int:
        """Writes the plaintext to the front of a writable buffer, and returns its size."""
        source, context, target = borrow(message), borrow(aad), Borrowed(buffer, writable=True)
        length, error = c_size_t(), c_void_p()
        status = self._decrypt(
            self._handle, source, len(source), context, len(context), target, len(target), byref(length), byref(error)
        )
        check(status, error)
        return length.value


class Client(Handle):
    """One opened configuration: its key servers, key cache, log and audit trail.

    An application opens one and shares it among its threads. Opening never waits for a key server.

    `on_record` is called with every record of the log, as a `LogRecord`, beside the target of the configuration and at
    its level:

        client = keystead.Client("keystead.conf", on_record=lambda record: logger.log(record.level, record.text))

    A thread of the library calls it, one record after the other. It may take its time, and use this client: no call
    waits for it, and what finds no room to wait is counted and told by a later record. What it raises goes to
    `sys.unraisablehook`. Close the client, or it is kept as long as its `on_record` knows it. The interpreter
    ends only when `on_record` has returned, as it does with threads of its own.
    """

    def __init__(self, config: str | os.PathLike[str], *, on_record: OnRecord | None = None) -> None:
        functions = library()
        path = path_argument(config, "the configuration")
        handle, error = c_void_p(), c_void_p()
        if on_record is None:
            status = functions.client_open(path, byref(handle), byref(error))
        else:
            status = functions.client_open_with(
                path, _records.tell, _records.release, _records.listen(on_record), byref(handle), byref(error)
            )
        check(status, error)
        super().__init__(handle, functions.client_free)
        if on_record is not None:
            _records.close_at_exit(self)

    def key(self, name: str) -> Key:
        """The newest active version of a key, from the cache or from the key servers.

        `client.key("customer-42/3")` gives that very version, which does not follow its name: it decrypts, and encrypts
        only while it is the newest; then it raises `KeyStateError`.
        """
        return self._key(library().client_key, name)

    def create_key(self, name: str) -> Key:
        """Makes a key on the key server. Where the name has one already, gives that, so that any number of processes
        may call it for one name."""
        return self._key(library().client_create_key, name)

    def rotate_key(self, name: str) -> Key:
        """Makes a new version of a key. What is encrypted from now on uses it, also by keys that are held already; what
        older versions encrypted stays readable by `decrypt`."""
        return self._key(library().client_rotate_key, name)

    def _key(self, function: Any, name: str, what: str = "the key's name") -> Key:
        handle, error = c_void_p(), c_void_p()
        check(function(self._handle, text_argument(name, what), byref(handle), byref(error)), error)
        return Key(handle, self)

    def register(self, id: str) -> Key:
        """Makes the key of the user, customer or document that `id` tells apart, or gives the one there is. It is named
        by `keys.template` of the configuration."""
        return self._key(library().client_register, id, "the identifier")

    def key_for(self, id: str) -> Key:
        """The key of the user, customer or document that `id` tells apart."""
        return self._key(library().client_key_for, id, "the identifier")

    def key_name(self, id: str) -> str:
        """The name of the key of the user, customer or document that `id` tells apart: what `decrypt` is to expect."""
        text, error = c_void_p(), c_void_p()
        identifier = text_argument(id, "the identifier")
        check(library().client_key_name(self._handle, identifier, byref(text), byref(error)), error)
        return take_text(text)

    def protect(self, id: str, plaintext: Buffer, aad: Buffer = b"") -> bytes:
        """The message for a plaintext of the user that `id` tells apart, who was registered."""
        return self.key_for(id).encrypt(plaintext, aad)

    def unprotect(self, id: str, message: Buffer, aad: Buffer = b"") -> bytes:
        """The plaintext of a message of that user. A message of anybody else raises `WrongKey`."""
        return self.decrypt(message, aad, expect=self.key_name(id))

    def activate_key(self, key_id: str) -> None:
        """Makes a pre-active version ("customer-42/3") usable."""
        error = c_void_p()
        check(library().client_activate_key(self._handle, _version_argument(key_id), byref(error)), error)

    def revoke_key(self, key_id: str, why: Revocation) -> None:
        """Ends a version's time: it encrypts no more, and goes on decrypting unless it is compromised."""
        error = c_void_p()
        check(library().client_revoke_key(self._handle, _version_argument(key_id), int(why), byref(error)), error)

    def destroy_key(self, key_id: str) -> None:
        """Destroys a revoked version: what it encrypted can never be read again. Refused while anything is known to
        need it, see `add_reference`."""
        error = c_void_p()
        check(library().client_destroy_key(self._handle, _version_argument(key_id), byref(error)), error)

    def add_reference(self, key_id: str, what: str) -> None:
        """Remembers that something (a table, an archive) needs a version, which is then not destroyed. It is kept in
        the file of `keys.state`. While a version is being ended by anybody, it waits for that, up to the deadline."""
        self._reference(library().client_add_reference, key_id, what)

    def remove_reference(self, key_id: str, what: str) -> None:
        """Forgets that something needs a version."""
        self._reference(library().client_remove_reference, key_id, what)

    def _reference(self, function: Any, key_id: str, what: str) -> None:
        error = c_void_p()
        needed_by = text_argument(what, "what needs the key")
        check(function(self._handle, _version_argument(key_id), needed_by, byref(error)), error)

    def create_kek(self, name: str) -> str:
        """Makes a key encryption key (KEK), which protects the keys of data spaces and never leaves the key servers,
        and gives its name and newest version, "master/1". Where there is one of that name, it is that one. Every
        configured key server has to answer."""
        text, error = c_void_p(), c_void_p()
        kek = text_argument(name, "the KEK's name")
        check(library().client_create_kek(self._handle, kek, byref(text), byref(error)), error)
        return take_text(text)

    def rotate_kek(self, name: str) -> str:
        """Makes a new version of a KEK, for what is protected from now on, and gives its name and version, "master/2".
        `rewrap_space` moves what is there. Every configured key server has to answer."""
        text, error = c_void_p(), c_void_p()
        kek = text_argument(name, "the KEK's name")
        check(library().client_rotate_kek(self._handle, kek, byref(text), byref(error)), error)
        return take_text(text)

    def revoke_kek(self, kek_id: str, why: Revocation) -> None:
        """Ends the time of a KEK's version ("master/1"): nothing is protected under it any more. Refused while the
        protected DEK in any file is known to be under it, see `rewrap_space`, unless it is compromised; then its
        spaces stop."""
        error = c_void_p()
        check(library().client_revoke_kek(self._handle, _version_argument(kek_id), int(why), byref(error)), error)

    def destroy_kek(self, kek_id: str) -> None:
        """Destroys a revoked version of a KEK: what is under it can never be unlocked again. Refused while anything is
        known to need it."""
        error = c_void_p()
        check(library().client_destroy_kek(self._handle, _version_argument(kek_id), byref(error)), error)

    def add_kek_reference(self, kek_id: str, what: str) -> None:
        """As `add_reference`, for a version of a KEK. Creating and rewrapping a space does so with its file."""
        self._reference(library().client_add_kek_reference, kek_id, what)

    def remove_kek_reference(self, kek_id: str, what: str) -> None:
        """Forgets that something needs a version of a KEK."""
        self._reference(library().client_remove_kek_reference, kek_id, what)

    def create_space(self, name: str, file: str | os.PathLike[str], *, kek: str, keep_original: bool = False) -> Key:
        """Creates a data space: the key manager makes its key and encrypts it under the KEK, and the result, the
        protected DEK, is written to a file, to be kept near the data. Then the key manager's own copy of the key is
        destroyed, unless `keep_original` is set.

        The file must not be there yet. If it is, with the same names in it, the space is unlocked, and what an earlier
        call left undone is done: so the call may be repeated, and several threads and processes may make it at the same
        time: all get the same key. When it fails before the file is there, the key that was made is destroyed.
        """
        handle, error = c_void_p(), c_void_p()
        status = library().client_create_space(
            self._handle,
            text_argument(name, "the space's name"),
            text_argument(kek, "the KEK's name"),
            path_argument(file, "the protected DEK"),
            int(keep_original),
            byref(handle),
            byref(error),
        )
        check(status, error)
        return Key(handle, self)

    def discard_original(self, key_id: str) -> None:
        """Destroys the key manager's own copy of the key of a data space ("space:orders/1", as its key's `id` says),
        which `keep_original` or a creation that was interrupted has left. What is protected in a file goes on; what
        only that copy can open is lost for ever."""
        error = c_void_p()
        check(library().client_discard_original(self._handle, _version_argument(key_id), byref(error)), error)

    def unlock_space(self, protected_dek: Buffer, *, expect: str) -> Key:
        """Unlocks the data space whose protected DEK this is, the content of the file that `create_space` wrote, if its
        name matches `expect`: a name, the beginning of one ("orders-*"), or "*".

            key = client.unlock_space(Path("/srv/orders/orders.dek").read_bytes(), expect="orders")

        The key is used like any other, and only it decrypts the messages of the space. Expect as little as possible:
        somebody who knows the key of one space could put its protected DEK in the place of another's.
        """
        source = borrow(protected_dek)
        handle, error = c_void_p(), c_void_p()
        status = library().client_unlock_space(
            self._handle, source, len(source), text_argument(expect, "the expected name"), byref(handle), byref(error)
        )
        check(status, error)
        return Key(handle, self)

    def rewrap_space(self, file: str | os.PathLike[str], *, kek: str) -> str:
        """Has the protected DEK in a file encrypted under the newest version of a KEK, which may be another one than
        before, and gives that KEK's name and version, "master/2". The space's key and its data stay the same. Whoever
        rewraps it at the same time is waited for."""
        text, error = c_void_p(), c_void_p()
        name, path = text_argument(kek, "the KEK's name"), path_argument(file, "the protected DEK")
        check(library().client_rewrap_space(self._handle, name, path, byref(text), byref(error)), error)
        return take_text(text)

    def purge(self) -> None:
        """Wipes every key from memory. Keys that are held raise `KeyStateError` from now on; `key` fetches anew."""
        error = c_void_p()
        check(library().client_purge(self._handle, None, byref(error)), error)

    def purge_key(self, name: str) -> None:
        """Wipes every version of one key from memory."""
        error = c_void_p()
        check(library().client_purge(self._handle, text_argument(name, "the key's name"), byref(error)), error)

    def decrypt(self, message: Buffer, aad: Buffer = b"", *, expect: str) -> bytes:
        """The plaintext of a message, with the key that it names, if that name matches `expect`: a key's name, the
        beginning of one ("customer-*"), or "*".

        Expect as little as possible, so that a value of one customer cannot be slipped into another's row.
        """
        source = borrow(message)
        size = _decrypted_size(source)
        out = new_bytes(None, size)
        return _shortened(out, self._decrypt(source, aad, expect, out, size))

    def decrypt_into(self, message: Buffer, buffer: Buffer, aad: Buffer = b"", *, expect: str) -> int:
        """Writes the plaintext to the front of a writable buffer, and returns its size."""
        target = Borrowed(buffer, writable=True)
        return self._decrypt(borrow(message), aad, expect, target, len(target))

    def _decrypt(self, source: bytes | Borrowed, aad: Buffer, expect: str, out: bytes | Borrowed, size: int) -> int:
        context, pattern = borrow(aad), text_argument(expect, "the expected name")
        length, error = c_size_t(), c_void_p()
        status = library().client_decrypt(
            self._handle,
            source,
            len(source),
            context,
            len(context),
            pattern,
            out,
            size,
            byref(length),
            byref(error),
        )
        check(status, error)
        return length.value

    def decrypt_masked(self, message: Buffer, aad: Buffer = b"", *, expect: str, mask: str, role: str) -> str:
        """What a role sees of the plaintext under a mask, as the `[[mask]]` sections of the configuration say. What is
        not shown never leaves the library; a role without such a mask raises `RoleRefused` before anything is looked
        up. That your user has the role is for you to find out."""
        source, context = borrow(message), borrow(aad)
        length, error = c_size_t(), c_void_p()
        out = create_string_buffer(len(source))  # More than any mask of it takes.
        status = library().client_decrypt_masked(
            self._handle,
            source,
            len(source),
            context,
            len(context),
            text_argument(expect, "the expected name"),
            text_argument(mask, "the mask's name"),
            text_argument(role, "the role"),
            out,
            len(source),
            byref(length),
            byref(error),
        )
        check(status, error)
        return out.raw[: length.value].decode()

    def decrypt_many(
        self, messages: Sequence[Buffer], aads: Sequence[Buffer] | None = None, *, expect: str
    ) -> list[bytes]:
        """The plaintext of each message of a column, of any keys and versions, if the names of all these keys match
        `expect` as in `decrypt`. If one is refused, so are all, and the error tells which it was."""
        pattern = text_argument(expect, "the expected name")
        return _many(library().client_decrypt_many, self._handle, messages, aads, (pattern,))

    def reencrypt_many(
        self, messages: Sequence[Buffer], aads: Sequence[Buffer] | None = None, *, expect: str
    ) -> list[bytes]:
        """Each message anew under the newest version of the key that it names; those of that version stay as they are.

        The plaintexts do not leave the library. `keystead.reencrypt` moves whole tables.
        """
        pattern = text_argument(expect, "the expected name")
        return _many(library().client_reencrypt_many, self._handle, messages, aads, (pattern,))

    def decrypt_stream(self, source: Readable, aad: Buffer = b"", *, expect: str) -> io.BufferedReader:
        """A file object that reads the plaintext of the stream in a binary file, with the key that the stream names, if
        that name matches `expect` as in `decrypt`.

        What it gives was verified, but before its end was read it may be no more than the beginning: a stream that was
        cut or altered further on raises `NotAuthentic` there, and what was read before is to be discarded.
        """
        return begin_decryption(self._handle, source, aad, text_argument(expect, "the expected name"))

    def reload(self) -> None:
        """Reads the configuration, and every file that it refers to, again, and takes up what changed: the key servers
        with their certificates and passwords, and the rules of failover.

        Changed files are taken up within seconds without this call, too. If it raises, the client goes on as it was.
        """
        error = c_void_p()
        check(library().client_reload(self._handle, byref(error)), error)

    def status(self) -> dict[str, Any]:
        """What the client knows of itself: "client", "memory_tier", "config", "cache", "rotation_due", "servers",
        and "log", "on_record" and "audit", each with what was "lost", "failing_since" (seconds since 1970) and the
        "reason".
        """
        text, error = c_void_p(), c_void_p()
        check(library().client_status(self._handle, byref(text), byref(error)), error)
        status: dict[str, Any] = json.loads(take_text(text))
        return status

    def quiesce(self) -> None:
        """Call it right before a planned snapshot of the machine: nothing encrypted after it repeats what was encrypted
        before. Keys stay usable."""
        error = c_void_p()
        check(library().client_quiesce(self._handle, byref(error)), error)

    def close(self) -> None:
        """Wipes the keys, ends the connections, writes the last record. Closing twice is allowed; every other use of
        the client and of its keys raises `ClosedError`.

        Leaving the `with` block does it, too. Without it (the client is only deleted, or the program ends) the log has
        no `client.stop`, and its last records no checkpoint.
        """
        error = c_void_p()
        check(library().client_close(self._handle, byref(error)), error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def inspect(message: Buffer) -> dict[str, Any]:
    """Everything a message says of itself. Needs no key, and so proves nothing."""
    source = borrow(message)
    text, error = c_void_p(), c_void_p()
    check(library().message_inspect(source, len(source), byref(text), byref(error)), error)
    described: dict[str, Any] = json.loads(take_text(text))
    return described


def inspect_protected_dek(protected_dek: Buffer) -> dict[str, Any]:
    """Everything a protected DEK says of itself: the space's key, its KEK, how it is protected. Proves nothing."""
    source = borrow(protected_dek)
    text, error = c_void_p(), c_void_p()
    check(library().protected_dek_inspect(source, len(source), byref(text), byref(error)), error)
    described: dict[str, Any] = json.loads(take_text(text))
    return described


def decrypted_size(message: Buffer) -> int:
    """The size of a message's plaintext. Needs no key, and so proves nothing."""
    return _decrypted_size(borrow(message))


def key_id(message: Buffer) -> str:
    """The name and version of the key that a message or a stream says it needs: "customer-42/3". Needs no key, and so
    proves nothing. The first `STREAM_HEADER_MAX` bytes of a stream are enough."""
    source = borrow(message)
    text, error = c_void_p(), c_void_p()
    check(library().message_key_id(source, len(source), byref(text), byref(error)), error)
    return take_text(text)


def _decrypted_size(source: bytes | Borrowed) -> int:
    length, error = c_size_t(), c_void_p()
    check(library().message_decrypted_size(source, len(source), byref(length), byref(error)), error)
    return length.value


def version() -> str:
    """The version of the shared library."""
    text: str = library().version().decode()
    return text


class _Column:
    """The addresses and the lengths of the members of a sequence, and what keeps them alive."""

    def __init__(self, values: Sequence[Buffer]) -> None:
        count = len(values)
        self.lens = (c_size_t * count)()
        if all(type(value) is bytes for value in values):
            self._lent: list[Any] = list(values)
            self.starts: Any = cast((c_char_p * count)(*self._lent), POINTER(c_void_p))
        else:
            self._lent = [Borrowed(value) for value in values]
            self.starts = (c_void_p * count)(*[lent._as_parameter_ for lent in self._lent])
        self.lens[:] = [len(lent) for lent in self._lent]


def _many(
    function: Any, handle: c_void_p, values: Sequence[Buffer], aads: Sequence[Buffer] | None, more: tuple[Any, ...]
) -> list[bytes]:
    """A call on a column of values, each with its associated data, that gives a column of results."""
    if aads is not None and len(aads) != len(values):
        raise argument_error(f"{len(values)} values have {len(aads)} associated data; give as many of both")
    column, contexts = _Column(values), None if aads is None else _Column(aads)
    offsets, length, error = (c_size_t * (len(values) + 1))(), c_size_t(), c_void_p()
    # What is decrypted is shorter; how much longer what is encrypted is, the first call tells.
    size = sum(column.lens)
    while True:
        out = new_bytes(None, size)
        status = function(
            handle,
            column.starts,
            column.lens,
            contexts and contexts.starts,
            contexts and contexts.lens,
            len(values),
            *more,
            out,
            size,
            offsets,
            byref(length),
            byref(error),
        )
        if status != Code.BUFFER_TOO_SMALL:
            break
        size = length.value
        library().error_free(error)
    check(status, error)
    ends = list(offsets)
    return [out[ends[i] : ends[i + 1]] for i in range(len(values))]


def _shortened(out: bytes, length: int) -> bytes:
    return out if len(out) == length else out[:length]


def _version_argument(key_id: str) -> bytes:
    return text_argument(key_id, "the key's name and version")
