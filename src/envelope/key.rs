//! A key that is ready to use.

#![forbid(unsafe_code)]

use super::KeyId;
use crate::error::Result;
use crate::memory::slot::Slot;

/// A key of one name and version. Encrypts and decrypts with the CPU alone: no network, and neither an
/// allocation nor a system call for a message. Any number of threads may use it at once.
pub struct Key {
    id: KeyId,
    material: Slot<[u8; 32]>,
}

impl Key {
    pub fn new(id: KeyId, material: Slot<[u8; 32]>) -> Key {
        Key { id, material }
    }
    pub fn id(&self) -> &KeyId {
        &self.id
    }
    /// The exact size of the message for a plaintext of `n` bytes; `None` above the largest message.
    pub fn encrypted_size(&self, n: usize) -> Option<usize> {
        let _ = (n, &self.material);
        unimplemented!()
    }
    /// Writes the message for `plaintext` to the front of `out` and returns its size.
    /// Too small an `out` is `BufferTooSmall` with the size needed. On failure `out` is zeroed.
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let _ = (plaintext, aad, out);
        unimplemented!()
    }
    /// Writes the plaintext of `message` to the front of `out` and returns its size.
    /// A message of another key or version is `WrongKey`; anything altered is `NotAuthentic`.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let _ = (message, aad, out);
        unimplemented!()
    }
    /// Drops all sessions, so that nothing made after a snapshot repeats what was made before it.
    pub fn quiesce(&self) {}
}
