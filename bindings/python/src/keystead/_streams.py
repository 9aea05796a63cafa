"""Streams as file objects."""

from __future__ import annotations

import io
import threading
from ctypes import byref, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Protocol

from ._abi import STREAM_HEADER_MAX, STREAM_ROOM
from ._errors import argument_error
from ._handle import Handle
from ._library import Borrowed, borrow, check, library, new_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

_PIECE = 1 << 18


class Writable(Protocol):
    """Any binary file object that is open for writing."""

    def write(self, data: Any, /) -> int | None: ...


class Readable(Protocol):
    """Any binary file object that is open for reading."""

    def read(self, size: int, /) -> bytes | None: ...


class EncryptingWriter(Handle, io.RawIOBase):
    """A binary file object that encrypts what is written to it, in constant memory, into another one.

    Closing it ends the stream, and leaves the other file open. A `with` block that is left by an exception does not
    end the stream, and neither does forgetting to close it: what was written then is refused by every reader.
    """

    def __init__(self, handle: c_void_p, target: Writable) -> None:
        super().__init__(handle, library().encryptor_free)
        self._target = target
        self._turn = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        source = borrow(data)
        with self._turn:
            self._check_open()
            functions = library()
            size = functions.encryptor_update_size(self._handle, len(source))
            self._pass_on(functions.encryptor_update, (source, len(source)), size)
        return len(source)

    def close(self) -> None:
        with self._turn:
            if not self.closed:
                self._pass_on(library().encryptor_finish, (), STREAM_ROOM)
                super().close()

    def _pass_on(self, function: Any, data: tuple[Any, ...], size: int) -> None:
        """What cannot be written whole leaves a gap, so that nothing may follow it."""
        out, length, error = new_bytes(None, size), c_size_t(), c_void_p()
        try:
            check(function(self._handle, *data, out, size, byref(length), byref(error)), error)
            _write_all(self._target, memoryview(out)[: length.value])
        except BaseException:
            super().close()
            raise

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("write to a stream that is closed")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            super().close()

    def __del__(self) -> None:
        """Not the one of `io.IOBase`, which would end a stream that was only begun."""


class DecryptingReader(Handle, io.RawIOBase):
    """The raw file object behind what `Client.decrypt_stream` gives."""

    def __init__(self, handle: c_void_p, start: bytes, source: Readable) -> None:
        functions = library()
        super().__init__(handle, functions.decryptor_free)
        self._source = source
        self._start = start[functions.decryptor_header_size(handle) :]
        self._buffer = bytearray(_PIECE + STREAM_ROOM)
        self._ready = memoryview(b"")
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        if not target:
            return 0
        while not self._ready and not self._is_over:
            self._advance()
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _advance(self) -> None:
        functions = library()
        piece, self._start = self._start or self._source.read(_PIECE), b""
        error = c_void_p()
        if not piece:
            check(functions.decryptor_finish(self._handle, byref(error)), error)
            self._is_over = True
            return
        length, out = c_size_t(), Borrowed(self._buffer, writable=True)
        status = functions.decryptor_update(self._handle, piece, len(piece), out, len(out), byref(length), byref(error))
        check(status, error)
        self._ready = memoryview(self._buffer)[: length.value]


def begin_encryption(key: c_void_p, target: Writable, aad: Buffer) -> EncryptingWriter:
    if not hasattr(target, "write"):
        raise TypeError("the target of a stream must be a binary file object, open for writing")
    context, handle, error = borrow(aad), c_void_p(), c_void_p()
    check(library().key_encrypt_stream(key, context, len(context), byref(handle), byref(error)), error)
    return EncryptingWriter(handle, target)


def begin_decryption(owner: c_void_p, source: Readable, aad: Buffer, pattern: bytes | None) -> io.BufferedReader:
    """With the key that the stream names, by a client; without a pattern, with the key that is the owner."""
    start = _read_start(source)
    context, handle, error = borrow(aad), c_void_p(), c_void_p()
    function = library().key_decrypt_stream if pattern is None else library().client_decrypt_stream
    patterns = () if pattern is None else (pattern,)
    status = function(owner, start, len(start), context, len(context), *patterns, byref(handle), byref(error))
    check(status, error)
    return io.BufferedReader(DecryptingReader(handle, start, source), _PIECE)


def _read_start(source: Readable) -> bytes:
    start = b""
    while len(start) < STREAM_HEADER_MAX:
        more = source.read(STREAM_HEADER_MAX - len(start))
        if isinstance(more, str):
            raise argument_error("the source of a stream is open for text; open it with mode 'rb'")
        if not more:
            break
        start += more
    return start


def _write_all(target: Writable, data: memoryview) -> None:
    while data:
        written = target.write(data)
        # Buffered files write all of it; only raw ones may not, and say so.
        data = data[len(data) if written is None else written :]
