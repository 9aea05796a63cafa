//! A file of chained records that outlives restarts, rotation, crashes and company.
//!
//! The state file beside it (`<file>.state`) says where the chain stands and is locked while records are written, so
//! that several processes share one chain. As many records as wait are written with one system call.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Record;
use super::batch::{self, Batch, Records};
use super::layout::Layout;
use super::lines::Lines;
use super::place::{self, Fault};
use super::queue::{Loss, Shared, Writer};
pub(crate) use super::recover::Notice;
use super::recover::{self, Found, Known};
use super::rotation;
use super::seal_file::{self, Due, Seal, Sealer};
use super::state::{self, Position};
use super::time::Moment;
use crate::config::{AuditorKey, Durability, Rotation};
use crate::error::Result;

/// So long other processes that write to the same file are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many bytes are written at once, at most: what a full disk does not take is lost together.
const CHUNK: u64 = 128 << 10;

/// What a record is given when it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub stream: u64,
    pub serial: u64,
    /// Hash of the record before, in hexadecimal.
    pub previous: [u8; 64],
}

impl Link {
    pub fn previous(&self) -> &str {
        std::str::from_utf8(&self.previous).expect("hexadecimal digits are ASCII")
    }
}

/// How a sink writes records, its own and what the chain has to say about itself.
pub(crate) trait Form: Send + 'static {
    fn layout(&self) -> Layout;

    /// Appends the line up to what is put before the hash, and returns where in `line` the hashed part begins.
    fn record(&self, record: &Record<'_>, moment: Moment, link: &Link, line: &mut String) -> usize;
}

/// How a file is kept.
#[derive(Clone, Copy)]
pub(crate) struct Keeping {
    pub rotation: Rotation,
    pub durability: Durability,
    /// To whom it is sealed.
    pub auditor: Option<AuditorKey>,
}

/// A chained file that is open. One thread has it.
pub(crate) struct ChainedFile<F> {
    form: F,
    paths: Paths,
    tail: Tail,
}

/// What a chained file is, apart from what is written to it.
struct Paths {
    file: PathBuf,
    state: PathBuf,
    /// What it is, for errors.
    what: &'static str,
    keeping: Keeping,
}

/// The end of the chain, where it is written.
#[derive(Default)]
struct Tail {
    file: Option<Opened>,
    state: Option<Opened>,
    /// What we last wrote to the state file, and what it means.
    known: Option<([u8; state::LENGTH], Position)>,
    lines: String,
    lost: Option<Lost>,
    /// Why the disk may not have what was last written. Only another record that it keeps ends that: a disk that is asked again
    /// for what it failed to keep says nothing of it any more.
    unsynced: Option<String>,
    sealer: Option<Sealer>,
}

pub(super) struct Opened {
    pub file: File,
    inode: u64,
    device: u64,
}

struct Lost {
    count: u64,
    reason: String,
    /// Another process held the lock all the time, so the next record does not wait.
    is_impatient: bool,
}

impl<F: Form> ChainedFile<F> {
    /// Opens or makes the file and those beside it. `what` names the file in errors. A disk that is full is no error: what
    /// cannot be written is counted.
    pub fn open(path: &Path, what: &'static str, keeping: Keeping, form: F) -> Result<ChainedFile<F>> {
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut state = file.clone().into_os_string();
        state.push(".state");
        let paths = Paths { file, state: state.into(), what, keeping };
        let sealer = keeping.auditor.map(|auditor| Sealer::new(auditor, &paths.file, what));
        let mut tail = Tail { sealer, ..Tail::default() };
        let opened = tail.locked(&paths, |tail, state| tail.begin(&paths, &form, state));
        if let Err(fault) = opened
            && !fault.is_passing()
        {
            return Err(fault.into_error(&paths.file, what));
        }
        Ok(ChainedFile { form, paths, tail })
    }

    /// Tells the host what is news.
    fn tell(&self, outcome: &std::result::Result<u64, Fault>, was_failing: bool) {
        let path = self.paths.file.display();
        match outcome {
            Ok(0) => {}
            Ok(count) => ::log::warn!("records are written to {path} again; {count} before were lost"),
            Err(_) if was_failing => {}
            Err(fault) => ::log::warn!("a record could not be written to {path}: {fault}"),
        }
    }
}

impl<F: Form> Writer for ChainedFile<F> {
    /// Records that cannot be written are counted; the next one is preceded by the count.
    fn write(&mut self, batch: &Batch, shared: &Shared) {
        let (records, mut from) = (batch.records(), 0);
        loop {
            let was_failing = self.tail.lost.is_some() || self.tail.unsynced.is_some();
            if batch.is_empty() && !was_failing {
                return shared.set_failure(None);
            }
            let (taken, outcome) = self.tail.append(&self.paths, &self.form, records, from);
            self.tell(&outcome, was_failing);
            match &outcome {
                Ok(_) => {}
                Err(Fault::Unsynced(_)) => shared.count_lost(from..from + taken, 0),
                Err(_) => shared.count_lost(from..from + taken, lost_with(records, from..from + taken).records),
            }
            shared.set_failure(outcome.err().map(|fault| fault.to_string()));
            from += taken;
            if from >= records.len() {
                return;
            }
        }
    }

    fn retries(&self) -> bool {
        true
    }

    /// Seals what was written. What cannot be sealed now is sealed with the next checkpoint.
    fn settle(&mut self, _: &Shared) {
        if self.unsettled().is_some() {
            let (paths, form) = (&self.paths, &self.form);
            let _ = self.tail.locked(paths, |tail, state| tail.seal(paths, form, state));
        }
    }

    fn unsettled(&self) -> Option<Duration> {
        let (sealer, (_, position)) = (self.tail.sealer.as_ref()?, self.tail.known.as_ref()?);
        sealer.is_behind(position).then_some(seal_file::PERIOD)
    }
}

/// What is lost with some records of a batch.
fn lost_with(batch: Records<'_>, range: Range<usize>) -> Loss {
    let mut fields = Vec::new();
    range.fold(Loss::default(), |loss, index| {
        let (_, event, _) = batch.read(index, &mut fields);
        loss.and(Loss::of(event, &fields))
    })
}

impl Tail {
    /// Writes records from `from` on, as many as go into one write. Returns how many these are, and how many had been lost
    /// before, or why these are.
    fn append<F: Form>(
        &mut self,
        paths: &Paths,
        form: &F,
        batch: Records<'_>,
        from: usize,
    ) -> (usize, std::result::Result<u64, Fault>) {
        let mut taken = batch.len() - from;
        match self.locked(paths, |tail, state| tail.write(paths, form, (batch, from), &mut taken, state)) {
            Ok(()) => {
                self.unsynced = None;
                (taken, Ok(self.lost.take().map_or(0, |lost| lost.count)))
            }
            Err(fault) => {
                if matches!(fault, Fault::Unsynced(_)) {
                    // It stands in the file, and so does the count of what was lost before.
                    self.lost = None;
                    self.unsynced = Some(fault.to_string());
                    return (taken, Err(fault));
                }
                let is_impatient = matches!(&fault, Fault::Failed(e) if e.kind() == io::ErrorKind::TimedOut);
                let before = self.lost.as_ref().map_or(0, |lost| lost.count);
                let count = before + lost_with(batch, from..from + taken).to_tell;
                self.lost = Some(Lost { count, reason: fault.to_string(), is_impatient });
                (taken, Err(fault))
            }
        }
    }

    /// Does something while no other process does. `work` is given the state file.
    fn locked(
        &mut self,
        paths: &Paths,
        work: impl FnOnce(&mut Tail, &File) -> std::result::Result<(), Fault>,
    ) -> std::result::Result<(), Fault> {
        let patience = if self.lost.as_ref().is_some_and(|lost| lost.is_impatient) { Duration::ZERO } else { PATIENCE };
        let state = self.lock_state(paths, patience)?;
        let outcome = work(self, &state.file);
        state.file.unlock()?;
        self.state = Some(state);
        outcome
    }

    /// Locks the file that the path names now: one that was moved away protects nothing.
    fn lock_state(&mut self, paths: &Paths, patience: Duration) -> std::result::Result<Opened, Fault> {
        let deadline = Instant::now() + patience;
        loop {
            let state = match self.state.take() {
                Some(state) => state,
                None => {
                    self.known = None;
                    Opened::new(place::open(&paths.state, paths.what, false)?)?
                }
            };
            place::lock(&state.file, deadline)?;
            if state.size_at(&paths.state)?.is_some() {
                return Ok(state);
            }
        }
    }

    /// An empty file gets its header row and its seal at once, so that it can be opened before anything happened.
    fn begin<F: Form>(&mut self, paths: &Paths, form: &F, state: &File) -> std::result::Result<(), Fault> {
        let found = self.find(paths, form.layout(), state)?;
        let has_beginning = form.layout().header().is_some() || self.sealer.is_some();
        match has_beginning && found.position.offset == 0 && found.notices.is_empty() {
            true => self.put_found(paths, form, found, |_| {}, state),
            false => Ok(()),
        }
    }

    /// Writes the records of a batch from an index on; `taken` becomes how many of them.
    fn write<F: Form>(
        &mut self,
        paths: &Paths,
        form: &F,
        (batch, from): (Records<'_>, usize),
        taken: &mut usize,
        state: &File,
    ) -> std::result::Result<(), Fault> {
        let mut found = self.find(paths, form.layout(), state)?;
        if found.is_as_left() && self.is_full(paths, &found.position) {
            // Of the records nothing is written then.
            self.rotate(paths, form, &mut found, state).map_err(Fault::before_writing)?;
        }
        if let Some(lost) = &self.lost {
            found.notices.push(Notice::Lost { count: lost.count, reason: lost.reason.clone() });
        }
        if let (true, Some(reason)) = (from >= batch.len(), &self.unsynced) {
            found.notices.push(Notice::Continued { reason: reason.clone() });
        }
        let offset = found.position.offset;
        let room = paths.keeping.rotation.size.map_or(CHUNK, |size| CHUNK.min(size.saturating_sub(offset)));
        let records = |lines: &mut Lines<'_, F>| {
            let mut fields = Vec::new();
            let mut next = from;
            while next < batch.len() && (next == from || (lines.text.len() as u64) < room) {
                let (moment, event, severity) = batch.read(next, &mut fields);
                lines.record(&batch::record(event, severity, &fields), moment);
                next += 1;
            }
            *taken = next - from;
        };
        self.put_found(paths, form, found, records, state)
    }

    /// Writes what the chain and its seal have to say where it was found, and records.
    fn put_found<F: Form>(
        &mut self,
        paths: &Paths,
        form: &F,
        found: Found,
        records: impl FnOnce(&mut Lines<'_, F>),
        state: &File,
    ) -> std::result::Result<(), Fault> {
        let Found { position, notices, is_torn } = found;
        let due = self.sealer.as_mut().map_or(Ok(Due::Nothing), |sealer| sealer.due(&position, false))?;
        let mut lines = Lines::new(form, std::mem::take(&mut self.lines), position);
        lines.begin(is_torn);
        notices.iter().for_each(|notice| lines.notice(notice));
        let (mut used, mut closing) = (None, None);
        match (due, &self.sealer) {
            (Due::Beginning(before), Some(sealer)) => {
                let (seal, notice) = sealer.begin(&lines.position)?;
                lines.notice(&notice);
                if let Some(mut before) = before {
                    lines.notice(&before.checkpoint(&lines.position));
                }
                used = Some(seal);
            }
            (Due::Checkpoint(seal), _) => closing = Some(seal),
            _ => {}
        }
        records(&mut lines);
        if let Some(mut seal) = closing {
            lines.notice(&seal.checkpoint(&lines.position));
            used = Some(seal);
        }
        let outcome = self.put(&lines, paths, state, used);
        self.lines = lines.text;
        outcome
    }

    /// Seals what was written so far. What has to be told of the file first is left to the next record. A file whose time
    /// is over is put aside: the checkpoint counts as the last that was written to it.
    fn seal<F: Form>(&mut self, paths: &Paths, form: &F, state: &File) -> std::result::Result<(), Fault> {
        let mut found = self.find(paths, form.layout(), state)?;
        if !found.is_as_left() {
            return Ok(());
        }
        if self.is_full(paths, &found.position) {
            self.rotate(paths, form, &mut found, state)?;
            return self.put_found(paths, form, found, |_| {}, state);
        }
        self.checkpoint(paths, form, found.position, state).map(|_| ())
    }

    /// Ends a file, or writing for now, with a checkpoint. Returns where the chain then stands.
    fn checkpoint<F: Form>(
        &mut self,
        paths: &Paths,
        form: &F,
        position: Position,
        state: &File,
    ) -> std::result::Result<Position, Fault> {
        let due = self.sealer.as_mut().map_or(Ok(Due::Nothing), |sealer| sealer.due(&position, true))?;
        let Due::Checkpoint(mut seal) = due else { return Ok(position) };
        let mut lines = Lines::new(form, String::new(), position);
        lines.notice(&seal.checkpoint(&position));
        self.put(&lines, paths, state, Some(seal))?;
        Ok(self.known.as_ref().map_or(lines.position, |(_, position)| *position))
    }

    /// Where the next record goes. Opens the file anew if its path names another one by now.
    fn find(&mut self, paths: &Paths, layout: Layout, state: &File) -> std::result::Result<Found, Fault> {
        let known = self.read_state(state)?;
        let size = match &self.file {
            Some(file) => file.size_at(&paths.file)?,
            None => None,
        };
        let size = match size {
            Some(size) => size,
            None => self.open_file(paths)?,
        };
        let file = self.file.as_ref().expect("it was just opened");
        if let Known::Position(position) = known
            && (position.inode, position.offset) == (file.inode, size)
        {
            return Ok(Found { position, notices: Vec::new(), is_torn: false });
        }
        Ok(recover::find(&file.file, size, file.inode, known, layout)?)
    }

    /// Returns the size of the file.
    fn open_file(&mut self, paths: &Paths) -> std::result::Result<u64, Fault> {
        let file = Opened::new(place::open(&paths.file, paths.what, true)?)?;
        let size = file.file.metadata()?.len();
        if let (0, Durability::Fsync, Some(folder)) = (size, paths.keeping.durability, paths.file.parent()) {
            // So that a power failure does not take the file's name.
            File::open(folder)?.sync_all()?;
        }
        self.file = Some(file);
        Ok(size)
    }

    fn is_full(&self, paths: &Paths, position: &Position) -> bool {
        let rotation = &paths.keeping.rotation;
        let written = || self.file.as_ref().expect("`find` opened it").file.metadata()?.modified();
        position.offset > 0
            && *rotation != Rotation::default()
            && rotation::is_due(rotation, position.offset, written())
    }

    /// Begins a new file. One that cannot be put aside is written on.
    fn rotate<F: Form>(
        &mut self,
        paths: &Paths,
        form: &F,
        found: &mut Found,
        state: &File,
    ) -> std::result::Result<(), Fault> {
        found.position = self.checkpoint(paths, form, found.position, state)?;
        if let Ok(aside) = rotation::rotate(&paths.keeping.rotation, &paths.file, found.position.serial) {
            let name = aside.file_name().unwrap_or_default().to_string_lossy();
            found.notices.push(Notice::Rotated { reason: format!("the file was rotated to {name}") });
            found.position.offset = self.open_file(paths)?;
            found.position.inode = self.file.as_ref().expect("it was just opened").inode;
        }
        Ok(())
    }

    fn read_state(&self, state: &File) -> io::Result<Known> {
        let mut line = [0; state::LENGTH];
        Ok(match (state.read_at(&mut line, 0)?, &self.known) {
            (0, _) => Known::Missing,
            (_, Some((bytes, position))) if *bytes == line => Known::Position(*position),
            (length, _) => Position::parse(&line[..length]).map_or(Known::Damaged, Known::Position),
        })
    }

    /// Writes the lines, then the state, and then what is left of the seal that was used for them. Where the lines stand in
    /// the file, and the disk may not have them, all that is done first.
    fn put<F: Form>(
        &mut self,
        lines: &Lines<'_, F>,
        paths: &Paths,
        state: &File,
        used: Option<Seal>,
    ) -> std::result::Result<(), Fault> {
        let file = &self.file.as_ref().expect("`find` opened it").file;
        let mut position = lines.position;
        write_whole(file, lines.text.as_bytes(), position.offset)?;
        let synced = match paths.keeping.durability {
            Durability::Fsync => file.sync_data().map_err(Fault::Unsynced),
            Durability::Flush => Ok(()),
        };
        position.offset += lines.text.len() as u64;
        let line = position.encode();
        // Should this fail, the file itself tells the next writer how far the chain went.
        let _ = state.write_all_at(&line, 0);
        self.known = Some((line, position));
        if let (Some(sealer), Some(seal)) = (&mut self.sealer, used) {
            sealer.keep(seal, paths.keeping.durability);
        }
        synced
    }
}

impl Opened {
    pub fn new(file: File) -> io::Result<Opened> {
        let metadata = file.metadata()?;
        Ok(Opened { file, inode: metadata.ino(), device: metadata.dev() })
    }

    /// The file's size, if the path still names it.
    pub fn size_at(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::symlink_metadata(path) {
            Ok(now) if (now.ino(), now.dev()) == (self.inode, self.device) => Ok(Some(now.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Appends everything or nothing: what a full disk left of a line is taken back where the system lets us, and is a torn
/// tail where it does not.
fn write_whole(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(n) => {
                let _ = file.set_len(offset);
                let why = format!("only {n} of {} bytes could be written", bytes.len());
                return Err(io::Error::new(io::ErrorKind::StorageFull, why));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::View;
    use super::super::{Format, Severity, catalogue};
    use super::*;

    /// Two writers of one sealed file, as two processes are.
    #[cfg(feature = "auditor")]
    fn two_writers(path: &Path) -> ([ChainedFile<View>; 2], crate::log::AuditorPrivateKey) {
        let auditor = crate::log::AuditorPrivateKey::generate().unwrap();
        let (rotation, durability) = Default::default();
        let keeping = Keeping { rotation, durability, auditor: Some(auditor.public()) };
        let open = || ChainedFile::open(path, "log", keeping, View::new(Format::Syslog, "test", false)).unwrap();
        ([open(), open()], auditor)
    }

    #[cfg(feature = "auditor")]
    fn write(file: &mut ChainedFile<View>, moment: Moment) {
        let mut batch = Batch::default();
        batch.push(moment, "kmip.get", Severity::Info, std::iter::empty());
        file.write(&batch, &Shared::default());
    }

    /// It was stopped with a record in its queue, which it wrote when the other's checkpoint was long made.
    #[test]
    #[cfg(feature = "auditor")]
    fn what_a_writer_that_hung_wrote_late_is_not_taken_for_an_end_of_sealing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chained");
        let ([mut hung, mut other], auditor) = two_writers(&path);
        let now = Moment::now();
        write(&mut other, now);
        other.settle(&Shared::default());
        write(&mut hung, Moment::from_seconds(now.seconds() - 600));
        write(&mut other, now);
        let options = crate::log::Options { auditor_keys: &[auditor], ..Default::default() };
        let report = crate::log::verify_with(&[&path], &options).unwrap();
        assert!(report.is_intact(), "{report}");
        assert_eq!(report.streams[0].unsealed_records, Some(2));
    }

    #[test]
    #[cfg(feature = "auditor")]
    fn what_another_process_sealed_wakes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let ([mut one, mut other], _) = two_writers(&folder.path().join("chained"));
        write(&mut one, Moment::now());
        assert_eq!(one.unsettled(), Some(seal_file::PERIOD));
        write(&mut other, Moment::now());
        other.settle(&Shared::default());
        one.settle(&Shared::default());
        assert_eq!(one.unsettled(), None);
    }

    #[test]
    fn a_count_that_is_lost_with_its_record_is_told_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (path, state) = (folder.path().join("chained"), folder.path().join("chained.state"));
        let keeping = Keeping { rotation: Rotation::default(), durability: Durability::Flush, auditor: None };
        let mut file = ChainedFile::open(&path, "log", keeping, View::new(Format::Syslog, "test", false)).unwrap();
        // What could be exchanged by others is not written to.
        fs::remove_file(&state).unwrap();
        std::os::unix::fs::symlink("other", &state).unwrap();
        let (mut batch, shared) = (Batch::default(), Shared::default());
        let told = [("count", "5"), ("reason", "the queue was full")];
        batch.push(Moment::now(), catalogue::LOG_LOST, Severity::Error, told.into_iter());
        batch.push(Moment::now(), "kmip.get", Severity::Info, std::iter::empty());
        file.write(&batch, &shared);
        fs::remove_file(&state).unwrap();
        file.write(&Batch::default(), &shared);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(" event=log.lost severity=error count=6 "), "{text}");
    }
}
