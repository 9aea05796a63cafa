//! The files that are verified: which chain they hold, and their lines, also where they are compressed.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::layout::{Hash, Layout};
use super::own;
use crate::error::{Code, Error, Result};

/// Longer lines are no records of ours.
pub(super) const MAX_LINE: usize = 1 << 16;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// A compressed file that grows by more is refused: each record holds 32 bytes that do not compress.
#[cfg(feature = "auditor")]
const MAX_EXPANSION: u64 = 256;

/// A file, and what its beginning tells.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub layout: Layout,
    /// Of the first sound record: its chain, its serial, and when it was written.
    pub first: Option<(u64, u64, i64)>,
}

impl Source<'_> {
    pub fn open(path: &Path) -> io::Result<Source<'_>> {
        let mut lines = Lines::open(path)?;
        let mut line = Vec::new();
        let mut source = Source { path, layout: Layout::KeyValue, first: None };
        let mut is_first = true;
        loop {
            match lines.next(&mut line) {
                Ok(true) => {}
                Ok(false) => break,
                // Told where it is read.
                Err(error) if is_damage(&error) => break,
                Err(error) => return Err(error),
            }
            if std::mem::take(&mut is_first) {
                source.layout = layout_of(&line);
            }
            let Some(record) = source.layout.parse(trim(&line)) else { continue };
            if Hash::of(record.hashed) == record.hash {
                source.first = Some((record.stream, record.serial, own::time_of(&record).unwrap_or_default()));
                break;
            }
        }
        Ok(source)
    }
}

/// Opens the files in the order in which they are read: that of their chain, or as they are given. What lies beside a log is
/// passed over; alone it is looked at as what it is.
pub(super) fn open_all<'a>(files: &[&'a Path], keeps_order: bool) -> Result<Vec<Source<'a>>> {
    let mut sources = Vec::with_capacity(files.len());
    let is_all_beside = files.iter().all(|path| is_beside(path));
    for path in files.iter().filter(|path| is_all_beside || !is_beside(path)) {
        sources.push(Source::open(path).map_err(|error| unreadable(path, &error))?);
    }
    if !keeps_order {
        sort(&mut sources);
    }
    Ok(sources)
}

/// Shows every line of the files of one log or one audit trail to `visit`, with its file, in the order of their chain. Compressed files
/// are read as they are, up to where they are damaged; [`super::verify`] says where that is.
///
/// Errors: `System` if a file cannot be read, and whatever `visit` says.
pub fn read_lines(files: &[&Path], visit: &mut dyn FnMut(&Path, &[u8]) -> Result<()>) -> Result<()> {
    for source in open_all(files, false)? {
        let mut lines = Lines::open(source.path).map_err(|error| unreadable(source.path, &error))?;
        let mut line = Vec::new();
        loop {
            match lines.next(&mut line) {
                Ok(true) => visit(source.path, &line)?,
                Ok(false) => break,
                Err(error) if is_damage(&error) => break,
                Err(error) => return Err(unreadable(source.path, &error)),
            }
        }
    }
    Ok(())
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    let message = format!("{} cannot be read: {error}; correct the path, or run as its owner", path.display());
    Error::new(Code::System, message).in_file(path)
}

/// Puts the files of one chain beside each other and in their order, the chain first that began first.
fn sort(sources: &mut [Source<'_>]) {
    let mut begins = HashMap::new();
    for (stream, _, time) in sources.iter().filter_map(|source| source.first) {
        let earliest = begins.entry(stream).or_insert(time);
        *earliest = time.min(*earliest);
    }
    sources.sort_by_key(|source| source.first.map(|(stream, serial, _)| (begins[&stream], stream, serial)));
}

/// Whether a compressed file is not what was compressed.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

/// Whether the path names what stands beside a log, as a pattern for all files of the log does, too.
fn is_beside(path: &Path) -> bool {
    let Some(main) = path.extension().filter(|end| *end == "state" || *end == "seal").map(|_| path.with_extension(""))
    else {
        return false;
    };
    let mut start = [0; 9];
    let begins = open(path).and_then(|mut file| file.read_exact(&mut start));
    begins.is_ok() && &start == b"keystead-" && main.exists()
}

/// A pipe would be waited for, and a device may have no end.
pub(super) fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// As the first line tells.
pub(super) fn layout_of_file(path: &Path) -> io::Result<Layout> {
    let mut line = Vec::new();
    Lines::open(path)?.next(&mut line)?;
    Ok(layout_of(&line))
}

/// The header row may itself have been altered, so commas decide as well.
fn layout_of(line: &[u8]) -> Layout {
    let has_columns = line.iter().filter(|byte| **byte == b',').count() >= 10;
    let is_log = has(line, b"serial=") || has(line, b" CEF:");
    if line.starts_with(b"operation,") || has_columns && !is_log { Layout::Csv } else { Layout::KeyValue }
}

pub(super) fn has(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).any(|window| window == text)
}

/// The line without its end.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Lines of bounded length.
pub(super) struct Lines(Box<dyn BufRead>);

impl Lines {
    pub fn open(path: &Path) -> io::Result<Lines> {
        const ROOM: usize = 1 << 17;
        let mut file = open(path)?;
        let mut start = [0; 2];
        let is_compressed = file.read(&mut start)? == 2 && start == GZIP;
        file.rewind()?;
        match is_compressed {
            true => Ok(Lines(Box::new(BufReader::with_capacity(ROOM, decompressed(file)?)))),
            false => Ok(Lines(Box::new(BufReader::with_capacity(ROOM, file)))),
        }
    }

    /// Reads the next line with its end; what exceeds the bound is dropped. `false` at the end of the file.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        loop {
            let buffer = match self.0.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
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

#[cfg(feature = "auditor")]
fn decompressed(file: File) -> io::Result<impl Read> {
    let left = file.metadata()?.len().saturating_mul(MAX_EXPANSION);
    Ok(Bounded { inner: flate2::read::MultiGzDecoder::new(BufReader::new(file)), left })
}

#[cfg(not(feature = "auditor"))]
fn decompressed(_: File) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "it is compressed, which this build does not read"))
}

/// Ends with an error what never would.
#[cfg(feature = "auditor")]
struct Bounded<R> {
    inner: R,
    left: u64,
}

#[cfg(feature = "auditor")]
impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let left = self.left.checked_sub(n as u64);
        self.left = left.ok_or_else(|| {
            let why = format!("it grows to more than {MAX_EXPANSION} times its size, as no log does");
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        Ok(n)
    }
}
