"""What batches promise."""

from __future__ import annotations

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


if __name__ == "__main__":
    unittest.main()
