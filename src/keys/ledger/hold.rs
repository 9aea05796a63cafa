//! A version is ended where nothing is known to need it: between the look and the end no need is noted.
//!
//! Who ends a version waits for a key server meanwhile. So this is not the lock of the ledger's file, for which lines of
//! every look-up wait, but one of its folder, which needs no file of its own and has the right owner.

#![forbid(unsafe_code)]

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::kmip::Deadline;

const PAUSE: Duration = Duration::from_millis(1);

/// What the threads and processes that share a ledger wait for.
pub struct Holds {
    folder: Option<PathBuf>,
    of_process: Mutex<()>,
}

/// For as long as it lives, what it was taken for is not disturbed.
pub struct Hold<'a> {
    folder: Option<File>,
    _of_process: MutexGuard<'a, ()>,
}

impl Holds {
    /// Of the ledger in this file.
    pub fn of(file: Option<&Path>) -> Holds {
        let folder = |file: &Path| file.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned);
        let folder = file.map(|file| folder(file).unwrap_or(".".into()));
        Holds { folder, of_process: Mutex::default() }
    }

    /// Nobody ends a version.
    pub fn to_note(&self, deadline: Deadline) -> Result<Hold<'_>> {
        self.take(File::try_lock_shared, deadline)
    }

    /// Nobody notes a need, or ends a version.
    pub fn to_end(&self, deadline: Deadline) -> Result<Hold<'_>> {
        self.take(File::try_lock, deadline)
    }

    fn take(
        &self,
        lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
        deadline: Deadline,
    ) -> Result<Hold<'_>> {
        let of_process = wait(deadline, || match self.of_process.try_lock() {
            Ok(guard) => Ok(guard),
            Err(std::sync::TryLockError::Poisoned(guard)) => Ok(PoisonError::into_inner(guard)),
            Err(std::sync::TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        })?;
        let Some(path) = &self.folder else { return Ok(Hold { folder: None, _of_process: of_process }) };
        let folder = File::open(path).map_err(|error| fault(path, &error))?;
        wait(deadline, || lock(&folder)).map_err(|error| error.in_file(path))?;
        Ok(Hold { folder: Some(folder), _of_process: of_process })
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // A forked child may have the folder open, too.
        let _closed = self.folder.as_ref().map(File::unlock);
    }
}

fn wait<T>(deadline: Deadline, lock: impl Fn() -> std::result::Result<T, TryLockError>) -> Result<T> {
    loop {
        match lock() {
            Ok(locked) => return Ok(locked),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(fault(Path::new("the folder of keys.state"), &error)),
            Err(TryLockError::WouldBlock) if deadline.is_past() => return Err(busy()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

fn busy() -> Error {
    let message = "nothing was done, because another thread or process is ending the time of a key, and until then nobody \
                   notes that a key is needed; it waits for a key server, up to its failover.deadline: try again";
    Error::new(Code::Deadline, message)
}

fn fault(folder: &Path, error: &io::Error) -> Error {
    let message = format!("{} could not be locked: {error}; mend the disk or its permissions", folder.display());
    Error::new(Code::System, message).in_file(folder)
}
