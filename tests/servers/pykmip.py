"""PyKMIP's server: a process for each, all on one SQLite database, which makes them replicas without a lag.

Its modules take a second to load, so the harness loads them once and forks its servers.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NoReturn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kmip.services.server import engine
    from kmip.services.server import server as program

from certificates import Issuer, Material
from guard import Guard
from processes import die_with_parent, kill_group
from server import HOST, HarnessError, Server, await_handshake

DATABASE = "keys.sqlite"


@functools.cache
def empty_database() -> bytes:
    """What a server makes where there is none; its first one takes half a second."""
    with tempfile.TemporaryDirectory(prefix="keystead-database-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / DATABASE
        engine.KmipEngine(policies={}, database_path=str(path))._data_store.dispose()
        with closing(sqlite3.connect(path)) as database:
            # One fsync(2) for each change instead of four.
            database.execute("PRAGMA journal_mode = WAL")
        return path.read_bytes()


class PyKmipServer(Server):
    """Its settings, its process group, its log."""

    def __init__(self, name: str, folder: Path, guard: Guard, issuer: Issuer) -> None:
        super().__init__(name)
        self._group: int | None = None
        self._folder = folder
        self._database = folder / DATABASE
        self._guard = guard
        self._issuer = issuer
        self._client = issuer.material("client")
        self._log = OperationLog(folder / f"{name}.log")

    @property
    def pid(self) -> int | None:
        return self._group

    def launch(self, certificate: Material) -> None:
        if self._group is not None:
            raise HarnessError(f"server {self.name} already runs")
        self._client = self._issuer.client_of(certificate)
        arguments = ["-f", str(self._write_settings(certificate)), "-l", str(self._log.path)]
        child = os.fork()
        if child == 0:
            _serve(arguments, self._output, self._folder)
        os.setpgid(child, child)
        self._group = child
        self._guard.watch(child)

    def await_ready(self) -> None:
        """Its tables are made before it answers."""
        try:
            await_handshake(self.port, self._client, self._lives)
        except OSError as error:
            raise HarnessError(f"server {self.name} does not answer: {error}\n{self._last_words()}") from error

    def kill(self) -> None:
        group = self._running()
        kill_group(group)
        self._guard.forget(group)
        self._group = None

    def stop(self) -> None:
        """Between two transactions: else it might hold the database that all share, and stop the others, too."""
        with closing(sqlite3.connect(self._database, timeout=30, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            os.killpg(self._running(), signal.SIGSTOP)
            os.waitid(os.P_PID, self._running(), os.WSTOPPED)

    def resume(self) -> None:
        os.killpg(self._running(), signal.SIGCONT)

    def count(self, operation: str) -> int:
        return self._log.count(operation)

    def _running(self) -> int:
        if self._group is None:
            raise HarnessError(f"server {self.name} does not run")
        return self._group

    def _lives(self) -> bool:
        """Without waiting for it: `kill` does that."""
        return os.waitid(os.P_PID, self._running(), os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    @property
    def _output(self) -> Path:
        return self._folder / f"{self.name}.out"

    def _write_settings(self, certificate: Material) -> Path:
        policies = self._folder / "policies"
        policies.mkdir(exist_ok=True)
        settings = self._folder / f"{self.name}.conf"
        settings.write_text(
            "[server]\n"
            f"hostname={HOST}\n"
            f"port={self.port}\n"
            f"certificate_path={certificate.certificate}\n"
            f"key_path={certificate.key}\n"
            f"ca_path={self._client.ca}\n"
            "auth_suite=TLS1.2\n"
            f"policy_path={policies}\n"
            "enable_tls_client_auth=True\n"
            "logging_level=INFO\n"
            f"database_path={self._database}\n"
        )
        return settings

    def _last_words(self) -> str:
        words = ""
        for path in (self._output, self._log.path):
            if path.exists():
                words += path.read_text(errors="replace")[-2000:]
        return words


def _serve(arguments: list[str], output: Path, folder: Path) -> NoReturn:
    """In the child: is PyKMIP's server until it is killed, and keeps nothing else of the harness."""
    try:
        os.setpgid(0, 0)  # So does the parent: whoever is first.
        die_with_parent()
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, own in ((os.open(os.devnull, os.O_RDONLY), 0), (written, 1), (written, 2)):
            os.dup2(descriptor, own)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        warnings.simplefilter("ignore")
        # Its sockets lie where they are removed, however it ends.
        tempfile.tempdir = str(folder)
        sys.argv = ["pykmip-server", *arguments]
        program.main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


class OperationLog:
    """Counts operations in a server's log, which PyKMIP rotates at 1 MB (to .1, .2 … .5)."""

    MARK = b"Processing operation: "

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counts: Counter[str] = Counter()
        self._inode = 0
        self._offset = 0

    def count(self, operation: str) -> int:
        """How often the operation was processed. A server logs one before it answers."""
        for path in self._unread():
            with open(path, "rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(self._offset if inode == self._inode else 0)
                lines = file.read()
                # A line that is not finished yet is left for the next time.
                complete = lines[: lines.rfind(b"\n") + 1]
                self._inode, self._offset = inode, file.tell() - len(lines) + len(complete)
            for line in complete.splitlines():
                _, mark, name = line.partition(self.MARK)
                if mark:
                    self._counts[name.decode()] += 1
        return self._counts[operation]

    def _unread(self) -> list[Path]:
        """From the file that was read last to the newest one, oldest first."""
        unread = []
        for suffix in ("", ".1", ".2", ".3", ".4", ".5"):
            path = Path(f"{self.path}{suffix}")
            if not path.exists():
                break
            unread.append(path)
            if path.stat().st_ino == self._inode:
                break
        else:
            raise HarnessError(f"{self.path} was rotated away before it was counted: count more often")
        return unread[::-1]
