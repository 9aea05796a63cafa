"""What verifying logs promises."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from support import ROOT, key_servers, keystead

TOOL = os.environ.get("KEYSTEAD_COMMAND", str(ROOT / "build/bin/keystead"))


def tool(*arguments: str | Path, status: int = 0) -> str:
    done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise AssertionError(done.stderr)
    return done.stdout


class ALog(unittest.TestCase):
    key: ClassVar[Path]
    public: ClassVar[Path]
    lines: ClassVar[list[bytes]]

    @classmethod
    def setUpClass(cls) -> None:
        """A sealed log, which each test has a copy of."""
        folder = cls.new_folder()
        cls.key, cls.public = folder / "auditor.key", folder / "auditor.pem"
        tool("log", "keygen", cls.key, cls.public)
        written, config = folder / "keystead.log", folder / "keystead.conf"
        text = (
            key_servers()
            .config.read_text(encoding="utf-8")
            .replace("[log]\n", f'[log]\nauditor_key = "{cls.public}"\n')
        )
        config.touch(mode=0o600)
        config.write_text(text.replace(str(key_servers().folder / "keystead.log"), str(written)), encoding="utf-8")
        with keystead.Client(config) as client:
            client.create_key("python-verify")
        cls.lines = written.read_bytes().splitlines(keepends=True)

    def setUp(self) -> None:
        self.folder = self.new_folder()
        self.log = self.folder / "keystead.log"
        self.log.write_bytes(b"".join(self.lines))

    @classmethod
    def new_folder(cls) -> Path:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        return Path(folder.name)

    def kinds(self, *files: Path, **options: Any) -> set[str]:
        report = keystead.verify_log(*files, **options)
        self.assertEqual(report.intact, not report.findings)
        return {finding.kind for finding in report.findings}

    def test_is_intact_as_it_was_written_and_the_report_says_what_the_tool_says(self) -> None:
        report = keystead.verify_log(self.log, auditor_keys=[self.key])
        self.assertTrue(report)
        self.assertEqual(report.records, len(self.lines))
        (chain,) = report.streams
        self.assertEqual((chain.of, chain.has_beginning, chain.sealed_to), ("log", True, chain.last_serial - 1))
        self.assertEqual((chain.unsealed_records, chain.unsealed_seconds), (0, 0))
        unproven = keystead.verify_log(str(self.log)).streams[0]
        self.assertEqual((unproven.sealed_to, unproven.unsealed_records), (None, None))
        told = json.loads(tool("--json", "log", "verify", "--auditor-key", self.key, self.log))
        self.assertEqual((told["intact"], told["streams"][0]["last_hash"]), (True, chain.last_hash))
        audit = keystead.verify_log(key_servers().folder / "audit.csv")
        self.assertEqual([chain.of for chain in audit.streams], ["audit trail"])

    def test_that_was_altered_is_found_where_it_was(self) -> None:
        self.log.write_bytes(b"".join(self.lines).replace(b"event=key.created", b"event=key.rotated", 1))
        report = keystead.verify_log(self.log)
        self.assertFalse(report)
        (finding,) = report.findings
        place = next(number for number, line in enumerate(self.lines, 1) if b"event=key.created" in line)
        self.assertEqual((finding.kind, finding.line, finding.file), ("altered", place, str(self.log)))

    def test_that_was_cut_is_found_with_an_anchor(self) -> None:
        anchors = self.folder / "anchors"
        anchors.write_text(tool("log", "anchor", self.log), encoding="utf-8")
        whole = keystead.verify_log(self.log, anchors=anchors)
        self.assertEqual(whole.streams[0].anchored_to, whole.streams[0].last_serial)
        self.log.write_bytes(b"".join(self.lines[:-2]))
        self.assertEqual(self.kinds(self.log), set())
        self.assertEqual(self.kinds(self.log, anchors=anchors), {"cut"})

    def test_whose_place_the_audit_trail_took_is_found(self) -> None:
        trail = (key_servers().folder / "audit.csv").read_bytes()
        self.log.write_bytes(trail)
        self.assertEqual(self.kinds(self.log), set())
        self.assertEqual(self.kinds(self.log, of="log"), {"inserted"})
        self.assertEqual(self.kinds(self.log, of="audit"), set())
        with self.assertRaisesRegex(keystead.ArgumentError, "audit"):
            keystead.verify_log(self.log, of="trail")  # type: ignore[arg-type]

    def test_whose_seals_were_taken_away_is_found_with_the_auditors_key(self) -> None:
        self.log.write_bytes(b"".join(line for line in self.lines if b" event=log." not in line))
        self.assertEqual(self.kinds(self.log), set())
        self.assertEqual(self.kinds(self.log, auditor_keys=[self.key]), {"unsealed"})

    def test_is_proven_by_the_key_that_it_was_sealed_to_and_by_no_other(self) -> None:
        stranger = self.folder / "stranger.key"
        tool("log", "keygen", stranger, self.folder / "stranger.pem")
        self.assertEqual(self.kinds(self.log, auditor_keys=[stranger]), {"unsealed"})
        self.assertEqual(self.kinds(self.log, auditor_keys=[stranger, self.key]), set())

    def test_is_read_in_pieces_and_compressed(self) -> None:
        old, new = self.folder / "old.log.gz", self.folder / "new.log"
        old.write_bytes(gzip.compress(b"".join(self.lines[:5])))
        new.write_bytes(b"".join(self.lines[5:]))
        self.assertEqual(self.kinds(new, old, auditor_keys=[self.key]), set())

    def test_of_a_collector_holds_the_chains_of_many_processes(self) -> None:
        keystead.Client(key_servers().config).close()
        other = (key_servers().folder / "keystead.log").read_bytes().splitlines(keepends=True)[:3]
        collected = self.folder / "collected.log"
        collected.write_bytes(b"".join(self.lines) + b"".join(other))
        self.assertEqual(self.kinds(collected), {"inserted"})
        self.assertEqual(self.kinds(collected, auditor_keys=[self.key], collected=True), {"unsealed"})
        self.assertEqual(self.kinds(collected, collected=True), set())

    def test_that_cannot_be_read_is_an_error(self) -> None:
        with self.assertRaisesRegex(keystead.KeysteadError, "nowhere"):
            keystead.verify_log(self.folder / "nowhere")
        with self.assertRaises(keystead.ArgumentError):
            keystead.verify_log()
        with self.assertRaisesRegex(keystead.ArgumentError, "holds no private key"):
            keystead.verify_log(self.log, auditor_keys=[self.public])
        with self.assertRaisesRegex(keystead.ArgumentError, "holds no anchor"):
            keystead.verify_log(self.log, anchors=self.public)


if __name__ == "__main__":
    unittest.main()
