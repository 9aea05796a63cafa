"""The command `python -m keystead.reencrypt`: one table, told by flags."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import string
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._client import Client
from ._errors import KeysteadError, argument_error
from .reencrypt import Outcome, Progress, Reencryption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DESCRIPTION = "Move the messages in a table to the newest versions of their keys, and prove that no older one is left."
_EPILOG = """\
The application may go on reading and writing. A command that was interrupted goes on where it was when it is run again.
Run it at least cache.ttl after the rotation, so that every writer uses the new version by then.

  python -m keystead.reencrypt --sqlite orders.db customers \\
      --key-column id --columns name,email --aad 'customers/{id}/{column}' --expect 'customer-*'
"""


class _AssociatedData:
    """The rule for associated data: text in which names of columns, and `column`, stand in braces."""

    def __init__(self, template: str) -> None:
        self._parts: list[tuple[str, str | None]] = []
        for text, name, form, conversion in string.Formatter().parse(template):
            if name == "" or form or conversion:
                raise argparse.ArgumentTypeError(f"{template!r} holds braces around something else than a name")
            self._parts.append((text, name))
        self.columns = {name for _, name in self._parts if name is not None and name != "column"}

    def __call__(self, row: Mapping[str, Any], column: str) -> bytes:
        values = {**row, "column": column}
        texts = (text + ("" if name is None else _text(name, values[name])) for text, name in self._parts)
        return "".join(texts).encode()


def _text(name: str, value: Any) -> str:
    if isinstance(value, (str, int, uuid.UUID)) and not isinstance(value, bool):
        return str(value)
    what = f"column {name!r} holds a value of type {type(value).__name__}"
    raise argument_error(f"{what}, which --aad has no text for; call keystead.reencrypt from Python")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m keystead.reencrypt",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config = os.environ.get("KEYSTEAD_CONFIG")
    parser.add_argument("--config", default=config, help="the configuration (default: KEYSTEAD_CONFIG)", metavar="FILE")
    database = parser.add_mutually_exclusive_group(required=True)
    database.add_argument("--sqlite", help="the file of an SQLite database", metavar="FILE")
    database.add_argument(
        "--postgresql",
        help="how to connect to PostgreSQL, as psycopg takes it; leave the password to PGPASSFILE",
        metavar="CONNINFO",
    )
    parser.add_argument("table", help="the table, with its schema where it has one")
    parser.add_argument("--key-column", required=True, help="the column that names each row", metavar="COLUMN")
    parser.add_argument("--columns", required=True, help="the columns that hold messages", metavar="COLUMN,…")
    parser.add_argument(
        "--aad",
        required=True,
        type=_AssociatedData,
        help="the associated data that the application gives: text with {COLUMN} for a value of the row, and {column} "
        "for the name of the column that holds the message",
        metavar="TEXT",
    )
    parser.add_argument("--expect", required=True, help="the keys whose messages are moved", metavar="PATTERN")
    parser.add_argument("--batch-rows", type=int, default=500, help="rows in one transaction (500)", metavar="N")
    parser.add_argument("--tolerate", type=int, default=0, help="go on past so many unreadable values (0)", metavar="N")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed or not everything could be moved, 2 usage."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.config is None:
        parser.error("no configuration was named: say --config FILE or set KEYSTEAD_CONFIG")
    if chosen.batch_rows < 1 or chosen.tolerate < 0:
        parser.error("--batch-rows is at least 1, and --tolerate at least 0")
    try:
        connection = _connect(chosen)
    except ImportError:
        parser.error("--postgresql needs the package psycopg: pip install psycopg")
    except Exception as error:
        return _failed(f"could not open the database: {error}")
    try:
        with Client(chosen.config) as client:
            outcome = _run(chosen, client, connection)
    except KeysteadError as error:
        return _failed(str(error))
    except (ValueError, connection.Error) as error:
        return _failed(f"could not work on {chosen.table}: {error}")
    except KeyboardInterrupt:
        return _failed("interrupted; run the command again to go on where it was")
    finally:
        connection.close()
    print(json.dumps(_as_json(outcome)) if chosen.json else _as_text(outcome, chosen.table))
    return 1 if outcome.unreadable else 0


def _connect(chosen: argparse.Namespace) -> Any:
    if chosen.sqlite is not None:
        # Not a plain path: that would make a database where there is none.
        return sqlite3.connect(Path(chosen.sqlite).absolute().as_uri() + "?mode=rw", uri=True, timeout=60)
    import psycopg

    return psycopg.connect(chosen.postgresql)


def _run(chosen: argparse.Namespace, client: Client, connection: Any) -> Outcome:
    job = Reencryption(
        client,
        connection,
        chosen.table,
        key_column=chosen.key_column,
        columns=chosen.columns.split(","),
        context_columns=sorted(chosen.aad.columns - {chosen.key_column}),
        aad=chosen.aad,
        expect=chosen.expect,
        batch_rows=chosen.batch_rows,
        tolerate=chosen.tolerate,
    )
    if not sys.stderr.isatty():
        return job.run()
    try:
        return job.run(_show)
    finally:
        sys.stderr.write("\r\x1b[K")


def _show(progress: Progress) -> None:
    sys.stderr.write(f"\r\x1b[K{progress}")
    sys.stderr.flush()


def _as_json(outcome: Outcome) -> dict[str, Any]:
    unreadable = [{"row": str(cell.row), "column": cell.column, "why": cell.why} for cell in outcome.unreadable]
    return {**vars(outcome), "unreadable": unreadable, "superseded": outcome.superseded()}


def _as_text(outcome: Outcome, table: str) -> str:
    lines = [f"{outcome.moved} messages in {outcome.rows} rows moved, in {outcome.passes} passes"]
    lines += [f"not moved: {cell}" for cell in outcome.unreadable]
    lines += [f"{version}: {count} messages" for version, count in sorted(outcome.versions.items())]
    lines.append(f"{outcome.others} messages of other keys")
    if outcome.unreadable:
        lines.append("older versions are still needed: mend what is named above and run the command again")
    else:
        lines.append(f"proved: no message of an older version is left in {table}")
    lines += [f"to deactivate {old}: keystead key revoke {old} --reason superseded" for old in outcome.superseded()]
    return "\n".join(lines)


def _failed(text: str) -> int:
    print(f"keystead: {text}", file=sys.stderr)
    return 1
