//! Opening files that are appended to, where nobody else may put a file of their own in their place.

#![forbid(unsafe_code)]

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::files::{folder_of, is_ours};
use crate::error::{Code, Error};
use crate::platform;

/// Why a file cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Others could read it, change it, or exchange it.
    Exposed(Error),
    /// The system says so.
    Failed(io::Error),
    /// It is written, and whether the disk has it is not known.
    Unsynced(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Failed(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Exposed(error) => error.fmt(f),
            Fault::Failed(error) => error.fmt(f),
            Fault::Unsynced(error) => write!(f, "what was written may not be on the disk: {error}"),
        }
    }
}

impl Fault {
    /// Whether it may pass without anybody changing the configuration: a full or failing disk.
    pub fn is_passing(&self) -> bool {
        let error = match self {
            Fault::Exposed(_) => return false,
            Fault::Failed(error) => error,
            Fault::Unsynced(_) => return true,
        };
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::TimedOut
        ) || error.raw_os_error() == Some(libc::EIO)
    }

    /// Of something else than what is to be written.
    pub fn before_writing(self) -> Fault {
        match self {
            Fault::Unsynced(error) => Fault::Failed(error),
            other => other,
        }
    }

    /// As the error of opening `path`, which `what` names.
    pub fn into_error(self, path: &Path, what: &str) -> Error {
        let error = match self {
            Fault::Exposed(error) => return error,
            Fault::Failed(error) | Fault::Unsynced(error) => error,
        };
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "make its folder, owned by this user, mode 0700",
            io::ErrorKind::PermissionDenied => "let this user write there, or name another place",
            _ => "name another place",
        };
        let message = format!("{what} {} cannot be opened for writing: {error}; {remedy}", path.display());
        Error::new(Code::System, message).in_file(path)
    }
}

/// Opens or makes a file of mode 0600. `append` opens for reading and appending, else for reading and writing.
pub(crate) fn open(path: &Path, what: &str, append: bool) -> Result<File, Fault> {
    let exposed = |why: &str| {
        Fault::Exposed(Error::new(Code::FileExposed, format!("{what} {} {why}", path.display())).in_file(path))
    };
    // A folder that is missing is the system's own error, not one of reading.
    std::fs::metadata(path.parent().unwrap_or(path))?;
    let (folder, place) = folder_of(path, what).map_err(Fault::Exposed)?;
    let Some(name) = place.file_name() else {
        return Err(exposed("is a folder; name a file"));
    };
    let access = libc::O_RDWR | if append { libc::O_APPEND } else { 0 };
    let flags = access | libc::O_CREAT | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = platform::open_at(&folder, name, flags).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => exposed(
            "is a symbolic link, and whoever may change a link decides what is written to; name the file it leads to",
        ),
        _ => Fault::Failed(error),
    })?;
    match fault_of(&file.metadata()?) {
        Some(why) => Err(exposed(&why)),
        None => Ok(file),
    }
}

/// Waits for the lock, but not for ever: a process that was stopped while it held the lock must not stop others.
pub(crate) fn lock(file: &File, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_micros(5);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another process holds the lock on its state file",
                ));
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
        }
    }
}

fn fault_of(metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        Some("is not a regular file; name a regular file".to_owned())
    } else if !is_ours(metadata) {
        Some(format!("belongs to user {} instead of this one; change its owner or name another", metadata.uid()))
    } else if mode & 0o027 != 0 {
        let remedy = "chmod 600, or 640 for a group that reads it";
        Some(format!("is open to other users (mode {mode:04o}): {remedy}"))
    } else {
        None
    }
}
