"""Move the messages in a table to the newest versions of their keys, and prove that no older one is left.

    job = Reencryption(
        client, sqlite3.connect("orders.db"), "customers", key_column="id", columns=["name", "email"],
        aad=lambda row, column: f"customers/{row['id']}/{column}".encode(), expect="customer-*",
    )
    outcome = job.run(print)
    for version in outcome.superseded():
        print(f"keystead key revoke {version} --reason superseded")

It works through any DB-API 2 connection to SQLite or PostgreSQL, in short transactions, while the application reads and
writes. A cell is replaced only if it still holds what was read, so that nothing written meanwhile is lost. Where it has
come to is kept in a table of the same database: a job that was killed goes on there when it is run again.

The last of its passes over the table finds nothing that is left to do, and that is the proof. It holds from then on if
every writer uses the new version: run the job with a new client, at least `cache.ttl` after the rotation.

Where the associated data follow a simple rule, `python -m keystead.reencrypt --help` tells of the same as a command.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ._abi import Code
from ._client import key_id
from ._errors import DataError, KeyNotFound, KeyStateError, NotAuthentic, WrongKey, argument_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ._client import Client
    from ._errors import KeysteadError

_T = TypeVar("_T")

_ATTEMPTS = 5
_NAMED = 20
_SPACE = "space:"


@dataclass(frozen=True)
class Progress:
    """How far a job has come. The time left is of this pass, in seconds; None until it can be told."""

    passes: int
    rows: int
    of_rows: int
    moved: int
    seconds_left: float | None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {_duration(self.seconds_left)} left"
        return f"pass {self.passes}: {self.rows} of {self.of_rows} rows, {self.moved} messages moved{left}"


@dataclass(frozen=True)
class Cell:
    """One value of the table."""

    row: Any
    column: str
    why: str

    def __str__(self) -> str:
        return f"row {self.row!r}, column {self.column}: {self.why}"


@dataclass
class Outcome:
    """What a finished job found in its last pass, which changed nothing."""

    rows: int
    moved: int
    """Messages that the job wrote anew, in all passes and runs."""
    outrun: int
    """Messages that somebody else wrote between reading and replacing, and that were left as they were written."""
    passes: int
    versions: Counter[str]
    """Every key that messages of this table name, and how many do."""
    others: int
    """Messages of keys that the job was not to move."""
    unreadable: list[Cell]
    """The first cells that could not be moved. There are none unless the job was told to tolerate them."""

    def superseded(self) -> list[str]:
        """The versions that this table needs no more: "customer-42/1". A deactivated version still decrypts; before you
        destroy one, make sure that no other table, file or backup has messages of it."""
        if self.unreadable:
            return []
        newest: dict[str, int] = {}
        for version in self.versions:
            name, _, number = version.rpartition("/")
            newest[name] = max(newest.get(name, 0), int(number))
        return [f"{name}/{number}" for name in sorted(newest) for number in range(1, newest[name])]


class ReencryptionError(DataError):
    """A cell holds no message, none that its associated data fit, or one whose key is not there or may not decrypt:
    nothing was changed in it."""


@dataclass
class _State:
    """Where a job has come to: what its row of the state table holds."""

    passes: int = 1
    position: Any = None
    """The key of the last row that was done in this pass. None before the first."""
    rows: int = 0
    moved: int = 0
    outrun: int = 0
    is_whole: bool = True
    """Whether this pass began at the first row in this run, so that it sees the whole table itself."""
    changed: int = 0
    """Messages that this pass found to be old."""
    finished: bool = False

    def dump(self) -> str:
        stored = dict(self.__dict__, position=_encoded(self.position))
        del stored["is_whole"]
        return json.dumps(stored)

    @staticmethod
    def load(text: str) -> _State:
        stored = json.loads(text)
        stored["position"] = _decoded(stored["position"])
        return _State(**stored, is_whole=False)


@dataclass
class _Findings:
    """What one pass has seen."""

    versions: Counter[str] = field(default_factory=Counter)
    others: int = 0
    unreadable: list[Cell] = field(default_factory=list)


class Reencryption:
    """A job that moves the messages in some columns of one table.

    `aad` gives the associated data of a cell from its row, a mapping of the key column and the `context_columns`, and
    the name of its column. `expect` names the keys whose messages are to be moved, as in `Client.decrypt`; messages of
    other keys stay as they are. The key column must be unique and without NULL; NULL in other columns is passed over.

    The connection is the job's while it runs. It stops at the first cell that cannot be read, unless `tolerate` allows
    so many.
    """

    def __init__(
        self,
        client: Client,
        connection: Any,
        table: str,
        *,
        key_column: str,
        columns: Sequence[str],
        aad: Callable[[Mapping[str, Any], str], bytes],
        expect: str,
        context_columns: Sequence[str] = (),
        batch_rows: int = 500,
        tolerate: int = 0,
        state_table: str = "keystead_reencryption",
    ) -> None:
        self._client, self._connection, self._aad, self._expect = client, connection, aad, expect
        self._key, self._columns, self._context = key_column, list(columns), list(context_columns)
        self._batch, self._tolerate = batch_rows, tolerate
        self._table, self._states = _quoted(table), _quoted(state_table)
        self._mark = _placeholder(connection)
        self._name = json.dumps([table, key_column, self._columns, expect])

    def run(self, on_progress: Callable[[Progress], None] | None = None) -> Outcome:
        """Works until a whole pass finds nothing to move. A job that was interrupted goes on where it was.

        Raises `ReencryptionError` for a cell that cannot be read, and whatever the client or the database raise; run it
        again when that is mended.
        """
        self._retried(self._prepare)
        state = self._retried(self._load)
        while True:
            findings = _Findings()
            self._pass(state, findings, on_progress)
            if state.is_whole and state.changed == 0:
                break
            state = _State(passes=state.passes + 1, moved=state.moved, outrun=state.outrun)
        state.finished = True
        self._retried(self._save, state)
        return Outcome(
            rows=state.rows,
            moved=state.moved,
            outrun=state.outrun,
            passes=state.passes,
            versions=findings.versions,
            others=findings.others,
            unreadable=findings.unreadable,
        )

    def _pass(self, state: _State, findings: _Findings, on_progress: Callable[[Progress], None] | None) -> None:
        (total,) = self._retried(self._query, f"SELECT count(*) FROM {self._table}")[0]
        start, rows_before = time.monotonic(), state.rows
        while rows := self._retried(self._read, state.position):
            updates = self._updates(rows, findings)
            self._retried(self._write, state, rows, updates)
            if on_progress is not None:
                pace = (time.monotonic() - start) / (state.rows - rows_before)
                left = max(0, total - state.rows) * pace
                on_progress(Progress(state.passes, state.rows, max(total, state.rows), state.moved, left))

    def _read(self, position: Any) -> list[tuple[Any, ...]]:
        """The next rows: key, context, columns. The transaction ends before the work begins."""
        names = ", ".join(self._column(name) for name in [self._key, *self._context, *self._columns])
        key = self._column(self._key)
        after = "" if position is None else f"WHERE {key} > {self._mark} "
        query = f"SELECT {names} FROM {self._table} {after}ORDER BY {key} LIMIT {int(self._batch)}"
        return self._query(query, () if position is None else (position,))

    def _updates(self, rows: list[tuple[Any, ...]], findings: _Findings) -> list[_Update]:
        cells = []
        for row in rows:
            known = {name: row[place] for place, name in enumerate([self._key, *self._context])}
            for place, column in enumerate(self._columns, len(known)):
                value = row[place]
                if value is None:
                    continue
                cell = Cell(row[0], column, "")
                message = self._message(cell, value, findings)
                if message is not None:
                    cells.append((cell, message, self._aad(known, column)))
        moved = self._moved(cells, findings)
        updates: dict[Any, _Update] = {}
        for place, (cell, old, _) in enumerate(cells):
            new = moved[place]
            if new is None:
                continue
            findings.versions[key_id(new)] += 1
            if new != old:
                updates.setdefault(cell.row, _Update(cell.row)).changes[cell.column] = (old, new)
        return list(updates.values())

    def _message(self, cell: Cell, value: Any, findings: _Findings) -> bytes | None:
        """The message in a cell, if it is one to be moved."""
        if isinstance(value, str):
            self._note(cell, "it holds text and not the bytes of a message", findings)
            return None
        message = bytes(value)
        try:
            name = key_id(message).rpartition("/")[0]
        except NotAuthentic:
            self._note(cell, "it is not a message", findings)
            return None
        is_expected = name == self._expect or (self._expect.endswith("*") and name.startswith(self._expect[:-1]))
        # The key of a data space has no newer version.
        if is_expected and not name.startswith(_SPACE):
            return message
        findings.others += 1
        return None

    def _moved(self, cells: list[tuple[Cell, bytes, bytes]], findings: _Findings) -> list[bytes | None]:
        messages, aads = [message for _, message, _ in cells], [aad for _, _, aad in cells]
        try:
            return list(self._client.reencrypt_many(messages, aads, expect=self._expect))
        except (NotAuthentic, WrongKey, KeyNotFound, KeyStateError) as error:
            if isinstance(error, KeyNotFound) and error.detail.get("attempts"):
                raise  # A server that could not be asked may have the key.
            if len(cells) > 1:
                half = len(cells) // 2
                return self._moved(cells[:half], findings) + self._moved(cells[half:], findings)
            self._note(cells[0][0], _reason(error, messages[0]), findings)
            return [None]

    def _note(self, cell: Cell, why: str, findings: _Findings) -> None:
        findings.unreadable.append(Cell(cell.row, cell.column, why))
        if len(findings.unreadable) > self._tolerate:
            named = "; ".join(str(cell) for cell in findings.unreadable[:_NAMED])
            message = f"cells of {self._table} cannot be moved to a new version of their key: {named}"
            detail = {"code": int(Code.NOT_AUTHENTIC), "message": message, "retryable": False}
            raise ReencryptionError(Code.NOT_AUTHENTIC, Code.NOT_AUTHENTIC.name, message, detail, False)

    def _write(self, state: _State, rows: list[tuple[Any, ...]], updates: list[_Update]) -> None:
        """One transaction: what was moved, and where the job has come to."""
        found = sum(len(update.changes) for update in updates)
        cursor, outrun = self._connection.cursor(), 0
        try:
            for columns, parameters in _grouped(updates):
                sets = ", ".join(f"{_quoted(column)} = {self._mark}" for column in columns)
                same = "".join(f" AND {_quoted(column)} = {self._mark}" for column in columns)
                query = f"UPDATE {self._table} SET {sets} WHERE {_quoted(self._key)} = {self._mark}{same}"
                cursor.executemany(query, parameters)
                outrun += (len(parameters) - cursor.rowcount) * len(columns)
        finally:
            cursor.close()
        position, seen = rows[-1][0], state.rows + len(rows)
        after = _State(
            passes=state.passes,
            position=position,
            rows=seen,
            moved=state.moved + found - outrun,
            outrun=state.outrun + outrun,
            is_whole=state.is_whole,
            changed=state.changed + found,
        )
        self._save(after)
        # Only now, so that a transaction that has to be tried again finds the state as it was.
        state.__dict__.update(after.__dict__)

    def _prepare(self) -> None:
        self._execute(f"CREATE TABLE IF NOT EXISTS {self._states} (job VARCHAR(2000) PRIMARY KEY, state TEXT NOT NULL)")
        key, name = self._column(self._key), f"column {_quoted(self._key)} of {self._table}"
        if self._query(f"SELECT 1 FROM {self._table} WHERE {key} IS NULL LIMIT 1"):
            raise argument_error(f"{name} holds NULL; name a key column without")
        if self._query(f"SELECT 1 FROM {self._table} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"):
            raise argument_error(f"{name} holds values twice; name a key column that is unique")

    def _load(self) -> _State:
        found = self._query(f"SELECT state FROM {self._states} WHERE job = {self._mark}", (self._name,))
        if found:
            state = _State.load(found[0][0])
            # A pass that was to be the proof is worth nothing in two halves.
            if not state.finished and state.passes == 1 and state.position is not None:
                return state
            if not state.finished:
                return _State(passes=state.passes, moved=state.moved, outrun=state.outrun)
            self._execute(f"DELETE FROM {self._states} WHERE job = {self._mark}", (self._name,))
        state = _State()
        insert = f"INSERT INTO {self._states} (job, state) VALUES ({self._mark}, {self._mark})"
        self._execute(insert, (self._name, state.dump()))
        return state

    def _save(self, state: _State) -> None:
        update = f"UPDATE {self._states} SET state = {self._mark} WHERE job = {self._mark}"
        self._execute(update, (state.dump(), self._name))

    def _column(self, name: str) -> str:
        """SQLite takes a quoted name without its table, where there is no such column, for a text."""
        return f"{self._table}.{_quoted(name)}"

    def _query(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(query, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        finally:
            cursor.close()
        self._connection.commit()
        return rows

    def _execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> None:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, parameters)
        finally:
            cursor.close()
        self._connection.commit()

    def _retried(self, transaction: Callable[..., _T], *arguments: Any) -> _T:
        """Once more where another transaction was in the way: a locked database, a deadlock."""
        for attempt in range(_ATTEMPTS):
            try:
                return transaction(*arguments)
            except Exception as error:
                self._connection.rollback()
                in_the_way = isinstance(error, self._connection.OperationalError)
                if not in_the_way or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


@dataclass
class _Update:
    """A row, and in each column what it held and what it shall hold."""

    row: Any
    changes: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)


def _grouped(updates: list[_Update]) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    """The rows in which the same columns change, with the parameters of each: new values, key, old values."""
    groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for update in updates:
        columns = tuple(update.changes)
        olds = [old for old, _ in update.changes.values()]
        news = [new for _, new in update.changes.values()]
        groups.setdefault(columns, []).append((*news, update.row, *olds))
    for columns, parameters in groups.items():
        yield list(columns), parameters


def _reason(error: KeysteadError, message: bytes) -> str:
    if isinstance(error, NotAuthentic):
        return f"{error}; does the rule for associated data fit?"
    if isinstance(error, KeyNotFound):
        return f"no key server has its key {key_id(message)}; use those that have it, or expect fewer keys"
    return str(error)


def _encoded(position: Any) -> Any:
    """A key as JSON. One of another type is not kept: the pass then begins again, and loses nothing."""
    if isinstance(position, bool) or position is None:
        return None
    if isinstance(position, (bytes, memoryview)):
        return {"bytes": bytes(position).hex()}
    if isinstance(position, uuid.UUID):
        return {"uuid": str(position)}
    return position if isinstance(position, (int, str)) else None


def _decoded(position: Any) -> Any:
    if isinstance(position, dict):
        return uuid.UUID(position["uuid"]) if "uuid" in position else bytes.fromhex(position["bytes"])
    return position


def _quoted(name: str) -> str:
    """An identifier, with its schema where it has one, that cannot end the quotes around it."""
    if "\0" in name or not all(name.split(".")):
        raise ValueError(f"{name!r} is not the name of a table or column")
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _placeholder(connection: Any) -> str:
    module = sys.modules[type(connection).__module__.partition(".")[0]]
    style = getattr(module, "paramstyle", None)
    if style == "qmark":
        return "?"
    if style in ("format", "pyformat"):
        return "%s"
    raise ValueError(f"{module.__name__} passes parameters as {style!r}; a driver of SQLite or PostgreSQL is needed")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


if __name__ == "__main__":
    from ._reencrypt_command import main

    sys.exit(main())
