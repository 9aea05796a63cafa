"""A PostgreSQL server of our own, on a socket in a folder of its own, where its programs are installed.

As a program it tells which one the tests meet, or exits with 77 and says that none is installed.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tests/servers"))

from guard import Guard

SKIPPED = 77


def programs() -> Path | None:
    """The folder of the newest PostgreSQL of this machine; Debian keeps each version apart."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).parent if path else None


def is_open_to_all(folder: Path) -> bool:
    """Whether another user comes into the folder."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


class PostgreSQL:
    """A running server. It refuses to run as root, and so gets another user then. It ends with us, however we end."""

    def __init__(self, folder: Path) -> None:
        self._user: dict[str, Any] = {"user": "nobody"} if os.getuid() == 0 else {}
        place = Path(tempfile.gettempdir()).resolve()
        within = "/tmp" if self._user and not is_open_to_all(place) else place
        self.folder = Path(tempfile.mkdtemp(prefix="keystead-postgresql-", dir=within))
        self._guard = Guard(self.folder)
        if self._user:
            shutil.chown(self.folder, "nobody")
        data = self.folder / "data"
        initdb = [str(folder / "initdb"), "--auth=trust", "--username=keystead", "--encoding=UTF8", "--no-sync", "-D"]
        subprocess.run([*initdb, str(data)], check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._user)
        server = [str(folder / "postgres"), "-D", str(data), "-k", str(self.folder)]
        server += ["-c", "listen_addresses=", "-c", "fsync=off"]
        log = open(self.folder / "log", "wb")  # noqa: SIM115 - the server keeps it
        options: dict[str, Any] = {"cwd": self.folder, "start_new_session": True, **self._user}
        self._process = subprocess.Popen(server, stdout=log, stderr=log, **options)
        self._guard.watch(self._process.pid)
        self.database = f"host={self.folder} user=keystead dbname=postgres"
        self._await_ready(folder / "pg_isready")

    def _await_ready(self, program: Path) -> None:
        deadline = time.monotonic() + 60
        while subprocess.run([program, "-q", "-h", self.folder, "-U", "keystead"], check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def finish(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._guard.forget(self._process.pid)
        self._guard.finish()


def main() -> int:
    folder = programs()
    if folder is None:
        print("PostgreSQL is not installed: nothing is tried with it; install postgresql")
        return SKIPPED
    return subprocess.run([folder / "postgres", "--version"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
