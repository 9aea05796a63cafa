"""Records of the log for a function of the application."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from . import _abi
from ._errors import KeysteadError

if TYPE_CHECKING:
    from ._client import Client


class LogRecord(NamedTuple):
    """One record of the log: what a client's `on_record` is called with."""

    severity: int
    """As syslog grades: 1 alert, 3 error, 4 warning, 5 notice, 6 info, 7 debug."""
    event: str
    """From the catalogue of events, `docs/EVENTS.md`: "kmip.get"."""
    text: str
    """The record as one line, in the format of the configuration, with serial and hash."""

    @property
    def level(self) -> int:
        """The severity as the module `logging` grades."""
        return _LEVELS.get(self.severity, logging.WARNING)


OnRecord = Callable[[LogRecord], object]

_LEVELS = {
    _abi.SEVERITY_ALERT: logging.CRITICAL,
    _abi.SEVERITY_ERROR: logging.ERROR,
    _abi.SEVERITY_WARNING: logging.WARNING,
    _abi.SEVERITY_NOTICE: logging.INFO,
    _abi.SEVERITY_INFO: logging.INFO,
    _abi.SEVERITY_DEBUG: logging.DEBUG,
}

_PAUSE = 0.005

# The library is given a number, and two functions that live as long as the interpreter: one that is freed while the
# library is inside it would take the process with it.
_numbers = count(1)
_listeners: dict[int, OnRecord] = {}
_inherited: list[OnRecord] = []
_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def listen(on_record: OnRecord) -> int:
    """A number for a function, which is kept until the library lets go of the number."""
    if not callable(on_record):
        raise TypeError(f"on_record must be callable, not {type(on_record).__name__}")
    number = next(_numbers)
    _listeners[number] = on_record
    return number


def _inherit() -> None:
    """The threads that let go of functions stayed with the parent. What they hold is not for a child to finalize."""
    _inherited.extend(_listeners.values())
    _listeners.clear()


os.register_at_fork(after_in_child=_inherit)


def close_at_exit(client: Client) -> None:
    """No thread may call into an interpreter that is going away."""
    _clients.add(client)


@_abi.ON_RECORD  # type: ignore[untyped-decorator]
def tell(number: int, severity: int, event: bytes, record: bytes, _: int) -> None:
    """ctypes hands what is raised to `sys.unraisablehook`, and the library goes on."""
    if on_record := _listeners.get(number):
        on_record(LogRecord(severity, event.decode(), record.decode()))


# No function of ours: a thread that took its listener out would still be inside Python.
release = _abi.ON_RELEASE(_listeners.pop)


@atexit.register
def _close_clients() -> None:
    """Waits until the library lets go of every function, however long one takes, as the interpreter itself waits for
    the threads of a program: the library's thread would be ended inside a function that went on."""
    # Whoever drops the last reference to a function may run Python, and a thread of the library must not.
    kept = list(_listeners.values())
    for client in list(_clients):
        # A forked child inherited them, and they are not for it to close.
        with suppress(KeysteadError):
            client.close()
    while _listeners:
        time.sleep(_PAUSE)
    del kept
