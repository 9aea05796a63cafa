"""PyKMIP's server: a process for each, all on one SQLite database, which makes them replicas without a lag."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from certificates import Issuer, Material
from guard import Guard
from processes import die_with_parent, kill_group
from server import HOST, HarnessError, Server, await_handshake


class PyKmipServer(Server):
    """Its settings, its process group, its log."""

    def __init__(self, name: str, folder: Path, guard: Guard, issuer: Issuer) -> None:
        super().__init__(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._guard = guard
        self._issuer = issuer
        self._client = issuer.material("client")
        self._log = OperationLog(folder / f"{name}.log")

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def launch(self, certificate: Material) -> None:
        if self._process is not None:
            raise HarnessError(f"server {self.name} already runs")
        self._client = self._issuer.client_of(certificate)
        settings = self._write_settings(certificate)
        with open(self._folder / f"{self.name}.out", "ab") as output:
            program = "from kmip.services.server.server import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", program, "-f", str(settings), "-l", str(self._log.path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._guard.watch(self._process.pid)

    def await_ready(self) -> None:
        """Its tables are made before it answers."""
        try:
            await_handshake(self.port, self._client, lambda: self._running().poll() is None)
        except OSError as error:
            raise HarnessError(f"server {self.name} does not answer: {error}\n{self._last_words()}") from error

    def kill(self) -> None:
        group = self._running().pid
        kill_group(group)
        self._guard.forget(group)
        self._running().returncode = -signal.SIGKILL
        self._process = None

    def stop(self) -> None:
        os.killpg(self._running().pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._running().pid, signal.SIGCONT)

    def count(self, operation: str) -> int:
        return self._log.count(operation)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise HarnessError(f"server {self.name} does not run")
        return self._process

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
            f"database_path={self._folder / 'keys.sqlite'}\n"
        )
        return settings

    def _last_words(self) -> str:
        words = ""
        for path in (self._folder / f"{self.name}.out", self._log.path):
            if path.exists():
                words += path.read_text(errors="replace")[-2000:]
        return words


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
