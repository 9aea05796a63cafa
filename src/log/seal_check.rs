//! The seals of one chain, followed with the auditor's key: what they prove, and what they do not fit.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::catalogue;
use super::layout::{Hash, Layout, Line, decimal, stream};
use super::own::field;
use super::report::{Findings, Kind, Place};
use super::seal::{self, Claim, Opened, SealKey};
use super::sequence::Seen;
use super::verify::Options;

/// No writer leaves more behind its last checkpoint, also when it is killed: 1000 that are not due yet, and then two writes of
/// 128 KiB, in which the shortest rows have 200 bytes, of which the second would have been sealed.
const MAX_UNSEALED: u64 = 2_500;
/// So far apart, in seconds, may they have been written: a checkpoint is due after 30 s, and a write may take its time.
const MAX_PERIOD: u64 = 120;
/// No seal makes so many checkpoints between two that are seen.
const MAX_SKIPPED: u64 = 1 << 17;

const REWRITTEN: &str = "the seal does not fit: records were changed and all hashes after them computed anew";
const SKIPPED: &str = "checkpoints of the seal are missing: what they sealed was cut off and written anew";
const OLD_KEY: &str = "a key was used that the seal had given up before: an older copy of its file was brought back, by a loss of \
                       power or by somebody who has one";
const UNVOUCHED: &str = "a seal begins here for which no seal before it vouches: its file was lost, or what follows was put in the place \
                         of other records";
const UNKNOWN: &str = "the checkpoint is of a seal that begins nowhere in these files";
const UNOPENED: &str = "the sealed key is not what the auditor's key opens: the record was changed";
const UNSEALED: &str = "the chain has no seal: it was written without, or written anew";
const UNFINISHED: &str =
    "more than any writer leaves; sealing was ended, or what follows was put in the place of other records";

/// What a record says of seals.
pub(super) enum Event {
    Seal {
        name: u64,
        auditor: String,
        sealed_key: Vec<u8>,
    },
    Checkpoint {
        name: u64,
        index: u64,
        proof: Hash,
    },
    /// It should, but is not in its form.
    Malformed,
}

impl Event {
    /// `event` is the record's.
    pub fn of(record: &Line<'_>, event: &str) -> Option<Event> {
        let is_seal = event == catalogue::LOG_SEAL;
        if !is_seal && event != catalogue::LOG_CHECKPOINT {
            return None;
        }
        let text = std::str::from_utf8(record.hashed).ok();
        let read =
            |text| if is_seal { Event::seal(record.layout, text) } else { Event::checkpoint(record.layout, text) };
        Some(text.and_then(read).unwrap_or(Event::Malformed))
    }

    fn seal(layout: Layout, text: &str) -> Option<Event> {
        let name = stream(field(layout, text, "seal")?.as_bytes())?;
        let auditor = field(layout, text, "auditor_key")?.to_owned();
        let sealed_key = seal::from_base64url(field(layout, text, "sealed_key")?)?;
        Some(Event::Seal { name, auditor, sealed_key })
    }

    fn checkpoint(layout: Layout, text: &str) -> Option<Event> {
        let name = stream(field(layout, text, "seal")?.as_bytes())?;
        let index = match field(layout, text, "index")? {
            "0" => 0,
            digits => decimal(digits.as_bytes())?,
        };
        let proof = Hash::parse(field(layout, text, "proof")?.as_bytes())?;
        Some(Event::Checkpoint { name, index, proof })
    }
}

/// The seals of one chain.
#[derive(Default)]
pub(super) struct Seals {
    known: HashMap<u64, Known>,
    /// The one that nothing can vouch for.
    pub first: Option<u64>,
    pub checkpoints: u64,
    /// Serial up to which the last checkpoint that fits seals the chain.
    pub sealed_to: Option<u64>,
    /// So many records stand behind it, or behind a seal that can be opened and has none yet, and over so many seconds.
    pub unsealed: Option<(u64, u64)>,
    /// Where the last checkpoint was that fits.
    last: Option<Seen>,
    /// When the earliest and the latest record behind it happened, in seconds since 1970.
    written: Option<(i64, i64)>,
    /// When it was made. What stands behind it was not written earlier, though it may have waited that long.
    sealed_at: i64,
    /// When the last record happened, whatever its clock said before.
    latest: i64,
    /// The finding that checkpoints do not fit, while they do not.
    misfit: Option<Option<usize>>,
    gaps: Vec<Gap>,
}

struct Known {
    /// With the index of its next or last use.
    key: Option<(SealKey, u64)>,
    /// Of the checkpoint that is expected.
    next: u64,
    begins: Seen,
    is_vouched_for: bool,
}

/// Checkpoints that were not where they should be.
struct Gap {
    name: u64,
    indices: (u64, u64),
    from: (Place, u64),
    to: Seen,
}

impl Seals {
    /// Takes what a record says that is part of the chain. `begins` is the chain's first record in these files.
    pub fn take(&mut self, event: Event, seen: &Seen, begins: &Seen, options: &Options<'_>, findings: &mut Findings) {
        match event {
            Event::Seal { name, auditor, sealed_key } => {
                self.begin(name, &auditor, &sealed_key, seen, options, findings);
            }
            Event::Checkpoint { name, index, proof } => {
                self.checkpoints += 1;
                self.check(name, (index, proof), seen, begins, options, findings);
            }
            Event::Malformed => findings.add(Kind::Rewritten, seen.place, Some(seen.serial), UNOPENED),
        }
    }

    /// Takes the time of a record, before what it says.
    pub fn take_time(&mut self, time: Option<i64>) {
        if let Some(time) = time {
            self.latest = time;
            let time = time.max(self.sealed_at);
            let (earliest, latest) = self.written.unwrap_or((time, time));
            self.written = Some((earliest.min(time), latest.max(time)));
        }
    }

    fn begin(
        &mut self,
        name: u64,
        auditor: &str,
        sealed_key: &[u8],
        seen: &Seen,
        options: &Options<'_>,
        findings: &mut Findings,
    ) {
        let opened = match name == seal::name_of(sealed_key) {
            true => options.open(sealed_key, seen.stream),
            false => Opened::Refused,
        };
        let key = match opened {
            Opened::Key(key) => Some((key, 0)),
            Opened::ForOthers if options.has_keys() => {
                let why = format!("the seal is for the auditor's key {auditor}; give its private key, too");
                findings.add(Kind::Unsealed, seen.place, Some(seen.serial), &why);
                None
            }
            Opened::ForOthers => None,
            Opened::Refused => {
                findings.add(Kind::Rewritten, seen.place, Some(seen.serial), UNOPENED);
                None
            }
        };
        let is_vouched_for = self.first.is_none();
        self.first.get_or_insert(name);
        self.known.insert(name, Known { key, next: 0, begins: *seen, is_vouched_for });
    }

    fn check(
        &mut self,
        name: u64,
        (index, proof): (u64, Hash),
        seen: &Seen,
        begins: &Seen,
        options: &Options<'_>,
        findings: &mut Findings,
    ) {
        let Some(known) = self.known.get_mut(&name) else {
            // The files before these may have been removed in time; then it only vouches for a seal that it does not name.
            if begins.previous == Hash::NONE && options.has_keys() {
                findings.add(Kind::Unsealed, seen.place, Some(seen.serial), UNKNOWN);
            }
            return;
        };
        let Some((key, at)) = &mut known.key else { return };
        if index < *at {
            findings.add(Kind::Rewritten, seen.place, Some(seen.serial), OLD_KEY);
            return;
        }
        let is_possible = index - *at <= MAX_SKIPPED;
        while is_possible && *at < index {
            (*key, *at) = (key.next(), *at + 1);
        }
        let claim = Claim { seal: name, index, stream: seen.stream, serial: seen.serial, head: seen.previous };
        if !is_possible || key.vouch(&claim) != proof {
            self.misfit(seen, begins, findings);
            return;
        }
        self.misfit = None;
        // The same once more is what a crash leaves.
        if index > known.next {
            let from = self.last.unwrap_or(known.begins);
            let from = (from.place, from.serial + 1);
            self.gaps.push(Gap { name, indices: (known.next, index - 1), from, to: *seen });
        }
        known.next = index + 1;
        if !known.is_vouched_for {
            let begins = known.begins;
            known.is_vouched_for = true;
            findings.add(Kind::Unsealed, begins.place, Some(begins.serial), UNVOUCHED);
        }
        self.known.values_mut().for_each(|other| other.is_vouched_for = true);
        (self.last, self.sealed_to) = (Some(*seen), Some(seen.serial - 1));
        (self.written, self.sealed_at) = (None, self.latest);
    }

    /// What is wrong lies between the last checkpoint that fits and this one; those that follow hang on the same.
    fn misfit(&mut self, seen: &Seen, begins: &Seen, findings: &mut Findings) {
        if let Some(index) = self.misfit
            && findings.extend(index, seen.place, seen.serial)
        {
            return;
        }
        let from =
            self.last.as_ref().map_or((begins.place.before(), begins.serial), |last| (last.place, last.serial + 1));
        self.misfit = Some(findings.add_span(Kind::Rewritten, from.0, seen.place, (from.1, seen.serial), REWRITTEN));
    }

    /// There is no more. `aside` are the checkpoints that stand in the files but not in their places.
    pub fn finish<'a>(
        &mut self,
        aside: impl Iterator<Item = &'a Event> + Clone,
        last: &Seen,
        options: &Options<'_>,
        findings: &mut Findings,
    ) {
        for gap in &self.gaps {
            let stands_elsewhere = |index: u64| {
                aside.clone().any(|event| {
                    matches!(event, Event::Checkpoint { name, index: other, .. } if (*name, *other) == (gap.name, index))
                })
            };
            let (first, end) = gap.indices;
            // What the hashes tell of explains it.
            let is_explained = findings.any_between(gap.from.0, gap.to.place) || (first..=end).all(stands_elsewhere);
            if !is_explained {
                findings.add_span(Kind::Rewritten, gap.from.0, gap.to.place, (gap.from.1, gap.to.serial), SKIPPED);
            }
        }
        if !options.has_keys() {
            return;
        }
        if self.known.is_empty() {
            findings.add(Kind::Unsealed, last.place, Some(last.serial), UNSEALED);
        }
        let with_key = self.known.values().filter(|known| known.key.is_some()).map(|known| known.begins.serial).min();
        let Some(sealed) = self.last.map(|last| last.serial).or(with_key) else { return };
        let (earliest, latest) = self.written.unwrap_or_default();
        let (records, seconds) = (last.serial.saturating_sub(sealed), latest.abs_diff(earliest));
        self.unsealed = Some((records, seconds));
        // Collectors may have been away for long, and got much at once.
        if records > MAX_UNSEALED || seconds > MAX_PERIOD && !options.is_collected {
            let why = format!("{records} records over {seconds} s are not sealed: {UNFINISHED}");
            findings.add_span(Kind::Unsealed, last.place.before(), last.place, (sealed + 1, last.serial), &why);
        }
    }
}
