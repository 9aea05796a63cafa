"""A process that outlives its owner just long enough to end what the owner started.

It is forked before anything else, leaves its owner's session, and waits for the owner to close a socket, which the
kernel does for every way to die. It then kills the process groups it was told of and removes the folder. The normal
end goes the same way, so the way that matters after a crash is the one that every test takes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path


class Guard:
    """The owner's end of the socket."""

    def __init__(self, folder: Path | None) -> None:
        """Forks the guard. `folder` is removed at the end. Call it before any thread is started."""
        self._socket, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            # Forked twice, so that it is nobody's child and who kills our process tree does not find it.
            if os.fork() == 0:
                self._socket.close()
                _run(theirs, folder)
            os._exit(0)
        theirs.close()
        os.waitpid(child, 0)

    def watch(self, group: int) -> None:
        """Has the guard kill this process group at the end."""
        self._socket.sendall(f"+{group}\n".encode())

    def forget(self, group: int) -> None:
        """The group is gone: its number may soon belong to somebody else."""
        self._socket.sendall(f"-{group}\n".encode())

    def finish(self) -> None:
        """Ends everything, and returns when it is done."""
        self._socket.shutdown(socket.SHUT_WR)
        while self._socket.recv(1):
            pass
        self._socket.close()


def _run(owner: socket.socket, folder: Path | None) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever reads the owner's output must see its end although we live on.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    groups: set[int] = set()
    with owner.makefile("r") as lines:
        for line in lines:
            change = groups.add if line[0] == "+" else groups.discard
            change(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
