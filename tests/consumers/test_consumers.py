"""An installed Keystead is found, compiled against and run, as its users would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = Path(os.environ.get("KEYSTEAD_BUILD", ROOT / "build"))
CMAKE = os.environ.get("KEYSTEAD_CMAKE", "cmake")
CC = os.environ.get("KEYSTEAD_CC", "cc")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def run(*command: str | Path, **environment: str) -> str:
    """Runs a command; what it said is in the error if it fails."""
    result = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} failed with {result.returncode}:\n{result.stdout}")
    return result.stdout


def crate_version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


class AnInstalledKeystead(unittest.TestCase):
    scratch: ClassVar[Path]
    prefix: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="keystead-consumers-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = Path(scratch.name)
        run(CMAKE, "--install", BUILD, "--prefix", cls.scratch / "first")
        # Moved after it was installed: no file may hold the path it was installed to.
        cls.prefix = (cls.scratch / "first").rename(cls.scratch / "moved")

    def test_it_is_found_by_cmake(self) -> None:
        build = self.scratch / "build"
        run(CMAKE, "-S", HERE, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_COMPILER={CC}")
        run(CMAKE, "--build", build)
        self.assertEqual(run(build / "version").strip(), crate_version())

    @unittest.skipUnless(shutil.which("pkg-config"), "pkg-config is not installed")
    def test_it_is_found_by_pkg_config(self) -> None:
        path = str(self.library().parent / "pkgconfig")
        flags = run("pkg-config", "--cflags", "--libs", "keystead", PKG_CONFIG_PATH=path).split()
        self.compile_and_run([CC, "-std=c99"], flags)
        self.assertEqual(run("pkg-config", "--modversion", "keystead", PKG_CONFIG_PATH=path).strip(), crate_version())

    @unittest.skipUnless(shutil.which("c++"), "no C++ compiler is installed")
    def test_its_header_is_valid_cpp(self) -> None:
        flags = [f"-I{self.prefix / 'include'}", f"-L{self.library().parent}", "-lkeystead"]
        self.compile_and_run(["c++", "-std=c++17", "-x", "c++"], flags)

    def test_its_tool_is_installed(self) -> None:
        self.assertTrue(os.access(self.prefix / "bin/keystead", os.X_OK))

    def compile_and_run(self, compiler: list[str], flags: list[str]) -> None:
        program = self.scratch / f"version-{compiler[0].rpartition('/')[2]}"
        run(*compiler, *STRICT, "-o", program, HERE / "version.c", *flags)
        self.assertEqual(run(program, LD_LIBRARY_PATH=str(self.library().parent)).strip(), crate_version())

    def library(self) -> Path:
        [library] = self.prefix.glob("lib*/**/libkeystead.so")
        return library


if __name__ == "__main__":
    unittest.main()
