//! The one type that ties the layers together.

#![forbid(unsafe_code)]

use std::path::Path;

use crate::envelope::KeyId;
use crate::error::Result;

/// One opened configuration: its key servers, key cache, log and audit trail.
pub struct Client;

impl Client {
    /// Reads and checks the configuration, opens the log and audit trail. Never waits for a key server.
    pub fn open(path: &Path) -> Result<Client> {
        let _ = path;
        unimplemented!()
    }
    /// The newest active version of a named key. Blocks on the network unless cached.
    pub fn key(&self, name: &str) -> Result<Key> {
        let _ = name;
        unimplemented!()
    }
    /// Makes version 1 of a named key on the key server, or returns the key where the name has one. Blocks.
    pub fn create_key(&self, name: &str) -> Result<(Key, Creation)> {
        let _ = name;
        unimplemented!()
    }
    /// Decrypts with the key that the message names, if that name matches `expect`; the name is compared
    /// before any cache or network access. Blocks unless the key is cached.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], expect: &str, out: &mut [u8]) -> Result<usize> {
        let _ = (message, aad, expect, out);
        unimplemented!()
    }
    /// Every key the servers know under our naming, with state and dates. Blocks.
    pub fn list_keys(&self) -> Result<Vec<KeyInfo>> {
        unimplemented!()
    }
    /// All versions of one named key. Blocks.
    pub fn show_key(&self, name: &str) -> Result<Vec<KeyInfo>> {
        let _ = name;
        unimplemented!()
    }
    /// Drops every session of every key, before a planned snapshot of the machine.
    pub fn quiesce(&self) -> Result<()> {
        unimplemented!()
    }
    /// What the client knows of itself and its servers. Does not block.
    pub fn status(&self) -> Result<Status> {
        unimplemented!()
    }
    /// Writes the last record and lets go of keys and connections. Every later call says `Closed`.
    pub fn close(&self) -> Result<()> {
        unimplemented!()
    }
}

/// Whether `create_key` made the key or found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    Created,
    Existed,
}

/// A handle to a named key. Encrypts and decrypts without blocking. Cheap to clone.
#[derive(Clone)]
pub struct Key;

impl Key {
    /// Name and version that new messages get.
    pub fn id(&self) -> Result<KeyId> {
        unimplemented!()
    }
    /// See `envelope::Key::encrypted_size`.
    pub fn encrypted_size(&self, n: usize) -> Option<usize> {
        let _ = n;
        unimplemented!()
    }
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let _ = (plaintext, aad, out);
        unimplemented!()
    }
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let _ = (message, aad, out);
        unimplemented!()
    }
}

/// What `keystead key list|show` prints of one key version.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeyInfo {
    pub name: String,
    pub version: u32,
    /// `pre-active`, `active`, `deactivated`, `compromised`, `destroyed`, …
    pub state: String,
    /// The server's unique identifier.
    pub identifier: String,
    pub algorithm: Option<u32>,
    pub length_bits: Option<i32>,
    /// Initial Date, seconds since 1970.
    pub created: Option<i64>,
    /// The server that answered, `host:port`.
    pub server: String,
}

/// What the client knows of itself and its servers.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    pub client: String,
    pub memory_tier: Option<String>,
    pub cache: CacheStatus,
    pub servers: Vec<ServerStatus>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct CacheStatus {
    pub keys: usize,
    pub hits: u64,
    pub misses: u64,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct ServerStatus {
    /// `host:port`
    pub server: String,
    /// `untried`, `healthy` or `resting`.
    pub state: String,
    pub address: Option<String>,
    pub kmip_version: Option<String>,
    pub last_error: Option<String>,
    pub latency_microseconds: Option<u64>,
}
