"""What a client promises while key servers come and go."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import threading
import time
import traceback
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from support import ROOT, WithKeyServers, _library, keystead


class AClient(WithKeyServers):
    def test_fetches_a_key_once_for_ten_thousand_encryptions(self) -> None:
        name = self.new_key().id.partition("/")[0]
        with keystead.Client(self.servers.config) as fresh:
            gets = self.count("Get")
            for number in range(10_000):
                fresh.key(name).encrypt(b"%d" % number)
            self.assertEqual(self.count("Get"), gets + 1)

    def test_fetches_a_key_once_for_many_threads(self) -> None:
        name = self.new_key().id.partition("/")[0]
        with keystead.Client(self.servers.config) as fresh:
            gets, together = self.count("Get"), threading.Barrier(16)

            def work(_: int) -> str:
                together.wait()
                return fresh.key(name).id

            with ThreadPoolExecutor(16) as pool:
                self.assertEqual(set(pool.map(work, range(16))), {f"{name}/1"})
            self.assertEqual(self.count("Get"), gets + 1)

    def test_goes_on_without_its_servers_once_the_key_is_fetched(self) -> None:
        key = self.new_key()
        message = key.encrypt(b"before")
        self.kill_servers()
        self.assertEqual(key.decrypt(key.encrypt(b"after")), b"after")
        self.assertEqual(self.client.decrypt(message, expect="customer-*"), b"before")
        self.assertEqual(self.client.key(key.id.partition("/")[0]).id, key.id)

    def test_starts_without_servers_says_which_it_tried_and_recovers(self) -> None:
        key = self.new_key()
        name, message = key.id.partition("/")[0], key.encrypt(b"Ada")
        config = self.config_with('delay = "1s"\nrounds = 3', 'delay = "1s"\nrounds = 1')
        self.kill_servers()
        with keystead.Client(config) as client:
            begun = time.monotonic()
            with self.assertRaises(keystead.NetworkError) as caught:
                client.key(name)
            self.assertLess(time.monotonic() - begun, 10, "later than the deadline of the configuration")
            error = caught.exception
            self.assertEqual((error.code, error.name), (keystead.Code.NO_SERVER, "NO_SERVER"))
            self.assertTrue(error.retryable)
            tried = [attempt["server"] for attempt in error.detail["attempts"]]
            self.assertEqual(tried, [f"127.0.0.1:{server.port}" for server in self.servers.servers.values()])
            for attempt in error.detail["attempts"]:
                self.assertIn("refused", attempt["reason"])
                self.assertIn(attempt["server"], str(error))
            self.start_servers()
            self.assertEqual(client.key(name).decrypt(message), b"Ada")

    def test_takes_the_secondary_when_the_primary_is_down(self) -> None:
        self.servers.server("primary").kill()
        self.addCleanup(self.start_servers)
        key = self.new_key()
        self.assertEqual(key.decrypt(key.encrypt(b"Ada")), b"Ada")

    def test_gives_the_key_that_a_name_has_instead_of_a_second_one(self) -> None:
        key = self.new_key()
        with keystead.Client(self.servers.config) as other:
            again = other.create_key(key.id.partition("/")[0])
            self.assertEqual(again.id, key.id)
            self.assertEqual(again.decrypt(key.encrypt(b"Ada")), b"Ada")

    def test_encrypts_with_the_new_version_after_a_rotation_and_reads_the_old(self) -> None:
        key = self.new_key()
        name, old = key.id.partition("/")[0], key.encrypt(b"Ada")
        self.assertEqual(self.client.rotate_key(name).id, f"{name}/2")
        self.assertEqual(keystead.inspect(key.encrypt(b"Ada"))["key"], f"{name}/2")
        self.assertEqual(self.client.decrypt(old, expect=name), b"Ada")

    def test_gives_a_key_of_one_version_that_encrypts_while_it_is_the_newest(self) -> None:
        key = self.new_key()
        name, old = key.id.partition("/")[0], key.encrypt(b"Ada")
        first = self.client.key(f"{name}/1")
        self.assertEqual(first.decrypt(first.encrypt(b"Ada")), b"Ada")
        self.client.rotate_key(name)
        with self.assertRaises(keystead.KeyStateError):
            first.encrypt(b"Ada")
        self.assertEqual((first.id, first.decrypt(old)), (f"{name}/1", b"Ada"))
        self.assertEqual(self.client.key(f"{name}/2").id, f"{name}/2")
        with self.assertRaises(keystead.KeyNotFound):
            self.client.key(f"{name}/3")

    def test_says_that_a_key_does_not_exist(self) -> None:
        with self.assertRaises(keystead.KeyNotFound) as caught:
            self.client.key("customer-nobody")
        self.assertIn("customer-nobody", str(caught.exception))
        self.assertFalse(caught.exception.retryable)

    def test_refuses_a_name_that_is_none(self) -> None:
        for name in ("", "a/b", "a b", "Ünï", "a" * 129, "customer-1\0"):
            with self.subTest(name), self.assertRaises(keystead.ArgumentError):
                self.client.create_key(name)
        with self.assertRaises(ValueError):
            self.client.decrypt(self.new_key().encrypt(b"Ada"), expect="customer-*\0")
        with self.assertRaises(TypeError):
            self.client.key(b"customer-1")  # type: ignore[arg-type]

    def test_reports_its_servers_and_its_cache(self) -> None:
        self.new_key()
        self.client.reload()
        status = self.client.status()
        self.assertIsNone(status["config"]["reload_error"])
        self.assertEqual(status["client"], "keystead-test")
        self.assertEqual(len(status["servers"]), 2)
        sound = {"lost": 0, "failing_since": None, "reason": None}
        self.assertEqual((status["log"], status["audit"], status["on_record"]), (sound, sound, None))
        self.assertGreaterEqual(status["cache"]["keys"], 1)

    def test_keeps_its_keys_when_it_is_quiesced(self) -> None:
        key = self.new_key()
        message = key.encrypt(b"Ada")
        self.client.quiesce()
        self.assertEqual(key.decrypt(message), b"Ada")
        self.assertNotEqual(keystead.inspect(key.encrypt(b"Ada"))["salt"], keystead.inspect(message)["salt"])


class AClosedClient(WithKeyServers):
    def test_refuses_every_use_of_it_and_its_keys(self) -> None:
        key = self.new_key()
        name, message = key.id.partition("/")[0], key.encrypt(b"Ada")
        self.client.close()
        self.client.close()
        for use in uses(self.client, key, name, message):
            with self.assertRaises(keystead.ClosedError) as caught:
                use()
            self.assertEqual(caught.exception.code, keystead.Code.CLOSED)


class AForkedChild(WithKeyServers):
    def test_is_refused_and_opens_a_client_of_its_own(self) -> None:
        key = self.new_key()
        name, message = key.id.partition("/")[0], key.encrypt(b"Ada")

        def child() -> None:
            for use in uses(self.client, key, name, message):
                with self.assertRaises(keystead.ForkedError):
                    use()
            with keystead.Client(self.servers.config) as own:
                self.assertEqual(own.decrypt(message, expect=name), b"Ada")

        self.assertEqual(in_a_child(child), 0)
        self.assertEqual(key.decrypt(message), b"Ada")


class AConfiguration(WithKeyServers):
    def test_that_cannot_be_used_is_named_with_file_and_line(self) -> None:
        config = self.config_with("rounds = 3", "rounds = 3\nfavourite_colour = 3")
        line = config.read_text(encoding="utf-8").splitlines().index("favourite_colour = 3") + 1
        with self.assertRaises(keystead.ConfigurationError) as caught:
            keystead.Client(config)
        error = caught.exception
        self.assertEqual((error.name, error.detail["line"]), ("CONFIG_INVALID", line))
        self.assertIn("favourite_colour", str(error))
        self.assertEqual(error.detail["file"], str(config))

    def test_that_is_not_there_is_said_to_be_so(self) -> None:
        for path in ("/nowhere/keystead.conf", self.servers.folder / "Ünï\N{PEANUTS}"):
            with self.subTest(path), self.assertRaises(keystead.ConfigurationError) as caught:
                keystead.Client(path)
            self.assertIn(str(path), str(caught.exception))

    def test_that_puts_the_log_where_nothing_can_be_is_a_fault_of_the_host(self) -> None:
        config = self.config_with("keystead.log", "missing/keystead.log")
        with self.assertRaises(keystead.HostError) as caught:
            keystead.Client(config)
        self.assertEqual(caught.exception.code, keystead.Code.SYSTEM)
        self.assertIn("make its folder", str(caught.exception))

    def test_that_refuses_unlogged_work_refuses_the_very_call_whose_record_fails(self) -> None:
        config = self.config_with("[log]\n", '[log]\non_failure = "refuse"\n')
        with keystead.Client(config) as client:
            log = self.servers.config.parent / "keystead.log"
            log.rename(log.with_suffix(".aside"))
            log.symlink_to(log.with_suffix(".aside"))
            with self.assertRaises(keystead.LogError):
                client.create_key("unlogged")
            self.assertIn("symbolic link", client.status()["log"]["reason"])
            log.unlink()
            log.with_suffix(".aside").rename(log)
            client.create_key("logged")

    def test_that_is_given_as_an_example_lacks_nothing_but_the_files_it_names(self) -> None:
        example = (ROOT / "examples/keystead.conf").read_text(encoding="utf-8")
        config = self.config_with(self.servers.config.read_text(encoding="utf-8"), example)
        with self.assertRaises(keystead.ConfigurationError) as caught:
            keystead.Client(config)
        self.assertEqual(caught.exception.code, keystead.Code.CONFIG_UNREADABLE)
        self.assertEqual(caught.exception.detail["file"], "/etc/keystead/ca.pem")

    def test_that_others_may_read_the_private_key_of_is_refused(self) -> None:
        key = self.servers.client.key
        key.chmod(0o644)
        self.addCleanup(key.chmod, 0o600)
        with self.assertRaises(keystead.ConfigurationError) as caught:
            keystead.Client(self.servers.config)
        self.assertEqual(caught.exception.code, keystead.Code.FILE_EXPOSED)


class TheLibrary(unittest.TestCase):
    def test_of_another_version_is_refused_with_both_versions(self) -> None:
        with (
            mock.patch("keystead._library.__version__", "9.9.0"),
            self.assertRaisesRegex(keystead.LibraryError, f"version {keystead.version()}, but .* 9.9.0"),
        ):
            _library._load()


class AnError(WithKeyServers):
    def test_travels_between_processes(self) -> None:
        with self.assertRaises(keystead.KeyNotFound) as caught:
            self.client.key("customer-nobody")
        copied = pickle.loads(pickle.dumps(caught.exception))
        self.assertIs(type(copied), keystead.KeyNotFound)
        self.assertEqual(vars(copied), vars(caught.exception))


class TheExamples(WithKeyServers):
    def test_encrypt_value_prints_what_it_did(self) -> None:
        program = ROOT / "examples/python/encrypt_value.py"
        paths = os.pathsep.join(str(ROOT / path) for path in ("bindings/python/src", "tests/servers"))
        done = subprocess.run(
            [sys.executable, str(program), str(self.servers.config)],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^Ada Lovelace is [0-9]+ bytes encrypted with customer-42/1\n$")

    def test_the_readmes_do_what_they_say(self) -> None:
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.servers.folder)  # which holds keystead.conf
        for page in ("README.md", "bindings/python/README.md"):
            readme = (ROOT / page).read_text(encoding="utf-8")
            examples = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
            self.assertTrue(examples, page)
            for example in examples:
                example = example.replace("/etc/orders/keystead.conf", "keystead.conf")
                exec(compile(example, page, "exec"), {})


def uses(client: keystead.Client, key: keystead.Key, name: str, message: bytes) -> list[Callable[[], object]]:
    """Every call that needs a live client."""
    return [
        lambda: client.key(name),
        lambda: client.create_key(name),
        lambda: client.rotate_key(name),
        lambda: client.decrypt(message, expect="*"),
        lambda: client.decrypt_into(message, bytearray(99), expect="*"),
        client.status,
        client.quiesce,
        client.reload,
        lambda: key.id,
        lambda: key.encrypt(b"Ada"),
        lambda: key.encrypt_into(b"Ada", bytearray(999)),
        lambda: key.decrypt(message),
        lambda: key.decrypt_into(message, bytearray(99)),
    ]


def in_a_child(work: Callable[[], None]) -> int:
    """Runs it in a forked child, and returns the child's exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    unittest.main()
