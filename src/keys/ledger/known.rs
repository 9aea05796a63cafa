//! What is known, and the lines that say so.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::io;

use super::file::{News, StateFile};
use crate::envelope::KeyId;
use crate::keys::space::kek::object_id;

/// So many outdated lines are no reason to make the file anew. Each is synced, so that tests do with fewer.
pub(super) const OUTDATED: usize = if cfg!(test) { 20 } else { 1000 };

/// The highest version of a name that was ever seen in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    pub version: u32,
    /// It was seen deactivated, compromised or destroyed, so that older ones are not younger than it.
    pub has_ended: bool,
}

#[derive(Default)]
pub(super) struct Known {
    pub newest: HashMap<String, Newest>,
    pub references: HashMap<KeyId, BTreeSet<String>>,
    pub file: Option<StateFile>,
    /// How many lines of the file were read.
    lines: usize,
    /// Whether the file was found to hold what is no line of ours, or could not be written, and nobody was told yet.
    pub is_damaged: bool,
    /// Whether the file holds what is no line of ours.
    pub holds_foreign: bool,
}

impl Known {
    /// Whether that is news.
    pub fn take(&mut self, name: &str, seen: Newest) -> bool {
        match self.newest.get_mut(name) {
            Some(known) if known.version > seen.version => false,
            Some(known) if known.version == seen.version => {
                // A server that lags does not bring it back.
                let is_news = seen.has_ended && !known.has_ended;
                known.has_ended |= seen.has_ended;
                is_news
            }
            Some(known) => {
                *known = seen;
                true
            }
            None => {
                self.newest.insert(name.to_owned(), seen);
                true
            }
        }
    }

    /// Reads what this or another process has added.
    pub fn catch_up(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let news = file.read()?;
        self.take_in(&news);
        if self.is_outgrown() {
            self.renew();
        }
        Ok(())
    }

    fn take_in(&mut self, news: &News) {
        if news.is_another {
            self.lines = 0;
            self.holds_foreign = false;
            self.references.clear();
        }
        for line in news.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let is_ours = std::str::from_utf8(line).is_ok_and(|line| self.apply(line));
            self.is_damaged |= !is_ours;
            self.holds_foreign |= !is_ours;
            self.lines += 1;
        }
    }

    /// Whether most lines are outdated. One that is not ours is kept for whoever has to look at it, or understands it.
    fn is_outgrown(&self) -> bool {
        let needed = self.newest.len() + self.references.values().map(BTreeSet::len).sum::<usize>();
        self.lines > 2 * needed + OUTDATED && !self.holds_foreign
    }

    /// Makes the file anew, with what is still true. Where that fails it stays as it is, which is right and long, and is tried
    /// again when it has grown as much once more.
    pub fn renew(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        let _long = file.replace(|news| {
            self.take_in(&news);
            (!self.holds_foreign).then(|| self.text())
        });
        self.file = Some(file);
        self.lines = 0;
    }

    fn text(&self) -> String {
        let versions = self
            .newest
            .iter()
            .map(|(name, seen)| version_line(&KeyId { name: name.clone(), version: seen.version }, *seen));
        let needs = self
            .references
            .iter()
            .flat_map(|(id, what)| what.iter().map(move |what| format!("reference {id} {what}\n")));
        let mut lines: Vec<String> = versions.chain(needs).collect();
        lines.sort();
        lines.concat()
    }

    /// In one write, so that lines of several processes do not mix.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.append(lines))
    }

    /// Whether it is a line of ours.
    pub fn apply(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.trim_end_matches('\n').splitn(3, ' ').collect();
        let [verb, id, rest] = words[..] else { return false };
        let Some(id) = object_id(id) else { return false };
        match (verb, rest) {
            ("version", "active" | "ended") => {
                self.take(&id.name, Newest { version: id.version, has_ended: rest == "ended" });
            }
            ("reference", what) => {
                self.references.entry(id).or_default().insert(what.to_owned());
            }
            ("release", what) => {
                if let Some(known) = self.references.get_mut(&id) {
                    known.remove(what);
                }
            }
            _ => return false,
        }
        true
    }
}

pub(super) fn version_line(id: &KeyId, seen: Newest) -> String {
    format!("version {id} {}\n", if seen.has_ended { "ended" } else { "active" })
}
