//! Verifies logs and audit trails: what is altered, missing, reordered, duplicated, inserted or torn, and where.
//!
//! One pass, in memory that does not grow with intact records.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::layout::{Hash, Layout, Line};
use super::report::{Findings, Kind, Place, Report, Stream};
use super::sequence::{self, Seen, Sequence, Suspect};
use super::{catalogue, header, view};
use crate::error::{Code, Error, Result};

/// Longer lines are no records of ours.
const MAX_LINE: usize = 1 << 16;
const MAX_NOTES: usize = 1000;

/// Verifies the files as one history. Rotated files may be given in any order: they are read in the order of their
/// serials. Logs and audit trails are told apart by their first line.
///
/// Errors: `System` if a file cannot be read.
pub fn verify(files: &[&Path]) -> Result<Report> {
    let mut sources = files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>>>()?;
    sources.sort_by_key(|source| source.first_serial);
    let mut verifier = Verifier::default();
    for source in &sources {
        verifier.read(source).map_err(|error| unreadable(source.path, &error))?;
    }
    Ok(verifier.finish())
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let path_shown = path.display();
    let message =
        format!("{path_shown} cannot be read for verification: {error}; correct the path, or run as its owner");
    Error::new(Code::System, message).in_file(path)
}

/// A file, and what its beginning tells.
struct Source<'a> {
    path: &'a Path,
    layout: Layout,
    /// Of the first sound record.
    first_serial: u64,
}

impl Source<'_> {
    fn open(path: &Path) -> Result<Source<'_>> {
        Source::peek(path).map_err(|error| unreadable(path, &error))
    }

    fn peek(path: &Path) -> io::Result<Source<'_>> {
        let mut lines = Lines::open(path)?;
        let mut line = Vec::new();
        let mut source = Source { path, layout: Layout::KeyValue, first_serial: 0 };
        let mut is_first = true;
        while lines.next(&mut line)? {
            if std::mem::take(&mut is_first) {
                source.layout = layout_of(&line);
            }
            let Some(record) = source.layout.parse(trim(&line)) else { continue };
            if Hash::of(record.hashed) == record.hash {
                source.first_serial = record.serial;
                break;
            }
        }
        Ok(source)
    }
}

/// The header row may itself have been altered, so commas decide as well.
fn layout_of(line: &[u8]) -> Layout {
    let has_columns = line.iter().filter(|byte| **byte == b',').count() >= 10;
    let is_log = has(line, b"serial=") || has(line, b" CEF:");
    if line.starts_with(b"operation,") || has_columns && !is_log { Layout::Csv } else { Layout::KeyValue }
}

/// Lines of bounded length.
struct Lines(BufReader<File>);

impl Lines {
    fn open(path: &Path) -> io::Result<Lines> {
        Ok(Lines(BufReader::with_capacity(1 << 17, File::open(path)?)))
    }

    /// Reads the next line with its end; what exceeds the bound is dropped. `false` at the end of the file.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        loop {
            let buffer = match self.0.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = memchr(buffer);
            let used = end.map_or(buffer.len(), |at| at + 1);
            let room = MAX_LINE.saturating_sub(line.len());
            line.extend_from_slice(&buffer[..used.min(room)]);
            if end.is_some() && used > room {
                line.push(b'\n');
            }
            self.0.consume(used);
            if end.is_some() || used == 0 {
                return Ok(!line.is_empty());
            }
        }
    }
}

fn memchr(buffer: &[u8]) -> Option<usize> {
    buffer.iter().position(|byte| *byte == b'\n')
}

/// The line without its end.
fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Default)]
struct Verifier {
    report: Report,
    findings: Findings,
    chains: BTreeMap<u64, Chain>,
    /// Lines that were not understood, until a record tells what they are.
    suspects: Vec<Suspect>,
    /// Of the current file: its records, and those that differ outside of what their hash covers.
    wrapped: u64,
    unwrapped: Vec<(Place, u64)>,
}

struct Chain {
    of: Layout,
    sequence: Sequence,
    /// The last file it was seen in.
    file: usize,
}

impl Verifier {
    fn read(&mut self, source: &Source<'_>) -> io::Result<()> {
        let mut place = Place { file: self.report.files.len(), line: 0 };
        self.report.files.push(source.path.display().to_string());
        let mut lines = Lines::open(source.path)?;
        let mut line = Vec::new();
        while lines.next(&mut line)? {
            place.line += 1;
            self.line(&line, place, source.layout);
        }
        if place.line == 0 {
            self.report.notes.push(format!("{} is empty", source.path.display()));
        }
        self.end_file(place);
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: Place, layout: Layout) {
        let text = trim(line);
        if let Some(header) = layout.header()
            && self.header_row(text, header, place, layout)
        {
            return;
        }
        let record = layout.parse(text).filter(|_| line.ends_with(b"\n"));
        self.report.records += u64::from(record.is_some());
        match record {
            Some(record) if Hash::of(record.hashed) == record.hash => self.record(&record, line, place, layout),
            other => self.suspects.push(Suspect {
                place,
                serial: other.map(|record| record.serial),
                resembles: other.is_some() || resembles(text, layout),
                is_cut: !line.ends_with(b"\n"),
            }),
        }
    }

    /// Whether the line is, or should be, the header row.
    fn header_row(&mut self, text: &[u8], header: &str, place: Place, layout: Layout) -> bool {
        let is_header = text == header.as_bytes();
        match (place.line, is_header) {
            (1, true) => {}
            (1, false) if layout.parse(text).is_some() => {
                self.findings.add(Kind::Missing, place, None, "the header row should stand here");
                return false;
            }
            (1, false) => self.findings.add(Kind::Altered, place, None, "the header row was changed"),
            (_, true) => self.findings.add(Kind::Duplicated, place, None, "the header row stands here again"),
            (_, false) => return false,
        }
        true
    }

    fn record(&mut self, record: &Line<'_>, line: &[u8], place: Place, layout: Layout) {
        self.wrapped += 1;
        if !is_wrapped_as_written(record, line) && self.unwrapped.len() < MAX_LINE {
            self.unwrapped.push((place, record.serial));
        }
        self.note(record, place);
        let Line { stream, serial, previous, hash, .. } = *record;
        let seen = Seen { place, serial, previous, hash };
        match self.chains.get_mut(&stream) {
            Some(chain) => {
                chain.file = place.file;
                chain.sequence.take(seen, &mut self.suspects, &mut self.findings);
            }
            None => {
                let sequence = Sequence::start(seen, &mut self.suspects, &mut self.findings);
                self.chains.insert(stream, Chain { of: layout, sequence, file: place.file });
            }
        }
    }

    /// What the chain says of itself is worth a note. It explains the torn line before it.
    fn note(&mut self, record: &Line<'_>, place: Place) {
        let Some(event) = own_event(record) else { return };
        // A seal is nothing unusual.
        if [catalogue::LOG_SEAL, catalogue::LOG_CHECKPOINT].map(str::as_bytes).contains(&event) {
            return;
        }
        if event == catalogue::LOG_TORN_TAIL.as_bytes() {
            self.suspects.pop_if(|suspect| !suspect.is_cut || suspect.place.line + 1 == place.line);
        }
        if self.report.notes.len() < MAX_NOTES {
            let (file, event) = (&self.report.files[place.file], String::from_utf8_lossy(event));
            let meaning = catalogue::find(&event).map_or("", |event| event.meaning);
            self.report.notes.push(format!("{file}:{}, serial {}: {event}. {meaning}", place.line, record.serial));
        }
    }

    /// Relays rewrite what precedes the hashed part of every record. Where only some differ, somebody else did.
    fn end_file(&mut self, place: Place) {
        let (records, unwrapped) = (std::mem::take(&mut self.wrapped), std::mem::take(&mut self.unwrapped));
        if records > 1 && unwrapped.len() as u64 == records.min(MAX_LINE as u64) {
            let file = &self.report.files[place.file];
            self.report
                .notes
                .push(format!("{file}: a relay rewrote what precedes the hashed parts; it is not verified"));
            return;
        }
        for (place, serial) in unwrapped {
            let why = "what precedes or ends the hashed part of the record was changed; the hashed part is sound";
            self.findings.add(Kind::Altered, place, Some(serial), why);
        }
    }

    fn finish(mut self) -> Report {
        for chain in self.chains.values_mut() {
            chain.sequence.finish(&mut self.findings);
        }
        sequence::flush(&mut self.suspects, &mut self.findings);
        self.find_strangers();
        for (stream, chain) in &self.chains {
            let Sequence { first, last, records, .. } = &chain.sequence;
            self.report.streams.push(Stream {
                stream: format!("{stream:016x}"),
                of: if chain.of == Layout::Csv { "audit trail" } else { "log" },
                records: *records,
                first_serial: first.serial,
                last_serial: last.serial,
                last_hash: last.hash.to_string(),
                has_beginning: first.previous == Hash::NONE,
            });
        }
        self.findings.into_report(&mut self.report);
        self.report
    }

    /// A file holds one chain. Where another one appears in it, the smaller one was put there.
    fn find_strangers(&mut self) {
        let size = |chain: &Chain| chain.sequence.records;
        for chain in self.chains.values() {
            let (from, records) = (chain.sequence.first.place.file, size(chain));
            let lived_there = |other: &&Chain| (other.sequence.first.place.file..=other.file).contains(&from);
            let others = self.chains.values().filter(|other| other.of == chain.of).filter(lived_there);
            if others.map(size).max().is_some_and(|largest| largest > records) {
                let first = &chain.sequence.first;
                let why = format!("{records} records of another chain begin here; they belong to another file");
                self.findings.add_range(Kind::Inserted, first.place, Some((first.serial, first.serial)), &why);
            }
        }
    }
}

/// The event of a record that the chain writes of itself.
fn own_event<'a>(record: &Line<'a>) -> Option<&'a [u8]> {
    let event = match record.layout {
        Layout::Csv => record.hashed.split(|byte| *byte == b',').next(),
        Layout::KeyValue => record.hashed.split(|byte| *byte == b' ').find_map(|word| word.strip_prefix(b"event=")),
        Layout::Cef | Layout::Leef => {
            std::str::from_utf8(record.hashed).ok().and_then(view::event_of).map(str::as_bytes)
        }
    };
    event.filter(|event| event.starts_with(b"log."))
}

/// Whether what the hash does not cover is as the writer wrote it.
fn is_wrapped_as_written(record: &Line<'_>, line: &[u8]) -> bool {
    line.ends_with(record.layout.line_end().as_bytes()) && header::is_as_written(record)
}

/// Whether a line that is no record looks as if it had been one.
fn resembles(line: &[u8], layout: Layout) -> bool {
    match layout {
        Layout::Csv => line.iter().filter(|byte| **byte == b',').count() >= 10,
        _ => {
            let labels = Layout::OF_LOGS.map(|layout| [layout.previous_label(), layout.label()]);
            labels.as_flattened().iter().any(|label| has(line, label.as_bytes()))
                || has(line, b"serial=") && has(line, b"stream=")
                || has(line, b"externalId=") && has(line, b"deviceExternalId=")
        }
    }
}

fn has(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).any(|window| window == text)
}
