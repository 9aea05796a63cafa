"""What batches promise."""

from __future__ import annotations

import io
import unittest

from support import WithKeyServers, keystead


class ABatch(WithKeyServers):
    def test_comes_back_and_is_made_of_messages(self) -> None:
        key = self.new_key()
        values = [bytes([row % 256]) * (row % 300) for row in range(1000)]
        aads = [f"row {row}".encode() for row in range(1000)]
        messages = key.encrypt_many(values, aads)
        self.assertEqual(key.decrypt_many(messages, aads), values)
        self.assertEqual([key.decrypt(messages[row], aads[row]) for row in range(1000)], values)
        self.assertEqual(key.decrypt_many(key.encrypt_many(values)), values)
        self.assertEqual(key.encrypt_many([]), [])

    def test_takes_any_bytes_like_object(self) -> None:
        key = self.new_key()
        values: list[bytes | bytearray | memoryview] = [b"Ada", bytearray(b"Zo\0e"), memoryview(b"xEvey")[1:]]
        self.assertEqual(key.decrypt_many(key.encrypt_many(values)), [b"Ada", b"Zo\0e", b"Evey"])
        with self.assertRaises(TypeError):
            key.encrypt_many(["text"])  # type: ignore[list-item]

    def test_is_refused_as_a_whole_and_tells_which_was_wrong(self) -> None:
        key = self.new_key()
        messages = key.encrypt_many([b"a", b"b", b"c"], [b"1", b"2", b"3"])
        with self.assertRaisesRegex(keystead.NotAuthentic, "value 1 "):
            key.decrypt_many(messages, [b"1", b"4", b"3"])
        with self.assertRaises(keystead.ArgumentError):
            key.encrypt_many([b"a"], [])

    def test_may_be_of_several_keys_and_versions(self) -> None:
        keys = [self.new_key(), self.new_key()]
        names = [key.id.split("/")[0] for key in keys]
        values = [bytes([row]) * row for row in range(40)]
        aads = [f"row {row}".encode() for row in range(40)]
        messages = []
        for row in range(40):
            if row == 20:
                self.client.rotate_key(names[0])
            messages.append(keys[row % 2].encrypt(values[row], aads[row]))
        self.assertEqual(self.client.decrypt_many(messages, aads, expect="customer-*"), values)
        with self.assertRaises(keystead.WrongKey):
            self.client.decrypt_many(messages, aads, expect=names[0])

        moved = self.client.reencrypt_many(messages, aads, expect="customer-*")
        self.assertEqual({keystead.key_id(message) for message in moved}, {f"{names[0]}/2", f"{names[1]}/1"})
        self.assertEqual([row for row in range(40) if moved[row] != messages[row]], list(range(0, 20, 2)))
        self.assertEqual(self.client.decrypt_many(moved, aads, expect="*"), values)


class AMessageOrStream(WithKeyServers):
    def test_names_its_key_without_one(self) -> None:
        key = self.new_key()
        target = io.BytesIO()
        with key.encrypt_stream(target) as stream:
            stream.write(b"Ada")
        self.assertEqual([keystead.key_id(data) for data in (key.encrypt(b"Ada"), target.getvalue())], [key.id] * 2)
        with self.assertRaises(keystead.NotAuthentic):
            keystead.key_id(b"neither")


if __name__ == "__main__":
    unittest.main()
