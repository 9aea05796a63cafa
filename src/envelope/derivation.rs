//! From a key and a salt to the content key of a session (RFC 9053 §5.1, §5.2, §6.1.2).

#![forbid(unsafe_code)]

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq;

use super::message::{self, COMMITMENT_SIZE, Recipient, SALT_SIZE, not_authentic};
use super::{cbor, opened};
use crate::error::{Code, Error, Result};
use crate::memory::scrub;
use crate::memory::slot::Slot;

/// The content key of one session, in locked memory.
pub(super) type ContentKey = Slot<LessSafeKey>;

/// What a content key is for. It separates messages from streams made with the same key and salt.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Message,
    Stream,
}

impl Use {
    /// The name as a CBOR text string. A byte string of the same length differs in the head alone.
    fn text(self) -> &'static [u8] {
        match self {
            Use::Message => b"\x67message",
            Use::Stream => b"\x66stream",
        }
    }

    fn name(self) -> &'static [u8] {
        &self.text()[1..]
    }
}

/// ["keystead/commit/1", …; the use and the kid follow.
const COMMIT: &[u8; 19] = b"\x83\x71keystead/commit/1";

/// [A256GCM, [nil, nil, nil], [nil, nil, nil], [256, …; the recipient's protected header and the use follow.
const KDF_CONTEXT: [u8; 14] = [0x84, 0x03, 0x83, 0xf6, 0xf6, 0xf6, 0x83, 0xf6, 0xf6, 0xf6, 0x83, 0x19, 0x01, 0x00];

/// Derives the content key of a new session or stream, and the recipients that its messages or its header end with.
pub(super) fn to_encrypt(
    material: &[u8; 32],
    purpose: Use,
    id: &[u8],
    salt: &[u8; SALT_SIZE],
) -> Result<(ContentKey, Vec<u8>)> {
    let mut protected = Vec::new();
    let key = in_a_slot(|| {
        let prk = extract(material, salt);
        protected = message::protected(id, &commitment(&prk, purpose, id)?);
        content_key(&prk, purpose, &protected)
    })?;
    let recipients = message::recipients(&protected, salt);
    Ok((key, recipients))
}

/// Derives the content key that a message or the header of a stream names, if it is committed to this key.
pub(super) fn to_decrypt(material: &[u8; 32], purpose: Use, recipient: &Recipient<'_>) -> Result<ContentKey> {
    in_a_slot(|| {
        let prk = extract(material, recipient.salt);
        // AES-GCM alone would accept a ciphertext made to open under two keys.
        let commitment = commitment(&prk, purpose, recipient.id)?;
        if !bool::from(words(&commitment).ct_eq(&words(recipient.commitment))) {
            return Err(not_authentic());
        }
        content_key(&prk, purpose, recipient.protected)
    })
}

/// HMAC-SHA-256 of a text, under a key of its own, as 32 hexadecimal digits.
pub(super) fn pseudonym(material: &[u8; 32], text: &[u8]) -> Result<String> {
    let tag = pseudonym_tag(material, text);
    scrub::stack();
    scrub::registers();
    Ok(tag?.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Kept out of line, so that its caller overwrites what it leaves on the stack.
#[inline(never)]
fn pseudonym_tag(material: &[u8; 32], text: &[u8]) -> Result<hmac::Tag> {
    const PURPOSE: &[u8] = b"keystead/pseudonym/1";
    let prk = Salt::new(HKDF_SHA256, PURPOSE).extract(material);
    let key = prk.expand(&[PURPOSE], HMAC_SHA256).map_err(|_| too_long())?.into();
    Ok(hmac::sign(&key, text))
}

/// The slot wipes the stack and the registers that `make` went through. Without a free slot, those of
/// sessions that are only kept for speed are given up first.
fn in_a_slot(mut make: impl FnMut() -> Result<LessSafeKey>) -> Result<ContentKey> {
    match Slot::with(&mut make) {
        Err(error) if error.code() == Code::MemoryExhausted => {
            opened::forget_all();
            Slot::with(&mut make)
        }
        outcome => outcome,
    }
}

fn extract(material: &[u8; 32], salt: &[u8; SALT_SIZE]) -> Prk {
    Salt::new(HKDF_SHA256, salt).extract(material)
}

fn commitment(prk: &Prk, purpose: Use, id: &[u8]) -> Result<[u8; COMMITMENT_SIZE]> {
    let (head, head_size) = cbor::head(id.len());
    let info = [COMMIT, purpose.text(), &head[..head_size], id];
    let mut commitment = [0; COMMITMENT_SIZE];
    prk.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut commitment)).map_err(|_| too_long())?;
    Ok(commitment)
}

/// Four words are compared sooner than 32 bytes.
fn words(commitment: &[u8; COMMITMENT_SIZE]) -> [u64; COMMITMENT_SIZE / 8] {
    let (words, _) = commitment.as_chunks();
    std::array::from_fn(|index| u64::from_ne_bytes(words[index]))
}

fn content_key(prk: &Prk, purpose: Use, protected: &[u8]) -> Result<LessSafeKey> {
    let (head, head_size) = cbor::head(protected.len());
    let (use_head, use_head_size) = cbor::head(purpose.name().len());
    let info = [&KDF_CONTEXT, &head[..head_size], protected, &use_head[..use_head_size], purpose.name()];
    let okm = prk.expand(&info, &AES_256_GCM).map_err(|_| too_long())?;
    Ok(LessSafeKey::new(UnboundKey::from(okm)))
}

#[cold]
fn too_long() -> Error {
    Error::new(Code::Internal, "HKDF-SHA-256 refused an output of 32 bytes; report this")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_a_pseudonym_is_what_is_made() {
        let key: [u8; 32] = std::array::from_fn(|at| at as u8);
        let made = pseudonym(&key, b"ada@example.com").unwrap();
        assert!(include_str!("../../docs/FORMAT.md").contains(&format!("becomes `{made}`")), "{made}");
        // Computed apart from this code.
        assert_eq!(made, "c7637b897c54bb5b09dd50d103f07e8f");
    }
}
