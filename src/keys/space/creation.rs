//! Creating a data space: its DEK is made, protected, stored and proven, and only then the key manager's own copy may go.
//!
//! Several may be creating the same one. Threads wait for the first of them; of processes each makes a DEK of its own, one
//! of them gets the place of the file, and the others destroy theirs and unlock what is there.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use super::check_space;
use super::kek::object_name;
use super::need::place;
use super::store::{self, Draft, Publication};
use crate::cluster::Unserved;
use crate::envelope::KeyId;
use crate::envelope::protected::{DEK_SIZE, Protected};
use crate::error::{Code, Error, Result};
use crate::keys::create::Creation;
use crate::keys::handle::Key;
use crate::keys::lookup::Found;
use crate::keys::prohibited::Object;
use crate::keys::{Keys, check_name, subject};
use crate::kmip::{Deadline, Destroy, Get, State};
use crate::log::catalogue;
use crate::memory::slot::Slot;

/// What becomes of the key manager's own copy of a DEK once the protected DEK is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Original {
    /// It is destroyed: then whoever has the KEK destroyed has the space destroyed.
    Destroy,
    /// It is kept as it was made: a second way to the data, for whoever may fetch it.
    Keep,
}

/// Creations of which one is enough.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    name: String,
    kek: String,
    place: PathBuf,
    original: Original,
}

/// The DEK in the key manager, before it is protected.
struct Dek {
    id: KeyId,
    identifier: String,
    server: usize,
}

impl Keys {
    /// Creates a data space whose protected DEK is in a file, or unlocks the one that is there. Blocks.
    ///
    /// What an earlier call left undone is done now.
    pub fn create_space(&self, name: &str, kek: &str, file: &Path, original: Original) -> Result<(Key, Creation)> {
        check_name(name)?;
        let wanted = Wanted { name: name.to_owned(), kek: kek.to_owned(), place: place(file), original };
        self.spaces.creations.once(wanted, || {
            let deadline = self.cluster.deadline();
            let stored = match store::exists(file) {
                true => None,
                false => self.begin_creation(name, kek, file, original, deadline)?,
            };
            match stored {
                Some(protected) => {
                    // Nothing of it is in memory until now, as the records say.
                    let unlocked = self.unlock_dek(&protected, deadline);
                    let (kek, material) = unlocked.map_err(|error| not_unlocked(&protected, file, &error))?;
                    Ok((self.opened(&protected, &kek, material), Creation::Created))
                }
                None => Ok((self.finish_creation(name, kek, file, original, deadline)?, Creation::Existed)),
            }
        })
    }

    /// Creates a space, unless somebody else has put a file in the place meanwhile.
    fn begin_creation(
        &self,
        name: &str,
        kek: &str,
        file: &Path,
        original: Original,
        deadline: Deadline,
    ) -> Result<Option<Protected>> {
        // Before anything is made.
        let ready = self.find_kek(kek, deadline)?;
        self.check_rung(&ready, deadline)?;
        let draft = Draft::of_new(file)?;
        let dek = self.request_dek(name, deadline)?;
        match self.store_dek(&dek, kek, draft, file, deadline) {
            Ok(Some(stored)) => {
                if original == Original::Destroy {
                    self.destroy_original(&dek, file, deadline)?;
                }
                Ok(Some(stored))
            }
            Ok(None) => {
                // If it is left, it protects nothing.
                let _left = self.discard(&dek, deadline);
                Ok(None)
            }
            Err(error) if may_hold(file, &dek.id) => Err(error),
            Err(error) => match self.discard(&dek, deadline) {
                Ok(()) => Err(error),
                Err(_) => Err(left_over(&dek, &error)),
            },
        }
    }

    fn store_dek(
        &self,
        dek: &Dek,
        kek: &str,
        mut draft: Draft,
        file: &Path,
        deadline: Deadline,
    ) -> Result<Option<Protected>> {
        self.tell_space(catalogue::SPACE_KEK_REQUESTED, &dek.id, &[("kek", kek.into())]);
        let kek = self.find_kek(kek, deadline)?;
        let material = self.retrieve(dek, deadline)?;
        let protected = self.protect_dek(&material, &dek.id, &kek, deadline)?;
        self.tell_protected(&protected);
        draft.write(&protected.encode())?;
        // Before it is proven, as a KEK that is revoked after that would be the end of it.
        self.note_kek(&protected.header, file, deadline)?;
        let proven = self.prove(&draft, &protected, &material, &kek, deadline);
        let stored = proven.and_then(|()| draft.publish());
        let Ok(Publication::Stored) = stored else {
            self.forget_unstored(&protected.header, file, deadline);
            return stored.map(|_taken| None);
        };
        // Another one that failed may have forgotten it for the same space, before the file was there.
        self.note_kek(&protected.header, file, deadline)?;
        self.tell_file(catalogue::SPACE_STORED, &dek.id, file);
        drop(material);
        self.tell_space(catalogue::SPACE_DEK_ERASED, &dek.id, &[]);
        Ok(Some(protected))
    }

    /// Unlocks the space in the file, and destroys the original that an interrupted creation may have left.
    fn finish_creation(
        &self,
        name: &str,
        kek: &str,
        file: &Path,
        original: Original,
        deadline: Deadline,
    ) -> Result<Key> {
        let protected = Protected::parse(&store::read(file)?)?;
        check_space(&protected, |space| space == name)?;
        if protected.header.kek.name != kek {
            let message = format!(
                "{} is there already, under key encryption key {}; rewrap it to have it under {kek:?}",
                file.display(),
                protected.header.kek
            );
            return Err(Error::new(Code::InvalidArgument, message).in_file(file));
        }
        let (kek, material) = self.unlock_dek(&protected, deadline)?;
        // Whoever stored it may not have come so far, and something will be encrypted with it now.
        let is_settled = store::settle(file)?;
        self.ledger.note_made(&protected.header.space);
        self.note_kek(&protected.header, file, deadline)?;
        // Otherwise it is left to a caller who can see to the folder.
        if original == Original::Destroy && is_settled {
            self.destroy_left(&protected.header.space, &material, file, deadline)?;
        }
        Ok(self.opened(&protected, &kek, material))
    }

    /// Destroys the original of a space that is stored, if it is still there.
    fn destroy_left(&self, id: &KeyId, material: &[u8; DEK_SIZE], file: &Path, deadline: Deadline) -> Result<()> {
        let Some(left) = self.find_left(id, deadline)? else { return Ok(()) };
        match self.get_dek(&left, deadline) {
            // Another space of that name may have been begun elsewhere.
            Ok(original) if bool::from(original.ct_eq(material)) => self.destroy_original(&left, file, deadline),
            Ok(_) => Ok(()),
            // Whoever stored it was just about to destroy it, too.
            Err(_) if self.find_left(id, deadline)?.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn find_left(&self, id: &KeyId, deadline: Deadline) -> Result<Option<Dek>> {
        match self.find_version(id, deadline) {
            Ok(Found { id, identifier, server, state: State::PreActive, .. }) => {
                Ok(Some(Dek { id, identifier, server }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn request_dek(&self, name: &str, deadline: Deadline) -> Result<Dek> {
        let (id, identifier, server) = self.make_unshared(&object_name("space", name), deadline)?;
        let dek = Dek { id, identifier, server };
        self.ledger.note_made(&dek.id);
        self.tell_space(catalogue::SPACE_DEK_REQUESTED, &dek.id, &[("identifier", dek.identifier.as_str().into())]);
        Ok(dek)
    }

    fn retrieve(&self, dek: &Dek, deadline: Deadline) -> Result<Slot<[u8; DEK_SIZE]>> {
        let material = self.get_dek(dek, deadline)?;
        let object = Object { id: &dek.id, identifier: &dek.identifier, server: dek.server };
        self.check_material(&object, &material)?;
        self.tell_space(catalogue::SPACE_DEK_RETRIEVED, &dek.id, &[]);
        Ok(material)
    }

    fn get_dek(&self, dek: &Dek, deadline: Deadline) -> Result<Slot<[u8; DEK_SIZE]>> {
        let get = Get { id: &dek.identifier };
        self.room.with(|| {
            let answered = self.cluster.call(&get, subject(&dek.id), Some(dek.server), deadline);
            answered.map(|answered| answered.answer.material).map_err(|Unserved { error, .. }| error)
        })
    }

    fn discard(&self, dek: &Dek, deadline: Deadline) -> Result<()> {
        let destroy = Destroy { id: &dek.identifier };
        match self.cluster.call(&destroy, subject(&dek.id), Some(dek.server), deadline) {
            // Somebody else who was finishing the same creation was first.
            Err(unserved) if unserved.error.code() != Code::KeyNotFound => Err(unserved.error),
            _ => Ok(()),
        }
    }

    /// Destroys the key manager's own copy of a space's key, which a creation has left. Blocks.
    pub fn discard_original(&self, space: &str, version: u32) -> Result<()> {
        self.destroy(&KeyId::of_space(space, version)?)
    }

    fn destroy_original(&self, dek: &Dek, file: &Path, deadline: Deadline) -> Result<()> {
        self.discard(dek, deadline).map_err(|error| not_destroyed(&dek.id, file, &error))?;
        self.tell_space(catalogue::SPACE_DEK_DESTROYED, &dek.id, &[("identifier", dek.identifier.as_str().into())]);
        Ok(())
    }
}

/// Whether the file may hold the protected DEK of that space.
fn may_hold(file: &Path, space: &KeyId) -> bool {
    store::exists(file)
        && store::read(file).map_or(true, |held| Protected::parse(&held).is_ok_and(|held| held.header.space == *space))
}

fn left_over(dek: &Dek, cause: &Error) -> Error {
    let (space, version) = (dek.id.space().unwrap_or_default(), dek.id.version);
    let message = format!(
        "{}; the key server still has the key that was made for the data space, {} ({}), which protects nothing: destroy it with \
         `keystead space discard --unreadable-for-ever {space}/{version}`",
        cause.message(),
        dek.id,
        dek.identifier
    );
    Error::new(cause.code(), message).after(cause.attempts().to_vec())
}

fn not_unlocked(protected: &Protected, file: &Path, cause: &Error) -> Error {
    let message = format!(
        "the data space is created and {} is complete, but {} could not be unlocked: {}; repeat the call",
        file.display(),
        protected.header.space,
        cause.message()
    );
    Error::new(cause.code(), message).after(cause.attempts().to_vec())
}

fn not_destroyed(id: &KeyId, file: &Path, cause: &Error) -> Error {
    let message = format!(
        "the data space is created and {} is complete, but the key server still has its own copy of the key, {id}: {}; \
         repeat the call to have it destroyed",
        file.display(),
        cause.message()
    );
    Error::new(cause.code(), message).after(cause.attempts().to_vec())
}
