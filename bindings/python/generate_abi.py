"""Writes src/keystead/_abi.py from include/keystead.h.

    generate_abi.py            writes it
    generate_abi.py --check    says whether it is up to date

A strict reader of the one header we have: whatever it does not know, it refuses, with its line.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "keystead.h"
TARGET = HERE / "src" / "keystead" / "_abi.py"

SCALARS = {"int32_t": "c_int32", "size_t": "c_size_t"}
BORDERS = {"ifndef KEYSTEAD_H", "define KEYSTEAD_H", "include <stddef.h>", "include <stdint.h>", "endif"}
CPLUSPLUS = re.compile(r'#ifdef __cplusplus\s+(extern "C" \{|\})\s+#endif')
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
CONSTANT = re.compile(r"define (KEYSTEAD_[A-Z0-9_]+) (-?[0-9]+)")
OPAQUE = re.compile(r"typedef struct (keystead_\w+) (keystead_\w+)")
SCALAR = re.compile(r"typedef (\w+) (keystead_\w+)")
CALLBACK = re.compile(r"typedef void ?\(\*(keystead_\w+)\)\((.*)\)")
FUNCTION = re.compile(r"(.+?)\b(keystead_\w+) ?\((.*)\)")
DECLARATION = re.compile(r"(const )?(\w+) ?(\*const \*|\**)(\w*)")


class HeaderError(Exception):
    """The header holds something this reader does not know."""


@dataclass(frozen=True)
class Callback:
    """A function of the application that the library calls. It returns nothing."""

    name: str
    arguments: list[tuple[str, str]]


@dataclass(frozen=True)
class Function:
    name: str
    result: str
    arguments: list[tuple[str, str]]  # its ctypes type, and how the header declares it


class Header:
    """The constants, types and functions of a header."""

    def __init__(self, text: str) -> None:
        self.constants: dict[str, tuple[int, str]] = {}
        self.callbacks: dict[str, Callback] = {}
        self.functions: list[Function] = []
        self._scalars = dict(SCALARS)
        self._opaque: set[str] = set()
        # Every step blanks what it understood and keeps the line breaks, so that a complaint can name the line.
        text = _blank(COMMENT, self._read_comments(text))
        text = _blank(CPLUSPLUS, text)
        self._read_statements(self._read_directives(text))

    def _read_comments(self, text: str) -> str:
        self._comments: dict[int, str] = {}
        pending: list[str] = []
        for number, line in enumerate(text.split("\n")):
            if line.startswith("// "):
                pending.append(line[3:])
            else:
                self._comments[number] = " ".join(pending)
                pending = []
        return text

    def _read_directives(self, text: str) -> str:
        lines = text.split("\n")
        for number, line in enumerate(lines):
            directive = " ".join(line.split())
            if not directive.startswith("#"):
                continue
            if constant := CONSTANT.fullmatch(directive[1:]):
                self.constants[constant[1]] = (int(constant[2]), self._comments[number])
            elif directive[1:] not in BORDERS:
                raise HeaderError(f"line {number + 1}: a directive that is not known: {directive}")
            lines[number] = ""
        return "\n".join(lines)

    def _read_statements(self, text: str) -> None:
        line = 1
        *statements, rest = text.split(";")
        for raw in statements:
            begins = line + raw[: len(raw) - len(raw.lstrip())].count("\n")
            line += raw.count("\n")
            try:
                self._read_statement(" ".join(raw.split()))
            except HeaderError as error:
                raise HeaderError(f"line {begins}: {error}") from None
        if rest.strip():
            raise HeaderError(f"the end of the file is not a statement: {rest.strip()}")

    def _read_statement(self, statement: str) -> None:
        if (opaque := OPAQUE.fullmatch(statement)) and opaque[1] == opaque[2]:
            self._opaque.add(opaque[1])
        elif (scalar := SCALAR.fullmatch(statement)) and scalar[1] in self._scalars:
            self._scalars[scalar[2]] = self._scalars[scalar[1]]
        elif callback := CALLBACK.fullmatch(statement):
            self.callbacks[callback[1]] = Callback(callback[1], self._arguments(callback[2]))
        elif function := FUNCTION.fullmatch(statement):
            result = self._type_of(function[1], result=True)
            self.functions.append(Function(function[2], result, self._arguments(function[3])))
        else:
            raise HeaderError(f"neither a type nor a function that is known: {statement}")

    def _arguments(self, parameters: str) -> list[tuple[str, str]]:
        declared = [] if parameters == "void" else parameters.split(",")
        return [(self._type_of(parameter), parameter.strip()) for parameter in declared]

    def _type_of(self, declaration: str, result: bool = False) -> str:
        """The ctypes type of a parameter or result.

        Bytes travel as c_void_p: it takes a `bytes` object as it is, and an address.
        """
        match = DECLARATION.fullmatch(declaration.strip())
        if match is None or bool(match[4]) is result:
            raise HeaderError(f"a declaration that is not known: {declaration.strip()}")
        const, base, stars = bool(match[1]), match[2], match[3].count("*")
        if base == "void" and result and not stars:
            return "None"
        if base == "void" and not const and stars == 1 and not result:
            return "c_void_p"
        if base in self.callbacks and not const and not stars and not result:
            return _constant(base)
        if base in self._scalars and not const and stars <= (0 if result else 1):
            return f"POINTER({self._scalars[base]})" if stars else self._scalars[base]
        if base in self._scalars and const and stars == 1 and not result:
            return f"POINTER({self._scalars[base]})"
        if base == "uint8_t" and const and match[3] == "*const *":
            return "POINTER(c_void_p)"
        if base == "char" and const and match[3] == "*const *" and not result:
            return "POINTER(c_char_p)"
        if base == "char" and const and stars == 1:
            return "c_char_p"
        if base == "uint8_t" and stars == 1:
            return "c_void_p"
        if base in self._opaque and stars == 1:
            return "c_void_p"
        if base in self._opaque and stars == 2 and not const and not result:
            return "POINTER(c_void_p)"
        raise HeaderError(f"a type that is not known: {declaration.strip()}")


def _constant(name: str) -> str:
    return name.removeprefix("keystead_").upper()


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: "\n" * match[0].count("\n"), text)


def render(header: Header) -> str:
    lines = [
        '"""The C interface, generated from include/keystead.h by generate_abi.py; do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "from ctypes import CDLL, CFUNCTYPE, POINTER, c_char_p, c_int32, c_size_t, c_void_p",
        "from enum import IntEnum",
        "from typing import Any",
        "",
        "",
        "class Code(IntEnum):",
        '    """Why a call failed. Later versions of the library may return codes that are not listed here."""',
    ]
    sizes: list[str] = []
    for name, (value, comment) in header.constants.items():
        if name.startswith("KEYSTEAD_E_"):
            lines += ["", f"    # {comment}", f"    {name[len('KEYSTEAD_E_') :]} = {value}"]
        elif name.startswith(("KEYSTEAD_STREAM_", "KEYSTEAD_REVOCATION_", "KEYSTEAD_SEVERITY_")):
            sizes += ["", f"# {comment}", f"{name[len('KEYSTEAD_') :]} = {value}"]
        elif (name, value) != ("KEYSTEAD_OK", 0):
            raise HeaderError(f"a constant that is not known: {name}")
    lines += ["", *sizes] if sizes else []
    for callback in header.callbacks.values():
        lines += [
            "",
            f"{_constant(callback.name)}: Any = CFUNCTYPE(",
            "    None,",
            *(f"    {kind},  # {declaration}" for kind, declaration in callback.arguments),
            ")",
        ]
    lines += [
        "",
        "",
        "class Library:",
        '    """The functions of the library, without their prefix."""',
        "",
        "    def __init__(self, dll: CDLL) -> None:",
    ]
    for function in header.functions:
        name = function.name[len("keystead_") :]
        lines += [
            "",
            f"        self.{name}: Any = dll.{function.name}",
            f"        self.{name}.restype = {function.result}",
            f"        self.{name}.argtypes = [",
            *(f"            {kind},  # {declaration}" for kind, declaration in function.arguments),
            "        ]",
        ]
        if not function.arguments:
            lines[-2:] = [f"        self.{name}.argtypes = []"]
    return "\n".join(lines) + "\n"


def main() -> int:
    try:
        text = render(Header(HEADER.read_text(encoding="utf-8")))
    except HeaderError as error:
        print(f"generate_abi.py: {HEADER}: {error}", file=sys.stderr)
        return 1
    if sys.argv[1:] == ["--check"]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET} is stale; run bindings/python/generate_abi.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
