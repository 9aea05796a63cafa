//! Verifies logs and audit trails: what is altered, missing, reordered, duplicated, inserted or torn, and where.
//!
//! One pass, in memory that does not grow with intact records.

#![forbid(unsafe_code)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use super::anchor::Anchor;
use super::layout::{self, Hash, Layout, Line, Of};
use super::report::{Findings, Kind, Place, Report, Stream};
use super::seal::Opened;
use super::seal_check::{Event, Seals};
#[cfg(feature = "auditor")]
use super::seal_open::AuditorPrivateKey;
use super::sequence::{self, Seen, Sequence, Suspect};
use super::source::{self, Lines, MAX_LINE, Source, has, trim};
use super::{catalogue, header, own, strangers};
use crate::error::Result;

const MAX_NOTES: usize = 1000;
const NOTHING: &str = "no record is in these files, so nothing is proven; name the files of a log or of an audit trail";
const NOT_TORN: &str =
    "the incomplete line that this record tells of should stand right before it, as long as the record says";
const OTHER: &str =
    "an anchor proves that another record stood here: records were changed and all hashes after them computed anew";

/// What a verification may rely on beside the files.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    pub anchors: &'a [Anchor],
    /// The files are what a collector kept: chains of many processes side by side. They are read in the order in which they
    /// are given, and a chain that begins among others is none that somebody put there.
    pub is_collected: bool,
    /// What the files are to be of, so that one is not taken for the other. Without it either is intact in the other's place.
    pub of: Option<Of>,
    /// Seals are verified if there is one.
    #[cfg(feature = "auditor")]
    pub auditor_keys: &'a [AuditorPrivateKey],
}

impl Options<'_> {
    pub(super) fn has_keys(&self) -> bool {
        #[cfg(feature = "auditor")]
        return !self.auditor_keys.is_empty();
        #[cfg(not(feature = "auditor"))]
        false
    }

    #[cfg(feature = "auditor")]
    pub(super) fn open(&self, sealed_key: &[u8], stream: u64) -> Opened {
        let opened = self.auditor_keys.iter().map(|key| key.open(sealed_key, stream));
        opened
            .reduce(|best, next| if matches!(best, Opened::Key(_)) { best } else { next })
            .unwrap_or(Opened::ForOthers)
    }

    #[cfg(not(feature = "auditor"))]
    pub(super) fn open(&self, _: &[u8], _: u64) -> Opened {
        Opened::ForOthers
    }
}

/// Verifies the files as one history. Rotated files may be given in any order: they are read in the order of their
/// serials, also compressed ones (gzip). Logs and audit trails are told apart by their first line.
///
/// Errors: `System` if a file cannot be read.
pub fn verify(files: &[&Path]) -> Result<Report> {
    verify_with(files, &Options::default())
}

/// As [`verify`], and the end against anchors, and all of it against the auditor's seals.
///
/// Errors: as [`verify`].
pub fn verify_with(files: &[&Path], options: &Options<'_>) -> Result<Report> {
    let mut verifier = Verifier::new(options);
    for source in source::open_all(files, options.is_collected)? {
        verifier.read(&source).map_err(|error| source::unreadable(source.path, &error))?;
    }
    Ok(verifier.finish())
}

struct Verifier<'a> {
    options: &'a Options<'a>,
    report: Report,
    findings: Findings,
    chains: BTreeMap<u64, Chain>,
    /// Lines that were not understood, until a record tells what they are.
    suspects: Vec<Suspect>,
    /// Of the current file: its records, and those that differ outside of what their hash covers.
    wrapped: u64,
    unwrapped: Vec<(Place, u64)>,
    /// Of one record there may be several, and they have to agree.
    anchors: BTreeMap<(u64, u64), Vec<Anchored>>,
}

struct Chain {
    of: Layout,
    sequence: Sequence,
    seals: Seals,
    /// What records say of seals that are not in their place, or not yet known to be.
    aside: HashMap<Hash, Event>,
}

/// An anchor, and what stands in its place.
struct Anchored {
    hash: Hash,
    of: Option<Of>,
    is_seen: bool,
    other: Option<Place>,
}

/// Whether what stands there is what all of them prove.
fn are_seen(anchored: &[Anchored]) -> bool {
    anchored.iter().all(|one| one.is_seen)
}

impl<'a> Verifier<'a> {
    fn new(options: &'a Options<'a>) -> Verifier<'a> {
        let mut anchors: BTreeMap<_, Vec<Anchored>> = BTreeMap::new();
        for Anchor { stream, serial, hash, of } in options.anchors {
            let of_record = anchors.entry((*stream, *serial)).or_default();
            if !of_record.iter().any(|known| known.hash == *hash) {
                of_record.push(Anchored { hash: *hash, of: *of, is_seen: false, other: None });
            }
        }
        Verifier {
            options,
            report: Report::default(),
            findings: Findings::default(),
            chains: BTreeMap::new(),
            suspects: Vec::new(),
            wrapped: 0,
            unwrapped: Vec::new(),
            anchors,
        }
    }

    fn read(&mut self, source: &Source<'_>) -> io::Result<()> {
        let mut place = Place { file: self.report.files.len(), line: 0 };
        self.report.files.push(source.path.display().to_string());
        self.expect(source, place);
        let mut lines = Lines::open(source.path)?;
        let mut line = Vec::new();
        loop {
            match lines.next(&mut line) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if source::is_damage(&error) => {
                    let place = Place { line: place.line + 1, ..place };
                    let why = format!("the compressed file is damaged or cut from here on: {error}");
                    self.findings.add(Kind::Torn, place, None, &why);
                    break;
                }
                Err(error) => return Err(error),
            }
            place.line += 1;
            self.line(&line, place, source.layout);
        }
        if place.line == 0 {
            self.report.notes.push(format!("{} is empty", source.path.display()));
        }
        self.end_file(place);
        Ok(())
    }

    /// A file with records has to be of what is expected.
    fn expect(&mut self, source: &Source<'_>, place: Place) {
        let of = source.layout.of();
        let expected = self.options.of.filter(|expected| *expected != of && source.first.is_some());
        if let Some(expected) = expected {
            let why = format!("the file is {}, and {} is expected", of.a(), expected.a());
            self.findings.add(Kind::Inserted, Place { line: 1, ..place }, None, &why);
        }
    }

    fn line(&mut self, line: &[u8], place: Place, layout: Layout) {
        let text = trim(line);
        if let Some(header) = layout.header()
            && line.ends_with(b"\n")
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
                length: line.len(),
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
        let event = own::event_of(record);
        self.note(record, event, place);
        let Line { stream, serial, previous, hash, .. } = *record;
        let seen = Seen { place, stream, serial, previous, hash };
        for anchored in self.anchors.get_mut(&(stream, serial)).into_iter().flatten() {
            match anchored.hash == hash {
                true => anchored.is_seen = true,
                false => anchored.other = Some(place),
            }
        }
        let chain = match self.chains.entry(stream) {
            Entry::Occupied(entry) => {
                let chain = entry.into_mut();
                chain.sequence.take(seen, &mut self.suspects, &mut self.findings);
                chain
            }
            Entry::Vacant(entry) => {
                let sequence = Sequence::start(seen, &mut self.suspects, &mut self.findings);
                entry.insert(Chain { of: layout, sequence, seals: Seals::default(), aside: HashMap::new() })
            }
        };
        if let Some(event) = event.and_then(|event| Event::of(record, event)) {
            chain.aside.insert(hash, event);
        }
        if self.options.has_keys() {
            chain.seals.take_time(own::time_of(record));
        }
        chain.follow_seals(self.options, &mut self.findings);
    }

    /// What the chain says of itself is worth a note.
    fn note(&mut self, record: &Line<'_>, event: Option<&str>, place: Place) {
        let Some(event) = event else { return };
        if catalogue::USUAL.contains(&event) {
            return;
        }
        if event == catalogue::LOG_TORN_TAIL {
            self.explain_torn(record, place);
        }
        if self.report.notes.len() < MAX_NOTES {
            let file = &self.report.files[place.file];
            let meaning = || catalogue::find(event).map_or("", |event| event.meaning).to_owned();
            let told = own::told(record, event).unwrap_or_else(meaning);
            self.report.notes.push(format!("{file}:{}, serial {}: {event}: {told}", place.line, record.serial));
        }
    }

    /// The record explains the line before it, if that is as long as the record says.
    fn explain_torn(&mut self, record: &Line<'_>, place: Place) {
        let told = std::str::from_utf8(record.hashed).ok().and_then(|text| own::field(record.layout, text, "bytes"));
        let told = told.and_then(|digits| layout::decimal(digits.as_bytes()));
        let is_it = |suspect: &mut Suspect| {
            let length = told.map(|bytes| bytes.saturating_add(record.layout.line_end().len() as u64));
            let found = suspect.length as u64;
            // Of a longer line no more is read.
            let is_as_long = length == Some(found) || suspect.length >= MAX_LINE && length >= Some(found);
            suspect.place == place.before() && is_as_long
        };
        if self.suspects.pop_if(is_it).is_none() && !self.options.is_collected {
            self.findings.add(Kind::Missing, place, Some(record.serial), NOT_TORN);
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
            chain.follow_seals(self.options, &mut self.findings);
        }
        sequence::flush(&mut self.suspects, &mut self.findings);
        let strangers = if self.options.is_collected { Vec::new() } else { self.find_strangers() };
        for (_, chain) in self.chains.iter_mut().filter(|(stream, _)| !strangers.contains(stream)) {
            let (aside, last) = (chain.aside.values(), &chain.sequence.last);
            chain.seals.finish(aside, last, self.options, &mut self.findings);
        }
        self.judge_anchors();
        if self.report.records == 0 && !self.findings.any() && !self.report.files.is_empty() {
            self.findings.add(Kind::Missing, Place { file: 0, line: 1 }, None, NOTHING);
        }
        for (stream, chain) in &self.chains {
            let Sequence { first, last, records, .. } = &chain.sequence;
            let proven = self.anchors.range((*stream, 0)..=(*stream, u64::MAX)).filter(|(_, all)| are_seen(all));
            let anchored_to = proven.map(|((_, serial), _)| *serial).next_back();
            self.report.streams.push(Stream {
                stream: format!("{stream:016x}"),
                of: chain.of.of(),
                records: *records,
                first_serial: first.serial,
                last_serial: last.serial,
                last_hash: last.hash.to_string(),
                has_beginning: first.previous == Hash::NONE,
                checkpoints: chain.seals.checkpoints,
                sealed_to: chain.seals.sealed_to,
                unsealed_records: chain.seals.unsealed.map(|(records, _)| records),
                unsealed_seconds: chain.seals.unsealed.map(|(_, seconds)| seconds),
                was_given_keys: self.options.has_keys(),
                first_seal: chain.seals.first.map(|name| format!("{name:016x}")),
                anchored_to,
            });
        }
        self.findings.into_report(&mut self.report);
        self.report
    }

    /// What an anchor names has to stand in its chain.
    fn judge_anchors(&mut self) {
        // Of the other kind: one text may hold the anchors of a log and of an audit trail.
        let mut others: BTreeMap<Of, u64> = BTreeMap::new();
        let is_of_these = |of: &Of| self.chains.values().any(|chain| chain.of.of() == *of);
        let all = self.anchors.iter().flat_map(|(of, anchored)| anchored.iter().map(move |one| (of, one)));
        for ((stream, serial), anchored) in all.filter(|(_, anchored)| !anchored.is_seen) {
            let Some(chain) = self.chains.get(stream) else {
                let other = anchored.of.filter(|of| !self.chains.is_empty() && !is_of_these(of));
                if let Some(of) = other {
                    *others.entry(of).or_default() += 1;
                    continue;
                }
                let why = format!(
                    "an anchor proves record {serial} of chain {stream:016x}, of which nothing is in these files"
                );
                let place = Place { file: self.report.files.len().saturating_sub(1), line: 1 };
                self.findings.add_range(Kind::Cut, place, Some((*serial, *serial)), &why);
                continue;
            };
            let Sequence { first, last, .. } = &chain.sequence;
            if *serial > last.serial {
                let place = Place { line: last.place.line + 1, ..last.place };
                let why = format!("the end was cut off: an anchor proves that the chain went on to {serial}");
                self.findings.add_range(Kind::Cut, place, Some((last.serial + 1, *serial)), &why);
            } else if *serial < first.serial {
                self.report.notes.push(format!("an anchor of record {serial} lies before the first of these files"));
            } else if let Some(place) = anchored.other
                && !self.findings.any_between(place.before(), place)
            {
                let proven = self.anchors.range((*stream, 0)..(*stream, *serial)).rfind(|(_, all)| are_seen(all));
                let from = proven.map_or(first.serial, |((_, serial), _)| serial + 1);
                self.findings.add_range(Kind::Rewritten, place, Some((from, *serial)), OTHER);
            }
        }
        for (of, count) in others {
            let s = if count == 1 { "" } else { "s" };
            let note = format!("{count} anchor{s} of {} prove nothing here; verify its files with them, too", of.a());
            self.report.notes.push(note);
        }
    }

    fn find_strangers(&mut self) -> Vec<u64> {
        let (files, findings) = (&self.report.files, &mut self.findings);
        let of_kind = [false, true].map(|is_trail| {
            let chains = self.chains.values().filter(|chain| (chain.of == Layout::Csv) == is_trail);
            strangers::find(chains.map(|chain| &chain.sequence), files, findings)
        });
        of_kind.concat()
    }
}

impl Chain {
    /// Hands on what records say of seals, once they are in their place.
    fn follow_seals(&mut self, options: &Options<'_>, findings: &mut Findings) {
        let Chain { sequence, seals, aside, .. } = self;
        if !aside.is_empty() {
            for seen in &sequence.placed {
                if let Some(event) = aside.remove(&seen.hash) {
                    seals.take(event, seen, &sequence.first, options, findings);
                }
            }
        }
        sequence.placed.clear();
    }
}

/// Whether what the hash does not cover is as the writer wrote it.
fn is_wrapped_as_written(record: &Line<'_>, line: &[u8]) -> bool {
    let end = &line[trim(line).len()..];
    end == record.layout.line_end().as_bytes() && header::is_as_written(record)
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
