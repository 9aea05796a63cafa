"""The vectors of tests/vectors, as this binding meets them.

They give keys as bytes, and key bytes never come into the library. So PyKMIP's own client gives the keys to a key
server first, and from there they are fetched or decrypted with.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import sys
import unittest
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

from kmip.core.attributes import Name
from kmip.core.enums import AttributeType, CryptographicAlgorithm, CryptographicUsageMask, NameType, ObjectType
from kmip.core.objects import TemplateAttribute
from kmip.pie.client import ProxyKmipClient
from kmip.pie.objects import SymmetricKey
from support import ROOT, keystead

sys.path.append(str(ROOT / "tests/cwt"))
from keyservers import KeyServers
from open_message import open_message

Vector = dict[str, Any]
Usage = CryptographicUsageMask
CIPHER = [Usage.ENCRYPT, Usage.DECRYPT]


def load(name: str) -> Any:
    return json.loads((ROOT / f"tests/vectors/{name}.json").read_text(encoding="utf-8"))


MESSAGES: list[Vector] = load("message")
STREAMS: list[Vector] = load("stream")["vectors"]
PIECES: dict[str, str] = load("stream")["pieces"]
PROTECTED_DEKS: list[Vector] = load("protected_dek")
# A key server shows each identity its own objects only, so that two keys of one name are two identities'.
IDENTITIES = {vector["key"]: "client" for vector in MESSAGES if vector["result"] == "valid"}
IDENTITIES |= {vector["key"]: "client-other" for vector in MESSAGES if vector["key"] not in IDENTITIES}


@cache
def client(key: str) -> keystead.Client:
    """A client whose named keys are all made of these bytes, and whose KEKs are those of the vectors with this KEK."""
    servers = key_servers()
    material = servers.issuer.material(IDENTITIES[key])
    logging.disable()
    with ProxyKmipClient(
        hostname="127.0.0.1",
        port=servers.server("primary").port,
        cert=str(material.certificate),
        key=str(material.key),
        ca=str(material.ca),
        ssl_version="PROTOCOL_TLS",
    ) as server:
        for name, (bytes_of_key, usage) in objects(key).items():
            give(server, name, bytes.fromhex(bytes_of_key), usage)
    logging.disable(logging.NOTSET)
    config = servers.folder / f"{IDENTITIES[key]}.conf"
    config.touch(mode=0o600)
    text = servers.config.read_text(encoding="utf-8").replace(
        str(servers.client.certificate), str(material.certificate)
    )
    config.write_text(text.replace(str(servers.client.key), str(material.key)), encoding="utf-8")
    opened = keystead.Client(config)
    atexit.register(opened.close)
    return opened


def give(server: Any, name: str, key: bytes, usage: list[CryptographicUsageMask]) -> None:
    """PyKMIP's simpler call leaves the group out, by which the versions of a name are found."""
    attribute = server.attribute_factory.create_attribute
    attributes = [
        attribute(AttributeType.NAME, Name.create(name, NameType.UNINTERPRETED_TEXT_STRING)),
        attribute(AttributeType.OBJECT_GROUP, f"keystead:{name.rpartition('/')[0]}"),
        attribute(AttributeType.CRYPTOGRAPHIC_USAGE_MASK, usage),
    ]
    value = server.object_factory.convert(SymmetricKey(CryptographicAlgorithm.AES, 256, key))
    registered = server.proxy.register(ObjectType.SYMMETRIC_KEY, TemplateAttribute(attributes=attributes), value)
    server.activate(registered.uuid)


@cache
def key_servers() -> KeyServers:
    servers = KeyServers(1)
    atexit.register(servers.finish)
    return servers


def objects(key: str) -> dict[str, tuple[str, list[CryptographicUsageMask]]]:
    """What the key server is to hold: also the KEKs that altered vectors name, whose absence must not refuse them."""
    found = {vector["key_id"]: (key, CIPHER) for vector in [*MESSAGES, *STREAMS] if vector["key"] == key}
    for vector in PROTECTED_DEKS:
        described = inspected(keystead.inspect_protected_dek, bytes.fromhex(vector["protected_dek"]))
        if vector["kek"] == key and described is not None:
            kek = described["kek"]
            found[f"kek-gcm:{kek}"] = found[f"kek-cbc:{kek}"] = (key, CIPHER)
            found[f"kek-mac:{kek}"] = (vector["mac_key"], [Usage.MAC_GENERATE, Usage.MAC_VERIFY])
    return found


def inspected(inspect: Callable[[bytes], Any], data: bytes) -> Any:
    """What bytes say of themselves; None if they are not even of the right form."""
    try:
        return inspect(data)
    except keystead.NotAuthentic:
        return None


class Vectors(unittest.TestCase):
    def run_all(self, vectors: list[Vector], run: Callable[[Vector], None]) -> None:
        for vector in vectors:
            with self.subTest(vector["name"]):
                run(vector)

    def refusal(self, data: bytes, vector: Vector) -> type[keystead.KeysteadError]:
        """Who names another key, in the right form, is told so; everything else is not authentic."""
        named = inspected(keystead.key_id, data)
        return keystead.NotAuthentic if named in (None, vector["key_id"]) else keystead.WrongKey

    def test_valid_messages_are_decrypted_and_all_others_refused(self) -> None:
        self.run_all(MESSAGES, self.message)
        self.assertEqual(len(MESSAGES), 165)

    def message(self, vector: Vector) -> None:
        message, aad = bytes.fromhex(vector["message"]), bytes.fromhex(vector["aad"])
        source = client(vector["key"])
        name = vector["key_id"].partition("/")[0]
        key = source.key(name)
        self.assertEqual(key.id, vector["key_id"])
        buffer = bytearray(b"\xaa" * (len(message) + 16))
        if vector["result"] == "valid":
            plaintext = bytes.fromhex(vector["plaintext"])
            self.assertEqual(keystead.inspect(message)["key"], vector["key_id"])
            self.assertEqual(keystead.decrypted_size(message), len(plaintext))
            self.assertEqual(key.decrypt(message, aad), plaintext)
            self.assertEqual(key.decrypt_many([message], [aad]), [plaintext])
            self.assertEqual(source.decrypt(message, aad, expect=name), plaintext)
            self.assertEqual(bytes(buffer[: key.decrypt_into(message, buffer, aad)]), plaintext)
            return
        refusal = self.refusal(message, vector)
        self.assertRaises(refusal, key.decrypt, message, aad)
        self.assertRaises(refusal, key.decrypt_many, [message], [aad])
        self.assertRaises(refusal, key.decrypt_into, message, buffer, aad)
        self.assertEqual(bytes(buffer), bytes(len(buffer)))
        # The client looks for the version that the message names, if it may have that name.
        named = inspected(keystead.key_id, message)
        is_sought = refusal is keystead.WrongKey and named.partition("/")[0] == name
        refusal = keystead.KeyNotFound if is_sought else refusal
        self.assertRaises(refusal, source.decrypt, message, aad, expect=name)

    def test_valid_streams_are_decrypted_and_all_others_refused(self) -> None:
        self.run_all(STREAMS, self.stream)
        self.assertEqual(len(STREAMS), 170)

    def stream(self, vector: Vector) -> None:
        parts = (PIECES[part[1:]] if part.startswith("@") else part for part in vector["stream"])
        stream, aad = bytes.fromhex("".join(parts)), bytes.fromhex(vector["aad"])
        key = client(vector["key"]).key(vector["key_id"].partition("/")[0])
        if vector["result"] == "valid":
            plaintext = key.decrypt_stream(io.BytesIO(stream), aad).read()
            self.assertEqual(
                (len(plaintext), sha256(plaintext).hexdigest()), (vector["plaintext_size"], vector["plaintext_sha256"])
            )
            self.assertEqual(keystead.key_id(stream), vector["key_id"])
            return
        with self.assertRaises(self.refusal(stream, vector)):
            key.decrypt_stream(io.BytesIO(stream), aad).read()

    def test_valid_protected_deks_are_unlocked_and_all_others_refused(self) -> None:
        self.run_all(PROTECTED_DEKS, self.protected_dek)
        self.assertEqual(len(PROTECTED_DEKS), 234)

    def protected_dek(self, vector: Vector) -> None:
        protected, source = bytes.fromhex(vector["protected_dek"]), client(vector["kek"])
        if vector["result"] == "refused":
            self.assertRaises(keystead.NotAuthentic, source.unlock_space, protected, expect="*")
            return
        key = source.unlock_space(protected, expect="*")
        self.assertEqual(key.id, vector["space"])
        self.assertEqual(keystead.inspect_protected_dek(protected)["key"], vector["space"])
        # The bytes of the DEK are seen by what another library opens with them.
        dek = bytes.fromhex(vector["dek"])
        self.assertEqual(open_message(dek, b"row 1", key.encrypt(b"Ada", b"row 1")), b"Ada")


if __name__ == "__main__":
    unittest.main()
