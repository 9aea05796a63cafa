"""Compares KMIP clients on one server in one run: CPU time and median duration of a Get.

    build/venv/bin/python benches/clients/compare.py [--rounds N]

It starts the key server of tests/servers/go, compiles our client and that of kmip-go, and lets them and PyKMIP's client
take turns in short rounds, so that what slows the machine for a while slows all of them. The exit code is 1 if ours is
not the fastest. `benches/README.md` tells what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "servers"))

from keyservers import KeyServers  # noqa: E402
from kmip.core.enums import CryptographicAlgorithm, CryptographicUsageMask, KMIPVersion  # noqa: E402
from kmip.pie.client import ProxyKmipClient  # noqa: E402
from server import HOST  # noqa: E402

# What a round does, how often, and what the table calls it.
WORK = {"get": (400, "Get on a warm connection"), "connect": (40, "connect, Get, close")}
OURS = "Keystead"


class Client:
    """A client's process, which works when it is told to."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # The clock of another process's CPU time, all its threads included (clock_getcpuclockid(3)).
        self._clock = ~self._process.pid << 3 | 2

    def work(self, what: str, number: int) -> tuple[float, float]:
        """The median duration of a call and its share of CPU time, in µs."""
        assert self._process.stdin is not None and self._process.stdout is not None
        before = time.clock_gettime_ns(self._clock)
        self._process.stdin.write(f"{what} {number}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended")
        taken = time.clock_gettime_ns(self._clock) - before
        median: float = json.loads(line)["p50_us"]
        return median, taken / number / 1e3

    def finish(self) -> None:
        self._process.communicate()


def compile_ours() -> str:
    """The path of the program."""
    command = ["cargo", "bench", "--locked", "--bench", "clients", "--no-run", "--message-format=json"]
    command += ["--features", "cli,c-library", "--target-dir", os.environ.get("CARGO_TARGET_DIR", "build/cargo")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    made = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [one["executable"] for one in made if one.get("target", {}).get("name") == "clients"]
    program: str = programs[-1]
    return program


def compile_kmip_go(folder: Path) -> str:
    program = str(folder / "kmip-go")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false"}
    source = ROOT / "benches" / "clients" / "kmip-go"
    subprocess.run(["go", "build", "-o", program, "."], cwd=source, env=environment, check=True)
    return program


def make_key(servers: dict[str, Any]) -> str:
    """An active AES-256 key's identifier."""
    with ProxyKmipClient(
        hostname=HOST,
        port=servers["servers"][0]["port"],
        cert=servers["client_certificate"],
        key=servers["client_key"],
        ca=servers["ca"],
        config_file="/dev/null",
        kmip_version=KMIPVersion.KMIP_1_4,
    ) as client:
        usage = [CryptographicUsageMask.ENCRYPT, CryptographicUsageMask.DECRYPT]
        identifier: str = client.create(CryptographicAlgorithm.AES, 256, cryptographic_usage_mask=usage)
        client.activate(identifier)
    return identifier


def start_clients(servers: KeyServers) -> dict[str, Client]:
    described = servers.describe()
    identifier = make_key(described)
    config = str(described["config"])
    port = str(described["servers"][0]["port"])
    files = [described["ca"], described["client_certificate"], described["client_key"]]
    ours = compile_ours()
    python_client = str(Path(__file__).with_name("pykmip_client.py"))
    commands = {
        OURS: [ours, "connection", config, identifier],
        "Keystead, with failover, log and audit": [ours, "cluster", config, identifier],
        "kmip-go 0.8": [compile_kmip_go(servers.folder), f"{HOST}:{port}", *files, identifier],
        "PyKMIP 0.11": [sys.executable, python_client, HOST, port, *files, identifier],
    }
    return {name: Client(command) for name, command in commands.items()}


Figures = dict[str, dict[str, tuple[float, float]]]


def measure(clients: dict[str, Client], rounds: int) -> Figures:
    """For each kind of work and client the medians over all rounds."""
    figures: Figures = {}
    for what, (number, _) in WORK.items():
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
        for turn in range(rounds + 1):
            for name, client in clients.items():
                sample = client.work(what, number)
                if turn > 0:  # The first one warms up.
                    samples[name].append(sample)
        figures[what] = {
            name: (statistics.median(median for median, _ in taken), statistics.median(cpu for _, cpu in taken))
            for name, taken in samples.items()
        }
    return figures


def print_table(figures: Figures) -> None:
    titles = [title for _, title in WORK.values()]
    print("| µs | " + " | ".join(f"{title}: p50 | CPU" for title in titles) + " |")
    print("|---|" + "---|" * 2 * len(titles))
    for name in figures["get"]:
        cells = [f"{figure:.0f}" for what in WORK for figure in figures[what][name]]
        print(f"| {name} | " + " | ".join(cells) + " |")


def slower(figures: Figures) -> list[str]:
    """Where another client is faster than ours."""
    found = []
    for what, (_, title) in WORK.items():
        for name, theirs in figures[what].items():
            if name.startswith(OURS):
                continue
            pairs = zip(("p50", "CPU"), figures[what][OURS], theirs, strict=True)
            found += [f"{title}: {name} takes less {measure}" for measure, ours, other in pairs if other <= ours]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares KMIP clients.")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="turns of each client (default 15)")
    arguments = parser.parse_args()
    os.environ["KEYSTEAD_KMIP_VERSION"] = "1.4"  # All of them speak it, and nobody asks for it.
    with KeyServers(1, kind="go") as servers:
        clients = start_clients(servers)
        try:
            figures = measure(clients, arguments.rounds)
        finally:
            for client in clients.values():
                client.finish()
    print_table(figures)
    complaints = slower(figures)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
