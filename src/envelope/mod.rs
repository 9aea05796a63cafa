//! Messages and streams: what is written for a plaintext, and the keys that write it; and protected DEKs. Pure: no
//! network, no files.
//!
//! `docs/FORMAT.md` specifies the bytes.

#![forbid(unsafe_code)]

pub mod batch;
pub mod column;
pub mod identity;
pub mod key;
pub mod mask;
pub mod message;
pub mod protected;
pub mod stream;

mod aead;
mod cbor;
mod derivation;
mod held;
mod opened;
mod parallel;
mod segment;
mod session;

#[cfg(test)]
mod protected_vectors;
#[cfg(test)]
mod stream_vectors;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wycheproof;

pub use identity::{KeyId, Pattern, is_valid_name};
pub use key::Key;
pub use message::MAX_PLAINTEXT;
pub use session::{Session, Sessions};

/// The name and version of the key that a message, or the stream that begins with these bytes, says it needs.
pub fn key_id(bytes: &[u8]) -> crate::error::Result<KeyId> {
    if stream::is_stream(bytes) { stream::key_id(bytes) } else { message::key_id(bytes) }
}
