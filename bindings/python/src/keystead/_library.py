"""The shared library: found and loaded on first use, its errors raised, memory lent to it without a copy."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from ctypes import byref, c_char_p, c_int, c_ssize_t, c_void_p, py_object
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._abi import Code, Library
from ._errors import KeysteadError, argument_error, class_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

__version__ = "0.1.0"

_FILE = "libkeystead.so.0"


class LibraryError(ImportError):
    """The shared library cannot be found or loaded, or is of another version than this package."""


_lock = threading.Lock()
_loaded: Library | None = None


def library() -> Library:
    """The library. The first call loads it, so that importing this package never fails for want of it."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded


def _load() -> Library:
    path = _find()
    try:
        found = Library(ctypes.CDLL(path))
    except (OSError, AttributeError) as error:
        raise LibraryError(
            f"cannot load the Keystead library {path}: {error}; install Keystead, or name its library file in the "
            "environment variable KEYSTEAD_LIBRARY"
        ) from error
    version = found.version().decode()
    if version.split(".")[:2] != __version__.split(".")[:2]:
        raise LibraryError(
            f"the Keystead library {path} has version {version}, but the Python package {__version__}; install the "
            "same version of both"
        )
    return found


def _find() -> str:
    """KEYSTEAD_LIBRARY, else the file beside this package, else what the system's loader finds."""
    if chosen := os.environ.get("KEYSTEAD_LIBRARY"):
        return chosen
    beside = Path(__file__).with_name(_FILE)
    return str(beside) if beside.exists() else _FILE


def check(status: int, error: c_void_p) -> None:
    """Raises what a call returned, unless it succeeded."""
    if status:
        raise _take_error(status, error)


def _take_error(status: int, error: c_void_p) -> KeysteadError:
    functions = library()
    try:
        message = functions.error_message(error).decode()
        detail: dict[str, Any] = json.loads(functions.error_detail(error) or b"{}")
        retryable = bool(functions.error_is_retryable(error))
    finally:
        functions.error_free(error)
    name = functions.status_name(status).decode()
    name = name[len("KEYSTEAD_E_") :] if name.startswith("KEYSTEAD_E_") else f"STATUS_{status}"
    code = Code(status) if status in _CODES else status
    return class_of(status)(code, name, message, detail, retryable)


_CODES = frozenset(Code)


def take_text(handle: c_void_p) -> str:
    """The content of a keystead_bytes, which it frees."""
    functions = library()
    try:
        return ctypes.string_at(functions.bytes_data(handle), functions.bytes_len(handle)).decode()
    finally:
        functions.bytes_free(handle)


def text_argument(value: str, what: str) -> bytes:
    """A text for the library, which would take a NUL for its end."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise argument_error(f"{what} holds a NUL character")
    return value.encode()


def path_argument(path: str | os.PathLike[str], what: str) -> bytes:
    """A path for the library, which would take a NUL for its end."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise argument_error(f"the path of {what} holds a NUL character")
    return encoded


class _PyBuffer(ctypes.Structure):
    """Py_buffer, as CPython has laid it out since 3.0."""

    _fields_ = (
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [py_object, c_void_p, c_int]
_get_buffer.restype = c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [c_void_p]
_release_buffer.restype = None

# A new `bytes` object whose content the library writes: nobody else has seen it yet, so it need not be copied.
new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
new_bytes.argtypes = [c_void_p, c_ssize_t]
new_bytes.restype = py_object

_WRITABLE = 1  # PyBUF_WRITABLE; without it PyBUF_SIMPLE, which is 0: contiguous memory


class Borrowed:
    """The memory of a bytes-like object, held until this object goes. ctypes takes it for a pointer."""

    __slots__ = ("_as_parameter_", "_view")

    def __init__(self, source: Buffer, writable: bool = False) -> None:
        if isinstance(source, str):
            raise TypeError("a bytes-like object is required, not a str; encode it, for example with .encode()")
        view = _PyBuffer()
        _get_buffer(source, byref(view), _WRITABLE if writable else 0)
        self._view = view
        self._as_parameter_ = view.buf

    def __len__(self) -> int:
        return int(self._view.len)

    def __del__(self) -> None:
        if hasattr(self, "_view"):
            _release_buffer(byref(self._view))


def borrow(source: Buffer) -> bytes | Borrowed:
    """What ctypes can pass as a pointer: `bytes` as they are, the fast path, and anything else borrowed."""
    return source if type(source) is bytes else Borrowed(source)
