"""The application of the quick start: a table of customers, every personal column encrypted, a key for each group."""

from __future__ import annotations

import csv
import sqlite3
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection

from keystead import Client

COLUMNS = ("name", "email", "phone", "note")
INSERT = "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)"
SELECT = 'SELECT id, "group", name, email, phone, note FROM customers WHERE "group" = ? ORDER BY id'

Row = dict[str, str]


def encrypt_group(client: Client, database: Connection, group: str, rows: list[Row]) -> None:
    key = client.create_key(f"customers-{group}")
    for row in rows:
        cells = [key.encrypt(row[column].encode(), place(row, column)) for column in COLUMNS]
        database.execute(INSERT, (row["id"], group, *cells))


def place(row: Row, column: str) -> bytes:
    """Where a value belongs. It is bound to the message, which opens nowhere else."""
    return f"customers/{row['id']}/{column}".encode()


def decrypt_group(client: Client, database: Connection, group: str) -> list[Row]:
    rows = []
    for number, _, *cells in database.execute(SELECT, (group,)):
        row = {"id": str(number), "group": group}
        for column, cell in zip(COLUMNS, cells, strict=True):
            row[column] = client.decrypt(cell, place(row, column), expect=f"customers-{group}").decode()
        rows.append(row)
    return rows


def insert_in_plain(database: Connection, rows: list[Row]) -> None:
    """What one does without Keystead: the control that a search for plaintexts has to succeed on."""
    for row in rows:
        database.execute(INSERT, tuple(row.values()))


def open_database(path: Path) -> Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA wal_autocheckpoint = 50")  # So that both files have content while it is searched.
    database.execute('CREATE TABLE customers (id INTEGER PRIMARY KEY, "group" TEXT, name, email, phone, note)')
    return database


def read_groups(path: Path) -> dict[str, list[Row]]:
    with open(path, encoding="utf-8", newline="") as file:
        return {group: list(rows) for group, rows in groupby(csv.DictReader(file), key=lambda row: row["group"])}


def values(rows: list[Row]) -> set[bytes]:
    """What nobody without a key may find."""
    return {row[column].encode() for row in rows for column in COLUMNS}


def find(wanted: set[bytes], files: list[Path]) -> set[bytes]:
    """Those of the wanted values that lie in one of the files, anywhere."""
    length = min(map(len, wanted))
    by_beginning: dict[bytes, list[bytes]] = {}
    for value in wanted:
        by_beginning.setdefault(value[:length], []).append(value)
    found = set()
    for content in map(Path.read_bytes, files):
        for position in range(len(content) - length + 1):
            for value in by_beginning.get(content[position : position + length], ()):
                if content.startswith(value, position):
                    found.add(value)
    return found
