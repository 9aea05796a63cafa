"""A re-encryption for tests to kill: reencrypt_worker.py CONFIG KIND DATABASE BATCH. Says when it begins and ends."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping
from typing import Any

import keystead
from keystead.reencrypt import Reencryption

COLUMNS = ("name", "email")


def aad(row: Mapping[str, Any], column: str) -> bytes:
    return f"{row['tenant']}/{row['id']}/{column}".encode()


def connect(kind: str, database: str) -> Any:
    if kind == "sqlite":
        return sqlite3.connect(database, timeout=60)
    import psycopg

    return psycopg.connect(database)


def job(client: keystead.Client, connection: Any, batch: int) -> Reencryption:
    return Reencryption(
        client,
        connection,
        "customers",
        key_column="id",
        columns=COLUMNS,
        context_columns=["tenant"],
        aad=aad,
        expect="customer-*",
        batch_rows=batch,
    )


def main() -> None:
    config, kind, database, batch = sys.argv[1:]
    with keystead.Client(config) as client:
        work = job(client, connect(kind, database), int(batch))
        print("begins", flush=True)
        work.run()
        print("ends", flush=True)


if __name__ == "__main__":
    main()
