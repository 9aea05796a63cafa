"""Real key servers for tests, the demo and people: PyKMIP on loopback, sharing one database.

    keyservers.py [--servers N] [--keep]                      serves until standard input ends
    keyservers.py [--servers N] [--keep] run -- COMMAND ...   runs COMMAND with KEYSTEAD_CONFIG set, then ends

It needs Python with `tests/requirements.txt` installed: `cmake --build build --target venv` makes build/venv.

A test in any language starts it as a child. Once all servers answer it prints one line of JSON:

    {"config": "/tmp/…/keystead.conf", "dir": "/tmp/…", "log": …, "audit": …,
     "ca": …, "client_certificate": …, "client_key": …,
     "servers": [{"name": "primary", "host": "127.0.0.1", "port": 27511, "pid": 4711}, {"name": "secondary", …}]}

Further servers are named server-3, server-4 … Then each line of standard input is a command, answered by one line of
JSON with "ok" and, where that is false, "error":

    kill NAME               SIGKILL to the server with all its children
    stop NAME               SIGSTOP: connections open but nothing answers
    continue NAME           SIGCONT
    start NAME [KIND]       starts a killed server on its old port, presenting the certificate KIND (default: server)
    count NAME OPERATION    "count": how many such KMIP operations (Get, Create, Locate, GetAttributes …) the server has
                            processed since the harness began, restarts included
    certificate KIND        "certificate", "key", "ca": paths of a certificate; the kinds are in certificates.py, for
                            example client-expired, client-wrong-ca, client-other, server-wrong-name
    quit                    ends everything

However the test ends, standard input ends with it, and that ends the servers and removes the folder (unless --keep).
Should the harness itself be killed, its guard does so.

Objects on the servers are private to the common name of the client certificate.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from certificates import Issuer, Material
from guard import Guard

HOST = "127.0.0.1"
START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)


class HarnessError(Exception):
    """Something the caller should be told in one line."""


class Server:
    """One PyKMIP server: its settings, its process group, its log."""

    def __init__(self, name: str, folder: Path, guard: Guard, issuer: Issuer) -> None:
        self.name = name
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._guard = guard
        self._issuer = issuer
        self._log = OperationLog(folder / f"{name}.log")

    def launch(self, certificate: Material) -> int:
        """Starts the process and returns its number; `await_ready` says when it answers."""
        if self.process is not None:
            raise HarnessError(f"server {self.name} already runs")
        settings = self._write_settings(certificate)
        with open(self._folder / f"{self.name}.out", "ab") as output:
            program = "from kmip.services.server.server import main; main()"
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", program, "-f", str(settings), "-l", str(self._log.path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._guard.watch(self.process.pid)
        return self.process.pid

    def await_ready(self) -> None:
        """Waits until the server completes a TLS handshake with a valid client, as its tables are then made."""
        deadline = time.monotonic() + START_SECONDS
        client = self._issuer.material("client")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # The server may be meant to present a bad certificate.
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(client.certificate, client.key)
        while True:
            try:
                plain = socket.create_connection((HOST, self.port), timeout=5)
                with plain, context.wrap_socket(plain):
                    return
            except OSError as error:
                if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                    raise HarnessError(f"server {self.name} does not answer: {error}\n{self._last_words()}") from error
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends the whole group and waits for each of its processes, which are all ours (`_adopt_orphans`)."""
        group = self._running().pid
        os.killpg(group, signal.SIGKILL)
        try:
            while True:
                os.waitpid(-group, 0)
        except ChildProcessError:
            pass
        self._guard.forget(group)
        self._running().returncode = -signal.SIGKILL
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self._running().pid, number)

    def count(self, operation: str) -> int:
        return self._log.count(operation)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise HarnessError(f"server {self.name} does not run")
        return self.process

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
            f"ca_path={self._issuer.authority.certificate}\n"
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


class KeyServers:
    """The cluster with its folder, certificates and configuration. A context manager."""

    def __init__(self, number: int = 2, keep: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="keystead-servers-"))
        self._guard = Guard(None if keep else self.folder)
        _adopt_orphans()
        try:
            self._start(number)
        except BaseException:
            self.finish()
            raise

    def _start(self, number: int) -> None:
        self.issuer = Issuer(self.folder)
        self.client = self.issuer.material("client")
        certificate = self.issuer.material("server")
        names = ["primary", "secondary"] + [f"server-{position}" for position in range(3, number + 1)]
        self.servers = {name: Server(name, self.folder, self._guard, self.issuer) for name in names[:number]}
        # The first one makes the tables of the database they share; two at once would both try.
        first, *others = self.servers.values()
        for group in ([first], others):
            for server in group:
                server.launch(certificate)
            for server in group:
                server.await_ready()
        self.config = self._write_config()

    def _write_config(self) -> Path:
        config = self.folder / "keystead.conf"
        servers = "".join(f'\n[[server]]\nhost = "{HOST}"\nport = {server.port}\n' for server in self.servers.values())
        config.write_text(
            "[client]\n"
            'name = "keystead-test"\n'
            "# The key servers run on this machine, next to the data, which the policy strict forbids.\n"
            'policy = "relaxed"\n'
            "\n[tls]\n"
            f'ca_certificate = "{self.issuer.authority.certificate}"\n'
            f'client_certificate = "{self.client.certificate}"\n'
            f'client_key = "{self.client.key}"\n'
            f"{servers}"
            "\n[failover]\n"
            'delay = "1s"\n'
            "rounds = 3\n"
            'deadline = "10s"\n'
            "\n[log]\n"
            'level = "basic"\n'
            'format = "syslog"\n'
            f'target = "file:{self.folder / "keystead.log"}"\n'
            "\n[audit]\n"
            f'file = "{self.folder / "audit.csv"}"\n'
        )
        config.chmod(0o600)
        return config

    def describe(self) -> dict[str, Any]:
        return {
            "config": str(self.config),
            "dir": str(self.folder),
            "log": str(self.folder / "keystead.log"),
            "audit": str(self.folder / "audit.csv"),
            "ca": str(self.issuer.authority.certificate),
            "client_certificate": str(self.client.certificate),
            "client_key": str(self.client.key),
            "servers": [
                {"name": server.name, "host": HOST, "port": server.port, "pid": server.process and server.process.pid}
                for server in self.servers.values()
            ],
        }

    def server(self, name: str) -> Server:
        if name not in self.servers:
            raise HarnessError(f"no server {name!r}; there are {', '.join(self.servers)}")
        return self.servers[name]

    def start(self, name: str, kind: str = "server") -> int:
        server = self.server(name)
        pid = server.launch(self.issuer.material(kind))
        try:
            server.await_ready()
        except HarnessError:
            server.kill()
            raise
        return pid

    def finish(self) -> None:
        for server in getattr(self, "servers", {}).values():
            if server.process is not None:
                server.kill()
        self._guard.finish()

    def __enter__(self) -> KeyServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


def answer(servers: KeyServers, words: list[str]) -> dict[str, Any]:
    """Carries out one command of the protocol."""
    match words:
        case ["kill", name]:
            servers.server(name).kill()
        case ["stop", name]:
            servers.server(name).signal(signal.SIGSTOP)
        case ["continue", name]:
            servers.server(name).signal(signal.SIGCONT)
        case ["start", name, *kind] if len(kind) < 2:
            return {"pid": servers.start(name, *kind)}
        case ["count", name, operation]:
            return {"count": servers.server(name).count(operation)}
        case ["certificate", kind]:
            material = servers.issuer.material(kind)
            return {"certificate": str(material.certificate), "key": str(material.key), "ca": str(material.ca)}
        case _:
            raise HarnessError(f"no such command: {' '.join(words)!r}")
    return {}


def serve(servers: KeyServers) -> None:
    """Answers commands until standard input ends."""
    _print_line(servers.describe())
    for line in sys.stdin:
        words = line.split()
        if words == ["quit"]:
            break
        try:
            reply = {"ok": True, **answer(servers, words)}
        except (HarnessError, ValueError) as error:
            reply = {"ok": False, "error": str(error)}
        _print_line(reply)


def run(servers: KeyServers, command: list[str]) -> int:
    """Runs a command against the servers and returns its exit code."""
    environment = {**os.environ, "KEYSTEAD_CONFIG": str(servers.config)}
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        print(f"keyservers.py: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


def _print_line(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _free_port() -> int:
    """A port below those the kernel gives to clients: no stray client can take it while its server is down, nor can a
    client that connects to it be given the same number and so connect to itself."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue


def _die_with_parent() -> None:
    # For servers only. The harness itself must not ask for this: the kernel sends the signal when the *thread* that
    # started it ends, and test runners start it from threads that come and go.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _adopt_orphans() -> None:
    """Makes the children of a killed server ours, so that `kill` can wait for them."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Real key servers for tests: PyKMIP on loopback.")
    parser.add_argument("--servers", type=int, default=2, metavar="N", help="how many servers (default 2)")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and database behind")
    parser.add_argument("mode", nargs="?", choices=["run"], help="run a command with KEYSTEAD_CONFIG set")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.servers < 1 or (arguments.mode == "run") != bool(command):
        parser.error("at least one server, and `run` takes a command")
    # A signal that ends us should end us in order; the guard covers the one that cannot be caught.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        with KeyServers(arguments.servers, arguments.keep) as servers:
            if arguments.mode == "run":
                return run(servers, command)
            serve(servers)
    except HarnessError as error:
        print(f"keyservers.py: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
