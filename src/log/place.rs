//! Opening files that are appended to, where nobody else may put a file of their own in their place.

#![forbid(unsafe_code)]

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Code, Error};
use crate::platform;

/// Why a file cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Others could read it, change it, or exchange it. Holds why, and what to do.
    Exposed(String),
    /// The system says so.
    Failed(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Failed(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Exposed(why) => f.write_str(why),
            Fault::Failed(error) => error.fmt(f),
        }
    }
}

impl Fault {
    /// Whether it may pass without anybody changing the configuration: a full or failing disk.
    pub fn is_passing(&self) -> bool {
        let Fault::Failed(error) = self else { return false };
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
        ) || error.raw_os_error() == Some(libc::EIO)
    }

    /// As the error of opening `path`, which `what` names.
    pub fn into_error(self, path: &Path, what: &str) -> Error {
        let path_shown = path.display();
        let error = match self {
            Fault::Exposed(why) => Error::new(Code::FileExposed, format!("{what} {path_shown} {why}")),
            Fault::Failed(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => "make its folder, owned by this user, mode 0700",
                    io::ErrorKind::PermissionDenied => "let this user write there, or name another place",
                    _ => "name another place",
                };
                Error::new(Code::System, format!("{what} {path_shown} cannot be opened for writing: {error}; {remedy}"))
            }
        };
        error.in_file(path)
    }
}

/// Opens or makes a file of mode 0600. `append` opens for reading and appending, else for reading and writing.
pub(crate) fn open(path: &Path, append: bool) -> Result<File, Fault> {
    check_folder(path)?;
    let mut options = OpenOptions::new();
    options.read(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let options = if append { options.append(true) } else { options.write(true) };
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Fault::Exposed(
            "is a symbolic link, and whoever may change a link decides what is written to; name the file itself".into(),
        ),
        _ => Fault::Failed(error),
    })?;
    check_file(&file.metadata()?)?;
    Ok(file)
}

fn check_folder(path: &Path) -> Result<(), Fault> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let metadata = std::fs::metadata(folder)?;
    let is_sticky_of_root = metadata.mode() & libc::S_ISVTX != 0 && metadata.uid() == 0;
    if !is_ours(&metadata) {
        let why = format!(
            "lies in {}, which belongs to user {}; use a folder of this user",
            folder.display(),
            metadata.uid()
        );
        return Err(Fault::Exposed(why));
    }
    if metadata.mode() & 0o022 != 0 && !is_sticky_of_root {
        let (folder, mode) = (folder.display(), metadata.mode() & 0o7777);
        let why = format!("lies in {folder}, where others may replace it (mode {mode:04o}): chmod go-w {folder}");
        return Err(Fault::Exposed(why));
    }
    Ok(())
}

fn check_file(metadata: &Metadata) -> Result<(), Fault> {
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        Err(Fault::Exposed("is not a regular file; name a regular file".into()))
    } else if !is_ours(metadata) {
        let why = format!("belongs to user {} instead of this one; change its owner or name another", metadata.uid());
        Err(Fault::Exposed(why))
    } else if mode & 0o027 != 0 {
        Err(Fault::Exposed(format!(
            "is open to other users (mode {mode:04o}): chmod 600, or 640 for a group that reads it"
        )))
    } else {
        Ok(())
    }
}

/// Root can do anything anyway, so what belongs to root is as safe as what belongs to us.
fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == platform::effective_user()
}
