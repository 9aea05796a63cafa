"""What a function that takes records is promised."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import unittest
import weakref
from pathlib import Path
from typing import Any

from support import WithKeyServers, _records, keystead

PATIENCE = 20.0
EXIT = """
import sys, threading, keystead
created = threading.Event()
def on_record(record):
    print(record.event, flush=True)
    if record.event == "key.created":
        created.set()
client = keystead.Client(sys.argv[1], on_record=on_record)
client.create_key("python-exit")
created.wait()
"""
# Its function is slower than any close waits for, and is given up in every way there is.
EXIT_WITHIN = """
import os, sys, threading, time, keystead
entered = threading.Event()
def on_record(record):
    entered.set()
    time.sleep(1.2)
    print("returned", flush=True)
client = keystead.Client(sys.argv[1], on_record=on_record)
entered.wait()
if sys.argv[2] == "closed":
    client.close()
elif sys.argv[2] == "collected":
    key = client.create_key("python-exit")
    target = open("/dev/null", "wb")
    stream = key.encrypt_stream(target)
    del client, key
elif sys.argv[2] == "forked":
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class OnRecord(WithKeyServers):
    def setUp(self) -> None:
        super().setUp()
        self.records: list[keystead.LogRecord] = []

    def open(self, on_record: Any, config: Path | None = None) -> keystead.Client:
        client = keystead.Client(config or self.servers.config, on_record=on_record)
        self.addCleanup(client.close)
        return client

    def test_is_called_with_every_record_in_order(self) -> None:
        client = self.open(self.records.append)
        client.create_key("python-records")
        # What closing waits for, a second at most, is then the last record alone.
        self.until(lambda: any(record.event == "key.created" for record in self.records))
        client.close()
        self.until(lambda: not _records._listeners)
        events = [record.event for record in self.records]
        self.assertEqual((events[0], events[-1]), ("client.start", "client.stop"))
        self.assertTrue({"config.loaded", "kmip.create", "kmip.activate", "key.created", "kmip.get"} <= set(events))
        serials = [int(record.text.split("serial=")[1].split()[0]) for record in self.records]
        self.assertEqual(serials, list(range(serials[0], serials[0] + len(serials))))
        hashes = [record.text.split(" sha256=")[1] for record in self.records]
        previous = [record.text.split(" prev=")[1].split()[0] for record in self.records]
        self.assertEqual(previous, ["0" * 64, *hashes[:-1]])
        self.assertEqual({record.level for record in self.records} - {logging.INFO, logging.WARNING}, set())

    def test_is_warned_of_a_level_instead_of_standard_error(self) -> None:
        self.open(self.records.append, self.config_with('level = "basic"', 'level = "verbose"')).close()
        self.assertEqual(self.records[0].event, "log.level_warning")
        self.assertEqual(self.records[0].level, logging.WARNING)

    def test_that_raises_is_reported_and_called_again(self) -> None:
        told: list[Any] = []

        def on_record(record: keystead.LogRecord) -> None:
            self.records.append(record)
            raise RuntimeError("on purpose")

        self.addCleanup(setattr, sys, "unraisablehook", sys.unraisablehook)
        sys.unraisablehook = told.append
        client = self.open(on_record)
        client.status()
        client.close()
        self.assertGreaterEqual(len(self.records), 3)
        self.assertEqual(len(told), len(self.records))
        self.assertTrue(all(isinstance(one.exc_value, RuntimeError) for one in told))

    def test_that_hangs_holds_nobody_and_is_not_called_after_close(self) -> None:
        entered, go_on = threading.Event(), threading.Event()

        def on_record(record: keystead.LogRecord) -> None:
            self.records.append(record)
            entered.set()
            go_on.wait(PATIENCE)

        client = self.open(on_record)
        self.addCleanup(go_on.set)
        self.assertTrue(entered.wait(PATIENCE))
        client.create_key("python-hanging").encrypt(b"text")
        client.close()
        self.assertEqual(len(self.records), 1)
        listener = weakref.ref(on_record)
        del on_record, client
        go_on.set()
        self.until(lambda: gc.collect() >= 0 and listener() is None)
        self.assertEqual(len(self.records), 1)

    def test_that_hangs_under_load_is_told_how_many_uses_it_missed(self) -> None:
        entered, go_on = threading.Event(), threading.Event()

        def on_record(record: keystead.LogRecord) -> None:
            entered.set()
            go_on.wait(PATIENCE)
            self.records.append(record)

        client = self.open(on_record, self.config_with('level = "basic"', 'level = "verbose"'))
        key = client.create_key("python-load")
        self.assertTrue(entered.wait(PATIENCE))
        for _ in range(10_000):
            key.encrypt(b"text")
        go_on.set()
        self.until(lambda: any(record.event == "log.lost" for record in self.records))
        key.encrypt(b"the last")
        self.until(lambda: " size=8 " in self.records[-1].text)
        notices = [record.text for record in self.records if record.event == "log.lost"]
        lost = sum(int(text.split(" count=")[1].split()[0]) for text in notices)
        told = sum(record.event == "message.encrypted" for record in self.records)
        self.assertGreater(lost, 0)
        self.assertEqual(told + lost, 10_001)

    def test_may_use_and_close_its_own_client(self) -> None:
        clients: list[keystead.Client] = []
        ready, done = threading.Event(), threading.Event()

        def on_record(record: keystead.LogRecord) -> None:
            self.records.append(record)
            if not done.is_set() and ready.wait(PATIENCE):
                clients[0].create_key("python-from-within")
                clients[0].close()
                done.set()

        clients.append(self.open(on_record))
        ready.set()
        self.assertTrue(done.wait(PATIENCE))
        with self.assertRaises(keystead.ClosedError):
            clients[0].status()

    def test_is_let_go_where_the_client_cannot_be_opened(self) -> None:
        class Listener:
            def __call__(self, record: keystead.LogRecord) -> None: ...

        listener = Listener()
        with self.assertRaises(keystead.ConfigurationError):
            keystead.Client(self.config_with("[client]", "[clients]"), on_record=listener)
        kept = weakref.ref(listener)
        del listener
        gc.collect()
        self.assertIsNone(kept())
        with self.assertRaisesRegex(TypeError, "callable"):
            keystead.Client(self.servers.config, on_record=1)  # type: ignore[arg-type]

    def test_is_told_what_the_library_says_of_itself(self) -> None:
        config = self.config_with("keystead.log", "refused.log")
        client = self.open(self.records.append, config)
        state = self.servers.folder / "refused.log.state"
        state.unlink()
        state.symlink_to(self.servers.folder / "elsewhere")
        client.create_key("python-diagnostic")
        client.close()
        told = [record for record in self.records if record.event == "library.diagnostic"]
        self.assertTrue(told and "could not be written" in told[0].text and "refused.log" in told[0].text, self.records)
        self.assertNotIn("library.diagnostic", (self.servers.folder / "refused.log").read_text(encoding="utf-8"))

    def test_is_not_called_in_a_forked_child(self) -> None:
        client = self.open(lambda record: self.records.append(record))
        self.until(lambda: len(self.records) >= 2)
        child = os.fork()
        if child == 0:
            before = len(self.records)
            try:
                client.close()
            except keystead.ForkedError:
                os._exit(len(self.records) - before)
            os._exit(99)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_hears_the_last_record_of_a_client_that_the_program_left_open(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", EXIT, str(self.servers.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.split()[-1], "client.stop")

    def test_may_go_on_while_the_program_ends(self) -> None:
        config = self.config_with('level = "basic"', 'level = "verbose"')
        for way in ("open", "closed", "collected", "forked"):
            with self.subTest(way):
                done = subprocess.run(
                    [sys.executable, "-W", "ignore", "-c", EXIT_WITHIN, str(config), way],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                )
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertGreaterEqual(done.stdout.split().count("returned"), 1)

    def until(self, condition: Any) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE * 100)):
            if condition():
                return
            pause.wait(0.01)
        self.fail("it did not come")


if __name__ == "__main__":
    unittest.main()
