//! Ten thousand random tamperings of logs in every format and of the audit trail, as one file and as several: all are found, for what
//! they are and where, and without the auditor's key and an anchor those that the hashes show. Those that nothing shows then
//! are tried besides, and not counted.
//!
//! The sequence is the same each time. `KEYSTEAD_TAMPERINGS` says how many.
#![cfg(feature = "auditor")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, AuditorKey, Durability, Rotation, Target};
use keystead::log::{
    Anchor, AuditorPrivateKey, Finding, Format, Kind, Level, Log, Options, Record, Report, Severity, verify_with,
};
use ring::digest;

const PATIENCE: Duration = Duration::from_secs(30);
/// Records between checkpoints, and how many checkpoints.
const BETWEEN: usize = 8;
const CHECKPOINTS: usize = 4;

type Line = Vec<u8>;

/// A sealed log or audit trail, and another one like it.
struct Subject {
    folder: tempfile::TempDir,
    name: &'static str,
    lines: Vec<Line>,
    strangers: Vec<Line>,
    /// The index of the first record.
    first: usize,
    auditor: AuditorPrivateKey,
    anchors: Vec<Anchor>,
}

/// What is expected of a verification: a finding of the first of these kinds, and perhaps of others of them, each of which touches
/// one of these lines, and nothing at all of other kinds or elsewhere. Without any kind, nothing.
struct Expected {
    what: String,
    kinds: Vec<Kind>,
    lines: std::ops::RangeInclusive<usize>,
}

impl Subject {
    fn all() -> Vec<Subject> {
        let formats = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef].map(Some);
        formats.into_iter().chain([None]).map(Subject::new).collect()
    }

    /// Without a format, an audit trail.
    fn new(format: Option<Format>) -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let auditor = AuditorPrivateKey::generate().unwrap();
        let name = if format.is_some() { "keystead.log" } else { "audit.csv" };
        let [ours, strangers] = [name, "stranger"].map(|name| {
            let path = folder.path().join(name);
            match format {
                Some(format) => write_log(&path, format, auditor.public()),
                None => write_trail(&path, auditor.public()),
            }
            path
        });
        let anchors = vec![Anchor::of(&ours).unwrap()];
        let first = usize::from(format.is_none());
        let (lines, mut strangers) = (lines(&ours), lines(&strangers));
        strangers.drain(..first);
        Subject { folder, name, lines, strangers, first, auditor, anchors }
    }

    /// Writes the lines as files of which each begins at one of `starts`, and verifies them, the newest first. Lines of findings
    /// are those of all the lines.
    fn verify(&self, lines: &[Line], starts: &[usize], is_proven: bool) -> Report {
        let ends = starts[1..].iter().copied().chain([lines.len()]);
        let files: Vec<(usize, PathBuf)> = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| {
                let path = self.folder.path().join(format!("{}.{start}", self.name));
                // Every file of a trail has the header row.
                let header = if *start > 0 { &self.lines[..self.first] } else { &[] };
                fs::write(&path, [header, &lines[*start..end]].concat().concat()).unwrap();
                (*start - header.len(), path)
            })
            .collect();
        let auditor_keys = std::slice::from_ref(&self.auditor);
        let proven = Options { anchors: &self.anchors, auditor_keys, ..Options::default() };
        let options = if is_proven { proven } else { Options::default() };
        let paths: Vec<&Path> = files.iter().rev().map(|(_, path)| path.as_path()).collect();
        let mut report = verify_with(&paths, &options).unwrap();
        for finding in &mut report.findings {
            let (before, _) = files.iter().find(|(_, path)| path.to_str() == Some(&finding.file)).unwrap();
            (finding.line, finding.last_line) = (finding.line + *before as u64, finding.last_line + *before as u64);
        }
        report
    }
}

fn write_log(path: &Path, format: Format, auditor: AuditorKey) {
    let target = Some(Target::File(path.to_owned()));
    let config =
        config::Log { level: Level::Basic, format, target, auditor_key: Some(auditor), ..config::Log::default() };
    let log = Log::open(&config, "orders api").unwrap();
    for number in 0..CHECKPOINTS * BETWEEN {
        let fields = [("key_name", format!("customer {number}").into()), ("result", "success".into())];
        log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
        if number % BETWEEN == BETWEEN - 1 {
            assert!(log.flush(PATIENCE));
        }
    }
}

fn write_trail(path: &Path, auditor: AuditorKey) {
    let (rotation, durability) = (Rotation::default(), Durability::Flush);
    let config = config::Audit { file: path.to_owned(), rotation, durability, auditor_key: Some(auditor) };
    let trail = AuditTrail::open_as(&config).unwrap();
    for number in 0..CHECKPOINTS * BETWEEN {
        trail.append(&Row {
            operation: "Get",
            key_name: "customer-1",
            succeeded: number % 3 > 0,
            port: 5696,
            ..Row::default()
        });
        if number % BETWEEN == BETWEEN - 1 {
            assert!(trail.flush(PATIENCE));
        }
    }
}

fn lines(path: &Path) -> Vec<Line> {
    fs::read(path).unwrap().split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// xorshift, so that the sequence is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// From `from` to `to` inclusive.
    fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }
}

/// Computes serials and hashes anew from a line on, as somebody would who rewrites the file.
fn rehash(lines: &mut [Line], from: usize) {
    for at in from..lines.len() {
        let (before, line) = (parts(&lines[at - 1]), parts(&lines[at]));
        let serial = (before.serial + 1).to_string();
        let mut text = String::from_utf8(lines[at].clone()).unwrap();
        text.replace_range(line.previous_at..line.previous_at + 64, &before.hash);
        text.replace_range(line.serial_at..line.serial_at + line.serial_length, &serial);
        let moved = (serial.len() as isize - line.serial_length as isize) as usize;
        let hash_at = line.hash_at.wrapping_add(moved);
        let end = line.previous_at.wrapping_add(moved) + 64;
        let body = &text.as_bytes()[line.body_at..end.max(line.body_at)];
        let hash: String =
            digest::digest(&digest::SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        text.replace_range(hash_at..hash_at + 64, &hash);
        lines[at] = text.into_bytes();
    }
}

struct Parts {
    serial: u64,
    serial_at: usize,
    serial_length: usize,
    body_at: usize,
    previous_at: usize,
    hash_at: usize,
    hash: String,
}

fn parts(line: &[u8]) -> Parts {
    let text = std::str::from_utf8(line).unwrap();
    let trimmed = text.trim_end();
    let hash_at = trimmed.len() - 64;
    let after = |tag: &str| text.find(tag).map(|at| at + tag.len());
    let (body_at, serial_at, label) = match (after("CEF:"), after("LEEF:"), text.find(" serial=")) {
        (_, Some(body), _) => (body, after("|serial=").unwrap(), "\tsha256="),
        (Some(body), ..) => (body, after("|externalId=").unwrap(), " cs1Label=sha256 cs1="),
        (.., Some(space)) => (space + 1, space + " serial=".len(), " sha256="),
        _ => {
            let serial_at = trimmed[..hash_at - 66].rfind(',').unwrap() + 1;
            (0, serial_at, ",")
        }
    };
    let previous_at = hash_at - label.len() - 64;
    let serial_length = text[serial_at..].bytes().take_while(u8::is_ascii_digit).count();
    let serial = text[serial_at..serial_at + serial_length].parse().unwrap();
    Parts {
        serial,
        serial_at,
        serial_length,
        body_at,
        previous_at,
        hash_at,
        hash: text[hash_at..hash_at + 64].to_owned(),
    }
}

fn is_of_seals(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    text.contains("log.seal") || text.contains("log.checkpoint")
}

/// One tampering of the lines, and what it is to be found as. Line numbers are from 1.
fn tamper(subject: &Subject, random: &mut Random, case: usize, all: &mut Vec<Line>) -> Expected {
    let (first, last) = (subject.first, all.len() - 1);
    let expect = |what: String, kinds: &[Kind], from: usize, to: usize| Expected {
        what,
        kinds: kinds.to_vec(),
        lines: from + 1..=to + 1,
    };
    match case % 9 {
        0 => {
            let at = random.within(0, last);
            let (byte, bit) = (random.below(all[at].len()), random.below(8));
            all[at][byte] ^= 1 << bit;
            let what = format!("bit {bit} of byte {byte} in line {}", at + 1);
            // A line end that is gone or new makes lines of other lengths.
            let ends = all[at].iter().filter(|byte| **byte == b'\n').count();
            let mut kinds = vec![Kind::Altered];
            if ends != 1 || !all[at].ends_with(b"\n") {
                kinds.extend([Kind::Missing, Kind::Inserted, Kind::Torn, Kind::Malformed]);
            }
            // Without its end a line takes in the next one, and the last is one that was not finished.
            let took_next = usize::from(ends == 0);
            if at + took_next >= last {
                kinds.push(Kind::Cut);
            }
            if ends == 0 && at == last {
                kinds.insert(0, Kind::Torn);
            }
            if at == first || at + 1 == first {
                // The seal itself: without it nothing is proven.
                kinds.extend([Kind::Unsealed, Kind::Missing]);
            }
            let to = if at == first || at + took_next == first { last } else { at + 2 };
            expect(what, &kinds, at, to)
        }
        1 => {
            let at = random.within(first + 1, last);
            all.remove(at);
            let kind = if at == last { Kind::Cut } else { Kind::Missing };
            expect(format!("line {} removed", at + 1), &[kind], at, at)
        }
        2 => {
            let (a, b) = (random.within(first + 1, last - 1), random.within(first + 1, last - 1));
            let b = if a == b { if a == first + 1 { a + 1 } else { a - 1 } } else { b };
            all.swap(a, b);
            expect(format!("lines {} and {} swapped", a + 1, b + 1), &[Kind::Reordered], a.min(b), a.max(b))
        }
        3 => {
            let (a, b) = (random.within(first, last), random.within(first + 1, last + 1));
            let copy = all[a].clone();
            all.insert(b, copy);
            expect(format!("line {} again before {}", a + 1, b + 1), &[Kind::Duplicated], b.min(a), b.max(a) + 1)
        }
        4 => {
            let at = random.within(first + 1, last);
            let line = match random.below(3) {
                0 => b"somebody was here\n".to_vec(),
                1 => subject.strangers[random.below(subject.strangers.len())].clone(),
                _ => {
                    // It pretends to follow the line before.
                    let mut pair = vec![all[at - 1].clone(), subject.strangers[1 + random.below(5)].clone()];
                    let text = String::from_utf8(pair[1].clone()).unwrap();
                    let text = text.replace(&stream_of(&pair[1]), &stream_of(&pair[0])).replace("customer", "consumer");
                    pair[1] = text.into_bytes();
                    rehash(&mut pair, 1);
                    pair[1].clone()
                }
            };
            all.insert(at, line);
            // At the end nothing tells which of two is real.
            let to = if at == last { at + 1 } else { at };
            expect(format!("a line inserted before {}", at + 1), &[Kind::Inserted], at, to)
        }
        5 => {
            let at = random.within(first + 1, last);
            let (from, count) = (random.below(20), random.within(1, 6));
            let run = subject.strangers[from..from + count].to_vec();
            let replaced = if random.below(2) == 0 { count.min(last - at) } else { 0 };
            all.splice(at..at + replaced, run);
            let mut kinds = vec![Kind::Inserted];
            if replaced > 0 {
                kinds.push(Kind::Missing);
            }
            let what = format!("{count} lines of another file in the place of {replaced} before {}", at + 1);
            expect(what, &kinds, at, at + count)
        }
        6 => {
            let at = random.within(first + 1, last);
            all.truncate(at);
            expect(format!("cut before line {}", at + 1), &[Kind::Cut], at, at)
        }
        7 => {
            // Behind the last checkpoint only the anchor would tell, and that is case 8's.
            let at = random.within(first + 1, last - 1);
            if is_of_seals(&all[at]) {
                return tamper(subject, random, 6, all);
            }
            let text = String::from_utf8(all[at].clone()).unwrap();
            all[at] = text.replacen("success", "failure", 1).replacen("customer", "consumer", 1).into_bytes();
            rehash(all, at);
            expect(format!("line {} rewritten, and all after it", at + 1), &[Kind::Rewritten], at, last)
        }
        _ => {
            let at = random.within(first + 1, last - 1);
            if is_of_seals(&all[at]) {
                return tamper(subject, random, 2, all);
            }
            all.remove(at);
            rehash(all, at);
            expect(
                format!("line {} removed, and all after it rewritten", at + 1),
                &[Kind::Rewritten, Kind::Cut],
                at,
                last,
            )
        }
    }
}

fn stream_of(line: &[u8]) -> String {
    let text = std::str::from_utf8(line).unwrap();
    for label in ["stream=", "deviceExternalId="] {
        if let Some(at) = text.find(label) {
            return text[at + label.len()..][..16].to_owned();
        }
    }
    let part = parts(line);
    text[part.serial_at - 17..][..16].to_owned()
}

/// Where files begin: with records that nobody touched, which tell their order.
fn starts(subject: &Subject, random: &mut Random, all: &[Line], expected: &Expected) -> Vec<usize> {
    let is_touched = |at: usize| (expected.lines.start().saturating_sub(2)..expected.lines.end() + 2).contains(&at);
    let places: Vec<usize> = (subject.first + 2..all.len()).filter(|at| !is_touched(*at)).collect();
    let mut starts = vec![0];
    if !places.is_empty() {
        starts.extend([0; 2].map(|_| places[random.below(places.len())]));
    }
    starts.sort_unstable();
    starts.dedup();
    starts
}

fn judge(report: &Report, expected: &Expected) -> Result<Option<Kind>, String> {
    let told = || format!("{}:\n{report}", expected.what);
    let touches = |finding: &&Finding| {
        let range = finding.line as usize..=finding.last_line as usize;
        range.start() <= expected.lines.end() && range.end() >= expected.lines.start()
    };
    let Some(found) = report.findings.first() else {
        return if expected.kinds.is_empty() { Ok(None) } else { Err(format!("not found: {}", told())) };
    };
    if let Some(other) = report.findings.iter().find(|finding| !expected.kinds.contains(&finding.kind)) {
        return Err(format!("found as {:?}, too: {}", other.kind, told()));
    }
    if report.findings.iter().any(|finding| !touches(&finding)) {
        return Err(format!("found elsewhere, too: {}", told()));
    }
    if !report.findings.iter().any(|finding| finding.kind == expected.kinds[0]) {
        return Err(format!("not found as {:?}: {}", expected.kinds[0], told()));
    }
    // Of what was rewritten it is the beginning that counts.
    let begins = *expected.lines.start() as u64;
    if expected.kinds[0] == Kind::Rewritten && !(found.line..=found.last_line).contains(&begins) {
        return Err(format!("its beginning was not found: {}", told()));
    }
    Ok(Some(found.kind))
}

#[test]
fn every_tampering_is_found_for_what_it_is_and_where() {
    let default = if cfg!(debug_assertions) { 500 } else { 10_000 };
    let count = std::env::var("KEYSTEAD_TAMPERINGS").map_or(default, |text| text.parse().unwrap());
    let subjects = Subject::all();
    for subject in &subjects {
        let report = subject.verify(&subject.lines, &[0], true);
        assert!(report.is_intact(), "{report}");
        let stream = &report.streams[0];
        assert_eq!(stream.sealed_to.map(|to| to + 1), Some(stream.last_serial), "{report}");
        assert_eq!(
            (stream.checkpoints, stream.anchored_to),
            (CHECKPOINTS as u64, Some(stream.last_serial)),
            "{report}"
        );
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    let mut faults = Vec::new();
    let mut shown = 0;
    for case in 0.. {
        if shown == count {
            break;
        }
        let subject = &subjects[case % subjects.len()];
        let mut all = subject.lines.clone();
        let round = case / subjects.len();
        let mut expected = tamper(subject, &mut random, round, &mut all);
        if all == subject.lines {
            continue;
        }
        // In turn with the auditor's key and an anchor and without both, as one file and as several.
        let (is_proven, is_rotated) = ((round / 9).is_multiple_of(2), !(round / 18).is_multiple_of(2));
        if !is_proven {
            expected.kinds.retain(|kind| ![Kind::Cut, Kind::Rewritten, Kind::Unsealed].contains(kind));
        }
        shown += usize::from(!expected.kinds.is_empty());
        let starts = if is_rotated { starts(subject, &mut random, &all, &expected) } else { vec![0] };
        let report = subject.verify(&all, &starts, is_proven);
        match judge(&report, &expected) {
            Ok(kind) => *found.entry(kind.map_or("nothing".into(), |kind| format!("{kind:?}"))).or_default() += 1,
            Err(fault) => faults.push(format!("{} {starts:?} {fault}", subject.name)),
        }
    }
    println!("{shown} tamperings, and {} that nothing shows: {found:?}", found.get("nothing").unwrap_or(&0));
    assert!(
        faults.is_empty(),
        "{} of {count}, for example:\n{}",
        faults.len(),
        faults[..faults.len().min(8)].join("\n")
    );
}
