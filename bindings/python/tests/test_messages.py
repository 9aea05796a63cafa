"""What keys and messages promise."""

from __future__ import annotations

import copy
import mmap
import pickle
import threading
import unittest
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from support import WithKeyServers, keystead


class AMessage(WithKeyServers):
    def test_opens_to_what_was_encrypted_at_every_size(self) -> None:
        key = self.new_key()
        for size in (0, 1, 2, 15, 16, 17, 64, 1000, 65535, 65536, 1 << 20):
            with self.subTest(size=size):
                plaintext = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
                message = key.encrypt(plaintext, b"row 1")
                self.assertEqual(len(message), key.encrypted_size(size))
                self.assertEqual(keystead.decrypted_size(message), size)
                self.assertEqual(key.decrypt(message, b"row 1"), plaintext)
                self.assertEqual(self.client.decrypt(message, b"row 1", expect="customer-*"), plaintext)

    def test_carries_every_script(self) -> None:
        key = self.new_key()
        for text in ("Ünïcødé", "Ελένη", "Георги", "ليلى", "נועה", "अनन्या", "美咲", "서연", "🥜🎂", "\0\n\r\t\x7f"):
            self.assertEqual(key.decrypt(key.encrypt(text.encode())).decode(), text)

    def test_is_different_each_time(self) -> None:
        key = self.new_key()
        self.assertEqual(len({key.encrypt(b"the same") for _ in range(1000)}), 1000)

    def test_may_hold_a_message_of_which_nothing_is_seen_from_outside(self) -> None:
        field, row = self.new_key(), self.new_key()
        inner = field.encrypt(b"Ada", b"name")
        outer = row.encrypt(inner, b"row 1")
        said = keystead.inspect(outer)
        self.assertEqual((said["key"], said["plaintext_size"]), (row.id, len(inner)))
        self.assertIn(field.id.encode(), inner)
        self.assertNotIn(field.id.encode(), outer)
        opened = self.client.decrypt(outer, b"row 1", expect="customer-*")
        self.assertEqual(keystead.inspect(opened)["key"], field.id)
        self.assertEqual(self.client.decrypt(opened, b"name", expect="customer-*"), b"Ada")
        for key, aad in ((field, b"row 1"), (row, b"name")):
            with self.assertRaises((keystead.NotAuthentic, keystead.WrongKey)):
                key.decrypt(outer, aad)
        with self.assertRaises(keystead.NotAuthentic):
            keystead.inspect(b"Ada")

    def test_hides_its_plaintext(self) -> None:
        plaintext = b"a text that would be recognised"
        self.assertNotIn(plaintext[:8], self.new_key().encrypt(plaintext, plaintext))

    def test_opens_only_with_the_associated_data_it_was_made_with(self) -> None:
        key = self.new_key()
        message = key.encrypt(b"Ada", b"customers/42/name")
        for other in (b"", b"customers/42/nam", b"customers/43/name"):
            with self.subTest(other), self.assertRaises(keystead.NotAuthentic) as caught:
                key.decrypt(message, other)
            self.assertEqual(caught.exception.code, keystead.Code.NOT_AUTHENTIC)

    def test_is_refused_with_any_bit_altered(self) -> None:
        key = self.new_key()
        message = key.encrypt(b"Ada Lovelace", b"row 1")
        for bit in range(8 * len(message)):
            altered = bytearray(message)
            altered[bit // 8] ^= 1 << bit % 8
            with self.subTest(bit=bit), self.assertRaises((keystead.NotAuthentic, keystead.WrongKey)):
                key.decrypt(altered, b"row 1")

    def test_is_refused_when_cut_or_continued(self) -> None:
        key = self.new_key()
        message = key.encrypt(b"Ada Lovelace")
        for length in range(len(message)):
            with self.subTest(length=length), self.assertRaises(keystead.NotAuthentic):
                key.decrypt(message[:length])
        with self.assertRaises(keystead.NotAuthentic):
            key.decrypt(message + b"\0")

    def test_opens_with_its_own_key_alone(self) -> None:
        key, other = self.new_key(), self.new_key()
        with self.assertRaises(keystead.WrongKey):
            other.decrypt(key.encrypt(b"Ada"))

    def test_is_opened_only_if_its_key_is_the_expected_one(self) -> None:
        key = self.new_key()
        message, name = key.encrypt(b"Ada"), key.id.partition("/")[0]
        for expect in (name, name + "*", "customer-*", "*"):
            self.assertEqual(self.client.decrypt(message, expect=expect), b"Ada")
        asked = self.count("Locate") + self.count("Get")
        with keystead.Client(self.servers.config) as fresh:
            for expect in (name + "0", "supplier-*", name[:-1]):
                with self.subTest(expect), self.assertRaises(keystead.WrongKey):
                    fresh.decrypt(message, expect=expect)
        self.assertEqual(self.count("Locate") + self.count("Get"), asked, "a server was asked for an unexpected key")

    def test_says_what_it_needs_without_a_key(self) -> None:
        key = self.new_key()
        described = keystead.inspect(key.encrypt(b"Ada"))
        self.assertEqual(described["kind"], "message")
        self.assertIn(key.id, described.values())


class AnyBuffer(WithKeyServers):
    def test_is_taken_as_it_is(self) -> None:
        key = self.new_key()
        plaintext = b"0123456789abcdef"
        with mmap.mmap(-1, len(plaintext)) as mapped:
            mapped.write(plaintext)
            for source in (
                plaintext,
                bytearray(plaintext),
                memoryview(plaintext),
                memoryview(b"__" + plaintext + b"__")[2:-2],
                array("d", plaintext),
                mapped,
            ):
                with self.subTest(type(source).__name__):
                    message = key.encrypt(source, aad=memoryview(b"row"))
                    self.assertEqual(key.decrypt(memoryview(message), bytearray(b"row")), plaintext)
                    self.assertEqual(self.client.decrypt(bytearray(message), b"row", expect="*"), plaintext)

    def test_can_be_written_to(self) -> None:
        key = self.new_key()
        plaintext = b"Ada Lovelace"
        size = key.encrypted_size(len(plaintext))
        with mmap.mmap(-1, 4096) as mapped:
            for target in (bytearray(size), memoryview(bytearray(size + 64))[32:], mapped):
                with self.subTest(type(target).__name__):
                    length = key.encrypt_into(plaintext, target, b"row")
                    message = bytes(memoryview(target)[:length])
                    out = bytearray(len(plaintext) + 1)
                    self.assertEqual(key.decrypt_into(message, out, b"row"), len(plaintext))
                    self.assertEqual(out, plaintext + b"\0")
                    self.assertEqual(self.client.decrypt_into(message, out, b"row", expect="*"), len(plaintext))

    def test_that_is_too_small_is_told_the_size_and_left_empty(self) -> None:
        key = self.new_key()
        message = key.encrypt(b"Ada Lovelace")
        calls: list[tuple[Callable[[bytearray], int], int]] = [
            (lambda out: key.encrypt_into(b"Ada Lovelace", out), len(message)),
            (lambda out: key.decrypt_into(message, out), 12),
            (lambda out: self.client.decrypt_into(message, out, expect="*"), 12),
        ]
        for write, needed in calls:
            out = bytearray(b"x" * (needed - 1))
            with self.assertRaises(keystead.ArgumentError) as caught:
                write(out)
            self.assertEqual(caught.exception.code, keystead.Code.BUFFER_TOO_SMALL)
            self.assertEqual(caught.exception.detail["needed"], needed)
            self.assertEqual(out, bytes(needed - 1))

    def test_is_left_empty_when_a_message_is_refused(self) -> None:
        key = self.new_key()
        altered = bytearray(key.encrypt(b"Ada Lovelace"))
        altered[-1] ^= 1
        out = bytearray(b"x" * 12)
        with self.assertRaises(keystead.NotAuthentic):
            key.decrypt_into(altered, out)
        self.assertEqual(out, bytes(12))

    def test_that_does_not_fit_is_a_type_error(self) -> None:
        key = self.new_key()
        with self.assertRaisesRegex(TypeError, "encode"):
            key.encrypt("a text")  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            key.encrypt(42)  # type: ignore[arg-type]
        with self.assertRaises(BufferError):
            key.encrypt(memoryview(b"0123456789")[::2])
        with self.assertRaises(BufferError):
            key.encrypt_into(b"Ada", bytes(256))

    def test_may_be_resized_again_afterwards(self) -> None:
        key = self.new_key()
        source, target = bytearray(b"Ada"), bytearray(256)
        key.encrypt_into(source, target)
        source.append(0)
        target.append(0)


class AKey(WithKeyServers):
    def test_serves_many_threads_at_once(self) -> None:
        key = self.new_key()

        def work(thread: int) -> int:
            for number in range(300):
                plaintext = f"{thread}/{number}".encode() * (number + 1)
                if key.decrypt(key.encrypt(plaintext, b"aad"), b"aad") != plaintext:
                    return 0
            return 1

        with ThreadPoolExecutor(8) as pool:
            self.assertEqual(sum(pool.map(work, range(8))), 8)

    def test_outlives_the_name_its_client_was_held_by(self) -> None:
        key = keystead.Client(self.servers.config).create_key("customer-unheld")
        self.assertEqual(key.decrypt(key.encrypt(b"Ada")), b"Ada")

    def test_can_be_neither_copied_nor_pickled(self) -> None:
        for owner in (self.client, self.new_key()):
            for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.assertRaisesRegex(TypeError, "never leave"):
                    duplicate(owner)

    def test_is_freed_by_whichever_thread_drops_it(self) -> None:
        keys = [self.client.key(self.new_key().id.partition("/")[0]) for _ in range(8)]
        threads = [threading.Thread(target=keys.pop) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(keys, [])


if __name__ == "__main__":
    unittest.main()
