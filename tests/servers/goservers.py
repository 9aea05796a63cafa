"""The servers of tests/servers/go: one process that holds all of them and replicates their store with a lag."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from certificates import Issuer, Material
from guard import Guard
from processes import die_with_parent, kill_group
from server import HOST, HarnessError, Server, await_handshake

PROGRAM = Path(__file__).resolve().parents[2] / "build" / "kmip-server"


class GoProcess:
    """The process. A line of its standard input is a command, answered by a line of JSON."""

    def __init__(self, names: Sequence[str], folder: Path, guard: Guard, issuer: Issuer) -> None:
        self._guard = guard
        self.servers = {name: GoServer(name, self, issuer) for name in names}
        program = Path(os.environ.get("KEYSTEAD_GO_SERVER", PROGRAM))
        certificate = issuer.material("server")
        command = [str(program), "--ca", str(issuer.authority.certificate)]
        command += ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
        for server in self.servers.values():
            command += ["--listen", f"{server.name}={HOST}:{server.port}"]
        self._output = folder / "kmip-server.out"
        try:
            with open(self._output, "wb") as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    text=True,
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
        except OSError as error:
            advice = "make it with: cmake --build build --target go_server (or name it in KEYSTEAD_GO_SERVER)"
            raise HarnessError(f"cannot run {program}: {error.strerror}; {advice}") from error
        guard.watch(self._process.pid)
        self._read()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *words: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self._read()

    def finish(self) -> None:
        kill_group(self._process.pid)
        self._guard.forget(self._process.pid)
        self._process.returncode = 0

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HarnessError(f"the key servers ended: {self._output.read_text(errors='replace')[-2000:]}")
        reply: dict[str, Any] = json.loads(line)
        if not reply["ok"]:
            raise HarnessError(reply["error"])
        return reply


class GoServer(Server):
    """One server of the process."""

    def __init__(self, name: str, process: GoProcess, issuer: Issuer) -> None:
        super().__init__(name)
        self._process = process
        self._issuer = issuer
        self._client = issuer.material("client")
        self._runs = True

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._runs else None

    def launch(self, certificate: Material) -> None:
        words = ["start", self.name, str(certificate.certificate), str(certificate.key)]
        client = self._issuer.client_of(certificate)
        if client.ca != self._client.ca:
            words.append(str(client.ca))
        self._client = client
        self._process.ask(*words)
        self._runs = True

    def await_ready(self) -> None:
        try:
            await_handshake(self.port, self._client, lambda: True)
        except OSError as error:
            raise HarnessError(f"server {self.name} does not answer: {error}") from error

    def kill(self) -> None:
        self._process.ask("kill", self.name)
        self._runs = False

    def stop(self) -> None:
        self._process.ask("stop", self.name)

    def resume(self) -> None:
        self._process.ask("continue", self.name)

    def count(self, operation: str) -> int:
        count: int = self._process.ask("count", self.name, operation)["count"]
        return count
