//! Data spaces: one DEK each, which is stored near its data, encrypted under a KEK that stays in the key manager.
//!
//! The steps come in this order and are recorded one by one, so that a log shows how a space was created (the DEK is asked
//! for, then the KEK; the DEK is retrieved, protected, stored, erased) and then unlocked. `docs/decisions/0020-data-spaces.md`
//! tells why.

#![forbid(unsafe_code)]

mod creation;
pub(super) mod kek;
mod need;
mod open;
mod store;
mod wrap;

use std::borrow::Cow;
use std::path::Path;

use subtle::ConstantTimeEq;

pub use creation::Original;
pub use kek::Kek;
pub(super) use open::Spaces;

use super::Keys;
use super::handle::Key;
use crate::envelope::protected::{self, DEK_SIZE, Protected, Rung};
use crate::envelope::{KeyId, Pattern};
use crate::error::{Code, Error, Result};
use crate::kmip::{Deadline, State};
use crate::log::{Severity, catalogue};
use crate::memory::slot::Slot;
use store::{Draft, Held};

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

impl Keys {
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
        // Until it is known which KEKs are needed: of two at work on one file, each would forget the other's.
        let held = Held::lock(file, deadline)?;
        let old = Protected::parse(&held.read()?)?;
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
        let mut draft = Draft::of_existing(&held)?;
        draft.write(&protected.encode())?;
        // As in a creation. If it fails the KEK stays noted, until the file is rewrapped.
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
    ) -> Result<()> {
        let unlocked = match Protected::parse(&draft.read_back()?) {
            Ok(read) if read == *written => self.recover_dek(&read, kek, deadline)?,
            _ => return Err(not_proven(written)),
        };
        if bool::from(unlocked.ct_eq(material)) { Ok(()) } else { Err(not_proven(written)) }
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
