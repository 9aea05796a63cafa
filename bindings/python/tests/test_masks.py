"""What masks promise."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from support import WithKeyServers, keystead

MASKS = """
[[mask]]
name = "e-mail"
show = "e-mail"
roles = ["support", "Ελένη"]

[[mask]]
name = "e-mail"
show = "first 2"
roles = ["billing"]

[client]
"""


class AMask(WithKeyServers):
    def setUp(self) -> None:
        super().setUp()
        self.masking = keystead.Client(self.config_with("[client]\n", MASKS.lstrip()))
        self.addCleanup(self.masking.close)
        self.key = self.new_key()
        self.message = self.key.encrypt(b"ada@example.com", b"row")

    def masked(self, mask: str, role: str, aad: bytes = b"row") -> str:
        return self.masking.decrypt_masked(self.message, aad, expect="customer-*", mask=mask, role=role)

    def test_shows_each_role_what_it_may_see(self) -> None:
        self.assertEqual(self.masked("e-mail", "support"), "a***@example.com")
        self.assertEqual(self.masked("e-mail", "Ελένη"), "a***@example.com")
        self.assertEqual(self.masked("e-mail", "billing"), "ad*************")

    def test_is_refused_to_every_other_role_before_anything_is_looked_up(self) -> None:
        before = self.count("Locate")
        for mask, role in [("e-mail", "Support"), ("e-mail", ""), ("card", "support"), ("e-mail", "support ")]:
            with self.assertRaises(keystead.RoleRefused) as caught:
                self.masked(mask, role)
            self.assertNotIn("ada@", str(caught.exception))
        self.assertEqual(self.count("Locate"), before)
        with self.assertRaises(keystead.RoleRefused):
            self.client.decrypt_masked(self.message, b"row", expect="*", mask="e-mail", role="support")

    def test_needs_an_authentic_message_of_the_expected_key(self) -> None:
        with self.assertRaises(keystead.NotAuthentic):
            self.masked("e-mail", "support", b"another row")
        with self.assertRaises(keystead.WrongKey):
            self.masking.decrypt_masked(self.message, b"row", expect="x", mask="e-mail", role="support")

    def test_shows_what_is_in_a_data_space_with_the_key_of_the_space(self) -> None:
        self.masking.create_kek("masked")
        with tempfile.TemporaryDirectory() as folder:
            key = self.masking.create_space("people", Path(folder, "people.dek"), kek="masked")
        message = key.encrypt(b"ada@example.com", b"row")
        self.assertEqual(key.decrypt_masked(message, b"row", mask="e-mail", role="support"), "a***@example.com")
        with self.assertRaises(keystead.RoleRefused):
            key.decrypt_masked(message, b"row", mask="e-mail", role="marketing")
        with self.assertRaises(keystead.WrongKey):
            key.decrypt_masked(self.message, b"row", mask="e-mail", role="support")


if __name__ == "__main__":
    unittest.main()
