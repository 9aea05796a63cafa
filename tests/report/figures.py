"""Compares the page that a browser shows of an audit trail with the trail itself: figures.py AUDIT.CSV DOM.HTML

Both are read by what Python brings, and nothing of ours: each figure of the page is counted anew from the rows.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser

Row = dict[str, str]

# The heading of a table, and what its rows are counted by.
TABLES: dict[str, Callable[[Row], str]] = {
    "By key server": lambda row: f"{row['key_server']}:{row['port']}",
    "By key": lambda row: row["key_name"],
    "By operation": lambda row: row["operation"],
    "By user": lambda row: row["user"],
}


class Page(HTMLParser):
    """The figures with an id, and the cells of each table below its heading; drawings are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.notes: dict[str, str] = {}
        self.heading = self.text = ""
        self.id: str | None = None
        self.drawings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawings += tag == "svg"
        if tag in ("h2", "th", "td", "dd", "p"):
            self.text, self.id = "", dict(attrs).get("id")
        if tag == "tr":
            self.tables.setdefault(self.heading, []).append([])

    def handle_data(self, data: str) -> None:
        if self.drawings == 0:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.drawings -= tag == "svg"
        if tag == "h2":
            self.heading = self.text
        elif tag in ("th", "td"):
            self.tables[self.heading][-1].append(self.text)
        elif tag == "p":
            self.notes[self.heading] = self.notes.get(self.heading, "") + self.text
        elif tag == "dd" and self.id:
            self.figures[self.id] = self.text


def counted(rows: list[Row], by: Callable[[Row], str]) -> dict[str, tuple[int, int]]:
    """How many operations, and how many of them failed."""
    failed = Counter(by(row) for row in rows if row["result"] == "failure")
    return {name: (count, failed[name]) for name, count in Counter(map(by, rows)).items()}


def shown(table: list[list[str]]) -> dict[str, tuple[int, int]]:
    head, *rows = table
    operations, failed = head.index("Operations"), head.index("Failed")
    return {row[0]: (int(row[operations]), int(row[failed])) for row in rows}


def expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        sys.exit(f"{what}: the trail has {expected}, the page {found}")


with open(sys.argv[1], newline="", encoding="utf-8") as trail:
    every = list(csv.DictReader(trail))
page = Page()
with open(sys.argv[2], encoding="utf-8") as dom:
    page.feed(dom.read())
expect("operations", str(len(every)), page.figures["operations"])
expect("failures", str(sum(row["result"] == "failure" for row in every)), page.figures["failures"])
expect("keys", str(len({row["key_name"] for row in every})), page.figures["keys"])
for heading, by in TABLES.items():
    expected, found = counted(every, by), shown(page.tables[heading])
    expect(heading, {name: expected.get(name) for name in found}, found)
    # A long table shows its largest rows, and says how many it does not show.
    left = [expected[name] for name in expected.keys() - found.keys()]
    note = re.search(r"(\d+) more", page.notes.get(heading, ""))
    expect(f"{heading}, not shown", len(left), int(note[1]) if note else 0)
    expect(f"{heading}, the largest not shown", True, max(left, default=(0, 0)) <= min(found.values()))
