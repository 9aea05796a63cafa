"""Processes that end with the harness, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """For a server, between fork and exec. The harness itself must not ask for this: the kernel sends the signal when
    the *thread* that started it ends, and test runners start it from threads that come and go."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Makes the children of a killed server ours, so that `kill_group` can wait for them."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_group(group: int) -> None:
    """Ends the whole group and waits for each of its processes."""
    os.killpg(group, signal.SIGKILL)
    try:
        while True:
            os.waitpid(-group, 0)
    except ChildProcessError:
        pass
