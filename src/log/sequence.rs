//! One chain on its way through the files: which record follows which, and what is wrong where none does.
//!
//! A record that does not follow the last one is held until the next is seen, because only that tells whether it is the
//! one out of place, or whether something before it is gone or changed.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use super::layout::Hash;
use super::report::{Findings, Kind, Place};

const CHANGED: &str = "the record does not match its hash";
const REHASHED: &str = "the record was changed and its hash computed anew: the next record names another hash";
const FOREIGN: &str = "the line is no part of the chain: the record after it follows the one before it";
const FORGED: &str = "the record pretends to be part of the chain, but the record after it does not follow it";
const GONE: &str = "these records should stand before this line";
const EARLY: &str = "the record stands before others that were written earlier";
const LATE: &str = "the record stands after others that were written later";
const TWICE: &str = "the record, or its serial, stands in the files more than once";

/// A record whose hash is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub place: Place,
    pub stream: u64,
    pub serial: u64,
    pub previous: Hash,
    pub hash: Hash,
}

/// A line that is no record, or whose hash is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    pub place: Place,
    /// What it says of itself, where it says anything.
    pub serial: Option<u64>,
    /// In bytes, with its end.
    pub length: usize,
    pub resembles: bool,
    /// It is the last of its file and has no line end.
    pub is_cut: bool,
}

/// The chain as far as it was followed.
pub(super) struct Sequence {
    pub first: Seen,
    pub last: Seen,
    pub records: u64,
    /// Records that were found to be in their place, until somebody takes them.
    pub placed: Vec<Seen>,
    /// A record that does not follow `last`.
    held: Option<Seen>,
    /// Serials not seen yet, by the first of each range, and the place before which they should stand.
    gaps: BTreeMap<u64, (u64, Place)>,
    /// Records seen before their turn, and the finding that says so.
    early: HashMap<u64, (Hash, Option<usize>)>,
}

impl Sequence {
    /// Begins with a record. `suspects` stand before it.
    pub fn start(first: Seen, suspects: &mut Vec<Suspect>, findings: &mut Findings) -> Sequence {
        flush(suspects, findings);
        let placed = vec![first];
        Sequence { first, last: first, records: 1, placed, held: None, gaps: BTreeMap::new(), early: HashMap::new() }
    }

    /// Takes the next record. `suspects` stand between it and the record before it.
    pub fn take(&mut self, seen: Seen, suspects: &mut Vec<Suspect>, findings: &mut Findings) {
        self.records += 1;
        match self.held.take() {
            None => self.place(seen, suspects, findings),
            Some(held) if follows(&held, &seen) && held.serial == self.last.serial => {
                // Two records of one serial, of which this is the real one.
                findings.add(Kind::Inserted, self.last.place, Some(self.last.serial), FORGED);
                self.advance(held, findings);
                self.place(seen, suspects, findings);
            }
            Some(held) if follows(&held, &seen) => {
                self.confirm(held, findings);
                self.place(seen, suspects, findings);
            }
            Some(held) if follows(&self.last, &seen) || self.returns(&held, &seen) => {
                self.displace(held, findings);
                self.place(seen, suspects, findings);
            }
            Some(held) if held.serial == self.last.serial + 1 && seen.serial == held.serial + 1 => {
                // It follows neither the record before, nor does the next follow it: it is the one that was changed.
                findings.add(Kind::Altered, held.place, Some(held.serial), REHASHED);
                self.last = held;
                self.last.hash = seen.previous;
                self.place(seen, suspects, findings);
            }
            Some(held) => {
                self.confirm(held, findings);
                self.place(seen, suspects, findings);
            }
        }
    }

    /// There are no more records.
    pub fn finish(&mut self, findings: &mut Findings) {
        if let Some(held) = self.held.take() {
            self.confirm(held, findings);
        }
        for (from, (to, place)) in std::mem::take(&mut self.gaps) {
            findings.add_range(Kind::Missing, place, Some((from, to)), GONE);
        }
    }

    /// Puts a record where it belongs, while no other is held.
    fn place(&mut self, seen: Seen, suspects: &mut Vec<Suspect>, findings: &mut Findings) {
        if follows(&self.last, &seen) || self.follows_early(&seen) {
            suspects.drain(..).for_each(|suspect| suspect.is_foreign(findings));
            self.advance(seen, findings);
        } else if seen.serial <= self.last.serial {
            self.look_back(seen, findings);
        } else if seen.serial > self.last.serial + 1 && !suspects.is_empty() {
            self.fill(seen, suspects, findings);
        } else {
            suspects.drain(..).for_each(|suspect| suspect.is_foreign(findings));
            self.held = Some(seen);
        }
    }

    fn advance(&mut self, seen: Seen, findings: &mut Findings) {
        if let Some((_, index)) = self.early.remove(&seen.serial) {
            findings.amend(index, Kind::Duplicated, TWICE);
        }
        self.last = seen;
        self.placed.push(seen);
    }

    /// Lines that cannot be read stand where records are missing: they are those records.
    fn fill(&mut self, seen: Seen, suspects: &mut Vec<Suspect>, findings: &mut Findings) {
        let mut serial = self.last.serial + 1;
        let is_one_each = suspects.len() as u64 == seen.serial - serial;
        for suspect in suspects.drain(..) {
            if serial == seen.serial || !(suspect.resembles || is_one_each) {
                suspect.is_foreign(findings);
                continue;
            }
            if let Some(claimed) = suspect.serial.filter(|claimed| (serial + 1..seen.serial).contains(claimed)) {
                self.open_gap(serial, claimed - 1, suspect.place);
                serial = claimed;
            }
            findings.add(Kind::Altered, suspect.place, Some(serial), CHANGED);
            serial += 1;
        }
        self.open_gap(serial, seen.serial - 1, seen.place);
        self.advance(seen, findings);
    }

    /// A record with a serial that is behind us.
    fn look_back(&mut self, seen: Seen, findings: &mut Findings) {
        if self.close_gap(seen.serial) || seen.serial < self.first.serial {
            findings.add(Kind::Reordered, seen.place, Some(seen.serial), LATE);
        } else if seen.serial == self.last.serial && seen.hash != self.last.hash {
            // Two different records of one serial: the next record tells which one is real.
            self.held = Some(seen);
        } else {
            findings.add(Kind::Duplicated, seen.place, Some(seen.serial), TWICE);
        }
    }

    /// The held record is right where it stands, so something before it is not.
    fn confirm(&mut self, held: Seen, findings: &mut Findings) {
        if held.serial == self.last.serial {
            findings.add(Kind::Inserted, held.place, Some(held.serial), FORGED);
            return;
        }
        if held.serial == self.last.serial + 1 {
            findings.add(Kind::Altered, self.last.place, Some(self.last.serial), REHASHED);
        } else {
            self.open_gap(self.last.serial + 1, held.serial - 1, held.place);
        }
        self.advance(held, findings);
    }

    /// The held record is the one out of place.
    fn displace(&mut self, held: Seen, findings: &mut Findings) {
        if held.serial <= self.last.serial + 1 {
            findings.add(Kind::Inserted, held.place, Some(held.serial), FORGED);
        } else {
            let index = findings.add_range(Kind::Reordered, held.place, Some((held.serial, held.serial)), EARLY);
            self.early.insert(held.serial, (held.hash, index));
        }
    }

    /// Whether the chain returns behind a record that jumped ahead.
    fn returns(&self, held: &Seen, seen: &Seen) -> bool {
        held.serial > self.last.serial + 1 && (self.last.serial + 1..held.serial).contains(&seen.serial)
    }

    /// Whether all that lies between was seen before its turn.
    fn follows_early(&self, seen: &Seen) -> bool {
        let between = self.last.serial + 1..seen.serial;
        !self.early.is_empty()
            && between.end - between.start.min(between.end) <= self.early.len() as u64
            && between.clone().all(|serial| self.early.contains_key(&serial))
            && self.early.get(&seen.serial.wrapping_sub(1)).is_some_and(|(hash, _)| *hash == seen.previous)
    }

    fn open_gap(&mut self, from: u64, to: u64, place: Place) {
        let mut known: Vec<u64> = self.early.keys().copied().filter(|serial| (from..=to).contains(serial)).collect();
        known.sort_unstable();
        let mut start = from;
        for serial in known {
            if start < serial {
                self.gaps.insert(start, (serial - 1, place));
            }
            start = serial + 1;
        }
        if start <= to {
            self.gaps.insert(start, (to, place));
        }
    }

    /// Whether the serial was missing; it is not any more.
    fn close_gap(&mut self, serial: u64) -> bool {
        let Some((&from, &(to, place))) = self.gaps.range(..=serial).next_back() else { return false };
        if serial > to {
            return false;
        }
        self.gaps.remove(&from);
        if from < serial {
            self.gaps.insert(from, (serial - 1, place));
        }
        if serial < to {
            self.gaps.insert(serial + 1, (to, place));
        }
        true
    }
}

fn follows(last: &Seen, seen: &Seen) -> bool {
    seen.serial == last.serial + 1 && seen.previous == last.hash
}

/// Says of lines what can be said of them without a neighbour that follows.
pub(super) fn flush(suspects: &mut Vec<Suspect>, findings: &mut Findings) {
    for suspect in suspects.drain(..) {
        let (kind, why) = match suspect {
            Suspect { is_cut: true, .. } => {
                (Kind::Torn, "the line is incomplete: its writing was interrupted, or its end was cut off")
            }
            Suspect { resembles: true, .. } => (Kind::Altered, CHANGED),
            _ => (Kind::Malformed, "the line is no record"),
        };
        findings.add(kind, suspect.place, suspect.serial, why);
    }
}

impl Suspect {
    fn is_foreign(self, findings: &mut Findings) {
        if self.is_cut {
            findings.add(Kind::Torn, self.place, None, "the line is incomplete: its writing was interrupted");
        } else {
            findings.add(Kind::Inserted, self.place, None, FOREIGN);
        }
    }
}
