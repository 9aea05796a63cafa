//! Finding where a chain stands when the file is not as its state file says.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::layout::{Hash, Layout, Line};
use super::state::Position;
use super::{catalogue, text};
use crate::platform;

/// As much of a file's end is looked at. What lies further ahead was not written by us just now.
const WINDOW: u64 = 1 << 20;

/// What the chain has to say about itself before the next record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The file ended within a line of so many bytes.
    TornTail { bytes: u64 },
    /// The chain goes on over something other than its own last record.
    Continued { reason: String },
    /// This file follows one that was put aside under another name.
    Rotated { reason: String },
    /// So many records could not be written.
    Lost { count: u64, reason: String },
    /// A seal begins.
    Seal { seal: u64, auditor: [u8; 8], sealed_key: String },
    /// All before is sealed.
    Checkpoint { seal: u64, index: u64, proof: Hash },
}

impl Notice {
    /// Its name in the catalogue of events.
    pub fn event(&self) -> &'static str {
        match self {
            Notice::TornTail { .. } => catalogue::LOG_TORN_TAIL,
            Notice::Continued { .. } => catalogue::LOG_CONTINUED,
            Notice::Rotated { .. } => catalogue::LOG_ROTATED,
            Notice::Lost { .. } => catalogue::LOG_LOST,
            Notice::Seal { .. } => catalogue::LOG_SEAL,
            Notice::Checkpoint { .. } => catalogue::LOG_CHECKPOINT,
        }
    }

    pub fn fields(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        match self {
            Notice::TornTail { bytes } => vec![("bytes", bytes.to_string().into())],
            Notice::Continued { reason } | Notice::Rotated { reason } => {
                vec![("reason", text::shortened(reason).into())]
            }
            Notice::Lost { count, reason } => {
                vec![("count", count.to_string().into()), ("reason", text::shortened(reason).into())]
            }
            Notice::Seal { seal, auditor, sealed_key } => vec![
                ("seal", format!("{seal:016x}").into()),
                ("auditor_key", format!("{:016x}", u64::from_be_bytes(*auditor)).into()),
                ("sealed_key", sealed_key.into()),
            ],
            Notice::Checkpoint { seal, index, proof } => vec![
                ("seal", format!("{seal:016x}").into()),
                ("index", index.to_string().into()),
                ("proof", proof.to_string().into()),
            ],
        }
    }
}

/// Where the next record goes.
#[derive(Debug)]
pub(super) struct Found {
    pub position: Position,
    pub notices: Vec<Notice>,
    /// The file ends within a line, which has to be ended first.
    pub is_torn: bool,
}

impl Found {
    /// Whether the file ends as a writer leaves it, with nothing to be told or mended first.
    pub fn is_as_left(&self) -> bool {
        self.notices.is_empty() && !self.is_torn
    }
}

/// What the state file said.
pub(super) enum Known {
    Position(Position),
    /// It was just made.
    Missing,
    Damaged,
}

/// Looks at the end of the file and says where the chain stands. A header row that was torn is taken back: it tells nothing.
pub(super) fn find(log: &File, mut size: u64, inode: u64, known: Known, layout: Layout) -> io::Result<Found> {
    // Where a file takes nothing back, as one that is append-only, the row stays and is told of.
    if holds_torn_header(log, size, layout)? && log.set_len(0).is_ok() {
        size = 0;
    }
    let mut notices = Vec::new();
    let mut position = match known {
        Known::Position(position) if position.inode == inode && size >= position.offset => {
            return follow(log, size, position, layout);
        }
        Known::Position(position) if position.inode != inode && begins_after(log, size, &position, layout)? => {
            // A new file was begun, and who wrote to it ended before it could say so.
            return follow(log, size, Position { inode, offset: 0, ..position }, layout);
        }
        Known::Position(position) => {
            if ends_with(log, size, &position, layout)? {
                // The same file at another place, for example restored from a backup.
                position
            } else {
                let reason = describe_change(&position, inode, size);
                notices.push(Notice::Continued { reason });
                position
            }
        }
        Known::Missing | Known::Damaged => {
            let word = if matches!(known, Known::Missing) { "was missing" } else { "was damaged" };
            let last = last_written(log, size, layout)?;
            if size > 0 || matches!(known, Known::Damaged) {
                let how = if last.is_some() { "the file's last record was taken" } else { "a new chain starts here" };
                notices.push(Notice::Continued { reason: format!("the state file {word}; {how}") });
            }
            last.map_or_else(|| new_chain(inode), Ok)?
        }
    };
    let region = read(log, size.saturating_sub(WINDOW), size)?;
    let end = split(&region).1;
    tell_torn(&mut notices, end, layout);
    (position.inode, position.offset) = (inode, size);
    Ok(Found { position, notices, is_torn: !end.is_empty() })
}

/// The state is older than the file: another process wrote and ended before it could say so, or somebody else wrote.
fn follow(log: &File, size: u64, mut position: Position, layout: Layout) -> io::Result<Found> {
    let mut notices = Vec::new();
    let from = position.offset.max(size.saturating_sub(WINDOW));
    let region = read(log, from, size)?;
    let (lines, end) = split(&region);
    let mut foreign = from - position.offset;
    for line in lines {
        match valid_record(line, layout) {
            Some(record) if follows(&record, &position) => {
                (position.serial, position.head) = (record.serial, record.hash);
            }
            _ if is_header(line, layout) => {}
            _ => foreign += line.len() as u64,
        }
    }
    if let Some(record) = record_of(end, layout).filter(|record| follows(record, &position)) {
        (position.serial, position.head) = (record.serial, record.hash);
    }
    if foreign > 0 {
        let reason = format!("{foreign} bytes that are no part of this chain were written to the file");
        notices.push(Notice::Continued { reason });
    }
    tell_torn(&mut notices, end, layout);
    position.offset = size;
    Ok(Found { position, notices, is_torn: !end.is_empty() })
}

/// Before all else, so that it stands right behind the line that it explains. What lacks nothing but its end is a record.
fn tell_torn(notices: &mut Vec<Notice>, end: &[u8], layout: Layout) {
    if !end.is_empty() && record_of(end, layout).is_none() {
        notices.insert(0, Notice::TornTail { bytes: end.len() as u64 });
    }
}

/// Whether the file ends within the row that it begins with.
fn holds_torn_header(log: &File, size: u64, layout: Layout) -> io::Result<bool> {
    let Some(header) = layout.header() else { return Ok(false) };
    let row = [header, layout.line_end()].concat();
    Ok((1..row.len() as u64).contains(&size) && row.as_bytes().starts_with(&read(log, 0, size)?))
}

fn describe_change(position: &Position, inode: u64, size: u64) -> String {
    match (position.inode == inode, size) {
        (true, 0) => "the file was emptied".to_owned(),
        (false, 0) => "the file was replaced by an empty one".to_owned(),
        (true, _) => format!("the file was shortened from {} to {size} bytes", position.offset),
        (false, _) => format!("the file was replaced by another one of {size} bytes"),
    }
}

/// A chain of its own, whose serials start large.
pub(super) fn new_chain(inode: u64) -> io::Result<Position> {
    let mut random = [0; 16];
    platform::fill_random(&mut random)?;
    let (stream, start) = random.split_at(8);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("half of 16 bytes"));
    let serial = 1_000_000_000 + number(start) % 8_000_000_000;
    Ok(Position { stream: number(stream), serial, head: Hash::NONE, inode, offset: 0 })
}

fn ends_with(log: &File, size: u64, position: &Position, layout: Layout) -> io::Result<bool> {
    let last = last_written(log, size, layout)?;
    Ok(size > 0
        && last.is_some_and(|last| {
            (last.stream, last.serial, last.head) == (position.stream, position.serial, position.head)
        }))
}

/// Whether the file's first record is the next one of the chain.
fn begins_after(log: &File, size: u64, position: &Position, layout: Layout) -> io::Result<bool> {
    let region = read(log, 0, size.min(WINDOW))?;
    let (mut lines, end) = split(&region);
    let first = lines.find_map(|line| valid_record(line, layout)).or_else(|| record_of(end, layout));
    Ok(first.is_some_and(|first| follows(&first, position)))
}

fn follows(record: &Line<'_>, position: &Position) -> bool {
    record.stream == position.stream
        && record.previous == position.head
        && record.serial == position.serial.wrapping_add(1)
}

/// The last record that has its line end.
pub(super) fn last_record(log: &File, size: u64, layout: Layout) -> io::Result<Option<Position>> {
    let region = read(log, size.saturating_sub(WINDOW), size)?;
    Ok(split(&region).0.rev().find_map(|line| valid_record(line, layout)).as_ref().map(position_of))
}

/// The same, or the one behind it that lacks its line end.
fn last_written(log: &File, size: u64, layout: Layout) -> io::Result<Option<Position>> {
    let region = read(log, size.saturating_sub(WINDOW), size)?;
    let unended = record_of(split(&region).1, layout).as_ref().map(position_of);
    if unended.is_some() { Ok(unended) } else { last_record(log, size, layout) }
}

fn position_of(record: &Line<'_>) -> Position {
    let Line { stream, serial, hash: head, .. } = *record;
    Position { stream, serial, head, inode: 0, offset: 0 }
}

fn valid_record(line: &[u8], layout: Layout) -> Option<Line<'_>> {
    record_of(line.strip_suffix(layout.line_end().as_bytes())?, layout)
}

fn record_of(text: &[u8], layout: Layout) -> Option<Line<'_>> {
    let record = layout.parse(text)?;
    (Hash::of(record.hashed) == record.hash).then_some(record)
}

fn is_header(line: &[u8], layout: Layout) -> bool {
    layout.header().is_some_and(|header| line.strip_suffix(layout.line_end().as_bytes()) == Some(header.as_bytes()))
}

/// Complete lines with their ends, and what follows the last of them.
fn split(region: &[u8]) -> (impl DoubleEndedIterator<Item = &[u8]>, &[u8]) {
    let complete = region.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (region[..complete].split_inclusive(|byte| *byte == b'\n'), &region[complete..])
}

fn read(log: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut region = vec![0; (to - from) as usize];
    log.read_exact_at(&mut region, from)?;
    Ok(region)
}
