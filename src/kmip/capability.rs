//! What a protocol version has, and what a key server that speaks it can do.

#![forbid(unsafe_code)]

use std::fmt;

use super::operation::{Create, Decrypt, Description, Encrypt, Mac, Operation};
use super::values::Version;
use crate::error::{Code, Error, Result};

/// A way to keep a data encryption key encrypted under a key that stays in its key server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// The server encrypts with AES-GCM.
    Gcm,
    /// The server encrypts with AES-CBC, and computes HMAC-SHA-256 over it with a second key.
    CbcMac,
}

impl Rung {
    pub const BEST_FIRST: [Rung; 2] = [Rung::Gcm, Rung::CbcMac];

    /// The first protocol version that has it.
    pub fn since(self) -> Version {
        match self {
            Rung::Gcm => Version::new(1, 4),
            Rung::CbcMac => Version::new(1, 2),
        }
    }

    /// The operations it takes, by number and name.
    fn operations(self) -> &'static [(u32, &'static str)] {
        const ALL: [(u32, &str); 4] = [
            (Create::CODE, Create::NAME),
            (Encrypt::CODE, Encrypt::NAME),
            (Decrypt::CODE, Decrypt::NAME),
            (Mac::CODE, Mac::NAME),
        ];
        match self {
            Rung::Gcm => &ALL[..3],
            Rung::CbcMac => &ALL,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rung::Gcm => "AES-GCM (KMIP 1.4)",
            Rung::CbcMac => "AES-CBC with HMAC-SHA-256 (KMIP 1.2)",
        })
    }
}

/// What one key server can do, as far as that can be told without trying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The protocol version that was agreed on.
    pub version: Version,
    /// What the server says of itself; `None` where it does not answer Query.
    pub description: Option<Description>,
}

impl Capabilities {
    /// Whether the server offers the operation with that number. One that lists none may offer any.
    pub fn offers(&self, operation: u32) -> bool {
        let listed = self.description.as_ref().map_or(&[][..], |description| &description.operations);
        listed.is_empty() || listed.contains(&operation)
    }

    /// Whether a key can be made that its server gives nobody: [`Exposure`](super::Exposure) is told to it.
    pub fn withholds_keys(&self) -> bool {
        self.version >= Version::new(1, 4)
    }

    /// What the server lacks for a rung, as people read it; `None` if nothing is known to be missing.
    pub fn lacks(&self, rung: Rung) -> Option<String> {
        if self.version < rung.since() {
            return Some(format!("it speaks KMIP {}, and that needs {}", self.version, rung.since()));
        }
        let missing: Vec<_> = rung.operations().iter().filter(|(code, _)| !self.offers(*code)).collect();
        let names = missing.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        (!missing.is_empty()).then(|| format!("its answer to Query does not list {names}"))
    }

    /// Fails with `Unsupported` where the server, named `server` in the error, cannot do it.
    pub fn require(&self, rung: Rung, server: &str) -> Result<()> {
        let Some(lack) = self.lacks(rung) else { return Ok(()) };
        let message = format!(
            "key server {server} cannot protect a data encryption key with {rung}: {lack}; enable that on the server, or \
             use a server that offers it"
        );
        Err(Error::new(Code::Unsupported, message))
    }

    /// The best way to protect a data encryption key that this server offers.
    pub fn best_rung(&self) -> Option<Rung> {
        Rung::BEST_FIRST.into_iter().find(|rung| self.lacks(*rung).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(minor: u16, operations: &[u32]) -> Capabilities {
        let description = Description { operations: operations.to_vec(), ..Description::default() };
        Capabilities { version: Version::new(1, minor), description: Some(description) }
    }

    #[test]
    fn the_best_rung_is_what_version_and_operations_allow() {
        let all = [0x01, 0x1F, 0x20, 0x23];
        assert_eq!(server(4, &all).best_rung(), Some(Rung::Gcm));
        assert_eq!(server(4, &all[..3]).best_rung(), Some(Rung::Gcm), "GCM needs no MAC");
        assert_eq!(server(3, &all).best_rung(), Some(Rung::CbcMac));
        assert_eq!(server(2, &all).best_rung(), Some(Rung::CbcMac));
        assert_eq!(server(2, &all[..3]).best_rung(), None, "CBC is nothing without MAC");
        assert_eq!(server(1, &all).best_rung(), None);
        assert_eq!(server(4, &[0x01, 0x1F]).best_rung(), None, "what cannot be decrypted is lost");
    }

    #[test]
    fn a_server_that_does_not_list_its_operations_may_offer_them() {
        assert_eq!(server(2, &[]).best_rung(), Some(Rung::CbcMac));
        let silent = Capabilities { version: Version::new(1, 4), description: None };
        assert_eq!(silent.best_rung(), Some(Rung::Gcm));
        assert!(silent.withholds_keys() && !server(3, &[]).withholds_keys());
    }

    #[test]
    fn what_is_missing_is_said_with_the_server_and_the_remedy() {
        let old = server(1, &[]).require(Rung::CbcMac, "kms1:5696").unwrap_err();
        assert_eq!(old.code(), Code::Unsupported);
        for word in ["kms1:5696", "KMIP 1.1", "needs 1.2", "enable"] {
            assert!(old.message().contains(word), "{old}");
        }
        let poor = server(2, &[0x01, 0x1F, 0x20]).require(Rung::CbcMac, "kms1:5696").unwrap_err();
        assert!(poor.message().contains("does not list MAC"), "{poor}");
    }
}
