//! Columns of messages: the keys that they name, found once each.

#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::sync::Arc;

use super::version::Version;
use super::{Keys, now};
use crate::envelope::batch::Values;
use crate::envelope::column::{self, Move};
use crate::envelope::{self, KeyId};
use crate::error::Result;

/// A version that was found usable when the call began. The whole column is decrypted, or none of it.
struct Usable(Arc<Version>);

impl Borrow<envelope::Key> for Usable {
    fn borrow(&self) -> &envelope::Key {
        self.0.key()
    }
}

impl Keys {
    /// Decrypts messages with the keys that they name, if `check` allows all of these. Blocks unless they are cached.
    pub fn decrypt_many<'a>(
        &self,
        messages: impl Values<'a>,
        check: impl FnOnce(&[KeyId]) -> Result<()>,
        out: &mut [u8],
        offsets: &mut [usize],
    ) -> Result<usize> {
        let find = |ids: &[KeyId]| {
            check(ids)?;
            ids.iter().map(|id| self.to_decrypt(id)).collect()
        };
        column::decrypt_many(messages, find, out, offsets)
    }

    /// Writes messages anew with the newest versions of the keys that they name, if `check` allows all of these. Blocks
    /// unless the keys are cached.
    pub fn reencrypt_many<'a>(
        &self,
        messages: impl Values<'a>,
        check: impl FnOnce(&[KeyId]) -> Result<()>,
        out: &mut [u8],
        offsets: &mut [usize],
    ) -> Result<usize> {
        let find = |ids: &[KeyId]| {
            check(ids)?;
            ids.iter().map(|id| Ok(Move { from: self.to_decrypt(id)?, to: self.to_encrypt(&id.name)? })).collect()
        };
        column::reencrypt_many(messages, find, out, offsets)
    }

    fn to_decrypt(&self, id: &KeyId) -> Result<Usable> {
        let version = self.version(id)?;
        version.may_decrypt(now())?;
        Ok(Usable(version))
    }

    fn to_encrypt(&self, name: &str) -> Result<Usable> {
        let key = self.named(name)?;
        let version = key.handle().current().ok_or_else(|| key.handle().gone())?;
        version.may_encrypt(now())?;
        Ok(Usable(version))
    }
}
