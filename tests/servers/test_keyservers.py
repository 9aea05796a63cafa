"""What the tests that use the key servers rely on. Run with build/venv/bin/python -m unittest."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from kmip.core.enums import CryptographicAlgorithm, KMIPVersion
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure

HARNESS = Path(__file__).with_name("keyservers.py")
GO_SERVER = Path(os.environ.get("KEYSTEAD_GO_SERVER", HARNESS.parents[2] / "build" / "kmip-server"))


class Harness:
    """The harness as a test in another language sees it."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HARNESS, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ready: dict[str, Any] = self._read()

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._read()

    def client(self, position: int, version: KMIPVersion | None = None) -> Any:
        """PyKMIP's own client, for one server."""
        return ProxyKmipClient(
            hostname="127.0.0.1",
            port=self.ready["servers"][position]["port"],
            cert=self.ready["client_certificate"],
            key=self.ready["client_key"],
            ca=self.ready["ca"],
            ssl_version="PROTOCOL_TLS",
            kmip_version=version,
        )

    def groups(self) -> list[int]:
        return [server["pid"] for server in self.ready["servers"]]

    def close(self) -> None:
        self.process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        reply: dict[str, Any] = json.loads(self.process.stdout.readline())
        return reply


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def await_that(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class TheServers(unittest.TestCase):
    kind: ClassVar[str] = "pykmip"
    harness: ClassVar[Harness]

    @classmethod
    def setUpClass(cls) -> None:
        logging.disable()  # PyKMIP's client reports what these tests provoke.
        cls.addClassCleanup(logging.disable, logging.NOTSET)
        cls.harness = Harness("--kind", cls.kind)
        cls.addClassCleanup(cls.harness.close)

    def test_a_key_made_on_one_server_is_found_on_the_other_and_counted(self) -> None:
        with self.harness.client(0) as primary:
            identifier = primary.create(CryptographicAlgorithm.AES, 256)
        gets = self.harness.ask("count secondary Get")["count"]
        with self.harness.client(1) as secondary:
            for _ in range(3):
                self.assertEqual(len(secondary.get(identifier).value), 32)
        self.assertEqual(self.harness.ask("count secondary Get")["count"], gets + 3)
        self.assertEqual(self.harness.ask("count secondary GetAttributes")["count"], 0)

    def test_a_killed_server_refuses_connections_until_it_is_started_again(self) -> None:
        with self.harness.client(0) as client:
            identifier = client.create(CryptographicAlgorithm.AES, 256)
        self.assertTrue(self.harness.ask("kill primary")["ok"])
        with self.assertRaises(ConnectionRefusedError):
            self.harness.client(0).open()
        self.assertTrue(self.harness.ask("start primary")["ok"])
        with self.harness.client(0) as client:
            self.assertEqual(len(client.get(identifier).value), 32)

    def test_a_stopped_server_is_silent_until_it_continues(self) -> None:
        client = self.harness.client(0)
        with client:
            self.assertTrue(self.harness.ask("stop primary")["ok"])
            answers = []
            waiting = threading.Thread(target=lambda: answers.append(client.create(CryptographicAlgorithm.AES, 256)))
            waiting.start()
            with socket.create_connection(("127.0.0.1", self.harness.ready["servers"][0]["port"])) as plain:
                plain.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    ssl.create_default_context(cafile=self.harness.ready["ca"]).wrap_socket(
                        plain, server_hostname="localhost"
                    )
            self.assertEqual(answers, [])
            self.assertTrue(self.harness.ask("continue primary")["ok"])
            waiting.join(10)
            self.assertEqual(len(answers), 1)

    def test_a_server_presents_the_certificate_it_is_told_to(self) -> None:
        self.harness.ask("kill secondary")
        self.harness.ask("start secondary server-expired")
        with self.assertRaisesRegex(ssl.SSLError, "expired"):
            context = ssl.create_default_context(cafile=self.harness.ready["ca"])
            port = self.harness.ready["servers"][1]["port"]
            with socket.create_connection(("127.0.0.1", port)) as plain:
                context.wrap_socket(plain, server_hostname="localhost")
        self.harness.ask("kill secondary")
        self.harness.ask("start secondary")

    def test_a_mistake_is_answered_and_does_not_end_the_harness(self) -> None:
        for mistake in ("fly", "kill tertiary", "certificate gold", "start primary"):
            reply = self.harness.ask(mistake)
            self.assertFalse(reply["ok"])
            self.assertTrue(reply["error"])


@unittest.skipUnless(GO_SERVER.exists(), "the Go server was not built: Go is missing")
class TheGoServers(TheServers):
    kind = "go"

    def test_a_change_reaches_the_other_server_after_the_lag(self) -> None:
        self.harness.ask("lag 0.5")
        self.addCleanup(self.harness.ask, "lag 0")
        with self.harness.client(0) as primary, self.harness.client(1) as secondary:
            start = time.monotonic()
            identifier = primary.create(CryptographicAlgorithm.AES, 256)
            self.assertNotIn(identifier, secondary.locate())
            with self.assertRaisesRegex(KmipOperationFailure, "ITEM_NOT_FOUND"):
                secondary.get(identifier)
            self.assertEqual(len(primary.get(identifier).value), 32)
            self.assertTrue(await_that(lambda: identifier in secondary.locate()))
            self.assertGreater(time.monotonic() - start, 0.5)

    def test_a_server_speaks_the_versions_it_is_told_to(self) -> None:
        self.harness.ask("kill primary")
        self.harness.ask("versions primary 1.0,1.2")
        self.harness.ask("start primary")
        with self.harness.client(0, KMIPVersion.KMIP_1_2) as client:
            client.locate()
        with self.harness.client(0, KMIPVersion.KMIP_1_3) as client, self.assertRaises(KmipOperationFailure):
            client.locate()
        self.harness.ask("kill primary")
        self.harness.ask("versions primary 1.0,1.1,1.2,1.3,1.4")
        self.harness.ask("start primary")


class TheEnd(unittest.TestCase):
    def assert_nothing_is_left(self, harness: Harness) -> None:
        for group in harness.groups():
            self.assertTrue(await_that(partial(group_is_gone, group)), f"process group {group} lives on")
        folder = Path(harness.ready["dir"])
        self.assertTrue(await_that(lambda: not folder.exists()), f"{folder} is left")

    def test_end_of_input_ends_the_servers(self) -> None:
        harness = Harness("--kind", "pykmip", "--servers", "3")
        self.assertFalse(group_is_gone(harness.groups()[2]))
        harness.close()
        self.assert_nothing_is_left(harness)

    def test_a_killed_harness_leaves_nothing_behind(self) -> None:
        harness = Harness("--kind", "pykmip")
        self.assertTrue(harness.ask("stop secondary")["ok"])
        os.kill(harness.process.pid, signal.SIGKILL)
        harness.process.communicate()
        self.assert_nothing_is_left(harness)

    @unittest.skipUnless(GO_SERVER.exists(), "the Go server was not built: Go is missing")
    def test_a_killed_harness_leaves_no_go_server_behind(self) -> None:
        harness = Harness("--kind", "go")
        os.kill(harness.process.pid, signal.SIGKILL)
        harness.process.communicate()
        self.assert_nothing_is_left(harness)

    def test_run_gives_the_configuration_and_hands_on_the_exit_code(self) -> None:
        program = "import os, sys; sys.exit(7 if os.path.exists(os.environ['KEYSTEAD_CONFIG']) else 1)"
        command = [sys.executable, str(HARNESS), "--servers", "1", "run", "--", sys.executable, "-c", program]
        self.assertEqual(subprocess.run(command, check=False).returncode, 7)


if __name__ == "__main__":
    unittest.main()
