//! The file of the ledger: several processes append lines to it, and one makes it anew when most of them are outdated.
//!
//! Whoever writes holds a lock on the file that the path names at that moment, so that no line goes into a file that was
//! just replaced.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::log::place::{self, Fault};
use crate::platform;

pub(super) const WHAT: &str = "the state of the keys";
/// A process that was stopped while it held the lock does not stop others for ever. What is not written may be lost, …
const PATIENCE_TO_APPEND: Duration = Duration::from_secs(10);
/// … and a file that is not made anew is only long.
const PATIENCE_TO_REPLACE: Duration = Duration::from_secs(1);

pub(super) struct StateFile {
    path: PathBuf,
    file: File,
    /// How much of it was read.
    offset: u64,
    /// Whether it took the place of the one that was read before.
    is_another: bool,
}

/// Lines that were not read before.
pub(super) struct News {
    /// Whether they are those of another file, from its beginning.
    pub is_another: bool,
    pub lines: Vec<u8>,
}

impl StateFile {
    /// Opens or makes the file, mode 0600. Errors: `FileExposed` where others could change it, `System`.
    pub fn open(path: &Path) -> Result<StateFile> {
        let file = place::open(path, WHAT, true).map_err(|fault| fault.into_error(path, WHAT))?;
        Ok(StateFile { path: path.to_owned(), file, offset: 0, is_another: false })
    }

    /// Whole lines that this or another process has added.
    pub fn read(&mut self) -> io::Result<News> {
        self.follow()?;
        let size = self.file.metadata()?.len();
        let mut lines = vec![0; usize::try_from(size.saturating_sub(self.offset)).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut lines, self.offset)?;
        // The rest of a line may be on its way.
        lines.truncate(lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        self.offset += lines.len() as u64;
        Ok(News { is_another: std::mem::take(&mut self.is_another), lines })
    }

    /// Adds lines and has them on disk. A torn line before them is ended.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        self.locked(PATIENCE_TO_APPEND, |this| {
            let size = this.file.metadata()?.len();
            let mut last = [b'\n'];
            if size > 0 {
                this.file.read_exact_at(&mut last, size - 1)?;
            }
            let start = if last == [b'\n'] { "" } else { "\n" };
            this.file.write_all(format!("{start}{lines}").as_bytes())
        })?;
        // Without the lock, which those who wait for it would hardly ever find free on a slow disk. A file that takes this one's
        // place meanwhile has the lines, and is synced before it does.
        self.file.sync_data()
    }

    /// Puts a file with what `text` says in its place. `text` is given what was added since it was read last, and nobody adds
    /// anything meanwhile. A crash leaves the one or the other. Where `text` declines, the file stays as it is.
    pub fn replace(&mut self, text: impl FnOnce(News) -> Option<String>) -> io::Result<()> {
        // One of another user's making could not be opened by who has made this one.
        if self.file.metadata()?.uid() != platform::effective_user() {
            return Ok(());
        }
        self.locked(PATIENCE_TO_REPLACE, |this| {
            let news = this.read()?;
            let Some(text) = text(news) else { return Ok(()) };
            let mut partial = this.path.as_os_str().to_owned();
            partial.push(".partial");
            let partial = PathBuf::from(partial);
            let mut file = place::open(&partial, WHAT, true).map_err(failed)?;
            file.set_len(0)?;
            file.set_permissions(this.file.metadata()?.permissions())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &this.path)?;
            let folder = this.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        })
    }

    /// Does something while no other process writes, to the file that the path names.
    fn locked<T>(&mut self, patience: Duration, work: impl FnOnce(&mut StateFile) -> io::Result<T>) -> io::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            place::lock(&self.file, deadline)?;
            // The lock belongs to the file that is open here, whatever becomes of the path.
            let locked = self.file.try_clone()?;
            if self.follow()? {
                locked.unlock()?;
                continue;
            }
            // Lines in a file that has no name would be lost, and a new file would lack those that are known to others alone.
            let outcome = std::fs::metadata(&self.path).and_then(|_named| work(self));
            locked.unlock()?;
            return outcome;
        }
    }

    /// Whether the path names another file than before, which is then the one that is open.
    fn follow(&mut self) -> io::Result<bool> {
        let named = match std::fs::metadata(&self.path) {
            // What was known is better than an empty file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?,
        };
        let open = self.file.metadata()?;
        if (named.dev(), named.ino()) == (open.dev(), open.ino()) {
            return Ok(false);
        }
        self.file = place::open(&self.path, WHAT, true).map_err(failed)?;
        (self.offset, self.is_another) = (0, true);
        Ok(true)
    }
}

fn failed(fault: Fault) -> io::Error {
    match fault {
        Fault::Failed(error) | Fault::Unsynced(error) => error,
        Fault::Exposed(error) => io::Error::other(error.message().to_owned()),
    }
}
