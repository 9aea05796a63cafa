"""The vectors of tests/vectors, as this binding meets them."""

from __future__ import annotations

import atexit
import io
import sys
import unittest
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

from support import ROOT, keystead

sys.path += [str(ROOT / "tests/cwt"), str(ROOT / "tests/vectors")]
from given import MESSAGES, PROTECTED_DEKS, STREAMS, Vector, configuration, stream_of
from open_message import open_message


@cache
def client(key: str) -> keystead.Client:
    """A client whose named keys are all made of these bytes."""
    opened = keystead.Client(configuration(key))
    atexit.register(opened.close)
    return opened


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
        stream, aad = stream_of(vector), bytes.fromhex(vector["aad"])
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
