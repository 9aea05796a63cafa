//! Decrypting what any key encrypted: the data names its key, and the caller says which names it expects.

#![forbid(unsafe_code)]

use zeroize::Zeroizing;

use super::{Client, Parts};
use crate::config::Shown;
use crate::envelope::batch::Values;
use crate::envelope::{KeyId, Pattern, mask, message, stream};
use crate::error::{Code, Error, Result};
use crate::keys::{Decryptor, Key, Keys};
use crate::log::{Severity, catalogue};

/// As whom a value is looked at, and through what.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The name of a `[[mask]]`.
    pub mask: &'a str,
    /// The role that the application found its user to have.
    pub role: &'a str,
}

impl Client {
    /// Decrypts with the key that the message names, if that name matches `expect` (`customer-42`, `customer-*`, `*`).
    ///
    /// The name is compared before any cache or network access. Blocks unless the key is cached. Errors: as
    /// [`Client::key`], and `NotAuthentic`, `WrongKey`, `BufferTooSmall`.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], expect: &str, out: &mut [u8]) -> Result<usize> {
        let parts = self.logged()?;
        let mut decrypt = || {
            let id = expected("message", expect, || message::key_id(message))?;
            let needed = message::decrypted_size(message)?;
            if out.len() < needed {
                return Err(Error::buffer_too_small(needed));
            }
            parts.keys.decrypt(&id, message, aad, out)
        };
        match &parts.uses {
            None => decrypt(),
            Some(uses) => uses.decrypting(message, None, decrypt),
        }
    }

    /// Writes what `role` sees of the plaintext under the configuration's `[[mask]]` of this name to the front of `out`, and
    /// returns its size; otherwise as [`Client::decrypt`]. What is not shown never leaves the call.
    ///
    /// The role is checked before anything is looked up. The mask is UTF-8. A buffer of [`mask::ROOM`] bytes more than the
    /// plaintext is large enough, and so is one of the message's size. Errors: as [`Client::decrypt`], and `RoleRefused`.
    pub fn decrypt_masked(
        &self,
        message: &[u8],
        aad: &[u8],
        expect: &str,
        view: View<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        let named = || expected("message", expect, || message::key_id(message));
        self.masked(message, view, out, named, |keys, id, plaintext| keys.decrypt(&id, message, aad, plaintext))
    }

    /// As [`Client::decrypt_masked`], with a key at hand: that of a data space, which only unlocking the space gives. Does not
    /// block. Errors: as [`Key::decrypt`], and `RoleRefused`.
    pub fn decrypt_masked_with(
        &self,
        key: &Key,
        message: &[u8],
        aad: &[u8],
        view: View<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        self.masked(message, view, out, || Ok(()), |_, (), plaintext| key.decrypt_unrecorded(message, aad, plaintext))
    }

    fn masked<T>(
        &self,
        message: &[u8],
        view: View<'_>,
        out: &mut [u8],
        check: impl FnOnce() -> Result<T>,
        decrypt: impl FnOnce(&Keys, T, &mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mask = || {
            let parts = self.logged()?;
            let shown = parts.shown(view)?;
            let checked = check()?;
            let size = message::decrypted_size(message)?;
            if out.len() < size + mask::ROOM {
                return Err(Error::buffer_too_small(size + mask::ROOM));
            }
            let mut plaintext = Zeroizing::new(vec![0; size]);
            let size = decrypt(&parts.keys, checked, &mut plaintext)?;
            Ok(mask::apply(shown, &plaintext[..size], out))
        };
        let outcome = match &self.parts.uses {
            None => mask(),
            Some(uses) => uses.decrypting(message, Some((view.mask, view.role)), mask),
        };
        if outcome.is_err() {
            out.fill(0);
        }
        outcome
    }

    /// Writes the plaintext of every message to the front of `out`, one after the other, and returns their size, with
    /// the keys that the messages name, if all of these match `expect` as in [`Client::decrypt`]. `offsets` has one place
    /// more than there are messages: plaintext `i` is at `offsets[i]..offsets[i + 1]`.
    ///
    /// All or nothing: on failure `out` and `offsets` are zeroed, and the error says which message was refused. Blocks
    /// unless the keys are cached. Errors: as [`Client::decrypt`], and `InvalidArgument` for more than
    /// [`crate::envelope::batch::MAX_BATCH`] messages or another number of offsets.
    pub fn decrypt_many<'a>(
        &self,
        messages: impl Values<'a>,
        expect: &str,
        out: &mut [u8],
        offsets: &mut [usize],
    ) -> Result<usize> {
        let parts = self.logged()?;
        let pattern = Pattern::parse(expect)?;
        let (keys, check) = (&parts.keys, |ids: &[KeyId]| all_expected(&pattern, ids));
        match &parts.uses {
            None => keys.decrypt_many(messages, check, out, offsets),
            Some(uses) => uses.decrypting_many(messages.clone(), || keys.decrypt_many(messages, check, out, offsets)),
        }
    }

    /// Writes every message anew under the newest active version of the key that it names, as [`Client::decrypt_many`]
    /// decrypts; messages of that version are copied as they are. The plaintexts do not leave the call.
    pub fn reencrypt_many<'a>(
        &self,
        messages: impl Values<'a>,
        expect: &str,
        out: &mut [u8],
        offsets: &mut [usize],
    ) -> Result<usize> {
        let parts = self.logged()?;
        let pattern = Pattern::parse(expect)?;
        let (keys, check) = (&parts.keys, |ids: &[KeyId]| all_expected(&pattern, ids));
        match &parts.uses {
            None => keys.reencrypt_many(messages, check, out, offsets),
            Some(uses) => uses.reencrypting_many(messages.clone(), (out, offsets), |out, offsets| {
                keys.reencrypt_many(messages, check, out, offsets)
            }),
        }
    }

    /// Begins to decrypt the stream that begins with `start` (at least its first [`stream::MAX_HEADER`] bytes, or all of
    /// a shorter one), with the key that it names, if that name matches `expect` as in [`Client::decrypt`].
    ///
    /// What follows the header, whose size [`Decryptor::header_size`] tells, is for [`Decryptor::update`]. The decryptor
    /// keeps its key to the end of the stream, also when this client is closed. Blocks unless the key is cached.
    ///
    /// Errors: as [`Client::key`], and `NotAuthentic`, `WrongKey`.
    pub fn decrypt_stream(&self, start: &[u8], aad: &[u8], expect: &str) -> Result<Decryptor> {
        let parts = self.logged()?;
        let id = expected("stream", expect, || stream::key_id(start))?;
        parts.keys.decrypt_stream(&id, start, aad)
    }
}

impl Parts {
    /// What a role sees under a mask.
    fn shown(&self, view: View<'_>) -> Result<Shown> {
        let View { mask, role } = view;
        if let Some(found) = self.masks.iter().find(|one| one.is_for(mask, role)) {
            return Ok(found.show);
        }
        let fields = [("mask", mask.into()), ("role", role.into())];
        self.journal.event(catalogue::MASK_REFUSED, Severity::Warning, &fields);
        let text = format!(
            "role {role:?} sees nothing under mask {mask:?}; if it is to see something, say so in a [[mask]] of the \
             configuration"
        );
        Err(Error::new(Code::RoleRefused, text))
    }
}

/// The key that data names, if it is one that `expect` allows.
fn expected(kind: &str, expect: &str, named: impl FnOnce() -> Result<KeyId>) -> Result<KeyId> {
    let pattern = Pattern::parse(expect)?;
    let id = named()?;
    check_expected(kind, &id, &pattern).map(|()| id)
}

/// Refuses a column of messages one of which names a key that was not expected.
fn all_expected(pattern: &Pattern, ids: &[KeyId]) -> Result<()> {
    ids.iter().try_for_each(|id| check_expected("column has a message that", id, pattern))
}

fn check_expected(kind: &str, id: &KeyId, pattern: &Pattern) -> Result<()> {
    if let Some(space) = id.space() {
        let message = format!(
            "the {kind} belongs to data space {space:?}: unlock the space with its protected DEK, and decrypt with the key \
             that this gives"
        );
        return Err(Error::new(Code::WrongKey, message));
    }
    if pattern.matches(&id.name) {
        return Ok(());
    }
    let message = format!("the {kind} names key {id}, and {:?} was expected; it belongs elsewhere", pattern.as_str());
    Err(Error::new(Code::WrongKey, message))
}
