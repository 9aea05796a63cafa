"""What the generated file and the package promise of themselves. Needs no key server."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import ClassVar

PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = sorted((PACKAGE / "src" / "keystead").glob("*.py"))


class TheGeneratedFile(unittest.TestCase):
    generate_abi: ClassVar[ModuleType]

    @classmethod
    def setUpClass(cls) -> None:
        sys.path.insert(0, str(PACKAGE))
        cls.addClassCleanup(sys.path.remove, str(PACKAGE))
        cls.generate_abi = importlib.import_module("generate_abi")

    def test_it_is_what_the_header_says(self) -> None:
        command = [sys.executable, str(PACKAGE / "generate_abi.py"), "--check"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_what_the_header_reader_does_not_know_it_refuses_with_its_line(self) -> None:
        header = self.generate_abi.HEADER.read_text(encoding="utf-8")
        border = "#ifdef __cplusplus\nextern"
        line = header[: header.index(border)].count("\n") + 1
        for unknown in (
            "#define KEYSTEAD_LIMIT (1 << 3)",
            "#define OTHER 1",
            "#pragma pack(1)",
            "typedef enum { A, B } keystead_kind;",
            "typedef struct keystead_pair { int32_t a; } keystead_pair;",
            "typedef long keystead_time;",
            "extern int32_t keystead_count;",
            "int keystead_count(void);",
            "void keystead_call(void (*callback)(void));",
            "typedef int32_t (*keystead_callback)(void);",
            "typedef void (*keystead_callback)(void (*callback)(void));",
            "void keystead_name(char *name);",
            "void keystead_read(FILE *file);",
            "void keystead_read(keystead_unknown *it);",
            "void keystead_read(int32_t);",
            "keystead_client keystead_copy(void);",
            "static inline int32_t keystead_one(void) { return 1; }",
        ):
            with (
                self.subTest(unknown),
                self.assertRaisesRegex(self.generate_abi.HeaderError, f"line {line}: "),
            ):
                self.generate_abi.Header(header.replace(border, f"{unknown}\n{border}", 1))


class ThePackage(unittest.TestCase):
    def test_it_is_written_for_the_oldest_python_it_promises(self) -> None:
        for path in SOURCES:
            ast.parse(path.read_text(encoding="utf-8"), path.name, feature_version=(3, 9))

    def test_it_has_the_version_of_the_library_it_is_made_with(self) -> None:
        manifest = (PACKAGE.parent.parent / "Cargo.toml").read_text(encoding="utf-8")
        version = next(line for line in manifest.splitlines() if line.startswith("version = "))
        source = (PACKAGE / "src" / "keystead" / "_library.py").read_text(encoding="utf-8")
        self.assertIn(f"\n__{version}\n".replace("version =", "version__ ="), source)

    def test_importing_it_does_not_need_the_library_and_the_first_use_says_what_to_do(self) -> None:
        program = (
            "import keystead\ntry:\n    keystead.version()\nexcept keystead.LibraryError as error:\n    print(error)"
        )
        for library in ("/nowhere/libkeystead.so", sys.executable):
            with self.subTest(library):
                done = subprocess.run(
                    [sys.executable, "-c", program],
                    env={"PYTHONPATH": str(PACKAGE / "src"), "KEYSTEAD_LIBRARY": library},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                self.assertEqual(done.stderr, "")
                self.assertIn(f"cannot load the Keystead library {library}", done.stdout)
                self.assertIn("KEYSTEAD_LIBRARY", done.stdout)


if __name__ == "__main__":
    unittest.main()
