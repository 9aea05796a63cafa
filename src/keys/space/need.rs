//! The end of a KEK, and what keeps it from ending: the protected DEKs that are known to be under it.
//!
//! They are remembered by their spaces and files, in the ledger of the keys. A file that was moved or copied by hand is
//! another one, and so is another space's that takes its place.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::kek::{MAC, RUNGS, kek_object, object_name};
use super::store;
use crate::envelope::KeyId;
use crate::envelope::protected::{Header, Protected};
use crate::error::{Code, Error, Result};
use crate::keys::lookup::Found;
use crate::keys::{Keys, check_name};
use crate::kmip::{Deadline, Revocation, State};

/// What the ledger takes, in bytes.
const LONGEST: usize = 256;

impl Keys {
    /// Ends the time of a KEK's version: no DEK is protected under it any more. Blocks.
    ///
    /// Not while a protected DEK is known to be under it, as some key servers decrypt with none but an active key; unless it
    /// is compromised. Spaces under a compromised one are not unlocked any more.
    pub fn revoke_kek(&self, id: &KeyId, why: Revocation) -> Result<()> {
        let deadline = self.cluster.deadline();
        let is_compromised = why == Revocation::KeyCompromise;
        let _nobody_notes_a_need = if is_compromised { None } else { Some(self.ledger.hold(deadline)?) };
        let object = self.kek_object_of(id, deadline)?.id;
        if !is_compromised {
            self.check_unneeded(id, &object, "deactivated")?;
        }
        self.revoke_within(&object, why, deadline)
    }

    /// Destroys a KEK's version for good, with its HMAC key: what is under it can never be unlocked again. Blocks.
    ///
    /// Refused while it is active, so that it takes two steps, and while a protected DEK is known to be under it.
    pub fn destroy_kek(&self, id: &KeyId) -> Result<()> {
        let deadline = self.cluster.deadline();
        let _nobody_notes_a_need = self.ledger.hold(deadline)?;
        let object = self.kek_object_of(id, deadline)?.id;
        self.check_unneeded(id, &object, "destroyed")?;
        // Before its HMAC key is touched; and that goes first, so that one who was interrupted finds the KEK again.
        self.check_destructible(&object, deadline)?;
        let mac = KeyId { name: object_name(MAC, &id.name), version: id.version };
        if object.name == object_name("kek-cbc", &id.name) {
            self.destroy_mac_key(&mac, deadline)?;
        }
        self.destroy_unneeded(&object, deadline)
    }

    /// Remembers that `what` needs a KEK's version. Blocks.
    pub fn add_kek_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        let object = self.kek_object_of(id, self.cluster.deadline())?.id;
        self.add_reference(&object, what)
    }

    /// Forgets that `what` needs a KEK's version. Blocks.
    pub fn remove_kek_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        let object = self.kek_object_of(id, self.cluster.deadline())?.id;
        self.remove_reference(&object, what)
    }

    /// Remembers under which KEK the protected DEK in a file is, before it is there.
    pub(super) fn note_kek(&self, header: &Header, file: &Path, deadline: Deadline) -> Result<()> {
        self.ledger.refer(&kek_object(&header.kek, header.rung), &described(header, file), deadline)
    }

    /// Forgets the KEKs under which the protected DEK in a file was before. One that cannot be forgotten is kept too long,
    /// which loses nothing.
    pub(super) fn forget_other_keks(&self, header: &Header, file: &Path) {
        let (object, what) = (kek_object(&header.kek, header.rung), described(header, file));
        for other in self.ledger.needed_by(&what).iter().filter(|other| **other != object) {
            let _kept = self.ledger.release(other, &what);
        }
    }

    /// Forgets the KEK of a protected DEK whose creation failed, where it is certain that the file does not hold it.
    pub(super) fn forget_unstored(&self, header: &Header, file: &Path, deadline: Deadline) {
        // Another process may be storing the same space: it notes the KEK once more when it has, and so not in between.
        let Ok(_nobody_notes_a_need) = self.ledger.hold(deadline) else { return };
        let is_absent = match file.symlink_metadata() {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(_) => {
                store::read(file).is_ok_and(|held| Protected::parse(&held).map_or(true, |held| held.header != *header))
            }
        };
        if is_absent {
            let _kept = self.ledger.release(&kek_object(&header.kek, header.rung), &described(header, file));
        }
    }

    /// The object of a KEK's version, of whatever rung.
    fn kek_object_of(&self, id: &KeyId, deadline: Deadline) -> Result<Found> {
        check_name(&id.name)?;
        let mut objects = Vec::new();
        for rung in RUNGS {
            match self.find_version(&kek_object(id, rung), deadline) {
                Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => {}
                outcome => objects.push(outcome?),
            }
        }
        match objects.len() {
            0 => Err(no_version(id)),
            1 => Ok(objects.remove(0)),
            _ => Err(ambiguous(id, &objects)),
        }
    }

    fn check_unneeded(&self, id: &KeyId, object: &KeyId, become_what: &str) -> Result<()> {
        let needed = self.references(object);
        if needed.is_empty() {
            return Ok(());
        }
        let message = format!(
            "key encryption key {id} is not {become_what}, because it is needed by: {}; `keystead space rewrap` what is under \
             it, and of what is gone say so: `keystead key need --kek {id} --by … --no-more`",
            needed.join("; ")
        );
        Err(Error::new(Code::KeyReferenced, message))
    }

    fn destroy_mac_key(&self, mac: &KeyId, deadline: Deadline) -> Result<()> {
        match self.find_version(mac, deadline) {
            Ok(found) if found.state == State::Active => {
                self.revoke_within(mac, Revocation::CessationOfOperation, deadline)?;
            }
            Ok(_) => {}
            Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => return Ok(()),
            Err(error) => return Err(error),
        }
        self.destroy_unneeded(mac, deadline)
    }
}

fn no_version(id: &KeyId) -> Error {
    let message = format!(
        "no key server has key encryption key {id}; `keystead key show --kek {}` tells which versions there are",
        id.name
    );
    Error::new(Code::KeyNotFound, message)
}

/// Two of one version, which only versions that were made apart can be: nobody can tell which one is meant.
fn ambiguous(id: &KeyId, objects: &[Found]) -> Error {
    let shown: Vec<_> =
        objects.iter().map(|found| format!("{} ({}, {})", found.id, found.identifier, found.state)).collect();
    let message = format!(
        "the key servers hold {} key encryption keys of the version {id}: {}; nothing was changed. `keystead inspect` tells of \
         each protected DEK under which it is; rotate the KEK, rewrap what is under these, and end them with the tools of the \
         key manager",
        objects.len(),
        shown.join(" and ")
    );
    Error::new(Code::KeyAmbiguous, message)
}

/// A protected DEK as the ledger names it: by its space and its file, or where its path is no short line, the hash of that.
fn described(header: &Header, file: &Path) -> String {
    let (space, place) = (&header.space, place(file));
    let readable = place.to_str().map(|place| format!("protected DEK of {space} in {place}"));
    let taken = readable.filter(|what| what.len() <= LONGEST && !what.chars().any(char::is_control));
    taken.unwrap_or_else(|| {
        let mut what = format!("protected DEK of {space} in a path of SHA-256 ");
        for byte in digest(&SHA256, place.as_os_str().as_bytes()).as_ref() {
            let _infallible = write!(what, "{byte:02x}");
        }
        what
    })
}

/// Where a file lies or will lie, whatever links lead there.
pub(super) fn place(file: &Path) -> PathBuf {
    let in_folder = || {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        folder.canonicalize().map(|folder| folder.join(file.file_name().unwrap_or_default()))
    };
    file.canonicalize().or_else(|_| in_folder()).unwrap_or_else(|_| file.to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::envelope::protected::Rung;

    #[test]
    fn every_space_and_every_file_has_a_description_of_its_own_that_the_ledger_takes() {
        let header = |space: &str| Header {
            rung: Rung::Gcm,
            space: KeyId { name: object_name("space", space), version: u32::MAX },
            kek: KeyId { name: "master".to_owned(), version: 1 },
        };
        let (long, longest_name) = ("x".repeat(300), "n".repeat(128));
        let files: [&[u8]; 7] = [b"/a", b"/b", long.as_bytes(), &long.as_bytes()[1..], b"/a\n", b"/a\xff", b"/a\xfe"];
        let mut seen = std::collections::BTreeSet::new();
        for space in ["orders", "customers", &longest_name] {
            for file in files {
                let what = described(&header(space), Path::new(OsStr::from_bytes(file)));
                assert!(what.len() <= LONGEST && !what.chars().any(char::is_control), "{what:?}");
                assert!(seen.insert(what.clone()), "{what} is twice");
            }
        }
    }
}
