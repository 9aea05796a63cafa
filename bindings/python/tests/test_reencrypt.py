"""What moving a table to the newest versions of its keys promises.

KEYSTEAD_KILLS says how often a running job is killed, on each kind of database; twice if it does not. KEYSTEAD_SEED
says when, and what another writer writes meanwhile.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from keystead.reencrypt import Progress, ReencryptionError
from postgresql import PostgreSQL, programs
from reencrypt_worker import COLUMNS, aad, connect, job
from support import WithKeyServers, keystead

KILLS = int(os.environ.get("KEYSTEAD_KILLS", "2"))
ROWS = 600
BATCH = 3
TYPES = {"sqlite": "BLOB", "postgresql": "BYTEA"}
TENANTS = ("north", "south")
_numbers = count(1)
Plaintexts = dict[tuple[int, str], bytes]


class WithATable(WithKeyServers):
    """A table of customers of two tenants, each with a key of its own. Some cells are NULL."""

    kind = "sqlite"

    def setUp(self) -> None:
        super().setUp()
        self.database = str(self.servers.folder / f"{self.id()}.db")
        self.make_table()

    def make_table(self) -> None:
        self.connection = connect(self.kind, self.database)
        self.addCleanup(self.connection.close)
        self.mark = "?" if self.kind == "sqlite" else "%s"
        self.execute("DROP TABLE IF EXISTS customers")
        self.execute("DROP TABLE IF EXISTS keystead_reencryption")
        blob = TYPES[self.kind]
        self.execute(f"CREATE TABLE customers (id INTEGER PRIMARY KEY, tenant TEXT, name {blob}, email {blob})")
        number = next(_numbers)
        self.keys = {tenant: self.client.create_key(f"customer-{tenant}-{number}") for tenant in TENANTS}
        self.other = self.client.create_key(f"elsewhere-{number}")
        self.expected: Plaintexts = {}

    def fill(self, rows: int) -> None:
        tenants = random.Random(rows)
        for row in range(rows):
            tenant = tenants.choice(TENANTS)
            cells = [self.message(row, tenant, column, f"{column} of {row}".encode()) for column in COLUMNS]
            if row % 7 == 0:
                cells[1] = None
                del self.expected[row, COLUMNS[1]]
            marks = ", ".join([self.mark] * 4)
            self.execute(f"INSERT INTO customers VALUES ({marks})", (row, tenant, *cells), commit=False)
        self.connection.commit()

    def message(self, row: int, tenant: str, column: str, plaintext: bytes) -> bytes | None:
        self.expected[row, column] = plaintext
        return self.keys[tenant].encrypt(plaintext, aad({"id": row, "tenant": tenant}, column))

    def execute(self, statement: str, parameters: tuple[Any, ...] = (), commit: bool = True) -> None:
        cursor = self.connection.cursor()
        cursor.execute(statement, parameters)
        if commit:
            self.connection.commit()

    def rows(self) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        cursor.execute("SELECT id, tenant, name, email FROM customers ORDER BY id")
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        self.connection.commit()
        return rows

    def rotate(self) -> None:
        for key in self.keys.values():
            self.client.rotate_key(key.id.split("/")[0])

    def check_plaintexts(self) -> None:
        """Nothing is lost, and nothing is there twice."""
        found: Plaintexts = {}
        messages, aads, places = [], [], []
        rows = self.rows()
        for row, tenant, *cells in rows:
            for place, column in enumerate(COLUMNS):
                if cells[place] is not None:
                    places.append((row, column))
                    messages.append(bytes(cells[place]))
                    aads.append(aad({"id": row, "tenant": tenant}, column))
        for place, plaintext in enumerate(self.client.decrypt_many(messages, aads, expect="*")):
            found[places[place]] = plaintext
        self.assertEqual(len(rows), len({row for row, *_ in rows}))
        self.assertEqual(found, self.expected)

    def versions(self) -> set[str]:
        return {keystead.key_id(cell) for _, _, *cells in self.rows() for cell in cells if cell is not None}


class ATable(WithATable):
    def test_is_moved_as_a_whole_and_reads_as_before(self) -> None:
        self.fill(100)
        self.rotate()
        self.rotate()
        told: list[Progress] = []
        outcome = job(self.client, self.connection, 9).run(told.append)
        ids = {key.id for key in self.keys.values()}
        self.assertEqual(self.versions(), ids)
        self.assertEqual(set(outcome.versions), ids)
        self.assertEqual((outcome.rows, outcome.moved, outcome.passes), (100, len(self.expected), 2))
        self.assertEqual(sum(outcome.versions.values()), len(self.expected))
        self.assertEqual(outcome.superseded(), sorted(f"{i[:-2]}/{old}" for i in ids for old in (1, 2)))
        self.check_plaintexts()
        self.assertEqual([progress.rows for progress in told[:3]], [9, 18, 27])
        self.assertRegex(str(told[2]), r"^pass 1: 27 of 100 rows, \d+ messages moved, 0:00:\d\d left$")
        again = job(self.client, self.connection, 1000).run()
        self.assertEqual((again.moved, again.passes), (0, 1))

    def test_keeps_what_is_written_while_a_job_is_under_way(self) -> None:
        self.fill(20)
        self.rotate()
        work = job(self.client, self.connection, 5)
        writer = connect(self.kind, self.database)
        was_written: list[Any] = []
        self.addCleanup(writer.close)

        def write_between(row: Any, column: str) -> bytes:
            if row["id"] == 11 and not was_written:
                was_written.append(row)
                message = self.message(11, row["tenant"], "name", b"written meanwhile")
                writer.cursor().execute(f"UPDATE customers SET name = {self.mark} WHERE id = 11", (message,))
                writer.commit()
            return aad(row, column)

        work._aad = write_between
        outcome = work.run()
        # The whole row was left alone, and its other column moved in the next pass.
        self.assertEqual((outcome.outrun, outcome.passes), (2, 3))
        self.check_plaintexts()
        self.assertEqual(self.versions(), {key.id for key in self.keys.values()})

    def test_goes_on_where_it_was_interrupted(self) -> None:
        self.fill(50)
        self.rotate()

        def interrupt(progress: Progress) -> None:
            if progress.rows >= 20:
                raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            job(self.client, self.connection, 5).run(interrupt)
        told: list[Progress] = []
        outcome = job(self.client, self.connection, 5).run(told.append)
        self.assertEqual((told[0].rows, told[0].passes, outcome.passes), (25, 1, 2))
        self.assertEqual(outcome.moved, len(self.expected))
        self.check_plaintexts()

    def test_stops_at_what_it_cannot_read_and_names_it(self) -> None:
        self.fill(20)
        self.execute(f"UPDATE customers SET name = {self.mark} WHERE id = 13", (b"no message",))
        self.rotate()
        with self.assertRaisesRegex(ReencryptionError, "row 13, column name: it is not a message"):
            job(self.client, self.connection, 5).run()
        foreign = self.keys["north"].encrypt(b"of another row", b"another row")
        self.execute(f"UPDATE customers SET name = {self.mark} WHERE id = 13", (foreign,))
        self.rotate()
        with self.assertRaisesRegex(ReencryptionError, "row 13, column name: .*rule for associated data"):
            job(self.client, self.connection, 5).run()
        tolerant = job(self.client, self.connection, 5)
        tolerant._tolerate = 1
        outcome = tolerant.run()
        self.assertEqual([(cell.row, cell.column) for cell in outcome.unreadable], [(13, "name")])
        self.assertEqual(outcome.superseded(), [], "the old version is still needed")

    def test_leaves_messages_of_other_keys_alone(self) -> None:
        self.fill(10)
        message = self.other.encrypt(b"elsewhere")
        self.execute(f"UPDATE customers SET name = {self.mark} WHERE id = 4", (message,))
        self.rotate()
        outcome = job(self.client, self.connection, 100).run()
        self.assertEqual((outcome.others, bytes(self.rows()[4][2])), (1, message))

    def test_names_cells_of_keys_that_are_lost_or_stolen_and_moves_the_others(self) -> None:
        self.fill(20)
        number = next(_numbers)
        stolen = self.client.create_key(f"customer-stolen-{number}")
        row, tenant = 7, self.rows()[7][1]
        taken = stolen.encrypt(b"taken", aad({"id": row, "tenant": tenant}, "name"))
        self.client.revoke_key(stolen.id, keystead.Revocation.KEY_COMPROMISE)
        away = self.client.create_key(f"customer-away-{number}").encrypt(b"away").replace(b"away", b"lost", 1)
        self.client.create_kek(f"kek-{number}")
        dek = self.servers.folder / f"{number}.dek"
        space = self.client.create_space(f"orders-{number}", dek, kek=f"kek-{number}")
        self.rotate()
        for column, message in (("name", taken), ("email", space.encrypt(b"a space's"))):
            self.execute(f"UPDATE customers SET {column} = {self.mark} WHERE id = 7", (message,))
        self.execute(f"UPDATE customers SET name = {self.mark} WHERE id = 13", (away,))
        with self.assertRaisesRegex(ReencryptionError, f"row 7, column name: .*stolen-{number}/1"):
            self.all_keys(0).run()
        outcome = self.all_keys(2).run()
        self.assertEqual([(cell.row, cell.column) for cell in outcome.unreadable], [(7, "name"), (13, "name")])
        self.assertIn(f"customer-lost-{number}/1", outcome.unreadable[1].why)
        self.assertNotIn("create it", outcome.unreadable[1].why)
        self.assertEqual((outcome.others, outcome.superseded()), (1, []))

    def all_keys(self, tolerate: int) -> Any:
        work = job(self.client, self.connection, 5)
        work._expect, work._tolerate = "*", tolerate
        return work

    def test_needs_a_key_column_that_names_each_row(self) -> None:
        self.fill(10)
        work = job(self.client, self.connection, 5)
        work._key = "tenant"
        with self.assertRaisesRegex(keystead.ArgumentError, "holds values twice"):
            work.run()
        self.execute("UPDATE customers SET tenant = NULL WHERE id = 3")
        with self.assertRaisesRegex(keystead.ArgumentError, "holds NULL"):
            work.run()


class AKilledJob(WithATable):
    """Killed at random moments while another connection writes, and started again, until it was killed often enough."""

    def test_ends_with_all_rows_on_the_new_version_and_none_lost_or_doubled(self) -> None:
        self.fill(ROWS)
        self.rotate()
        kills = completed = 0
        seed = os.environ.get("KEYSTEAD_SEED") or str(time.time_ns())
        print(f"KEYSTEAD_SEED={seed} repeats this", flush=True)
        moments = random.Random(seed)
        with Writer(self, seed) as writer:
            while kills < KILLS or completed == 0:
                # One that has only the proof before it is let go on, so that most are killed while they move rows.
                is_spared = kills >= KILLS or self.versions() == {key.id for key in self.keys.values()}
                if self.run_and_kill(None if is_spared else moments.uniform(0, 1.5)):
                    kills += 1
                    writer.paused(self.check_plaintexts)
                    continue
                completed += 1
                writer.paused(self.check_completed)
                self.rotate()
        print(f"{self.kind}: {kills} kills, {completed} completed jobs, {writer.written} rows written meanwhile")

    def check_completed(self) -> None:
        self.check_plaintexts()
        self.assertEqual(self.versions(), {key.id for key in self.keys.values()})

    def run_and_kill(self, after: float | None) -> bool:
        """Whether the kill came before the job's end."""
        program = str(Path(__file__).with_name("reencrypt_worker.py"))
        command = [sys.executable, program, str(self.servers.config), self.kind, self.database, str(BATCH)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as worker:
            assert worker.stdout is not None
            self.assertEqual(worker.stdout.readline(), "begins\n")
            if after is not None:
                try:
                    worker.wait(after)
                except subprocess.TimeoutExpired:
                    worker.kill()
            rest = worker.stdout.read()
        if worker.returncode == -9:
            return True
        self.assertEqual((worker.returncode, rest), (0, "ends\n"))
        return False


class Writer:
    """Another part of the application: writes rows again and again, and remembers what it wrote."""

    def __init__(self, table: WithATable, seed: str) -> None:
        self._table = table
        self._random = random.Random(seed)
        self._turn = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def paused(self, check: Callable[[], None]) -> None:
        with self._turn:
            check()

    def _write(self) -> None:
        table = self._table
        connection = connect(table.kind, table.database)
        tenants = {row: tenant for row, tenant, *_ in self._read(connection)}
        while not self._is_over.wait(0.01):
            with self._turn:
                row, column = self._random.randrange(ROWS), COLUMNS[0]
                message = table.message(row, tenants[row], column, f"written {self.written}".encode())
                cursor = connection.cursor()
                cursor.execute(f"UPDATE customers SET {column} = {table.mark} WHERE id = {row}", (message,))
                connection.commit()
                self.written += 1
        connection.close()

    def _read(self, connection: Any) -> list[tuple[Any, ...]]:
        cursor = connection.cursor()
        cursor.execute("SELECT id, tenant FROM customers")
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        connection.commit()
        return rows


# psycopg is among the requirements of the tests: where that is missing, they fail.
@unittest.skipUnless(programs(), "no PostgreSQL on this machine")
class WithPostgreSQL(WithATable):
    kind = "postgresql"
    server: PostgreSQL

    @classmethod
    def setUpClass(cls) -> None:
        folder = programs()
        assert folder is not None
        cls.server = PostgreSQL(folder)
        cls.addClassCleanup(cls.server.finish)

    def setUp(self) -> None:
        WithKeyServers.setUp(self)
        self.database = self.server.database
        self.make_table()


class ATableOfPostgreSQL(WithPostgreSQL, ATable):
    pass


class AKilledJobOnPostgreSQL(WithPostgreSQL, AKilledJob):
    pass


if __name__ == "__main__":
    unittest.main()
