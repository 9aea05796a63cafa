//! Data spaces: one DEK each, which is stored near its data, encrypted under a KEK that stays in the key manager.
//!
//! The steps come in this order and are recorded one by one, so that a log shows how a space was created (the DEK is asked
//! for, then the KEK; the DEK is retrieved, protected, stored, erased) and unlocked. `docs/decisions/0020-data-spaces.md`
//! tells why.

#![forbid(unsafe_code)]

pub(super) mod kek;
mod need;
mod open;
mod store;
mod wrap;

use std::borrow::Cow;
use std::path::Path;

use subtle::ConstantTimeEq;

pub use kek::Kek;
pub(super) use open::Spaces;

use super::create::Creation;
use super::handle::Key;
use super::prohibited::looks_made_by_hand;
use super::{Keys, check_name, subject};
use crate::cluster::Unserved;
use crate::config::Policy;
use crate::envelope::protected::{self, DEK_SIZE, Protected, Rung};
use crate::envelope::{KeyId, Pattern};
use crate::error::{Code, Error, Result};
use crate::kmip::{Deadline, Destroy, Get, State};
use crate::log::{Severity, catalogue};
use crate::memory::slot::Slot;
use kek::object_name;
use store::Draft;

/// What becomes of the key manager's own copy of a DEK once the protected DEK is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original {
    /// It is destroyed: then whoever has the KEK destroyed has the space destroyed.
    Destroy,
    /// It is kept as it was made: a second way to the data, for whoever may fetch it.
    Keep,
}

/// What a rewrapping came to.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// The space's key, which is the same as before: `space:NAME/V`.
    pub space: KeyId,
    pub from: KeyId,
    pub to: KeyId,
    /// False where the protected DEK was under the newest KEK already.
    pub is_changed: bool,
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
        let deadline = self.cluster.deadline();
        if store::exists(file) {
            return Ok((self.finish_creation(name, kek, file, original, deadline)?, Creation::Existed));
        }
        // Before anything is made.
        let ready = self.find_kek(kek, deadline)?;
        self.check_rung(&ready, deadline)?;

        let dek = self.request_dek(name, deadline)?;
        self.tell_space(catalogue::SPACE_KEK_REQUESTED, &dek.id, &[("kek", kek.into())]);
        let kek = self.find_kek(kek, deadline)?;
        let material = self.retrieve(&dek, deadline)?;
        let protected = self.protect_dek(&material, &dek.id, &kek, deadline)?;
        self.tell_protected(&protected);
        let draft = Draft::of_new(file, &protected.encode())?;
        // Before it is proven, as a KEK that is revoked after that would be the end of it.
        self.note_kek(&protected.header, file, deadline)?;
        let proven = self.prove(&draft, &protected, &material, &kek, deadline);
        let stored = proven.and_then(|unlocked| draft.publish().map(|()| unlocked));
        let unlocked = stored.inspect_err(|_| self.forget_unstored(&protected.header, file))?;
        self.tell_file(catalogue::SPACE_STORED, &dek.id, file);
        drop(material);
        self.tell_space(catalogue::SPACE_DEK_ERASED, &dek.id, &[]);
        if original == Original::Destroy {
            self.destroy_original(&dek, file, deadline)?;
        }
        Ok((self.opened(&protected, &kek, unlocked), Creation::Created))
    }

    /// Unlocks a data space: has the key manager decrypt its protected DEK. Blocks.
    ///
    /// `expect` is the space's name, the beginning of one and `*`, or `*`; it is compared before anything is asked.
    pub fn unlock_space(&self, protected: &[u8], expect: &str) -> Result<Key> {
        let expect = Pattern::parse(expect)?;
        let protected = Protected::parse(protected)?;
        check_space(&protected, |space| expect.matches(space))?;
        let deadline = self.cluster.deadline();
        let (kek, material) = self.unlock_dek(&protected, deadline)?;
        Ok(self.opened(&protected, &kek, material))
    }

    /// Has the protected DEK in a file encrypted under the newest version of a KEK. The data stays as it is. Blocks.
    pub fn rewrap_space(&self, kek: &str, file: &Path) -> Result<Rewrapped> {
        let deadline = self.cluster.deadline();
        let old = Protected::parse(&store::read(file)?)?;
        let newest = self.find_kek(kek, deadline)?;
        let space = old.header.space.clone();
        let (from, to) = (old.header.kek.clone(), newest.id.clone());
        if (old.header.rung, &from) == (newest.rung, &to) {
            self.note_kek(&old.header, file, deadline)?;
            self.forget_other_keks(&old.header, file);
            return Ok(Rewrapped { space, from, to, is_changed: false });
        }
        if old.header.rung == Rung::Gcm && newest.rung == Rung::CbcHmac {
            return Err(lowered(&old, &newest));
        }
        let (_, material) = self.unlock_dek(&old, deadline)?;
        self.ledger.note_made(&space);
        self.tell_space(catalogue::SPACE_KEK_REQUESTED, &space, &[("kek", to.to_string().into())]);
        let protected = self.protect_dek(&material, &space, &newest, deadline)?;
        self.tell_protected(&protected);
        let draft = Draft::of_existing(file, &protected.encode())?;
        // As in a creation. If it fails the KEK stays noted, which another process may have had done for the same file.
        self.note_kek(&protected.header, file, deadline)?;
        self.prove(&draft, &protected, &material, &newest, deadline)?;
        draft.replace()?;
        self.forget_other_keks(&protected.header, file);
        self.tell_file(catalogue::SPACE_STORED, &space, file);
        drop(material);
        self.tell_space(catalogue::SPACE_DEK_ERASED, &space, &[]);
        let fields = [("from", from.to_string().into()), ("to", to.to_string().into())];
        self.tell_space(catalogue::SPACE_REWRAPPED, &space, &fields);
        Ok(Rewrapped { space, from, to, is_changed: true })
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
        self.ledger.note_made(&protected.header.space);
        self.note_kek(&protected.header, file, deadline)?;
        let left = match self.find_version(&protected.header.space, deadline) {
            Ok(found) => Some(found).filter(|found| found.state == State::PreActive),
            Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => None,
            Err(error) => return Err(error),
        };
        if let Some(found) = left.filter(|_| original == Original::Destroy) {
            let dek = Dek { id: found.id, identifier: found.identifier, server: found.server };
            // Another space of that name may have been begun elsewhere.
            if bool::from(self.get_dek(&dek, deadline)?.ct_eq(&*material)) {
                self.destroy_original(&dek, file, deadline)?;
            }
        }
        Ok(self.opened(&protected, &kek, material))
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
        if looks_made_by_hand(&material) && self.policy == Policy::Strict {
            let message = format!(
                "the bytes that the key server gave as {} are printable or repeat themselves, so they were not made by a \
                 random generator; nothing was protected",
                dek.id
            );
            return Err(Error::new(Code::KeyWeak, message));
        }
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

    /// Finds the KEK of a protected DEK and has it decrypted.
    fn unlock_dek(&self, protected: &Protected, deadline: Deadline) -> Result<(Kek, Slot<[u8; DEK_SIZE]>)> {
        let header = &protected.header;
        self.tell_space(catalogue::SPACE_KEK_REQUESTED, &header.space, &[("kek", header.kek.to_string().into())]);
        let outcome = self.find_kek_version(&header.kek, header.rung, deadline).and_then(|kek| {
            check_state(&kek, self.settings.allow_compromised)?;
            let kek = self.at_capable_server(kek, deadline)?;
            self.recover_dek(protected, &kek, deadline).map(|material| (kek, material))
        });
        match &outcome {
            Ok((kek, _)) => {
                let fields = [("kek", kek.id.to_string().into()), ("rung", wrap::rung_name(kek.rung).into())];
                self.tell_space(catalogue::SPACE_UNLOCKED, &header.space, &fields);
            }
            Err(error) => {
                let fields = [("space", header.space.to_string().into()), ("message", error.message().into())];
                self.cluster.journal().event(catalogue::SPACE_REFUSED, Severity::Warning, &fields);
            }
        }
        outcome
    }

    /// Whether what was written can be unlocked to the same DEK: only then does it take its place.
    fn prove(
        &self,
        draft: &Draft,
        written: &Protected,
        material: &[u8; DEK_SIZE],
        kek: &Kek,
        deadline: Deadline,
    ) -> Result<Slot<[u8; DEK_SIZE]>> {
        let unlocked = match Protected::parse(&draft.read_back()?) {
            Ok(read) if read == *written => self.recover_dek(&read, kek, deadline)?,
            _ => return Err(not_proven(written)),
        };
        if bool::from(unlocked.ct_eq(material)) { Ok(unlocked) } else { Err(not_proven(written)) }
    }

    fn destroy_original(&self, dek: &Dek, file: &Path, deadline: Deadline) -> Result<()> {
        let destroy = Destroy { id: &dek.identifier };
        match self.cluster.call(&destroy, subject(&dek.id), Some(dek.server), deadline) {
            Ok(_) => {}
            // Somebody else who was finishing the same creation.
            Err(unserved) if unserved.error.code() == Code::KeyNotFound => {}
            Err(unserved) => return Err(not_destroyed(&dek.id, file, &unserved.error)),
        }
        self.tell_space(catalogue::SPACE_DEK_DESTROYED, &dek.id, &[("identifier", dek.identifier.as_str().into())]);
        Ok(())
    }

    fn tell_protected(&self, protected: &Protected) {
        let header = &protected.header;
        let fields = [("kek", header.kek.to_string().into()), ("rung", wrap::rung_name(header.rung).into())];
        self.tell_space(catalogue::SPACE_DEK_PROTECTED, &header.space, &fields);
    }

    fn tell_file(&self, event: &'static str, space: &KeyId, file: &Path) {
        self.tell_space(event, space, &[("file", file.to_string_lossy())]);
    }

    fn tell_space(&self, event: &'static str, space: &KeyId, more: &[(&'static str, Cow<'_, str>)]) {
        let mut fields: Vec<(&'static str, Cow<'_, str>)> = vec![("space", space.to_string().into())];
        fields.extend_from_slice(more);
        self.cluster.journal().event(event, Severity::Notice, &fields);
    }
}

/// Whether the space is the expected one: a protected DEK of another is as genuine, and somebody may know that DEK.
fn check_space(protected: &Protected, is_expected: impl FnOnce(&str) -> bool) -> Result<()> {
    let space = protected.header.space.space().ok_or_else(protected::not_authentic)?;
    if is_expected(space) {
        return Ok(());
    }
    let message = format!("the protected DEK is that of data space {space:?}, and another was expected");
    Err(Error::new(Code::WrongKey, message))
}

fn check_state(kek: &Kek, allow_compromised: bool) -> Result<()> {
    match kek.found.state {
        State::Active | State::Deactivated => Ok(()),
        State::Compromised if allow_compromised => Ok(()),
        State::PreActive => {
            let message = format!("key encryption key {} was never activated; no data space is under it", kek.id);
            Err(Error::new(Code::KeyState, message))
        }
        state => {
            let message = format!(
                "key encryption key {} is {state}, so no data space under it is unlocked; with a compromised one set \
                 keys.allow_compromised = true while its data is encrypted anew, in a new space under a new KEK",
                kek.id
            );
            Err(Error::new(Code::KeyState, message))
        }
    }
}

fn lowered(old: &Protected, newest: &Kek) -> Error {
    let message = format!(
        "data space {} is protected with AES-GCM, and key encryption key {} would protect it less (AES-CBC with HMAC); \
         nothing was changed: rewrap it under a KEK that was made when all key servers spoke KMIP 1.4",
        old.header.space, newest.id
    );
    Error::new(Code::Unsupported, message)
}

fn not_proven(written: &Protected) -> Error {
    let message = format!(
        "the protected DEK of {} under {} did not unlock to what was protected, so it was not stored; nothing was changed. \
         Look at the key server, or at the disk",
        written.header.space, written.header.kek
    );
    Error::new(Code::AnswerUnexpected, message)
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
