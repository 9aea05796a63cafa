"""The Go server's operations, as PyKMIP's client meets them: neither shares code with the other, nor with ours."""

from __future__ import annotations

import logging
import os
import unittest
from collections.abc import Callable
from typing import Any, ClassVar

from kmip.core.attributes import Name
from kmip.core.enums import (
    AttributeType,
    BlockCipherMode,
    CryptographicAlgorithm,
    CryptographicUsageMask,
    KMIPVersion,
    NameType,
    PaddingMethod,
    RevocationReasonCode,
    State,
)
from kmip.core.exceptions import OperationFailure
from kmip.core.factories.attributes import AttributeFactory
from kmip.pie.exceptions import KmipOperationFailure
from kmip.pie.objects import SymmetricKey
from test_keyservers import GO_SERVER, Harness

AES = CryptographicAlgorithm.AES
Usage = CryptographicUsageMask
VERSIONS = (
    KMIPVersion.KMIP_1_0,
    KMIPVersion.KMIP_1_1,
    KMIPVersion.KMIP_1_2,
    KMIPVersion.KMIP_1_3,
    KMIPVersion.KMIP_1_4,
)


@unittest.skipUnless(GO_SERVER.exists(), "the Go server was not built: Go is missing")
class TheGoServer(unittest.TestCase):
    harness: ClassVar[Harness]

    @classmethod
    def setUpClass(cls) -> None:
        logging.disable()
        cls.addClassCleanup(logging.disable, logging.NOTSET)
        cls.harness = Harness("--kind", "go", "--servers", "1")
        cls.addClassCleanup(cls.harness.close)

    def client(self, version: KMIPVersion = KMIPVersion.KMIP_1_4) -> Any:
        client = self.harness.client(0, version)
        client.open()
        self.addCleanup(client.close)
        return client

    def refused(self, reason: str, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
        with self.assertRaises((KmipOperationFailure, OperationFailure)) as refused:
            call(*arguments, **named)
        self.assertEqual(refused.exception.reason.name, reason)

    def state(self, client: Any, identifier: str) -> State:
        _, attributes = client.get_attributes(identifier, ["State"])
        state: State = attributes[0].attribute_value.value
        return state

    def test_a_key_lives_and_dies_by_the_rules_in_every_version(self) -> None:
        for version in VERSIONS:
            with self.subTest(version):
                client = self.client(version)
                name = f"life-{version.name}"
                key = client.create(AES, 256, name=name, cryptographic_usage_mask=[Usage.ENCRYPT, Usage.DECRYPT])
                self.assertEqual(client.locate(attributes=[name_attribute(name)]), [key])
                self.assertEqual(self.state(client, key), State.PRE_ACTIVE)
                self.refused("ILLEGAL_OPERATION", client.revoke, RevocationReasonCode.SUPERSEDED, key)
                client.activate(key)
                self.refused("PERMISSION_DENIED", client.activate, key)
                self.refused("PERMISSION_DENIED", client.destroy, key)
                self.assertEqual(len(client.get(key).value), 32)
                client.revoke(RevocationReasonCode.CESSATION_OF_OPERATION, key)
                self.assertEqual(self.state(client, key), State.DEACTIVATED)
                client.revoke(RevocationReasonCode.KEY_COMPROMISE, key)
                self.assertEqual(self.state(client, key), State.COMPROMISED)
                client.destroy(key)
                self.assertEqual(self.state(client, key), State.DESTROYED_COMPROMISED)
                self.refused("ITEM_NOT_FOUND", client.get, key)
                self.refused("PERMISSION_DENIED", client.destroy, key)
                self.refused("ITEM_NOT_FOUND", client.get, "nothing")

    def test_what_a_version_does_not_have_is_not_supported(self) -> None:
        client = self.client(KMIPVersion.KMIP_1_1)
        key = client.create(AES, 256, cryptographic_usage_mask=[Usage.ENCRYPT])
        client.activate(key)
        self.refused("OPERATION_NOT_SUPPORTED", client.encrypt, b"x", key, cbc(), os.urandom(16))
        self.assertNotIn("Sensitive", client.get_attribute_list(key))
        self.assertIn("Sensitive", self.client().get_attribute_list(key))

    def test_aes_cbc_is_reversed_while_the_key_is_not_destroyed(self) -> None:
        client = self.client(KMIPVersion.KMIP_1_2)
        key = client.create(AES, 256, cryptographic_usage_mask=[Usage.ENCRYPT, Usage.DECRYPT])
        iv = os.urandom(16)
        self.refused("PERMISSION_DENIED", client.encrypt, b"secret", key, cbc(), iv)
        client.activate(key)
        sealed, _ = client.encrypt(b"secret", key, cbc(), iv)
        self.assertEqual(len(sealed), 16)
        client.revoke(RevocationReasonCode.SUPERSEDED, key)
        self.assertEqual(client.decrypt(sealed, key, cbc(), iv), b"secret")
        self.refused("PERMISSION_DENIED", client.encrypt, b"secret", key, cbc(), iv)

    def test_a_mac_is_hmac_sha256(self) -> None:
        client = self.client(KMIPVersion.KMIP_1_2)
        # RFC 4231 section 4.3
        key = client.register(SymmetricKey(CryptographicAlgorithm.HMAC_SHA256, 32, b"Jefe", [Usage.MAC_GENERATE]))
        client.activate(key)
        _, mac = client.mac(b"what do ya want for nothing?", key, CryptographicAlgorithm.HMAC_SHA256)
        self.assertEqual(mac.hex(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")

    def test_a_new_key_takes_over_name_and_dates_when_one_is_re_keyed(self) -> None:
        client = self.client()
        old = client.create(AES, 256, name="re-keyed", cryptographic_usage_mask=[Usage.ENCRYPT])
        client.activate(old)
        new = client.rekey(old)
        self.assertEqual(client.locate(attributes=[name_attribute("re-keyed")]), [new])
        self.assertEqual(self.state(client, new), State.ACTIVE)
        self.assertNotEqual(client.get(new).value, client.get(old).value)
        self.refused("PERMISSION_DENIED", client.rekey, old)
        self.assertEqual(self.state(client, client.rekey(new, offset=1000)), State.PRE_ACTIVE)

    def test_attributes_are_changed_where_the_rules_let_a_client(self) -> None:
        client = self.client()
        key = client.create(AES, 256, name="first", cryptographic_usage_mask=[Usage.ENCRYPT])
        client.modify_attribute(key, attribute=name_attribute("second", index=0))
        self.assertEqual(client.locate(attributes=[name_attribute("second")]), [key])
        self.assertEqual(client.locate(attributes=[name_attribute("first")]), [])
        state = AttributeFactory().create_attribute(AttributeType.STATE, State.ACTIVE)
        self.refused("PERMISSION_DENIED", client.modify_attribute, key, attribute=state)
        client.delete_attribute(key, attribute_name="Name", attribute_index=0)
        self.assertNotIn("Name", client.get_attribute_list(key))
        self.refused("ITEM_NOT_FOUND", client.delete_attribute, key, attribute_name="Name", attribute_index=0)


def name_attribute(name: str, index: int | None = None) -> Any:
    value = Name.create(name, NameType.UNINTERPRETED_TEXT_STRING)
    return AttributeFactory().create_attribute(AttributeType.NAME, value, index)


def cbc() -> dict[str, Any]:
    return {
        "cryptographic_algorithm": AES,
        "block_cipher_mode": BlockCipherMode.CBC,
        "padding_method": PaddingMethod.PKCS5,
    }


if __name__ == "__main__":
    unittest.main()
