//! The file that a protected DEK is kept in: it holds the old one or the new one at any time, also when the machine stops.
//!
//! Threads, processes and containers that share a volume may all be at work on one file. So every draft has a name of its
//! own, a new file takes a place only where there is none, and an old one is replaced under a lock.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::envelope::protected::MAX_SIZE;
use crate::error::{Code, Error, Result};
use crate::kmip::Deadline;
use crate::log::place;
use crate::platform;

/// What a draft's name ends with, after the name of its file and so many hexadecimal digits.
const PARTIAL: &str = ".partial";
const DIGITS: usize = 16;

/// Reads what may be a protected DEK; a longer file is cut, and so none.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    read_bytes(path).map_err(|error| fault("read", path, &error))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(MAX_SIZE + 1);
    File::open(path)?.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether there is something under that name, be it a link to nothing.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Sees to it that a file that was found is there after a crash, too, and no draft of it: whoever made it may not have come
/// so far.
///
/// Returns whether it is: who may not look into the folder cannot know, and may unlock what is in it all the same.
pub(super) fn settle(path: &Path) -> Result<bool> {
    let settled = path.canonicalize().and_then(|place| {
        File::open(&place)?.sync_all()?;
        match sync_folder(&place) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
            synced => synced.map(|()| sweep(&place)).map(|()| true),
        }
    });
    settled.map_err(|error| fault("keep", path, &error))
}

/// The file of a protected DEK that nobody else replaces meanwhile.
pub(super) struct Held {
    place: PathBuf,
    file: File,
}

impl Held {
    /// Waits for those who are replacing it. A link is followed to where the file really lies.
    pub fn lock(path: &Path, deadline: Deadline) -> Result<Held> {
        let wait = || {
            loop {
                let place = path.canonicalize()?;
                // Network file systems lock for writing only what is open for it.
                let file =
                    OpenOptions::new().read(true).write(true).open(&place).or_else(|error| match error.kind() {
                        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => File::open(&place),
                        _ => Err(error),
                    })?;
                place::lock(&file, Instant::now() + deadline.remaining().unwrap_or_default())?;
                let held = Held { place, file };
                // It may be the one that was replaced while this one waited.
                if is_at(&held.file, &held.place) {
                    return Ok(held);
                }
            }
        };
        wait().map_err(|error: io::Error| match error.kind() {
            ErrorKind::TimedOut => busy(path),
            _ => fault("lock", path, &error),
        })
    }

    pub fn read(&self) -> Result<Vec<u8>> {
        read(&self.place)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child may have the file open, too.
        let _closed = self.file.unlock();
    }
}

/// What came of putting a new file in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Publication {
    Stored,
    /// Somebody else's file is there by now.
    Taken,
}

/// A file beside the place where it belongs. Dropping it removes it.
pub(super) struct Draft {
    partial: PathBuf,
    place: PathBuf,
    /// Locked, which tells the draft of the living from what a killed process has left behind.
    file: File,
    /// Of the file that is to be replaced.
    replaced: Option<Metadata>,
}

impl Draft {
    /// For a file that is not there yet. Only its owner may read it.
    pub fn of_new(place: &Path) -> Result<Draft> {
        let begun = std::path::absolute(place).and_then(|place| Draft::begin(place, None));
        begun.map_err(|error| fault("write", place, &error))
    }

    /// For a file that is to be replaced, with the permissions and, as far as we may, the owner that it has.
    pub fn of_existing(held: &Held) -> Result<Draft> {
        let begun = held.file.metadata().and_then(|metadata| Draft::begin(held.place.clone(), Some(metadata)));
        begun.map_err(|error| fault("replace", &held.place, &error))
    }

    fn begin(place: PathBuf, replaced: Option<Metadata>) -> io::Result<Draft> {
        sweep(&place);
        loop {
            let mut random = [0; DIGITS / 2];
            platform::fill_random(&mut random)?;
            let mut name = prefix(&place);
            name.push(format!("{:0DIGITS$x}{PARTIAL}", u64::from_ne_bytes(random)));
            let partial = place.with_file_name(name);
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&partial);
            let file = match file {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            // Where files cannot be locked nobody can take it for a left one.
            let is_swept = matches!(file.try_lock(), Err(TryLockError::WouldBlock)) || !is_at(&file, &partial);
            if !is_swept {
                return Ok(Draft { partial, place, file, replaced });
            }
        }
    }

    /// Fills it, and has it on disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.fill(bytes).map_err(|error| fault("write", &self.place, &error))
    }

    fn fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if let Some(replaced) = &self.replaced {
            let _ours = fchown(&self.file, Some(replaced.uid()), Some(replaced.gid()));
            self.file.set_permissions(replaced.permissions())?;
        }
        self.file.sync_all()
    }

    pub fn read_back(&self) -> Result<Vec<u8>> {
        read(&self.partial)
    }

    /// Gives the file its name unless another one has it by now.
    pub fn publish(&self) -> Result<Publication> {
        let linked = match std::fs::hard_link(&self.partial, &self.place) {
            // The reply of a network file system may be lost, and the request repeated.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !is_at(&self.file, &self.place) => {
                return Ok(Publication::Taken);
            }
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Publication::Stored),
        };
        let stored = linked.and_then(|stored| sync_folder(&self.place).map(|()| stored));
        stored.map_err(|error| fault("write", &self.place, &error))
    }

    /// Puts the file in the place of the old one.
    pub fn replace(&self) -> Result<()> {
        let replaced = std::fs::rename(&self.partial, &self.place).and_then(|()| sync_folder(&self.place));
        replaced.map_err(|error| fault("replace", &self.place, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _moved = std::fs::remove_file(&self.partial);
        // A forked child may have the file open, too.
        let _closed = self.file.unlock();
    }
}

/// Removes the drafts of a file that killed processes have left behind.
fn sweep(place: &Path) {
    let prefix = prefix(place);
    let Ok(folder) = std::fs::read_dir(folder_of(place)) else { return };
    for entry in folder.flatten().filter(|entry| is_draft(&entry.file_name(), &prefix)) {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(entry.path());
        let Ok(file) = open else { continue };
        if file.try_lock().is_ok() && is_at(&file, &entry.path()) {
            let _left = std::fs::remove_file(entry.path());
        }
    }
}

fn prefix(place: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(place.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

fn is_draft(name: &OsStr, prefix: &OsStr) -> bool {
    let digits = name.as_bytes().strip_prefix(prefix.as_bytes()).and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes()));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether the path names the file that is open.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |named: Metadata| {
        let open = file.metadata()?;
        Ok::<_, io::Error>((named.dev(), named.ino()) == (open.dev(), open.ino()))
    };
    path.symlink_metadata().and_then(same).unwrap_or(false)
}

fn folder_of(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new("/"))
}

fn sync_folder(place: &Path) -> io::Result<()> {
    File::open(folder_of(place))?.sync_all()
}

fn busy(path: &Path) -> Error {
    let message = format!(
        "the protected DEK in {} is just being rewrapped by another thread or process, which waits for a key server; nothing \
         was changed: try again",
        path.display()
    );
    Error::new(Code::Deadline, message).in_file(path)
}

fn fault(what: &str, path: &Path, error: &io::Error) -> Error {
    let message = format!("could not {what} the protected DEK in {}: {error}", path.display());
    Error::new(Code::System, message).in_file(path)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(std::time::Duration::from_secs(10))
    }

    fn count(folder: &tempfile::TempDir) -> usize {
        folder.path().read_dir().unwrap().count()
    }

    #[test]
    fn a_new_file_appears_whole_and_takes_nobody_elses_place() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("orders.dek");
        // Two at a time, as by two threads, or by two containers in which both have the same process number.
        let [mut one, mut two] = [(); 2].map(|()| Draft::of_new(&place).unwrap());
        one.write(b"one").unwrap();
        two.write(b"two").unwrap();
        assert!(!exists(&place) && one.read_back().unwrap() == b"one" && two.read_back().unwrap() == b"two");
        assert_eq!(one.publish().unwrap(), Publication::Stored);
        assert_eq!(one.publish().unwrap(), Publication::Stored, "repeated by a network file system");
        assert_eq!(two.publish().unwrap(), Publication::Taken);
        drop((one, two));
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&place).unwrap(), b"one");
        assert_eq!(count(&folder), 1, "no draft is left");
    }

    #[test]
    fn a_file_is_replaced_where_it_lies_and_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("orders.dek"), folder.path().join("link"));
        std::fs::write(&place, b"old").unwrap();
        std::fs::set_permissions(&place, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        let held = Held::lock(&link, soon()).unwrap();
        Draft::of_existing(&held).unwrap().write(b"never").unwrap();
        assert_eq!(held.read().unwrap(), b"old");
        let mut draft = Draft::of_existing(&held).unwrap();
        draft.write(b"new").unwrap();
        draft.replace().unwrap();
        drop(draft);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(read(&place).unwrap(), b"new");
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(count(&folder), 2, "no draft is left");
    }

    #[test]
    fn who_waits_for_a_file_gets_the_one_that_took_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("orders.dek");
        std::fs::write(&place, b"old").unwrap();
        let first = Held::lock(&place, soon()).unwrap();
        let at_once = Deadline::after(std::time::Duration::ZERO);
        assert_eq!(Held::lock(&place, at_once).err().unwrap().code(), Code::Deadline);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Held::lock(&place, soon()).unwrap().read().unwrap());
            let mut draft = Draft::of_existing(&first).unwrap();
            draft.write(b"new").unwrap();
            draft.replace().unwrap();
            drop((draft, first));
            assert_eq!(second.join().unwrap(), b"new");
        });
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("orders.dek");
        let path = |name: &str| folder.path().join(name);
        let (left, linked) =
            (path(".orders.dek.0123456789abcdef.partial"), path(".orders.dek.0000000000000000.partial"));
        let others = [".orders.dek.partial", ".orders.dek.12.partial", ".customers.dek.0123456789abcdef.partial"];
        others.iter().for_each(|name| std::fs::write(path(name), b"theirs").unwrap());
        std::fs::write(&left, b"half").unwrap();
        // By one who was killed before it could remove the draft that it had published.
        std::fs::write(&place, b"whole").unwrap();
        std::fs::hard_link(&place, &linked).unwrap();
        let mut living = Draft::of_new(&place).unwrap();
        assert!(!exists(&left) && !exists(&linked));
        assert!(others.iter().all(|name| exists(&path(name))));
        let held = Held::lock(&place, soon()).unwrap();
        drop(Draft::of_existing(&held).unwrap());
        living.write(b"living").unwrap();
        assert_eq!((living.read_back().unwrap(), held.read().unwrap()), (b"living".to_vec(), b"whole".to_vec()));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("large");
        std::fs::write(&place, vec![0; 1 << 20]).unwrap();
        assert_eq!(read(&place).unwrap().len(), MAX_SIZE + 1);
        assert_eq!(read(&folder.path().join("none")).unwrap_err().code(), Code::System);
    }
}
