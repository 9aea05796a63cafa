//! Reading files that others must not be able to change, or even to see.
//!
//! Every check is made on an open descriptor, and what is read comes from that same descriptor: nothing is
//! looked up twice, so nothing can be exchanged in between. The path is walked from the root, one
//! component at a time:
//!
//! - each folder belongs to root or to the process's effective user, and neither its group nor others may write
//!   to it; a sticky folder of root, such as `/tmp`, is the exception;
//! - a symbolic link among the folders is followed only if root or the user owns it, and the folders it leads
//!   through are held to the same rule;
//! - the file itself is a regular file, never a symbolic link, and belongs to root or the user.
//!
//! A POSIX access control list shows its widest grant in the group bits of the mode, so the mode speaks for it, too.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};
use crate::platform;

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;
/// As many symbolic links as the kernel itself follows.
const MAX_LINKS: usize = 40;

/// Who besides the owner may have access to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody: a private key, a password, the configuration.
    Private,
    /// Anybody may read, nobody may write: a certificate.
    Public,
    /// As `Private`, for a systemd credential. Systemd leaves it to root and lets the service's user read it by an access
    /// control list, whose mask shows as mode 0440; the group is root's.
    Credential,
}

impl Access {
    /// The same, where the file is a systemd credential.
    pub fn of_credential(self) -> Access {
        if self == Access::Private { Access::Credential } else { self }
    }

    /// The bits of the mode that nobody but the owner may have.
    fn forbidden(self, metadata: &Metadata) -> u32 {
        let is_of_root = metadata.uid() == 0 && metadata.gid() == 0;
        match self {
            Access::Public => 0o022,
            Access::Credential if is_of_root => 0o037,
            Access::Private | Access::Credential => 0o077,
        }
    }
}

/// Reads a file of at most 1 MiB after its folders, owner, type and mode were checked. `what` names it in errors.
///
/// [`Code::ConfigUnreadable`] if it cannot be read, [`Code::FileExposed`] if others could change it, or see what is
/// [`Access::Private`] or [`Access::Credential`].
pub fn read(path: &Path, what: &str, access: Access) -> Result<Zeroizing<Vec<u8>>> {
    let walk = Walk { path, what };
    let file = walk.open()?;
    let metadata = file.metadata().map_err(|error| walk.unreadable(path, &error))?;
    walk.check_file(&metadata, access)?;
    walk.read(file, metadata.len())
}

/// Opens the folder of a file that need not exist, after it and all folders above it were checked; also returns the
/// file's place without symbolic links. `what` names the file in errors, which are those of [`read`].
pub fn folder_of(path: &Path, what: &str) -> Result<(File, PathBuf)> {
    Walk { path, what }.folder()
}

/// The file on its way from the root, for walking and for errors.
struct Walk<'a> {
    path: &'a Path,
    what: &'a str,
}

impl Walk<'_> {
    fn open(&self) -> Result<File> {
        let (folder, place) = self.folder()?;
        self.open_file(&folder, &place)
    }

    /// The checked folder of the file, open, and the file's place in it.
    fn folder(&self) -> Result<(File, PathBuf)> {
        let absolute = std::path::absolute(self.path).map_err(|error| self.unreadable(self.path, &error))?;
        let mut pending = Vec::new();
        push_components(&mut pending, &absolute);
        let mut here = self.root()?;
        let mut place = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if pending.is_empty() {
                return Ok((here, place.join(name)));
            }
            let entry = platform::open_at(&here, &name, libc::O_PATH | libc::O_NOFOLLOW)
                .map_err(|error| self.unreadable(&place.join(&name), &error))?;
            let next = if name == ".." { parent(&place) } else { place.join(&name) };
            let metadata = entry.metadata().map_err(|error| self.unreadable(&next, &error))?;
            if metadata.is_symlink() {
                links += 1;
                let target = self.follow(&entry, &metadata, &next, links)?;
                push_components(&mut pending, &target);
                if target.is_absolute() {
                    (here, place) = (self.root()?, PathBuf::from("/"));
                }
            } else {
                self.check_folder(&metadata, &next)?;
                (here, place) = (entry, next);
            }
        }
        Err(self.exposed("is a folder, not a file; name the file itself"))
    }

    fn root(&self) -> Result<File> {
        let root = Path::new("/");
        let folder = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(root);
        let folder = folder.map_err(|error| self.unreadable(root, &error))?;
        let metadata = folder.metadata().map_err(|error| self.unreadable(root, &error))?;
        self.check_folder(&metadata, root)?;
        Ok(folder)
    }

    fn follow(&self, link: &File, metadata: &Metadata, place: &Path, links: usize) -> Result<PathBuf> {
        if !is_ours(metadata) {
            return Err(self.exposed(&format!(
                "is reached through the symbolic link {}, which belongs to user {}; name the file without that link",
                place.display(),
                metadata.uid(),
            )));
        }
        if links > MAX_LINKS {
            return Err(self.exposed("is reached through a loop of symbolic links; name the file without them"));
        }
        platform::read_link(link).map(PathBuf::from).map_err(|error| self.unreadable(place, &error))
    }

    /// `O_NONBLOCK` keeps a FIFO in the file's place from holding up the caller.
    fn open_file(&self, folder: &File, place: &Path) -> Result<File> {
        let Some(name) = place.file_name() else {
            return Err(self.exposed("is a folder, not a file; name the file itself"));
        };
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        platform::open_at(folder, name, flags).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => self.exposed(
                "is a symbolic link, and whoever may change a link decides what is read; name the file it leads to",
            ),
            _ => self.unreadable(self.path, &error),
        })
    }

    fn check_folder(&self, metadata: &Metadata, place: &Path) -> Result<()> {
        let folder = place.display();
        if !metadata.is_dir() {
            return Err(self.unreadable(place, &ErrorKind::NotADirectory.into()));
        }
        if !is_ours(metadata) {
            return Err(self.exposed(&format!(
                "lies below {folder}, which belongs to user {} instead of root or user {}: chown {} {}",
                metadata.uid(),
                platform::effective_user(),
                platform::effective_user(),
                quoted(place),
            )));
        }
        let is_sticky_of_root = metadata.mode() & libc::S_ISVTX != 0 && metadata.uid() == 0;
        if metadata.mode() & 0o022 != 0 && !is_sticky_of_root {
            return Err(self.exposed(&format!(
                "lies below {folder}, where others may replace it (mode {:04o}): chmod go-w {}",
                metadata.mode() & 0o7777,
                quoted(place),
            )));
        }
        Ok(())
    }

    fn check_file(&self, metadata: &Metadata, access: Access) -> Result<()> {
        if !metadata.is_file() {
            return Err(self.exposed("is not a regular file; name a regular file"));
        }
        if !is_ours(metadata) {
            return Err(self.exposed(&format!(
                "belongs to user {} instead of root or user {}: chown {} {}",
                metadata.uid(),
                platform::effective_user(),
                platform::effective_user(),
                quoted(self.path),
            )));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & access.forbidden(metadata) == 0 {
            return Ok(());
        }
        match access {
            Access::Private | Access::Credential => Err(self.exposed(&format!(
                "is open to other users (mode {mode:04o}): chmod 600 {}; if it was readable, what it holds is no \
                 longer secret",
                quoted(self.path),
            ))),
            Access::Public => Err(self.exposed(&format!(
                "can be changed by other users (mode {mode:04o}): chmod 644 {}, and make sure that it was not changed",
                quoted(self.path),
            ))),
        }
    }

    /// One buffer of the final size, so that no copy is left behind by a reallocation.
    fn read(&self, mut file: File, size: u64) -> Result<Zeroizing<Vec<u8>>> {
        if size > MAX_SIZE {
            return Err(self.unreadable(
                self.path,
                &std::io::Error::other(format!("it has {size} bytes, and at most {MAX_SIZE} are read")),
            ));
        }
        let mut bytes = Zeroizing::new(vec![0; size as usize + 1]);
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(self.path, &error)),
            }
        }
        if filled == bytes.len() {
            return Err(self.unreadable(self.path, &std::io::Error::other("it grew while it was read; try again")));
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn exposed(&self, why: &str) -> Error {
        Error::new(Code::FileExposed, format!("{} {} {why}", self.what, self.path.display())).in_file(self.path)
    }

    fn unreadable(&self, place: &Path, error: &std::io::Error) -> Error {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "put the file there or correct the path".to_owned(),
            ErrorKind::PermissionDenied => {
                format!("let user {} read it, or run as its owner", platform::effective_user())
            }
            _ => "correct the path or the file".to_owned(),
        };
        let at = if place == self.path { String::new() } else { format!(" at {}", place.display()) };
        let message = format!("{} {} cannot be read{at}: {error}; {remedy}", self.what, self.path.display());
        Error::new(Code::ConfigUnreadable, message).in_file(self.path)
    }
}

/// Root can do anything anyway, so what belongs to root is as safe as what belongs to us.
pub fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == platform::effective_user()
}

/// Puts the components of `path` on the stack, the first one on top.
fn push_components(pending: &mut Vec<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => pending.push(name.to_owned()),
            Component::ParentDir => pending.push("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

/// The root is its own parent.
fn parent(place: &Path) -> PathBuf {
    place.parent().unwrap_or(place).to_owned()
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+,:@%".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
