"""The life of keys, and the keys of users."""

from __future__ import annotations

import unittest
from itertools import count

from support import WithKeyServers, keystead

_numbers = count(1)


class TheLifeOfAKey(WithKeyServers):
    def setUp(self) -> None:
        super().setUp()
        self.name = f"life-{next(_numbers)}"
        self.key = self.client.create_key(self.name)

    def test_a_revoked_version_decrypts_and_encrypts_no_more(self) -> None:
        message = self.key.encrypt(b"Ada")
        self.client.revoke_key(f"{self.name}/1", keystead.Revocation.CESSATION_OF_OPERATION)
        with self.assertRaises(keystead.KeyStateError):
            self.key.encrypt(b"Ada")
        self.assertEqual(self.client.decrypt(message, expect=self.name), b"Ada")

    def test_a_compromised_version_decrypts_nothing(self) -> None:
        message = self.key.encrypt(b"Ada")
        self.client.revoke_key(f"{self.name}/1", keystead.Revocation.KEY_COMPROMISE)
        with self.assertRaises(keystead.KeyStateError) as caught:
            self.client.decrypt(message, expect=self.name)
        self.assertEqual(caught.exception.code, keystead.Code.KEY_STATE)

    def test_a_version_is_destroyed_once_nothing_needs_it(self) -> None:
        version = f"{self.name}/1"
        with self.assertRaises(keystead.KeyStateError):
            self.client.destroy_key(version)
        self.client.revoke_key(version, keystead.Revocation.SUPERSEDED)
        self.client.add_reference(version, "backup of May")
        with self.assertRaises(keystead.KeyStateError) as caught:
            self.client.destroy_key(version)
        self.assertEqual(caught.exception.code, keystead.Code.KEY_REFERENCED)
        self.assertIn("backup of May", str(caught.exception))
        self.client.remove_reference(version, "backup of May")
        self.client.destroy_key(version)
        with self.assertRaises(keystead.KeysteadError):
            self.key.encrypt(b"Ada")

    def test_a_pre_active_version_encrypts_once_it_is_activated(self) -> None:
        name = f"waiting-{next(_numbers)}"
        version = f"{name}/1"
        self.servers.make_pre_active(version)
        pinned = self.client.key(version)
        for refused in (lambda: self.client.key(name), lambda: pinned.encrypt(b"Ada")):
            with self.assertRaises(keystead.KeyStateError) as caught:
                refused()
            self.assertEqual(caught.exception.code, keystead.Code.KEY_STATE)
            self.assertIn(f"{version} is pre-active", str(caught.exception))
        self.client.activate_key(version)
        message = self.client.key(name).encrypt(b"Ada")
        self.assertEqual(self.client.decrypt(message, expect=name), b"Ada")
        pinned.encrypt(b"Ada")
        self.client.activate_key(version)
        self.client.revoke_key(version, keystead.Revocation.CESSATION_OF_OPERATION)
        with self.assertRaises(keystead.KeyStateError):
            self.client.activate_key(version)

    def test_what_names_no_version_is_not_activated(self) -> None:
        with self.assertRaises(keystead.ArgumentError):
            self.client.activate_key(self.name)

    def test_what_is_purged_is_fetched_anew(self) -> None:
        other = self.new_key()
        self.client.purge_key(self.name)
        with self.assertRaises(keystead.KeyStateError):
            self.key.encrypt(b"Ada")
        other.encrypt(b"Ada")
        self.client.key(self.name).encrypt(b"Ada")
        self.client.purge()
        self.assertEqual(self.client.status()["cache"]["keys"], 0)


class AUser(WithKeyServers):
    def open(self) -> keystead.Client:
        config = self.config_with("[failover]", '[keys]\ntemplate = "user-{id}"\n[failover]')
        client = keystead.Client(config)
        self.addCleanup(client.close)
        return client

    def test_is_registered_once_and_has_data_that_nobody_else_opens(self) -> None:
        client, id, other = self.open(), f"u{next(_numbers)}", f"u{next(_numbers)}"
        self.assertEqual(client.key_name(id), f"user-{id}")
        with self.assertRaises(keystead.KeyNotFound):
            client.protect(id, b"Ada")
        self.assertEqual(client.register(id).id, f"user-{id}/1")
        self.assertEqual(client.register(id).id, client.key_for(id).id)
        client.register(other)
        message = client.protect(id, b"Ada", b"name")
        self.assertEqual(client.unprotect(id, message, b"name"), b"Ada")
        with self.assertRaises(keystead.WrongKey):
            client.unprotect(other, message, b"name")

    def test_without_a_template_has_no_key(self) -> None:
        with self.assertRaises(keystead.ArgumentError) as caught:
            self.client.register("42")
        self.assertIn("template", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
