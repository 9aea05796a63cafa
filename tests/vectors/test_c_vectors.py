"""The vectors of this folder, as a C program meets them: build/tests/vectors/vectors."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "cwt"))

from given import FOLDER, MESSAGES, PROTECTED_DEKS, STREAMS, Vector, configuration, stream_of
from open_message import open_message

PROGRAM = Path(os.environ.get("KEYSTEAD_BUILD", FOLDER.parents[1] / "build"), "tests/vectors/vectors")
# Of each file, so that none is left out unnoticed.
COUNTS = {"message": 165, "stream": 170, "protected_dek": 234}


class Case:
    """A vector, as the line that the program is given and as what it is to answer."""

    def __init__(self, kind: str, vector: Vector, data: bytes) -> None:
        self.kind, self.vector, self.data = kind, vector, data

    def line(self) -> str:
        config = configuration(self.vector["kek" if self.kind == "protected-dek" else "key"])
        key, aad = self.vector.get("key_id", "-"), self.vector.get("aad", "")
        return f"{self.kind} {config} {key} ={aad} ={self.data.hex()}\n"

    def fault(self, answer: str) -> str | None:
        """What is wrong about the program's answer; `None` if nothing is."""
        by_key, by_client, named, text = answer.split()
        found = bytes.fromhex(text.removeprefix("="))
        if self.vector["result"] == "refused":
            expected = self.refusals(named)
            return None if [by_key, by_client, found] == [*expected, b""] else f"{expected} expected, {answer}"
        if [by_key, by_client] != ["KEYSTEAD_OK"] * 2:
            return f"a valid one was refused, {answer}"
        return None if self.is_right(found, named) else f"another plaintext or key, {answer}"

    def is_right(self, found: bytes, named: str) -> bool:
        if self.kind == "protected-dek":
            # The bytes of the DEK are seen by what another library opens with them.
            opened = open_message(bytes.fromhex(self.vector["dek"]), b"row 1", found)
            return opened == b"Ada" and named == self.vector["space"]
        if self.kind == "stream":
            size_and_hash = (self.vector["plaintext_size"], self.vector["plaintext_sha256"])
            return (len(found), sha256(found).hexdigest()) == size_and_hash and named == self.vector["key_id"]
        return bool(found.hex() == self.vector["plaintext"] and named == self.vector["key_id"])

    def refusals(self, named: str) -> list[str]:
        """What a key and a client say to what is refused.

        Who names another key, in the right form, is told so; everything else is not authentic. The client looks for
        the version that is named, if it may have that name.
        """
        if self.kind == "protected-dek" or named in ("-", self.vector["key_id"]):
            return ["KEYSTEAD_E_NOT_AUTHENTIC"] * 2
        is_sought = named.partition("/")[0] == self.vector["key_id"].partition("/")[0]
        return ["KEYSTEAD_E_WRONG_KEY", "KEYSTEAD_E_KEY_NOT_FOUND" if is_sought else "KEYSTEAD_E_WRONG_KEY"]


CASES = [
    *(Case("message", vector, bytes.fromhex(vector["message"])) for vector in MESSAGES),
    *(Case("stream", vector, stream_of(vector)) for vector in STREAMS),
    *(Case("protected-dek", vector, bytes.fromhex(vector["protected_dek"])) for vector in PROTECTED_DEKS),
]


def run(cases: list[Case]) -> Iterator[tuple[Case, str | None]]:
    """Each vector, with what is wrong about what the program says to it."""
    lines = "".join(case.line() for case in cases)
    program = subprocess.run([PROGRAM], input=lines, capture_output=True, text=True, timeout=100, check=False)
    if program.returncode != 0:
        raise AssertionError(f"the program ended with {program.returncode}: {program.stderr}")
    answers = program.stdout.splitlines()
    return ((case, case.fault(answer)) for case, answer in zip(cases, answers, strict=True))


class CVectors(unittest.TestCase):
    def test_valid_ones_are_decrypted_and_all_others_refused(self) -> None:
        for case, fault in run(CASES):
            with self.subTest(case.vector["name"]):
                self.assertIsNone(fault)

    def test_every_one_of_every_file_is_run(self) -> None:
        self.assertEqual({file.stem for file in FOLDER.glob("*.json")}, set(COUNTS))
        counts = {kind: sum(case.kind.replace("-", "_") == kind for case in CASES) for kind in COUNTS}
        self.assertEqual(counts, COUNTS)

    def test_one_that_is_altered_is_noticed(self) -> None:
        altered = []
        for case in CASES:
            if case.vector["result"] == "valid":
                # The last byte belongs to a tag or a ciphertext.
                altered.append(Case(case.kind, case.vector, case.data[:-1] + bytes([case.data[-1] ^ 1])))
                result = {"result": "refused"}
            else:
                result = {"result": "valid"}
            altered.append(Case(case.kind, case.vector | result, case.data))
        unnoticed = [case.vector["name"] for case, fault in run(altered) if fault is None]
        self.assertEqual((unnoticed, len(altered) > len(CASES)), ([], True))


if __name__ == "__main__":
    unittest.main()
