//! The file that a protected DEK is kept in: it holds the old one or the new one at any time, also when the machine stops.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::envelope::protected::MAX_SIZE;
use crate::error::{Code, Error, Result};

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

/// A file that is complete and on disk, beside the place where it belongs. Dropping it removes it.
pub(super) struct Draft {
    partial: PathBuf,
    place: PathBuf,
}

impl Draft {
    /// For a file that is not there yet. Only its owner may read it.
    pub fn of_new(place: &Path, bytes: &[u8]) -> Result<Draft> {
        let place = std::path::absolute(place).map_err(|error| fault("write", place, &error))?;
        Draft::write(place, bytes, Permissions::from_mode(0o600))
    }

    /// For a file that is to be replaced, where it really lies and with the permissions it has.
    pub fn of_existing(place: &Path, bytes: &[u8]) -> Result<Draft> {
        let found = place.canonicalize().and_then(|place| place.metadata().map(|metadata| (place, metadata)));
        let (place, metadata) = found.map_err(|error| fault("replace", place, &error))?;
        Draft::write(place, bytes, metadata.permissions())
    }

    fn write(place: PathBuf, bytes: &[u8], permissions: Permissions) -> Result<Draft> {
        let mut name = OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", std::process::id()));
        let draft = Draft { partial: place.with_file_name(name), place };
        // What a killed process of the same number left behind.
        let _ = std::fs::remove_file(&draft.partial);
        draft.fill(bytes, permissions).map_err(|error| fault("write", &draft.place, &error))?;
        Ok(draft)
    }

    fn fill(&self, bytes: &[u8], permissions: Permissions) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.partial)?;
        file.write_all(bytes)?;
        file.set_permissions(permissions)?;
        file.sync_all()
    }

    pub fn read_back(&self) -> Result<Vec<u8>> {
        read(&self.partial)
    }

    /// Gives the file its name unless another one has it by now.
    pub fn publish(self) -> Result<()> {
        let published = std::fs::hard_link(&self.partial, &self.place).and_then(|()| self.sync_folder());
        published.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let message = format!("{} was made by somebody else meanwhile; try again", self.place.display());
                Error::new(Code::InvalidArgument, message).in_file(&self.place)
            }
            _ => fault("write", &self.place, &error),
        })
    }

    /// Puts the file in the place of the old one.
    pub fn replace(self) -> Result<()> {
        let replaced = std::fs::rename(&self.partial, &self.place).and_then(|()| self.sync_folder());
        replaced.map_err(|error| fault("replace", &self.place, &error))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.place.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.partial);
    }
}

fn fault(what: &str, path: &Path, error: &io::Error) -> Error {
    let message = format!("could not {what} the protected DEK in {}: {error}", path.display());
    Error::new(Code::System, message).in_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_appears_whole_and_takes_nobody_elses_place() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("orders.dek");
        let draft = Draft::of_new(&place, b"one").unwrap();
        assert!(!exists(&place) && draft.read_back().unwrap() == b"one");
        draft.publish().unwrap();
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let error = Draft::of_new(&place, b"two").unwrap().publish().unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(read(&place).unwrap(), b"one");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_is_replaced_where_it_lies_and_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("orders.dek"), folder.path().join("link"));
        std::fs::write(&place, b"old").unwrap();
        std::fs::set_permissions(&place, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        drop(Draft::of_existing(&link, b"never").unwrap());
        assert_eq!(read(&place).unwrap(), b"old");
        Draft::of_existing(&link, b"new").unwrap().replace().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(read(&place).unwrap(), b"new");
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "no draft is left");
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
