"""What libkeystead.so shows to the world, and what it asks of it."""

from __future__ import annotations

import os
import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = Path(os.environ.get("KEYSTEAD_LIBRARY", ROOT / "build/lib/libkeystead.so"))
SYMBOLS = Path(__file__).with_name("symbols.txt")
HEADER = ROOT / "include/keystead.h"
UPDATE = "UPDATE_SYMBOLS=1 ctest --preset test -R symbols"


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exported() -> list[str]:
    lines = output_of("nm", "-D", "--defined-only", LIBRARY).splitlines()
    return sorted(line.split()[-1] for line in lines)


def dynamic(tag: str) -> list[str]:
    """The values of a tag of the dynamic section."""
    lines = output_of("readelf", "--dynamic", "--wide", LIBRARY).splitlines()
    return [line.split(None, 2)[2] for line in lines if f"({tag})" in line]


class TheLibrary(unittest.TestCase):
    def test_it_exports_the_listed_symbols_and_no_other(self) -> None:
        if os.environ.get("UPDATE_SYMBOLS"):
            SYMBOLS.write_text("".join(f"{symbol}\n" for symbol in exported()))
        listed = SYMBOLS.read_text().split()
        gone = sorted(set(listed) - set(exported()))
        new = sorted(set(exported()) - set(listed))
        self.assertFalse(gone, f"symbols that programs may use are gone: a new SONAME, or a mistake? ({UPDATE})")
        self.assertFalse(new, f"symbols that {SYMBOLS.name} does not list. If they are meant: {UPDATE}")

    def test_it_exports_what_the_header_declares(self) -> None:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", HEADER.read_text(), flags=re.DOTALL)
        declared = sorted(set(re.findall(r"\b(keystead_\w+)\s*\(", text)))
        self.assertEqual(declared, exported())

    def test_it_needs_nothing_but_libc(self) -> None:
        needed = [name.split("[")[1].rstrip("]") for name in dynamic("NEEDED")]
        strange = [name for name in needed if not re.match(r"libc\.|ld-linux|ld-musl", name)]
        self.assertFalse(strange, f"needed: {needed}")

    def test_it_has_a_soname_and_is_never_unloaded(self) -> None:
        self.assertIn("libkeystead.so.0", dynamic("SONAME")[0])
        self.assertIn("NODELETE", dynamic("FLAGS_1")[0])


if __name__ == "__main__":
    unittest.main()
