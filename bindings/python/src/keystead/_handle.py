"""What owns an object of the library."""

from __future__ import annotations

import weakref
from ctypes import c_void_p
from typing import Any, NoReturn


class Handle:
    """Owns a handle of the library and frees it when nobody can use it any more.

    Closing does not free: a call on a closed client reaches the library, which answers CLOSED. Nothing is freed while
    the interpreter exits, when another thread might still be inside a call.
    """

    def __init__(self, handle: c_void_p, free: Any) -> None:
        self._handle = handle
        weakref.finalize(self, free, handle).atexit = False

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can be neither copied nor pickled; key bytes never leave the library")
