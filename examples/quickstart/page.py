"""The page that the quick start prints: steps with their time, checks that count, plain text off a terminal."""

from __future__ import annotations

import os
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 96
INDENT = "    "


class Page:
    def __init__(self) -> None:
        self.checks = 0
        self.failed: list[str] = []
        self._step = 0
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered step, with the time it took at its end, unless it took none to speak of."""
        self._step += 1
        print(self._style("1", f"{self._step:>2}  {title}"))
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        print(self._style("2", f"{f'{seconds:.1f} s':>{WIDTH}}") if seconds > 0.05 else "")

    def title(self, text: str) -> None:
        print(self._style("1", text))

    def space(self) -> None:
        print()

    def say(self, text: str) -> None:
        """A paragraph, wrapped."""
        print(textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False))

    def line(self, text: str = "") -> None:
        """One line, cut where the page ends."""
        print(f"{INDENT}{cut(text, WIDTH - len(INDENT))}".rstrip())

    def quote(self, text: str) -> None:
        """Text of somebody else: source, or what the tool printed."""
        for line in text.rstrip("\n").split("\n"):
            deeper = INDENT + "  " + line[: len(line) - len(line.lstrip())]
            lines = [INDENT + line]
            if len(line) > WIDTH:
                lines = textwrap.wrap(line, WIDTH, initial_indent=INDENT, subsequent_indent=deeper)
            for part in lines:
                print(self._style("36", part))

    def check(self, holds: bool, text: str) -> None:
        """Something that must be so; the quick start fails where it is not."""
        self.checks += 1
        if not holds:
            self.failed.append(text)
        mark = self._style("32", "✓") if holds else self._style("31", "✗ FAILED:")
        print(f"{INDENT}{mark} {cut(text, WIDTH - len(INDENT) - 2)}")

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) or c == "\ufe0f" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, columns: int) -> str:
    if width(text) <= columns:
        return text
    while width(text) > columns - 1:
        text = text[:-1]
    return text + "…"
