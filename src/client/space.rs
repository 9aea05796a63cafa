//! Data spaces and the key encryption keys that protect them.

#![forbid(unsafe_code)]

use std::path::Path;

use serde::Serialize;

use super::{Client, Key, KeyInfo};
use crate::envelope::KeyId;
use crate::error::Result;
use crate::keys::{Creation, Kek, Original, Rewrapped};
use crate::kmip::Revocation;

/// A key encryption key. It never leaves the key servers.
#[derive(Clone, Debug, Serialize)]
pub struct KekInfo {
    pub name: String,
    pub version: u32,
    /// How it protects the key of a data space: `gcm` or `cbc-hmac`.
    pub rung: &'static str,
}

impl KekInfo {
    fn of(kek: &Kek) -> KekInfo {
        KekInfo { name: kek.id.name.clone(), version: kek.id.version, rung: kek.rung.name() }
    }
}

impl Client {
    /// Makes the first version of a key encryption key (KEK) on the key servers, or finds the one there is. Blocks.
    ///
    /// How it protects the keys of data spaces is fixed now: the best way that all configured servers offer, so all of
    /// them have to answer. Errors: `InvalidArgument`, `Unsupported` where a server speaks less than KMIP 1.2, `NoServer` and
    /// other 3xx, 4xx, `Closed`, `Forked`.
    pub fn create_kek(&self, name: &str) -> Result<(KekInfo, Creation)> {
        let (kek, creation) = self.logged()?.keys.create_kek(name)?;
        Ok((KekInfo::of(&kek), creation))
    }

    /// Makes a new version of a KEK, for what is protected and rewrapped from now on. Blocks.
    ///
    /// Errors: as [`Client::create_kek`], and `KeyNotFound`.
    pub fn rotate_kek(&self, name: &str) -> Result<KekInfo> {
        Ok(KekInfo::of(&self.logged()?.keys.rotate_kek(name)?))
    }

    /// Ends the time of a KEK's version: it protects no key of a data space any more. Blocks.
    ///
    /// Some key servers unlock nothing with a deactivated KEK, so it is not deactivated while the protected DEK in any file is
    /// known to be under it: [`Client::rewrap_space`] those first. Spaces under a compromised one stop within `ttl`. Errors:
    /// as [`Client::rotate_kek`], `KeyState`, `KeyReferenced`.
    pub fn revoke_kek(&self, id: &KeyId, why: Revocation) -> Result<()> {
        self.logged()?.keys.revoke_kek(id, why)
    }

    /// Destroys a KEK's version for good, the second step after [`Client::revoke_kek`]: what is under it can never be unlocked
    /// again, and so neither its data. Blocks.
    ///
    /// Errors: as [`Client::rotate_kek`]; `KeyState` while it is active; `KeyReferenced` while the protected DEK in any file is
    /// known to be under it.
    pub fn destroy_kek(&self, id: &KeyId) -> Result<()> {
        self.logged()?.keys.destroy_kek(id)
    }

    /// As [`Client::add_reference`], for a KEK. Creating and rewrapping a space does so with its file. Blocks.
    pub fn add_kek_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        self.logged()?.keys.add_kek_reference(id, what)
    }

    /// As [`Client::remove_reference`], for a KEK. Blocks.
    pub fn remove_kek_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        self.logged()?.keys.remove_kek_reference(id, what)
    }

    /// Every version of a KEK as the key servers name it: `kek-gcm:NAME`, or `kek-cbc:NAME` and `kek-mac:NAME`. Blocks.
    ///
    /// Errors: as [`Client::rotate_kek`].
    pub fn show_kek(&self, name: &str) -> Result<Vec<KeyInfo>> {
        let parts = self.logged()?;
        Ok(parts.key_infos(&parts.keys.show_kek(name)?))
    }

    /// Creates data space `name`: the key manager makes its key and encrypts it under the newest version of `kek`, and
    /// the result, the protected DEK, is written to `file`, which must not be there yet. Blocks.
    ///
    /// A crash leaves the whole file or none, and of several who create it at the same time all get the same key. Where it is there already, with the same names in it, the space is unlocked,
    /// and what an earlier call left undone is done. The key is that of [`Client::unlock_space`].
    ///
    /// Errors: `InvalidArgument`, `WrongKey` for the file of another space, `NotAuthentic`, `KeyNotFound` without such a KEK,
    /// `Unsupported` below KMIP 1.2, `KeyState`, `KeyWeak`, `AnswerUnexpected`, `System`, 3xx, 4xx, `MemoryExhausted`, `Closed`,
    /// `Forked`.
    pub fn create_space(&self, name: &str, kek: &str, file: &Path, original: Original) -> Result<(Key, Creation)> {
        self.logged()?.keys.create_space(name, kek, file, original)
    }

    /// Destroys the key servers' own copy of the key of data space `name`, which [`Original::Keep`] or a creation that was
    /// interrupted has left. What is protected in a file goes on. Blocks.
    ///
    /// Errors: `InvalidArgument`, `KeyNotFound`, `KeyState`, 3xx, 4xx, `Closed`, `Forked`.
    pub fn discard_original(&self, name: &str, version: u32) -> Result<()> {
        self.logged()?.keys.discard_original(name, version)
    }

    /// Unlocks the data space whose protected DEK this is: has the key manager decrypt it. Blocks.
    ///
    /// `expect` is compared with the space's name before anything is asked, as in [`Client::decrypt`]: somebody who knows the
    /// key of one space could put its genuine protected DEK in the place of another's. The key works like that of a name,
    /// and its messages name it as `space:NAME/V`. It follows the state of its KEK: it stops within `ttl` when that is
    /// compromised or destroyed, and after `max_stale` when no key server answers.
    ///
    /// Errors: `InvalidArgument`, `WrongKey`, `NotAuthentic` for whatever was altered, `KeyNotFound`, `KeyState`,
    /// `Unsupported`, 3xx, 4xx, `MemoryExhausted`, `Closed`, `Forked`.
    pub fn unlock_space(&self, protected: &[u8], expect: &str) -> Result<Key> {
        self.logged()?.keys.unlock_space(protected, expect)
    }

    /// Has the protected DEK in `file` encrypted under the newest version of `kek`, which may be another KEK. Blocks.
    ///
    /// The key of the space stays the same, and so does its data. The file is replaced only by what was unlocked once; a
    /// crash leaves the old or the new one. Errors: as [`Client::unlock_space`], `System`.
    pub fn rewrap_space(&self, kek: &str, file: &Path) -> Result<Rewrapped> {
        self.logged()?.keys.rewrap_space(kek, file)
    }
}
