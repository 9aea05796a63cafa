"""Compares a report with the audit trail it is of: figures.py AUDIT.CSV DOM.HTML REPORT.JSON

DOM.HTML is the page as a browser shows it. All are read by what Python brings, and nothing of ours: each figure, bar
and line is counted anew from the rows.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from shown import Page

Row = dict[str, str]
Counts = dict[str, tuple[int, int]]

# What a table is called on the page and in JSON, and what its rows are counted by.
TABLES: dict[tuple[str, str], Callable[[Row], str]] = {
    ("By key server", "by_server"): lambda row: server(row),
    ("By key", "by_key"): lambda row: row["key_name"],
    ("By operation", "by_operation"): lambda row: row["operation"],
    ("By user", "by_user"): lambda row: row["user"],
}
SHOWN = 15  # rows of a table
LISTED = 50  # failovers in JSON
DAY = 86_400
MOST_BARS = 96
MINUTES_OF_BARS = (1, 5, 15, 60, 180, 360, 720, 1440, 10080)
# Reasons that lie between the client and the server: the codes of 301 and up.
TRANSPORT = {
    "no server",
    "unreachable",
    "deadline",
    "server untrusted",
    "server certificate expired",
    "server name mismatch",
    "client certificate refused",
    "not tls",
    "tls failed",
    "connection lost",
    "reply malformed",
    "server certificate revoked",
    "revocation unknown",
}


class Failover(NamedTuple):
    at: int
    source: str
    target: str
    operation: str
    key: str


class Key(NamedTuple):
    """The newest version of a key."""

    version: int = 0
    since: int = 0
    rotations: int = 0


def server(row: Row) -> str:
    return f"{row['key_server']}:{row['port']}"


def failed(row: Row) -> bool:
    return row["result"] == "failure"


def moment(row: Row) -> int:
    return int(datetime.fromisoformat(f"{row['date']}T{row['time']}+00:00").timestamp())


def minute(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def number(text: str) -> int:
    return int(text.replace(",", ""))


def expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        sys.exit(f"{what}: the trail has {expected}, the report {found}")


def expect_close(what: str, expected: float, found: float) -> None:
    """Lengths are written with one or two decimals."""
    if abs(expected - found) > 0.11:
        sys.exit(f"{what}: by the trail it should be {expected}, and it is {found}")


def counted(rows: list[Row], by: Callable[[Row], str]) -> Counts:
    """How many operations, and how many of them failed."""
    failures = Counter(by(row) for row in rows if failed(row))
    return {name: (count, failures[name]) for name, count in Counter(map(by, rows)).items() if name}


def counted_over_time(rows: list[Row]) -> tuple[int, dict[int, tuple[int, int]]]:
    """The narrowest bars of which not too many are needed: their width in seconds, and each by its start."""
    first, last = min(map(moment, rows)), max(map(moment, rows))
    widths = [60 * minutes for minutes in MINUTES_OF_BARS]
    while last // widths[-1] - first // widths[-1] >= MOST_BARS:
        widths.append(2 * widths[-1])
    width = next(width for width in widths if last // width - first // width < MOST_BARS)
    by_start = counted(rows, lambda row: str(moment(row) // width * width))
    return width, {int(start): count for start, count in sorted(by_start.items(), key=lambda bar: int(bar[0]))}


def failovers_of(rows: list[Row]) -> list[Failover]:
    """Operations that another server served after one could not be reached for the same."""
    found: list[Failover] = []
    unserved: dict[tuple[str, str], str] = {}
    for row in rows:
        subject = (row["operation"], row["key_name"])
        if failed(row):
            if row["result_reason"] in TRANSPORT:
                unserved.setdefault(subject, server(row))
            continue
        source = unserved.pop(subject, server(row))
        if source != server(row):
            found.append(Failover(moment(row), source, server(row), *subject))
    return found


def keys_of(rows: list[Row]) -> dict[str, Key]:
    keys: dict[str, Key] = {row["key_name"]: Key() for row in rows if row["key_name"]}
    for row in rows:
        if failed(row) or not row["key_version"] or not row["key_name"]:
            continue
        key, version, is_made = keys[row["key_name"]], int(row["key_version"]), row["operation"] == "Create"
        rotations = key.rotations + (is_made and version > 1)
        is_newer = version > key.version or (is_made and version == key.version)
        keys[row["key_name"]] = Key(version, moment(row), rotations) if is_newer else key._replace(rotations=rotations)
    return keys


def check_bars(heading: str, page: Page, counts: list[tuple[int, int]]) -> None:
    """The bar of a table's largest row is whole, and the others are in proportion."""
    most = max(count for count, _ in counts)
    expect(f"{heading}, bars", len(counts), len(page.bars[heading]))
    for (count, failures), (ok, bad) in zip(counts, page.bars[heading], strict=True):
        expect_close(f"{heading}, what failed of {count}", max(100 * failures / most, 1) if failures else 0, bad)
        expect_close(f"{heading}, what succeeded of {count}", min(100 * (count - failures) / most, 100 - bad), ok)


def check_table(heading: str, page: Page, told: dict[str, Any], expected: Counts) -> None:
    head, *rows = page.tables[heading]
    operations, failures = head.index("Operations"), head.index("Failed")
    found = {row[0]: (number(row[operations]), number(row[failures])) for row in rows}
    expect(heading, {name: expected.get(name) for name in found}, found)
    check_bars(heading, page, [found[row[0]] for row in rows])
    # A long table shows its largest rows, and says how many it does not show.
    left = [expected[name][0] for name in expected.keys() - found.keys()]
    note = re.search(r"([\d,]+) more", page.notes.get(heading, ""))
    expect(f"{heading}, shown", min(SHOWN, len(expected)), len(found))
    expect(f"{heading}, not shown", len(left), number(note[1]) if note else 0)
    expect(f"{heading}, the largest not shown", True, max(left, default=0) <= min(count for count, _ in found.values()))
    in_json = {name: (count["success"] + count["failure"], count["failure"]) for name, count in told.items()}
    expect(f"{heading} in JSON", expected, in_json)


def check_over_time(page: Page, told: dict[str, Any], rows: list[Row]) -> None:
    width, bars = counted_over_time(rows)
    in_json = {int(at): (bar["success"] + bar["failure"], bar["failure"]) for at, bar in told["bars"].items()}
    expect("over time in JSON", (width, bars), (told["width"], in_json))
    in_figures = [[minute(at), count - failures, failures] for at, (count, failures) in bars.items()]
    found = [[at, number(success), number(failures)] for at, success, failures in page.tables["Over time"][1:]]
    expect("over time in figures", in_figures, found)

    # The grid says what a height means, and the first and the last bar where in time they stand.
    lines = [float(shape.attributes["y1"]) for shape in page.shapes if shape.tag == "line"]
    labels = [number(shape.text) for shape in page.shapes if shape.attributes.get("class") == "axis end"]
    ground, unit = lines[0], (lines[0] - lines[-1]) / labels[-1]
    expect("the grid begins with", 0, labels[0])
    for line, label in zip(lines, labels, strict=True):
        expect_close(f"the height of {label}", ground - label * unit, line)
    drawn: dict[str, dict[str, tuple[float, float, float]]] = {}
    for shape in (shape for shape in page.shapes if shape.tag == "rect"):
        x, y, height = (float(shape.attributes[name]) for name in ("x", "y", "height"))
        drawn.setdefault(shape.text, {})[shape.attributes["class"]] = (x, y, height)
    titles = []
    for at, (count, failures) in bars.items():
        of_them = f", {failures:,} of them failed" if failures else ""
        titles.append(f"{minute(at)}: {count:,} operations{of_them}")
    expect("titles of bars", titles, list(drawn))
    places = [(at - min(bars)) // width for at in bars]
    lefts = [next(iter(parts.values()))[0] for parts in drawn.values()]
    step = (lefts[-1] - lefts[0]) / max(places[-1], 1)
    for title, (count, failures), place, parts in zip(titles, bars.values(), places, drawn.values(), strict=True):
        expect(
            f"{title}, parts",
            {"ok": count > failures, "bad": failures > 0},
            {part: part in parts for part in ("ok", "bad")},
        )
        for x, _, _ in parts.values():
            expect_close(f"{title}, place", lefts[0] + place * step, x)
        success = (count - failures) * unit
        if "ok" in parts:
            expect_close(f"{title}, top of what succeeded", ground - success, parts["ok"][1])
            expect_close(f"{title}, height of what succeeded", success, parts["ok"][2])
        if "bad" in parts:
            # Never so thin that it is overlooked.
            height = max(failures * unit, 2)
            expect_close(f"{title}, top of what failed", ground - success - height, parts["bad"][1])
            expect_close(f"{title}, height of what failed", height, parts["bad"][2])
    most = max(count for count, _ in bars.values())
    period = f"from {minute(min(bars))} to {minute(max(bars) + width)}; the most in one span are {most:,}"
    expect("what is read out of the plot", True, page.plot["aria-label"].endswith(period))


def check_reasons(page: Page, told: dict[str, Any], rows: list[Row]) -> None:
    expected = Counter(row["result_reason"] for row in rows if failed(row))
    expect("reasons in JSON", expected, {reason: count["failure"] for reason, count in told.items()})
    found = {row[0].replace("(none was given)", ""): number(row[2]) for row in page.tables["Why operations failed"][1:]}
    expect("reasons", expected, found)
    check_bars("Why operations failed", page, [(count, count) for count in found.values()])


def check_failovers(page: Page, told: dict[str, Any], rows: list[Row]) -> None:
    expected = failovers_of(rows)
    in_json = [Failover(*(each[name] for name in ("at", "from", "to", "operation", "key"))) for each in told["last"]]
    expect("failovers in JSON", (len(expected), expected[-LISTED:]), (told["count"], in_json))
    expect("failovers", f"{len(expected):,}", page.figures["failovers"])
    last = [[minute(failover.at), *failover[1:]] for failover in reversed(expected[-SHOWN:])]
    expect("the last failovers", last, page.tables.get("Failovers", [[]])[1:])


def check_rotations(page: Page, told: dict[str, Any], rows: list[Row]) -> None:
    keys = keys_of(rows)
    facts = {name: Key(key["version"], key["since"] or 0, key["rotations"]) for name, key in told["by_key"].items()}
    expect("keys in JSON", keys, facts)
    # Midnight may lie between the page and the JSON, and no key of the trail comes of age then.
    due = {name: key for name, key in keys.items() if key.version and key.since < told["made"] - told["rotate_after"]}
    expect("rotations due", f"{len(due):,}", page.figures["due"])
    made = re.search(r"Made (\d{4}-\d\d-\d\d \d\d:\d\d)\.", page.notes[""])
    now = int(datetime.fromisoformat(f"{made[1]}+00:00").timestamp()) if made else 0
    created = {
        (row["key_name"], row["key_version"]) for row in rows if row["operation"] == "Create" and not failed(row)
    }
    lines = []
    for name, key in sorted(due.items(), key=lambda item: (item[1].since, item[0]))[:SHOWN]:
        at_least = "" if (name, str(key.version)) in created else "at least "
        lines.append([name, minute(key.since), f"{at_least}{(now - key.since) // DAY:,} days", str(key.version)])
    expect("keys that are due", lines, page.tables.get("Rotation", [[]])[1:])
    head, *table = page.tables["By key"]
    version, rotated = head.index("Newest version"), head.index("Rotations")
    for row in table:
        key = keys[row[0]]
        found = (row[version], number(row[rotated]))
        expect(
            f"version and rotations of {row[0]}",
            (str(key.version) if key.version else "\N{EN DASH}", key.rotations),
            found,
        )
    rotations = sum(key.rotations for key in keys.values())
    note = re.search(r"in this trail: ([\d,]+)\.", page.notes["Rotation"])
    expect("rotations", rotations, number(note[1]) if note else None)


def main() -> None:
    with open(sys.argv[1], newline="", encoding="utf-8") as trail:
        every = list(csv.DictReader(trail))
    page = Page(Path(sys.argv[2]).read_text(encoding="utf-8"))
    told = json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))
    # Rows without a key server are what the trail tells of itself.
    rows = [row for row in every if row["key_server"]]
    notices = [[minute(moment(row)), row["operation"], row["result_message"]] for row in every if not row["key_server"]]
    failures = sum(map(failed, rows))
    expect("operations", f"{len(rows):,}", page.figures["operations"])
    expect("failures", f"{failures:,}", page.figures["failures"])
    expect("operations in JSON", {"success": len(rows) - failures, "failure": failures}, told["operations"])
    expect("keys", f"{len({row['key_name'] for row in rows if row['key_name']}):,}", page.figures["keys"])
    expect("period in JSON", [min(map(moment, every)), max(map(moment, every))], [told["first"], told["last"]])
    expect("period", True, f"{minute(told['first'])} to {minute(told['last'])}, UTC" in page.notes[""])
    expect("notices", notices[::-1][:SHOWN], page.tables.get("What the trail tells of itself", [[]])[1:])
    expect("notices in JSON", len(notices), told["notices"]["count"])
    for (heading, name), by in TABLES.items():
        check_table(heading, page, told[name], counted(rows, by))
    check_over_time(page, told["over_time"], rows)
    check_reasons(page, told["reasons"], rows)
    check_failovers(page, told["failovers"], rows)
    check_rotations(page, told, rows)


main()
