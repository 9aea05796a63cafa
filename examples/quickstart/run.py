"""The quick start: an application, a database, two real key servers. `cmake --workflow --preset demo` runs it.

The application itself is customers.py. This is the stage around it: it kills a key server half-way, looks for
plaintexts in the raw files, alters a byte, and fails if anything is not as it should be.
"""

from __future__ import annotations

import csv
import inspect
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import customers as application
import keystead
from keyservers import HarnessError, KeyServers
from page import Page

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("KEYSTEAD_BUILD", ROOT / "build"))
FOLDER = BUILD / "demo"
CSV = Path(__file__).with_name("customers.csv")
SHOWN = "2401"  # the customer whose row the page shows


def main() -> int:
    begun = time.perf_counter()
    page = Page()
    page.title("Keystead quick start: encrypt a database with keys that stay in a key manager")
    page.space()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        with ExitStack() as stack:
            demo = QuickStart(page, stack)
            demo.encrypt_the_customers()
            demo.show_the_lines()
            demo.show_a_row()
            demo.search_the_raw_files()
            demo.read_everything_back()
            demo.alter_a_byte()
            demo.encrypt_a_file_from_c()
            demo.provoke_a_certificate_error()
            demo.show_the_records()
    except (HarnessError, ImportError, keystead.KeysteadError) as error:
        page.check(False, "the quick start reaches its end")
        page.say(str(error))
    return conclude(page, time.perf_counter() - begun)


class QuickStart:
    """The steps, in their order, and what one hands to the next."""

    def __init__(self, page: Page, stack: ExitStack) -> None:
        self.page = page
        with page.step("Start two real key servers"):
            self.servers = stack.enter_context(KeyServers(2))
            for server in self.servers.servers.values():
                page.line(
                    f"{server.name:<10} 127.0.0.1:{server.port}  PyKMIP, mutual TLS, certificates made on the spot"
                )
            page.say(
                "They run on this machine, next to the data. Keystead refuses that, unless the configuration says "
                'policy = "relaxed", as this one has to; yours should keep "strict".'
            )
        self.client = stack.enter_context(keystead.Client(self.servers.config))
        self.groups = application.read_groups(CSV)
        self.values = application.values([row for rows in self.groups.values() for row in rows])
        self.database = stack.enter_context(closing(application.open_database(FOLDER / "customers.db")))
        self.control = stack.enter_context(closing(application.open_database(FOLDER / "control.db")))

    def encrypt_the_customers(self) -> None:
        total = sum(map(len, self.groups.values()))
        title = (
            f"Encrypt {total:,} customers into SQLite: {len(application.COLUMNS)} columns each, a key for each group"
        )
        with self.page.step(title):
            makers = []
            for position, (group, rows) in enumerate(self.groups.items()):
                if position == len(self.groups) // 2:
                    self.servers.server("primary").kill()
                    self.page.line("── the primary key server is killed ──")
                makers.append(self.encrypt(group, rows))
            half = len(makers) // 2
            expected = ["primary"] * half + ["secondary"] * (len(makers) - half)
            self.page.check(makers == expected, "each server made half of the keys; the application noticed nothing")
            microseconds = self.microseconds_per_value(group, rows)
            self.page.line(
                f"Encrypting a value takes {microseconds:.1f} µs; the rest is SQLite, and the making of the keys."
            )

    def encrypt(self, group: str, rows: list[application.Row]) -> str:
        """Encrypts one group, and returns which server made its key."""
        begun = time.perf_counter()
        with self.database:
            application.encrypt_group(self.client, self.database, group, rows)
        milliseconds = 1000 * (time.perf_counter() - begun)
        with self.control:
            application.insert_in_plain(self.control, rows)
        key = f"customers-{group}"
        maker = self.maker_of(key)
        self.page.line(
            f"{len(rows) * len(application.COLUMNS):,} values in {milliseconds:4.0f} ms   "
            f"key {key:<17} made by the {maker:<9}   {rows[0]['name']} …"
        )
        return maker

    def microseconds_per_value(self, group: str, rows: list[application.Row]) -> float:
        key = self.client.key(f"customers-{group}")
        texts = [row[column].encode() for row in rows for column in application.COLUMNS]
        begun = time.perf_counter()
        for text in texts:
            key.encrypt(text, b"customers/1/name")
        return 1e6 * (time.perf_counter() - begun) / len(texts)

    def maker_of(self, key: str) -> str:
        """The name of the server that made a key, as the audit trail tells it."""
        ports = {str(server.port): server.name for server in self.servers.servers.values()}
        for row in self.audit_rows():
            if (row["operation"], row["result"]) == ("Create", "success") and row["key_name"] == key:
                return ports.get(row["port"], "?")
        return "?"

    def audit_rows(self) -> list[dict[str, str]]:
        with open(self.servers.folder / "audit.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def show_the_lines(self) -> None:
        lines, number = inspect.getsourcelines(application.encrypt_group)
        path = Path(inspect.getfile(application)).relative_to(ROOT)
        with self.page.step(f"The {len(lines)} lines that did it ({path}:{number})"):
            self.page.quote("".join(lines))

    def show_a_row(self) -> None:
        with self.page.step(f"Customer {SHOWN}, before and after"):
            before, after = row_of(self.control), row_of(self.database)
            for column, plain, cell in zip(application.COLUMNS, before[2:], after[2:], strict=True):
                self.page.line(f"{column:<6} … {cell[24:36].hex(' ')} …  {len(cell)} bytes   {plain}")
            message = FOLDER / "message.cose"
            message.write_bytes(after[2])
            self.page.line()
            self.page.line(f"What the encrypted name says of itself:  keystead inspect {shown(message)}")
            self.page.quote(self.tool("inspect", str(message)))

    def search_the_raw_files(self) -> None:
        with self.page.step("Search the raw database files for the plaintexts"):
            found = {}
            for title, stem in (("plaintext control", "control.db"), ("encrypted", "customers.db")):
                # The database itself, and its -wal, -shm or -journal, while it is open.
                files = sorted(FOLDER.glob(f"{stem}*"))
                found[stem] = len(application.find(self.values, files))
                size = sum(file.stat().st_size for file in files)
                names = ", ".join(file.name.replace(stem, "") or stem for file in files)
                line = f"{title:<18} {found[stem]:>5,} of {len(self.values):,} found in {size:,} bytes: {names}"
                self.page.line(line)
            self.page.check(found["control.db"] == len(self.values), "the search finds every value that lies in plain")
            self.page.check(found["customers.db"] == 0, "and not one of them in the encrypted database")

    def read_everything_back(self) -> None:
        with self.page.step("Read everything back, the primary still dead"):
            begun = time.perf_counter()
            equal = all(
                application.decrypt_group(self.client, self.database, group) == customers
                for group, customers in self.groups.items()
            )
            count = sum(map(len, self.groups.values())) * len(application.COLUMNS)
            rate = count / (time.perf_counter() - begun)
            self.page.check(equal, f"{count:,} values are what they were ({rate:,.0f} a second, SQLite included)")

    def alter_a_byte(self) -> None:
        with self.page.step("Alter one byte, then move a value to another row"):
            name = row_of(self.database)[2]
            altered = bytearray(name)
            altered[len(name) // 2] ^= 1
            self.page.say(self.refused(f"byte {len(name) // 2} of the name altered", bytes(altered), SHOWN))
            self.refused("the name put into the row of the next customer", name, str(int(SHOWN) + 1))

    def refused(self, what: str, message: bytes, customer: str) -> str:
        """Checks that a value does not open as the name of a customer, and returns what the error says."""
        try:
            self.client.decrypt(message, application.place({"id": customer}, "name"), expect="customers-*")
        except keystead.NotAuthentic as error:
            self.page.check(True, f"{what}: refused, {error.name}")
            return error.message
        self.page.check(False, f"{what}: refused")
        return "It was decrypted."

    def encrypt_a_file_from_c(self) -> None:
        with self.page.step(
            "Encrypt a file from C, in a new process that finds the primary dead; decrypt it from Python"
        ):
            target = FOLDER / "customers.csv.cose"
            program = BUILD / "examples/c/encrypt_file"
            done = run([program, self.servers.config, "documents", CSV, target])
            self.page.quote(f"{shown(program)} keystead.conf documents {CSV.name} {target.name}\n{done.stderr}")
            if done.returncode == 0:
                with open(target, "rb") as file, self.client.decrypt_stream(file, expect="documents") as stream:
                    equal = stream.read() == CSV.read_bytes()
                text = f"{CSV.stat().st_size:,} bytes became {target.stat().st_size:,}, which Python opens"
                self.page.check(equal, text)
            else:
                self.page.check(False, f"encrypt_file succeeds (it exited with {done.returncode})")

    def provoke_a_certificate_error(self) -> None:
        with self.page.step("One mistake on purpose: the CA certificate of somebody else"):
            self.servers.start("primary")
            self.page.line("── the primary key server is started again ──")
            stranger = self.servers.issuer.material("server-wrong-ca").ca
            text = self.servers.config.read_text(encoding="utf-8")
            text = text.replace(str(self.servers.issuer.authority.certificate), str(stranger))
            config = self.servers.folder / "wrong-ca.conf"
            config.touch(mode=0o600)
            config.write_text(text.replace("rounds = 3", "rounds = 1"), encoding="utf-8")
            with keystead.Client(config) as client:
                try:
                    client.key("documents")
                except keystead.NetworkError as error:
                    untrusted = {attempt["code"] for attempt in error.detail["attempts"]} == {
                        keystead.Code.SERVER_UNTRUSTED
                    }
                    self.page.check(untrusted, "both servers are told from impostors, and the error says what to do:")
                    self.page.say(error.detail["attempts"][0]["reason"])
                else:
                    self.page.check(False, "a server that the CA did not vouch for is refused")

    def show_the_records(self) -> None:
        with self.page.step("What stays for the auditor"):
            self.client.close()
            for name in ("keystead.log", "audit.csv"):
                shutil.copy(self.servers.folder / name, FOLDER / name)
            rows = self.audit_rows()
            group = list(self.groups)[-1]
            made = [row for row in rows if (row["operation"], row["key_name"]) == ("Create", f"customers-{group}")]
            self.page.line(f"{shown(FOLDER / 'audit.csv')} has {len(rows)} rows, one for each request; for example:")
            self.page.quote(side_by_side(list(made[-1].items())[:9]))
            log = FOLDER / "keystead.log"
            self.page.line()
            self.page.line(f"Is any line of the log altered or missing?  keystead log verify {shown(log)}")
            self.page.quote(self.tool("log", "verify", str(log)))

    def tool(self, *arguments: str) -> str:
        """What the command-line tool prints, which must succeed."""
        done = run([os.environ.get("KEYSTEAD_COMMAND", BUILD / "bin/keystead"), *arguments])
        if done.returncode != 0 or not done.stdout:
            self.page.check(False, f"keystead {arguments[0]} succeeds (it exited with {done.returncode})")
        return done.stdout + done.stderr


def conclude(page: Page, seconds: float) -> int:
    if page.failed:
        page.title(f"{len(page.failed)} of {page.checks} checks FAILED: {'; '.join(page.failed)}")
        return 1
    page.title(f"All {page.checks} checks hold, in {seconds:.0f} s. The key servers are gone; the files stay:")
    for file in sorted(FOLDER.iterdir()):
        page.line(f"{shown(file):<32} {file.stat().st_size:>9,} bytes")
    page.space()
    page.title("Next: your own key server")
    page.line("cp examples/keystead.conf my.conf && chmod 600 my.conf  # enter its host, your PEM files")
    page.line(f"{shown(BUILD)}/bin/keystead --config my.conf key create customer-42")
    page.line(f"export KEYSTEAD_LIBRARY={shown(BUILD)}/lib/libkeystead.so PYTHONPATH=bindings/python/src")
    page.line("python3 examples/python/encrypt_value.py my.conf")
    page.line("More: README.md, docs/CONFIG.md, docs/FORMAT.md, include/keystead.h, examples/")
    return 0


def row_of(database: Connection) -> Any:
    return database.execute("SELECT * FROM customers WHERE id = ?", (SHOWN,)).fetchone()


def side_by_side(cells: list[tuple[str, str]]) -> str:
    """Names above their values."""
    widths = [max(map(len, cell)) for cell in cells]
    names, values = zip(*cells, strict=True)
    return "\n".join(" ".join(map(str.ljust, line, widths)).rstrip() for line in (names, values))


def shown(path: Path) -> str:
    """A path as one would type it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def run(command: list[Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
