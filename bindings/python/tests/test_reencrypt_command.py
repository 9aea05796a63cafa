"""What `python -m keystead.reencrypt` promises."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unittest
from typing import Any

from reencrypt_worker import COLUMNS
from test_reencrypt import WithATable

RULE = "{tenant}/{id}/{column}"


class TheCommand(WithATable):
    def arguments(self, *further: str, **changed: str) -> list[str]:
        said = {
            "config": str(self.servers.config),
            "sqlite": self.database,
            "key-column": "id",
            "columns": ",".join(COLUMNS),
            "aad": RULE,
            "expect": "customer-*",
            **{name.replace("_", "-"): value for name, value in changed.items()},
        }
        flags = [part for name, value in said.items() for part in (f"--{name}", value)]
        return [sys.executable, "-m", "keystead.reencrypt", *flags, *further]

    def run_command(self, *further: str, **changed: str) -> subprocess.CompletedProcess[str]:
        table = () if "nothing" in further else ("customers", *further)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = self.arguments(*table, **changed)
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def test_moves_a_table_proves_it_and_tells_what_may_be_deactivated(self) -> None:
        self.fill(40)
        self.rotate()
        done = self.run_command("--json", batch_rows="7")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        outcome: dict[str, Any] = json.loads(done.stdout)
        ids = {key.id for key in self.keys.values()}
        self.assertEqual((set(outcome["versions"]), outcome["moved"]), (ids, len(self.expected)))
        self.assertEqual(outcome["superseded"], sorted(f"{id.rpartition('/')[0]}/1" for id in ids))
        self.assertEqual(self.versions(), ids)
        self.check_plaintexts()
        again = self.run_command()
        old = outcome["superseded"][0]
        self.assertTrue(again.stdout.startswith("0 messages in 40 rows moved, in 1 passes\n"), again.stdout)
        self.assertIn("proved: no message of an older version is left in customers\n", again.stdout)
        self.assertIn(f"to deactivate {old}: keystead key revoke {old} --reason superseded\n", again.stdout)

    def test_shows_on_a_terminal_how_far_it_is(self) -> None:
        self.fill(30)
        self.rotate()
        ours, theirs = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            self.arguments("customers", batch_rows="10"), stdout=subprocess.DEVNULL, stderr=theirs, env=environment
        ) as command:
            os.close(theirs)
            shown = b""
            while piece := self.read(ours):
                shown += piece
        self.assertEqual(command.returncode, 0, shown)
        self.assertRegex(shown.decode(), r"pass 1: 20 of 30 rows, \d+ messages moved, 0:00:\d\d left")
        os.close(ours)

    def read(self, terminal: int) -> bytes:
        try:
            return os.read(terminal, 4096)
        except OSError:  # Linux says so when nobody has the other end any more
            return b""

    def test_fails_with_the_reason_and_changes_nothing(self) -> None:
        self.fill(10)
        self.rotate()
        before = self.rows()
        for changed, reason in (
            ({"aad": "{id}/{column}"}, "does the rule for associated data fit?"),
            ({"aad": "{nobody}/{column}"}, "could not work on customers: no such column"),
            ({"aad": "{name}/{column}"}, "column 'name' holds a value of type bytes"),
            ({"sqlite": "/no/such/file.db"}, "could not open the database"),
            ({"config": "/no/such/keystead.conf"}, "/no/such/keystead.conf"),
            ({"columns": ","}, "is not the name of a table or column"),
        ):
            failed = self.run_command(**changed)
            self.assertEqual((failed.returncode, failed.stdout), (1, ""), failed)
            self.assertTrue(failed.stderr.startswith("keystead: "), failed.stderr)
            self.assertIn(reason, failed.stderr)
            self.assertNotIn("Traceback", failed.stderr)
        self.assertEqual(self.rows(), before)

    def test_names_what_it_was_let_pass_over(self) -> None:
        self.fill(10)
        self.execute("UPDATE customers SET name = ? WHERE id = 3", (b"no message",))
        self.rotate()
        done = self.run_command("--tolerate", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not moved: row 3, column name: it is not a message\n", done.stdout)
        self.assertIn("older versions are still needed", done.stdout)
        self.assertNotIn("to deactivate", done.stdout)

    def test_explains_itself_and_says_what_is_missing(self) -> None:
        helped = self.run_command("--help")
        self.assertEqual((helped.returncode, helped.stderr), (0, ""))
        self.assertIn("--aad 'customers/{id}/{column}'", helped.stdout)
        for arguments, changed in (
            (("nothing",), {}),
            (("--postgresql", ""), {}),
            ((), {"aad": "{}"}),
            ((), {"aad": "{"}),
            ((), {"batch_rows": "0"}),
        ):
            refused = self.run_command(*arguments, **changed)
            self.assertEqual((refused.returncode, refused.stdout), (2, ""), refused)


if __name__ == "__main__":
    unittest.main()
