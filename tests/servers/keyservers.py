"""Real key servers for tests, the demo and people, on loopback, sharing what they hold.

    keyservers.py [--kind KIND] [--servers N] [--keep]                      serves until standard input ends
    keyservers.py [--kind KIND] [--servers N] [--keep] run -- COMMAND ...   runs COMMAND with KEYSTEAD_CONFIG set;
                                                                            with --pre-active ID such a key is there
    keyservers.py prepare                                                   starts many of the first kind, each at once

There are two kinds: `pykmip` (the default, or what KEYSTEAD_KEY_SERVERS says), which needs Python with
`tests/requirements.txt` installed: `cmake --build build --target venv` makes build/venv; and `go`, the program of
tests/servers/go, which `cmake --build build --target go_server` makes (or name it in KEYSTEAD_GO_SERVER). If
KEYSTEAD_KMIP_VERSION is set, the configuration pins that protocol version.

A test in any language starts it as a child. Once all servers answer it prints one line of JSON:

    {"config": "/tmp/…/keystead.conf", "dir": "/tmp/…", "log": …, "audit": …, "kind": "pykmip",
     "ca": …, "client_certificate": …, "client_key": …,
     "servers": [{"name": "primary", "host": "127.0.0.1", "port": 27511, "pid": 4711}, {"name": "secondary", …}]}

Further servers are named server-3, server-4 … Then each line of standard input is a command, answered by one line of
JSON with "ok" and, where that is false, "error":

    kill NAME               the server ends at once with all its connections, as by SIGKILL
    stop NAME               as by SIGSTOP: connections open but nothing answers
    continue NAME           as by SIGCONT
    start NAME [KIND]       starts a killed server on its old port, presenting the certificate KIND (default: server)
    count NAME OPERATION    "count": how many such KMIP operations (Get, Create, Locate, GetAttributes …) the server has
                            processed since the harness began, restarts included
    certificate KIND        "certificate", "key", "ca": paths of a certificate; the kinds are in certificates.py, for
                            example client-expired, client-wrong-ca, client-other, server-wrong-name
    lag SECONDS             (go) how long a change made on one server takes to reach the others, from now on
    unique-names yes|no     (go) whether a Name that another object has is refused, as KMIP wants and not all servers do
    pre-active ID           "identifier": makes such a version of a key, for example orders/1, not activated
    versions NAME 1.0,1.1   (go) the protocol versions that the server speaks once it is started again
    quit                    ends everything

The servers of kind `go` are one process, so they have one "pid".

Python takes a second to load what PyKMIP needs. `prepare` does so once, and prints {"socket": PATH}. Whoever connects
to that socket and sends its options as one line, a list in JSON, talks to servers of its own from then on, as over
standard input and output. It ends with its standard input.

However the test ends, standard input ends with it, and that ends the servers and removes the folder (unless --keep).
Should the harness itself be killed, its guard does so.

Objects on the servers are private to the common name of the client certificate.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from administrator import make_pre_active
from certificates import Issuer
from goservers import GoProcess
from guard import Guard
from processes import adopt_orphans
from server import HOST, HarnessError, Server

__all__ = ["HarnessError", "KeyServers"]

KINDS = ("pykmip", "go")


def default_kind() -> str:
    return os.environ.get("KEYSTEAD_KEY_SERVERS") or KINDS[0]


class KeyServers:
    """The cluster with its folder, certificates and configuration. A context manager."""

    def __init__(self, number: int = 2, keep: bool = False, kind: str | None = None) -> None:
        self.kind = kind or default_kind()
        self.folder = Path(tempfile.mkdtemp(prefix="keystead-servers-"))
        self._guard = Guard(None if keep else self.folder)
        self._go: GoProcess | None = None
        self.servers: Mapping[str, Server] = {}
        adopt_orphans()
        try:
            self.issuer = Issuer(self.folder)
            self.client = self.issuer.material("client")
            names = ["primary", "secondary"] + [f"server-{position}" for position in range(3, number + 1)]
            start = self._start_go if self.kind == "go" else self._start_pykmip
            start(names[:number])
            self.config = self._write_config()
        except BaseException:
            self.finish()
            raise

    def _start_pykmip(self, names: Sequence[str]) -> None:
        from pykmip import DATABASE, PyKmipServer, empty_database  # It takes a second to load.

        # With the tables that they share: two servers at once would both make them.
        (self.folder / DATABASE).write_bytes(empty_database())
        servers = {name: PyKmipServer(name, self.folder, self._guard, self.issuer) for name in names}
        self.servers = servers
        certificate = self.issuer.material("server")
        for server in servers.values():
            server.launch(certificate)
        for server in servers.values():
            server.await_ready()

    def _start_go(self, names: Sequence[str]) -> None:
        self._go = GoProcess(names, self.folder, self._guard, self.issuer)
        self.servers = self._go.servers
        for server in self.servers.values():
            server.await_ready()

    def _write_config(self) -> Path:
        config = self.folder / "keystead.conf"
        pinned = os.environ.get("KEYSTEAD_KMIP_VERSION")
        version = f'kmip_version = "{pinned}"\n' if pinned else ""
        servers = "".join(
            f'\n[[server]]\nhost = "{HOST}"\nport = {server.port}\n{version}' for server in self.servers.values()
        )
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
            'deadline = "30s"\n'
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
            "kind": self.kind,
            "ca": str(self.issuer.authority.certificate),
            "client_certificate": str(self.client.certificate),
            "client_key": str(self.client.key),
            "servers": [
                {"name": server.name, "host": HOST, "port": server.port, "pid": server.pid}
                for server in self.servers.values()
            ],
        }

    def server(self, name: str) -> Server:
        if name not in self.servers:
            raise HarnessError(f"no server {name!r}; there are {', '.join(self.servers)}")
        return self.servers[name]

    def go(self) -> GoProcess:
        if self._go is None:
            raise HarnessError("only servers of kind go can do this")
        return self._go

    def start(self, name: str, kind: str = "server") -> int | None:
        server = self.server(name)
        server.launch(self.issuer.material(kind))
        try:
            server.await_ready()
        except HarnessError:
            server.kill()
            raise
        return server.pid

    def make_pre_active(self, key_id: str) -> str:
        """Has the primary make a key, as an administrator does who leaves its activation to others."""
        primary = next(iter(self.servers.values()))
        return make_pre_active(primary.port, self.client, self.issuer.authority.certificate, key_id)

    def finish(self) -> None:
        if self._go is not None:
            self._go.finish()
        else:
            for server in self.servers.values():
                if server.pid is not None:
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
            servers.server(name).stop()
        case ["continue", name]:
            servers.server(name).resume()
        case ["start", name, *kind] if len(kind) < 2:
            return {"pid": servers.start(name, *kind)}
        case ["count", name, operation]:
            return {"count": servers.server(name).count(operation)}
        case ["lag", seconds]:
            servers.go().ask("lag", seconds)
        case ["unique-names", choice]:
            servers.go().ask("unique-names", choice)
        case ["versions", name, versions]:
            servers.go().ask("versions", servers.server(name).name, versions)
        case ["pre-active", key_id]:
            return {"identifier": servers.make_pre_active(key_id)}
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


def prepare() -> int:
    """Forks a harness for each connection, until standard input ends."""
    if default_kind() == "pykmip":
        import pykmip

        pykmip.empty_database()
    gc.freeze()  # A collection in a child would write to, and so copy, every page.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for them.
    with tempfile.TemporaryDirectory(prefix="keystead-prepared-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder) / "socket")
        listener.bind(path)
        listener.listen()
        _print_line({"socket": path})
        while True:
            ready, _, _ = select.select([0, listener.fileno()], [], [])
            if 0 in ready:
                return 0
            connection, _ = listener.accept()
            if os.fork() == 0:
                os._exit(_serve_connection(connection, listener))
            connection.close()


def _serve_connection(connection: socket.socket, listener: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener.close()
    for descriptor in (0, 1):
        os.dup2(connection.fileno(), descriptor)
    connection.close()
    try:
        return main(json.loads(sys.stdin.readline()))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()


def _print_line(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def main(options: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Real key servers for tests, on loopback.")
    parser.add_argument("--kind", choices=KINDS, default=default_kind(), help="which servers (default %(default)s)")
    parser.add_argument("--servers", type=int, default=2, metavar="N", help="how many servers (default 2)")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and database behind")
    parser.add_argument("--pre-active", metavar="ID", help="a key that is there, not activated, when a command is run")
    parser.add_argument("mode", nargs="?", choices=["run", "prepare"], help="see above")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    arguments = parser.parse_args(options)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.kind not in KINDS:
        parser.error(f"KEYSTEAD_KEY_SERVERS is {arguments.kind!r}, and not one of {', '.join(KINDS)}")
    if arguments.servers < 1 or (arguments.mode == "run") != bool(command):
        parser.error("at least one server, and `run` takes a command")
    if arguments.mode == "prepare":
        return prepare()
    # A signal that ends us should end us in order; the guard covers the one that cannot be caught.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        with KeyServers(arguments.servers, arguments.keep, arguments.kind) as servers:
            if arguments.pre_active:
                servers.make_pre_active(arguments.pre_active)
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
