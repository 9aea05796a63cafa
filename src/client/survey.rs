//! What the key servers tell of keys.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use serde::Serialize;

use super::{Client, Parts};
use crate::error::Result;
use crate::keys::{Found, Listing, Withheld};

/// What the key servers tell of all keys.
#[derive(Clone, Debug)]
pub struct KeySurvey {
    pub keys: Vec<KeyInfo>,
    pub withheld: Vec<WithheldObject>,
}

/// An object that a key server located and would not describe. It may be a key of ours, or somebody else's.
#[derive(Clone, Debug, Serialize)]
pub struct WithheldObject {
    /// The server's unique identifier.
    pub identifier: String,
    /// `host:port`
    pub server: String,
    pub reason: String,
}

/// One version of a key, as a key server described it.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    pub name: String,
    pub version: u32,
    /// `pre-active`, `active`, `deactivated`, `compromised`, `destroyed`, …
    pub state: String,
    /// The server's unique identifier.
    pub identifier: String,
    /// `AES`, …
    pub algorithm: Option<String>,
    pub length_bits: Option<u32>,
    /// Initial Date, in seconds since 1970.
    pub created: Option<i64>,
    /// Activation Date, in seconds since 1970.
    pub activated: Option<i64>,
    /// Deactivation Date, in seconds since 1970: from then on it encrypts no more.
    pub deactivates: Option<i64>,
    /// Of a newest version, when it is to be rotated (`keys.rotate_after`), in seconds since 1970.
    pub rotate_by: Option<i64>,
    /// What is known to need it.
    pub needed_by: Vec<String>,
    /// The server that described it, `host:port`.
    pub server: String,
}

impl Client {
    /// Every version of every key that the key servers know under our naming. Blocks.
    ///
    /// What a server does not describe is left out, unless it describes nothing: see [`Client::survey_keys`].
    pub fn list_keys(&self) -> Result<Vec<KeyInfo>> {
        let parts = self.logged()?;
        let Listing { found, mut refused } = parts.keys.list()?;
        match found.is_empty() && !refused.is_empty() {
            true => Err(refused.swap_remove(0).error),
            false => Ok(parts.key_infos(&found)),
        }
    }

    /// As [`Client::list_keys`], with the objects that a key server located and would not describe. Blocks.
    pub fn survey_keys(&self) -> Result<KeySurvey> {
        let parts = self.logged()?;
        let Listing { found, refused } = parts.keys.list()?;
        let withheld = |refused: Withheld| WithheldObject {
            identifier: refused.identifier,
            server: parts.cluster.server(refused.server).name(),
            reason: refused.error.message().to_owned(),
        };
        Ok(KeySurvey { keys: parts.key_infos(&found), withheld: refused.into_iter().map(withheld).collect() })
    }

    /// Every version of one named key, the oldest first. Blocks.
    pub fn show_key(&self, name: &str) -> Result<Vec<KeyInfo>> {
        let parts = self.logged()?;
        Ok(parts.key_infos(&parts.keys.show(name)?))
    }
}

impl Parts {
    pub(super) fn key_infos(&self, found: &[Found]) -> Vec<KeyInfo> {
        // They come by name and version, so that the last one of a name that encrypts is its newest.
        let mut newest: HashMap<&str, u32> = HashMap::new();
        newest.extend(found.iter().filter(|one| one.encrypts()).map(|one| (one.id.name.as_str(), one.id.version)));
        let is_newest = |one: &Found| newest.get(one.id.name.as_str()) == Some(&one.id.version);
        found.iter().map(|found| self.key_info(found, is_newest(found))).collect()
    }

    fn key_info(&self, found: &Found, is_newest: bool) -> KeyInfo {
        KeyInfo {
            name: found.id.name.clone(),
            version: found.id.version,
            state: found.state.to_string(),
            identifier: found.identifier.clone(),
            algorithm: found.algorithm.map(|algorithm| algorithm.to_string()),
            length_bits: found.length_bits,
            created: found.initial_date,
            activated: found.activation_date,
            deactivates: found.deactivation_date,
            rotate_by: self.keys.rotate_by(found.in_use_since()).filter(|_| is_newest),
            needed_by: self.keys.references(&found.id),
            server: self.cluster.server(found.server).name(),
        }
    }
}
