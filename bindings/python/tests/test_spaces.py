"""What data spaces promise."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import ROOT, WithKeyServers, keystead


class ADataSpace(WithKeyServers):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "orders.dek"
        self.client.create_kek("master")

    def test_opens_with_what_its_file_holds_and_the_kek_that_stays_on_the_key_server(self) -> None:
        key = self.client.create_space("orders", self.file, kek="master")
        self.assertRegex(key.id, r"^space:orders/[0-9]+$")
        message = key.encrypt(b"Ada", b"row 1")
        fetched = self.count("Get")
        with keystead.Client(self.servers.config) as other:
            unlocked = other.unlock_space(self.file.read_bytes(), expect="ord*")
            self.assertEqual(unlocked.decrypt(message, b"row 1"), b"Ada")
        self.assertEqual(self.count("Get"), fetched)
        with self.assertRaises(keystead.ClosedError):
            unlocked.decrypt(message, b"row 1")

    def test_is_created_once(self) -> None:
        message = self.client.create_space("orders", self.file, kek="master").encrypt(b"Ada")
        protected_dek = self.file.read_bytes()
        self.assertEqual(self.client.create_space("orders", self.file, kek="master").decrypt(message), b"Ada")
        self.assertEqual(self.file.read_bytes(), protected_dek)

    def test_goes_on_when_the_key_server_s_own_copy_is_discarded(self) -> None:
        key = self.client.create_space("orders", self.file, kek="master", keep_original=True)
        message, destroyed = key.encrypt(b"Ada"), self.count("Destroy")
        self.client.discard_original(key.id)
        self.assertEqual(self.count("Destroy"), destroyed + 1)
        unlocked = self.client.unlock_space(self.file.read_bytes(), expect="orders")
        self.assertEqual(unlocked.decrypt(message), b"Ada")
        with self.assertRaises(keystead.KeyNotFound):
            self.client.discard_original("nobody/1")
        with self.assertRaises(keystead.ArgumentError):
            self.client.discard_original("orders")

    def test_is_unlocked_only_if_it_is_the_expected_one_and_unaltered(self) -> None:
        self.client.create_space("orders", self.file, kek="master")
        protected_dek = bytearray(self.file.read_bytes())
        with self.assertRaises(keystead.WrongKey):
            self.client.unlock_space(protected_dek, expect="others")
        protected_dek[-1] ^= 1
        with self.assertRaises(keystead.NotAuthentic):
            self.client.unlock_space(protected_dek, expect="orders")

    def test_keeps_its_data_when_it_is_rewrapped(self) -> None:
        message = self.client.create_space("orders", self.file, kek="master").encrypt(b"Ada")
        self.assertEqual(self.client.create_kek("other"), "other/1")
        self.assertEqual(self.client.rewrap_space(self.file, kek="other"), "other/1")
        self.assertEqual(self.client.rewrap_space(self.file, kek="other"), "other/1")
        described = keystead.inspect_protected_dek(self.file.read_bytes())
        self.assertEqual((described["kind"], described["kek"]), ("protected DEK", "other/1"))
        unlocked = self.client.unlock_space(self.file.read_bytes(), expect="orders")
        self.assertEqual(unlocked.decrypt(message), b"Ada")

    def test_goes_on_when_the_kek_that_it_was_under_ends(self) -> None:
        message = self.client.create_space("orders", self.file, kek="master").encrypt(b"Ada")
        first = keystead.inspect_protected_dek(self.file.read_bytes())["kek"]
        with self.assertRaises(keystead.KeysteadError) as refused:
            self.client.revoke_kek(first, keystead.Revocation.SUPERSEDED)
        self.assertEqual(refused.exception.code, keystead.Code.KEY_REFERENCED)
        second = self.client.rotate_kek("master")
        self.assertRegex(second, r"^master/[0-9]+$")
        self.assertNotEqual(first, second)
        self.assertEqual(self.client.rewrap_space(self.file, kek="master"), second)
        self.assertEqual(keystead.inspect_protected_dek(self.file.read_bytes())["kek"], second)
        self.client.add_kek_reference(first, "the backup of May")
        with self.assertRaisesRegex(keystead.KeysteadError, "the backup of May"):
            self.client.revoke_kek(first, keystead.Revocation.SUPERSEDED)
        self.client.remove_kek_reference(first, "the backup of May")
        with self.assertRaises(keystead.KeyStateError):
            self.client.destroy_kek(first)
        self.client.revoke_kek(first, keystead.Revocation.SUPERSEDED)
        self.client.destroy_kek(first)
        unlocked = self.client.unlock_space(self.file.read_bytes(), expect="orders")
        self.assertEqual(unlocked.decrypt(message), b"Ada")

    def test_has_messages_and_streams_that_only_its_key_decrypts(self) -> None:
        key = self.client.create_space("orders", self.file, kek="master")
        with self.assertRaisesRegex(keystead.WrongKey, "unlock the space"):
            self.client.decrypt(key.encrypt(b"Ada"), expect="*")
        stream = io.BytesIO()
        with key.encrypt_stream(stream, b"backup") as target:
            target.write(b"Ada" * 100_000)
        stream.seek(0)
        self.assertEqual(key.decrypt_stream(stream, b"backup").read(), b"Ada" * 100_000)
        stream.seek(0)
        with self.assertRaises(keystead.WrongKey):
            self.client.decrypt_stream(stream, b"backup", expect="*")

    def test_is_what_the_example_shows(self) -> None:
        paths = os.pathsep.join(str(ROOT / path) for path in ("bindings/python/src", "tests/servers"))
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, str(ROOT / "examples/python/data_space.py"), str(self.folder)],
                env={**os.environ, "PYTHONPATH": paths, "KEYSTEAD_CONFIG": str(self.servers.config)},
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"^unlocked space:orders/[0-9]+ and wrote .*4711\.cose\ntwo dozen\n$")


if __name__ == "__main__":
    unittest.main()
