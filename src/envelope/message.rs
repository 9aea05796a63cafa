//! The bytes of a message.

#![forbid(unsafe_code)]

use super::KeyId;
use crate::error::Result;

/// The name and version of the key that `message` says it needs. Parses the whole message strictly.
pub fn key_id(message: &[u8]) -> Result<KeyId> {
    let _ = message;
    unimplemented!()
}

/// The exact size of the plaintext of `message`, in bytes.
pub fn decrypted_size(message: &[u8]) -> Result<usize> {
    let _ = message;
    unimplemented!()
}

/// What a message says of itself; no key needed.
#[derive(Debug, serde::Serialize)]
pub struct Inspection {
    pub kind: &'static str,
    pub key: String,
    pub algorithm: &'static str,
    pub key_derivation: &'static str,
    pub size: usize,
    pub plaintext_size: usize,
    pub iv: String,
    pub salt: String,
    pub key_commitment: String,
}

/// Parses the message strictly and tells what it says.
pub fn inspect(message: &[u8]) -> Result<Inspection> {
    let _ = message;
    unimplemented!()
}
