//! Whether the files that a configuration came from are still those that were read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files that a load read or tried to read, as they were right before.
#[derive(Debug, Default)]
pub struct Watch {
    files: RefCell<BTreeMap<PathBuf, Option<Stamp>>>,
}

/// What of a file changes when its content, owner or mode does, or when another takes its place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Remembers a file that is about to be read: one that changes while it is read counts as changed.
    pub(super) fn note(&self, path: &Path) {
        self.files.borrow_mut().entry(path.to_owned()).or_insert_with(|| Stamp::of(path));
    }

    /// The files.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().keys().cloned().collect()
    }

    /// Whether any of the files is not what it was. Does not read them.
    pub fn has_changed(&self) -> bool {
        self.files.borrow().iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }

    /// Watches what another one watches, too.
    pub fn with(self, other: Watch) -> Watch {
        for (path, stamp) in other.files.into_inner() {
            self.files.borrow_mut().entry(path).or_insert(stamp);
        }
        self
    }

    /// The same files as they are now.
    pub fn renewed(&self) -> Watch {
        let now = Watch::default();
        self.files.borrow().keys().for_each(|path| now.note(path));
        now
    }
}

impl Stamp {
    /// `None` where there is no file, or none that may be looked at.
    fn of(path: &Path) -> Option<Stamp> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
