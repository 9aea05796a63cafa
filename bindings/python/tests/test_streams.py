"""What streams promise."""

from __future__ import annotations

import csv
import io
import shutil
import unittest

from support import WithKeyServers, keystead

SEGMENT = 65536


class Trickle(io.RawIOBase):
    """A raw file that takes and gives a few bytes at a time."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.content += bytes(data[:1000])
        return min(len(data), 1000)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece, self.content = self.content[: min(size, 7777)], self.content[min(size, 7777) :]
        return piece


class AStream(WithKeyServers):
    def encrypted(self, key: keystead.Key, plaintext: bytes, aad: bytes = b"") -> bytes:
        target = io.BytesIO()
        with key.encrypt_stream(target, aad) as stream:
            shutil.copyfileobj(io.BytesIO(plaintext), stream, 10_000)
        return target.getvalue()

    def decrypted(self, stream: bytes, aad: bytes = b"", expect: str = "customer-*") -> bytes:
        return self.client.decrypt_stream(io.BytesIO(stream), aad, expect=expect).read()

    def test_opens_to_what_was_encrypted_at_every_size(self) -> None:
        key = self.new_key()
        for size in (0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 1_000_000):
            with self.subTest(size=size):
                plaintext = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
                stream = self.encrypted(key, plaintext, b"backup")
                self.assertLess(len(stream), size + 200 + 42 * (size // SEGMENT + 1))
                self.assertEqual(self.decrypted(stream, b"backup"), plaintext)

    def test_passes_through_files_that_take_and_give_a_little_at_a_time(self) -> None:
        plaintext, target = bytes(range(256)) * 1000, Trickle()
        with self.new_key().encrypt_stream(target) as stream:
            stream.write(plaintext)
        source = Trickle(target.content)
        self.assertEqual(self.client.decrypt_stream(source, expect="*").read(), plaintext)

    def test_is_a_file_object_that_other_modules_take(self) -> None:
        target = io.BytesIO()
        stream = io.BufferedWriter(self.new_key().encrypt_stream(target))
        with io.TextIOWrapper(stream, "utf-8", newline="") as text:
            csv.writer(text).writerows([["Ελένη", "1"], ["美咲", "2"]])
        reader = self.client.decrypt_stream(io.BytesIO(target.getvalue()), expect="*")
        rows = csv.reader(io.TextIOWrapper(reader, "utf-8", newline=""))
        self.assertEqual(list(rows), [["Ελένη", "1"], ["美咲", "2"]])

    def test_is_refused_when_cut_at_its_end_altered_or_continued(self) -> None:
        plaintext = bytes(200_000)
        stream = self.encrypted(self.new_key(), plaintext)
        for altered in (stream[:-1], stream[: 2 * SEGMENT], stream + b"\0", stream[:-1] + bytes([stream[-1] ^ 1])):
            reader = self.client.decrypt_stream(io.BytesIO(altered), expect="*")
            with self.assertRaises(keystead.NotAuthentic):
                reader.read()
        # What comes before the fault is genuine.
        reader = self.client.decrypt_stream(io.BytesIO(stream[:-1]), expect="*")
        self.assertEqual(reader.read(1000), plaintext[:1000])
        for _ in range(2):
            with self.assertRaises(keystead.NotAuthentic):
                reader.read()

    def test_is_refused_with_other_associated_data_or_another_expected_name(self) -> None:
        stream = self.encrypted(self.new_key(), b"Ada", b"backup 1")
        with self.assertRaises(keystead.NotAuthentic):
            self.decrypted(stream, b"backup 2")
        with self.assertRaises(keystead.WrongKey):
            self.decrypted(stream, b"backup 1", expect="supplier-*")
        with self.assertRaises(keystead.NotAuthentic):
            self.decrypted(b"no stream at all")

    def test_is_not_ended_by_an_exception_or_by_being_forgotten(self) -> None:
        key, interrupted, forgotten = self.new_key(), io.BytesIO(), io.BytesIO()
        with self.assertRaises(ZeroDivisionError), key.encrypt_stream(interrupted) as stream:
            stream.write(bytes(SEGMENT + 1))
            1 / 0  # noqa: B018
        key.encrypt_stream(forgotten).write(bytes(SEGMENT + 1))
        for target in (interrupted, forgotten):
            self.assertGreater(len(target.getvalue()), SEGMENT)
            with self.assertRaises(keystead.NotAuthentic):
                self.decrypted(target.getvalue())

    def test_ends_when_it_cannot_be_written(self) -> None:
        class Full(io.BytesIO):
            def write(self, data: object, /) -> int:
                raise OSError(28, "No space left on device")

        stream = self.new_key().encrypt_stream(Full())
        with self.assertRaises(OSError):
            stream.write(bytes(2 * SEGMENT))
        with self.assertRaises(ValueError):
            stream.write(b"more")
        stream.close()

    def test_is_closed_once_and_leaves_its_file_open(self) -> None:
        target = io.BytesIO()
        stream = self.new_key().encrypt_stream(target)
        stream.write(b"Ada")
        stream.close()
        length = len(target.getvalue())
        stream.close()
        self.assertEqual((len(target.getvalue()), target.closed), (length, False))
        with self.assertRaises(ValueError):
            stream.write(b"more")

    def test_goes_on_when_its_client_is_closed(self) -> None:
        with keystead.Client(self.servers.config) as client:
            target = io.BytesIO()
            stream = client.create_key("customer-streams").encrypt_stream(target)
        stream.write(b"Ada")
        stream.close()
        self.assertEqual(self.decrypted(target.getvalue()), b"Ada")


if __name__ == "__main__":
    unittest.main()
