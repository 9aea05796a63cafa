"""Verifying logs and audit trails."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_void_p
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from ._errors import argument_error
from ._library import check, library, path_argument, take_text, text_argument

_T = TypeVar("_T")


@dataclass(frozen=True)
class LogFinding:
    """One thing that is wrong."""

    kind: str
    """"altered", "missing", "reordered", "duplicated", "inserted", "rewritten", "cut", "unsealed", "torn" or
    "malformed". Later versions may find others."""
    file: str
    line: int
    """From 1. For what is missing, the line before which it should stand."""
    last_line: int
    serial: int | None
    last_serial: int | None
    explanation: str


@dataclass(frozen=True)
class LogChain:
    """One chain of records, with what is proven of it."""

    stream: str
    of: str
    """"log" or "audit trail"."""
    records: int
    first_serial: int
    last_serial: int
    last_hash: str
    has_beginning: bool
    """Whether the chain's very first record is among the files."""
    checkpoints: int
    sealed_to: int | None
    """Up to this record the auditor's key proves the chain."""
    unsealed_records: int | None
    """So many stand behind that, if the auditor's key opens a seal,"""
    unsealed_seconds: int | None
    """and so long it took from the earliest to the latest of them."""
    first_seal: str | None
    anchored_to: int | None
    """Up to this record an anchor proves the chain."""


@dataclass(frozen=True)
class LogReport:
    """What a verification found. It is true if nothing is wrong."""

    intact: bool
    files: list[str]
    records: int
    streams: list[LogChain]
    findings: list[LogFinding]
    unlisted: int
    """Further findings that are not listed."""
    notes: list[str]
    """What is no fault but worth knowing."""

    def __bool__(self) -> bool:
        return self.intact


def verify_log(
    *files: str | os.PathLike[str],
    auditor_keys: Sequence[str | os.PathLike[str]] = (),
    anchors: str | os.PathLike[str] | None = None,
    of: Literal["log", "audit"] | None = None,
    collected: bool = False,
) -> LogReport:
    """Verifies files as one log or one audit trail: rotated ones in any order, also compressed ones (gzip).

        report = keystead.verify_log(*glob("/var/log/keystead/keystead.log*"), auditor_keys=["auditor.key"])
        if not report:
            print(report.findings)

    `auditor_keys` are files with the auditor's private keys, with which the seals are verified; `anchors` is a file
    with lines that `keystead log anchor` printed, which prove the end; `of` says what the files are to be of, so that
    an audit trail is not taken for a log or the reverse; `collected` says that the files are what a collector kept,
    with chains of many processes side by side, the oldest first. `docs/AUDITORS.md` tells what is proven by which.

    That something was altered is told by the report. An error is raised where a file cannot be read.
    """
    if not files:
        raise argument_error("there are no files to verify; name at least one")
    paths, keys = _paths(files, "the log"), _paths(auditor_keys, "the auditor's key")
    kept = None if anchors is None else path_argument(anchors, "the anchors")
    expected = None if of is None else text_argument(of, "of")
    text, error = c_void_p(), c_void_p()
    status = library().log_verify(
        paths, len(paths), keys, len(keys), kept, expected, int(collected), byref(text), byref(error)
    )
    check(status, error)
    report = json.loads(take_text(text))
    report["streams"] = [_read(LogChain, chain) for chain in report["streams"]]
    report["findings"] = [_read(LogFinding, finding) for finding in report["findings"]]
    return _read(LogReport, report)


def _paths(files: Sequence[str | os.PathLike[str]], what: str) -> Any:
    return (c_char_p * len(files))(*[path_argument(file, what) for file in files])


def _read(kind: type[_T], told: dict[str, Any]) -> _T:
    """A later library may tell more."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in told.items() if name in names})
