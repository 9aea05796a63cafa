//! What a verification found, for people and for programs.

#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

use super::layout::Of;

/// As many findings are listed; the others are counted.
const MAX_LISTED: usize = 10_000;

/// The result of [`super::verify`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they were read.
    pub files: Vec<String>,
    /// Lines that are records, whether right or wrong.
    pub records: u64,
    /// The chains that were found, each with what is proven of it.
    pub streams: Vec<Stream>,
    /// Everything that is wrong, ordered by file and line.
    pub findings: Vec<Finding>,
    /// Further findings that are not listed.
    pub unlisted: u64,
    /// What is no fault but worth knowing: torn lines and lost records that the log itself tells of.
    pub notes: Vec<String>,
}

/// One chain.
#[derive(Clone, Debug, Serialize)]
pub struct Stream {
    /// 16 hexadecimal digits.
    pub stream: String,
    pub of: Of,
    pub records: u64,
    pub first_serial: u64,
    pub last_serial: u64,
    /// Of the last record: what an anchor kept elsewhere can be compared with.
    pub last_hash: String,
    /// Whether the chain's very first record is among the files.
    pub has_beginning: bool,
    /// So many checkpoints stand in its place.
    pub checkpoints: u64,
    /// Up to this record the auditor's key proves the chain.
    pub sealed_to: Option<u64>,
    /// So many records stand behind that, if the auditor's key opens a seal,
    pub unsealed_records: Option<u64>,
    /// and so long it took from the earliest to the latest of them.
    pub unsealed_seconds: Option<u64>,
    #[serde(skip)]
    pub(super) was_given_keys: bool,
    /// The name of the first seal, for which only the auditor's own note vouches.
    pub first_seal: Option<String>,
    /// Up to this record an anchor proves the chain.
    pub anchored_to: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub file: String,
    /// From 1. For what is missing, the line before which it should stand.
    pub line: u64,
    pub last_line: u64,
    pub serial: Option<u64>,
    pub last_serial: Option<u64>,
    pub explanation: String,
}

/// How something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Altered,
    Missing,
    Reordered,
    Duplicated,
    Inserted,
    /// All hashes fit, and a seal or an anchor does not: records were changed and the hashes computed anew.
    Rewritten,
    /// An anchor shows that the chain went on; its end was cut off.
    Cut,
    /// The auditor's seals do not cover what they should.
    Unsealed,
    /// The last line is incomplete.
    Torn,
    /// No record, at a place where it cannot be told whether one stood there.
    Malformed,
}

impl Report {
    /// Whether there are records and nothing is wrong. What may have been cut from the end cannot be known from the files alone.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty() && self.unlisted == 0
    }

    /// For programs: with the verdict before all else.
    pub fn judged(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Judged<'a> {
            intact: bool,
            #[serde(flatten)]
            report: &'a Report,
        }
        Judged { intact: self.is_intact(), report: self }
    }
}

/// `1 record`, `2 records`.
pub fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.unlisted > 0 {
            writeln!(f, "… and {} more", counted(self.unlisted, "finding"))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        let faults = self.findings.len() as u64 + self.unlisted;
        let records = counted(self.records, "record");
        match faults {
            0 => writeln!(f, "intact: {records}")?,
            _ => writeln!(f, "NOT intact: {}, {records}", counted(faults, "finding"))?,
        }
        for stream in &self.streams {
            writeln!(f, "{stream}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { of, stream, first_serial, last_serial, records, last_hash, .. } = self;
        write!(f, "{of} {stream}: serials {first_serial} to {last_serial}, {}", counted(*records, "record"))?;
        if !self.has_beginning {
            write!(f, " (what came before {first_serial} is not in these files)")?;
        }
        match (self.sealed_to, &self.first_seal) {
            (Some(to), Some(first)) => {
                write!(f, "\n  sealed up to {to}, from the seal {first} on, which is the first in these files")?;
            }
            (None, Some(_)) if self.unsealed_records.is_some() => {
                write!(f, "\n  nothing is sealed: no checkpoint was made yet, or none fits")?;
            }
            (None, Some(_)) if self.was_given_keys => write!(f, "\n  no auditor's key that was given opens a seal")?,
            (None, Some(_)) => {
                write!(f, "\n  seals are not verified: that takes the auditor's private key (--auditor-key)")?
            }
            _ => {}
        }
        if let (Some(records @ 1..), Some(seconds)) = (self.unsealed_records, self.unsealed_seconds) {
            let are = if records == 1 { "is" } else { "are" };
            write!(f, "; {} over {seconds} s {are} not sealed", counted(records, "record"))?;
        }
        match self.anchored_to {
            Some(to) if to == *last_serial => write!(f, "\n  complete: an anchor proves the last record, {to}"),
            Some(to) => {
                write!(f, "\n  an anchor proves the chain up to {to}; complete up to {last_serial}, tail unproven")
            }
            None => {
                write!(
                    f,
                    "\n  complete up to {last_serial}, tail unproven: records cut from the end leave no trace here. "
                )?;
                write!(f, "Verify with an anchor kept elsewhere (--anchor); the last hash is {last_hash}")
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind).to_uppercase();
        write!(f, "{kind:<10} {}:{}", self.file, self.line)?;
        if self.last_line != self.line {
            write!(f, "-{}", self.last_line)?;
        }
        match (self.serial, self.last_serial) {
            (Some(first), Some(last)) if first != last => write!(f, ", serials {first} to {last}")?,
            (Some(first), _) => write!(f, ", serial {first}")?,
            (None, _) => {}
        }
        write!(f, ": {}", self.explanation)
    }
}

/// A line of a file: the file's index, and the line from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub file: usize,
    pub line: u64,
}

impl Place {
    /// The place before the line.
    pub fn before(self) -> Place {
        Place { line: self.line.saturating_sub(1), ..self }
    }
}

/// Findings as they are made: neighbours of one kind become one.
#[derive(Default)]
pub(super) struct Findings {
    listed: Vec<(usize, Finding)>,
    unlisted: u64,
}

impl Findings {
    /// Adds one line. Where the line before it has the same fault, that finding grows instead.
    pub fn add(&mut self, kind: Kind, place: Place, serial: Option<u64>, explanation: &str) {
        if let Some((file, last)) = self.listed.last_mut()
            && (*file, last.kind, last.last_line + 1) == (place.file, kind, place.line)
            && last.explanation == explanation
            && last.last_serial.map(|serial| serial + 1) == serial
        {
            (last.last_line, last.last_serial) = (place.line, serial);
            return;
        }
        self.add_range(kind, place, serial.map(|serial| (serial, serial)), explanation);
    }

    /// Adds a finding of its own; the index is good for [`Findings::amend`].
    pub fn add_range(
        &mut self,
        kind: Kind,
        place: Place,
        serials: Option<(u64, u64)>,
        explanation: &str,
    ) -> Option<usize> {
        if self.listed.len() >= MAX_LISTED {
            self.unlisted += 1;
            return None;
        }
        let finding = Finding {
            kind,
            file: String::new(),
            line: place.line,
            last_line: place.line,
            serial: serials.map(|range| range.0),
            last_serial: serials.map(|range| range.1),
            explanation: explanation.to_owned(),
        };
        self.listed.push((place.file, finding));
        Some(self.listed.len() - 1)
    }

    /// Adds what lies behind one place up to another: in the file of the latter.
    pub fn add_span(
        &mut self,
        kind: Kind,
        behind: Place,
        to: Place,
        serials: (u64, u64),
        explanation: &str,
    ) -> Option<usize> {
        let line = if behind.file == to.file { (behind.line + 1).min(to.line) } else { 1 };
        let index = self.add_range(kind, Place { line, ..to }, Some(serials), explanation)?;
        self.listed[index].1.last_line = to.line;
        Some(index)
    }

    /// Lets a finding reach on to a later place. `false` if that is in another file.
    pub fn extend(&mut self, index: Option<usize>, to: Place, serial: u64) -> bool {
        match index.and_then(|index| self.listed.get_mut(index)) {
            Some((file, finding)) if *file == to.file => {
                (finding.last_line, finding.last_serial) = (to.line, Some(serial));
                true
            }
            Some(_) => false,
            // It is only counted.
            None => true,
        }
    }

    /// Whether anything is wrong behind one place up to another.
    pub fn any_between(&self, behind: Place, to: Place) -> bool {
        self.listed.iter().any(|(file, finding)| {
            let place = |line| Place { file: *file, line };
            place(finding.last_line) > behind && place(finding.line) <= to
        }) || self.unlisted > 0
    }

    pub fn any(&self) -> bool {
        !self.listed.is_empty() || self.unlisted > 0
    }

    /// Says something else of a finding.
    pub fn amend(&mut self, index: Option<usize>, kind: Kind, explanation: &str) {
        if let Some((_, finding)) = index.and_then(|index| self.listed.get_mut(index)) {
            (finding.kind, finding.explanation) = (kind, explanation.to_owned());
        }
    }

    /// Puts them into the report, ordered.
    pub fn into_report(mut self, report: &mut Report) {
        self.listed.sort_by_key(|(file, finding)| (*file, finding.line));
        for (file, mut finding) in self.listed {
            finding.file.clone_from(&report.files[file]);
            report.findings.push(finding);
        }
        report.unlisted += self.unlisted;
    }
}
