//! A chain that lives as long as its client, towards a collector or the host.
//!
//! With an auditor's key it begins with a seal, and checkpoints are among its records, as in a file. Their key is in
//! memory alone, for no other process goes on with the chain.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::Record;
use super::chain::{Form, Link};
use super::layout::{Hash, MAX_SERIAL};
use super::queue;
use super::recover::{self, Notice};
use super::seal::{self, Claim, SealKey};
use super::seal_file::{PERIOD, RECORDS};
use super::state::Position;
use super::time::Moment;
use super::view::View;
use crate::config::AuditorKey;
use crate::error::Result;
use crate::memory::scrub;

pub(super) struct LiveChain {
    view: View,
    position: Position,
    seal: Option<LiveSeal>,
    line: String,
    /// Of the line, which is no part of the chain before it was sent.
    hash: Hash,
}

struct LiveSeal {
    name: u64,
    /// What the chain begins with, until it was sent.
    beginning: Option<Notice>,
    /// Of the next checkpoint.
    key: SealKey,
    index: u64,
    /// Of the last checkpoint's record, or of the seal's own.
    serial: u64,
    since: Instant,
}

impl LiveChain {
    /// Errors: `System` without random numbers.
    pub fn new(view: View, auditor: Option<&AuditorKey>) -> Result<LiveChain> {
        let position = recover::new_chain(0).map_err(|error| queue::cannot_start(&error))?;
        let seal = auditor.map(|auditor| LiveSeal::new(auditor, &position)).transpose()?;
        Ok(LiveChain { view, position, seal, line: String::new(), hash: Hash::NONE })
    }

    /// How long the record's line will be.
    pub fn length(&self, record: &Record<'_>, moment: Moment) -> usize {
        let link = Link { stream: self.position.stream, serial: MAX_SERIAL, previous: [b'0'; 64] };
        let mut line = String::new();
        self.view.record(record, moment, &link, &mut line);
        line.len() + self.view.layout().label().len() + 64
    }

    /// Writes the line that the record is as the chain's next.
    pub fn prepare(&mut self, record: &Record<'_>, moment: Moment) {
        let Position { stream, serial, head, .. } = self.position;
        let link = Link { stream, serial: serial + 1, previous: head.hex() };
        self.line.clear();
        let start = self.view.record(record, moment, &link, &mut self.line);
        self.hash = Hash::of(&self.line.as_bytes()[start..]);
        self.line.push_str(self.view.layout().label());
        self.hash.push_hex(&mut self.line);
    }

    pub fn line(&self) -> &str {
        &self.line
    }

    /// The line is part of the chain from now on.
    pub fn advance(&mut self) {
        (self.position.serial, self.position.head) = (self.position.serial + 1, self.hash);
    }

    /// What the seal has to say as the chain's next record. `at_once`: a checkpoint is wanted if it seals anything.
    pub fn due(&self, at_once: bool) -> Option<Notice> {
        let seal = self.seal.as_ref()?;
        if seal.beginning.is_some() {
            return seal.beginning.clone();
        }
        let unsealed = self.position.serial - seal.serial;
        let is_due = unsealed >= RECORDS || unsealed > 0 && (at_once || seal.since.elapsed() >= PERIOD);
        is_due.then(|| seal.checkpoint(&self.position))
    }

    /// What was due is part of the chain. The key that it was made with is replaced.
    pub fn told(&mut self) {
        let Some(seal) = &mut self.seal else { return };
        (seal.serial, seal.since) = (self.position.serial, Instant::now());
        if seal.beginning.take().is_none() {
            (seal.key, seal.index) = (seal.key.next(), seal.index + 1);
            scrub::stack();
            scrub::registers();
        }
    }

    /// Whether records stand behind the last checkpoint.
    pub fn is_unsealed(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.beginning.is_none() && seal.serial != self.position.serial)
    }
}

impl LiveSeal {
    fn new(auditor: &AuditorKey, position: &Position) -> Result<LiveSeal> {
        let made = SealKey::random().and_then(|key| Ok((seal::seal_to(auditor, position.stream, &key)?, key)));
        let (sealed, key) = made.map_err(|error| queue::cannot_start(&error))?;
        let name = seal::name_of(&sealed);
        let beginning = Notice::Seal { seal: name, auditor: auditor.id(), sealed_key: seal::base64url(&sealed) };
        Ok(LiveSeal { name, beginning: Some(beginning), key, index: 0, serial: position.serial, since: Instant::now() })
    }

    fn checkpoint(&self, position: &Position) -> Notice {
        let Position { stream, serial, head, .. } = *position;
        let claim = Claim { seal: self.name, index: self.index, stream, serial: serial + 1, head };
        let proof = self.key.vouch(&claim);
        Notice::Checkpoint { seal: self.name, index: self.index, proof }
    }
}
