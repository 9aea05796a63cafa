//! What a seal is made of: a random key that only the auditor can open, and that is replaced after each use.
//!
//! `docs/LOG.md` specifies it byte by byte. The writer's side is here and in [`super::seal_file`], the auditor's in
//! `seal_open` and [`super::seal_check`].

#![forbid(unsafe_code)]

use std::io;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use super::layout::Hash;
use crate::config::AuditorKey;
use crate::memory::scrub;
use crate::platform;

/// Tag 96, an array of four, protected {alg: A256GCM}, unprotected {IV: 12 bytes} (RFC 9052 §5.1).
pub(super) const FRONT: &[u8; 10] = b"\xd8\x60\x84\x43\xa1\x01\x03\xa1\x05\x4c";
/// The head of the ciphertext: a key and a tag.
pub(super) const CIPHERTEXT: &[u8; 2] = b"\x58\x30";
/// One recipient: protected {alg: ECDH-ES + HKDF-256}, unprotected {kid: 8 bytes …
pub(super) const RECIPIENT: &[u8; 10] = b"\x81\x83\x44\xa1\x01\x38\x18\xa2\x04\x48";
/// … ephemeral key: {kty: EC2, crv: P-256, x: 32 bytes … (RFC 9053 §6.3.1, §7.1.1)
pub(super) const EPHEMERAL_X: &[u8; 9] = b"\x20\xa4\x01\x02\x20\x01\x21\x58\x20";
/// … y: 32 bytes}}
pub(super) const EPHEMERAL_Y: &[u8; 3] = b"\x22\x58\x20";
/// Direct key agreement has no encrypted key (RFC 9052 §8.5.4).
pub(super) const NO_CIPHERTEXT: &[u8; 1] = b"\x40";
/// [A256GCM, [nil, nil, nil], [nil, nil, nil], [256, the recipient's protected header]] (RFC 9053 §5.2).
pub(super) const KDF_CONTEXT: &[u8; 19] =
    b"\x84\x03\x83\xf6\xf6\xf6\x83\xf6\xf6\xf6\x82\x19\x01\x00\x44\xa1\x01\x38\x18";
/// ["Encrypt", {alg: A256GCM}, 23 bytes of associated data (RFC 9052 §5.3).
const ENC_STRUCTURE: &[u8; 14] = b"\x83\x67Encrypt\x43\xa1\x01\x03\x57";
const PURPOSE: &[u8; 15] = b"keystead/seal/1";

/// The key of one checkpoint. It cannot be printed or copied, and is wiped when dropped.
pub(super) struct SealKey(Zeroizing<[u8; 32]>);

/// What a checkpoint says, and its key vouches for.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub seal: u64,
    /// How often the key was replaced.
    pub index: u64,
    pub stream: u64,
    /// Of the checkpoint's own record.
    pub serial: u64,
    /// Hash of the record before it.
    pub head: Hash,
}

impl SealKey {
    pub fn random() -> io::Result<SealKey> {
        let mut key = Zeroizing::new([0; 32]);
        platform::fill_random(&mut *key)?;
        Ok(SealKey(key))
    }

    pub fn from_bytes(bytes: &[u8; 32]) -> SealKey {
        SealKey(Zeroizing::new(*bytes))
    }

    /// The one place where the key is read: when it is sealed to the auditor, or kept for the next checkpoint.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the checkpoint carries.
    pub fn vouch(&self, claim: &Claim) -> Hash {
        let Claim { seal, index, stream, serial, head } = *claim;
        let numbers = [seal, index, stream, serial].map(u64::to_be_bytes).concat();
        Hash(*self.hmac(&[b"keystead/checkpoint/1", &numbers, &head.0]))
    }

    /// The key of the next checkpoint, from which this one cannot be computed.
    pub fn next(&self) -> SealKey {
        SealKey(self.hmac(&[b"keystead/next/1"]))
    }

    fn hmac(&self, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0));
        parts.iter().for_each(|part| context.update(part));
        let mut out = Zeroizing::new([0; 32]);
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

/// What became of a sealed key.
#[cfg_attr(not(feature = "auditor"), allow(dead_code))]
pub(super) enum Opened {
    Key(SealKey),
    /// It was sealed to somebody else, or nobody tries.
    ForOthers,
    /// It is none, or it was changed.
    Refused,
}

/// The name of a seal: the first bytes of the hash of the sealed key.
pub(super) fn name_of(sealed: &[u8]) -> u64 {
    let hash = Hash::of(sealed);
    u64::from_be_bytes(hash.0[..8].try_into().expect("SHA-256 has 32 bytes"))
}

/// Whose key it is: that of a chain.
pub(super) fn associated_data(stream: u64) -> [u8; 37] {
    let mut aad = [0; 37];
    aad[..14].copy_from_slice(ENC_STRUCTURE);
    aad[14..29].copy_from_slice(PURPOSE);
    aad[29..].copy_from_slice(&stream.to_be_bytes());
    aad
}

/// A COSE_Encrypt object (RFC 9052 §5.1) with the key in it, which opens with the auditor's private key.
pub(super) fn seal_to(auditor: &AuditorKey, stream: u64, key: &SealKey) -> io::Result<Vec<u8>> {
    let sealed = try_seal(auditor, stream, key);
    scrub::stack();
    scrub::registers();
    sealed.ok_or_else(|| io::Error::other("the seal's key could not be sealed to the auditor"))
}

fn try_seal(auditor: &AuditorKey, stream: u64, key: &SealKey) -> Option<Vec<u8>> {
    let ours = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).ok()?;
    let public = ours.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, auditor.point());
    let content_key = agreement::agree_ephemeral(ours, &theirs, content_key).ok()??;
    let mut iv = [0; 12];
    platform::fill_random(&mut iv).ok()?;
    // With room for the tag: a key that moves leaves a copy behind.
    let mut ciphertext = Zeroizing::new(Vec::with_capacity(48));
    ciphertext.extend_from_slice(key.expose());
    let (nonce, aad) = (Nonce::assume_unique_for_key(iv), Aad::from(associated_data(stream)));
    content_key.seal_in_place_append_tag(nonce, aad, &mut *ciphertext).ok()?;
    let (x, y) = public.as_ref()[1..].split_at(32);
    let id = auditor.id();
    let parts: [&[u8]; 11] =
        [FRONT, &iv, CIPHERTEXT, &ciphertext, RECIPIENT, &id, EPHEMERAL_X, x, EPHEMERAL_Y, y, NO_CIPHERTEXT];
    Some(parts.concat())
}

/// From the shared secret of ECDH to the key that encrypts (RFC 9053 §6.3.1: HKDF without salt).
pub(super) fn content_key(shared: &[u8]) -> Option<LessSafeKey> {
    let okm = Salt::new(HKDF_SHA256, &[]).extract(shared);
    let okm = okm.expand(&[KDF_CONTEXT], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(okm)))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64url without padding (RFC 4648 §5), which needs no escaping in any format.
pub(super) fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        text.extend((0..=chunk.len()).map(|at| char::from(ALPHABET[(word >> (18 - 6 * at)) as usize & 63])));
    }
    text
}

/// What [`base64url`] wrote. `None` for anything else.
pub(super) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0;
        for digit in chunk {
            word = word << 6 | ALPHABET.iter().position(|letter| letter == digit)? as u32;
        }
        let count = chunk.len().checked_sub(1).filter(|count| *count > 0)?;
        bytes.extend_from_slice(&(word << (6 * (4 - chunk.len()) + 8)).to_be_bytes()[..count]);
    }
    (base64url(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(base64url(bytes.as_bytes()), text);
            assert_eq!(from_base64url(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        for text in ["Z", "Zh", "Zm9", "Zg==", "Z g", "Zm9vY"] {
            assert_eq!(from_base64url(text), None, "{text}");
        }
    }

    /// Computed with Python's `hmac`.
    #[test]
    fn a_checkpoint_is_an_hmac_and_the_key_goes_on() {
        let key = SealKey::from_bytes(&[7; 32]);
        let claim = Claim { seal: 1, index: 2, stream: 3, serial: 4, head: Hash([5; 32]) };
        let python = concat!(
            "import hmac,struct; k=bytes([7])*32; h=lambda k,m: hmac.new(k,m,'sha256'); ",
            "print(h(k,b'keystead/checkpoint/1'+struct.pack('>4Q',1,2,3,4)+bytes([5])*32).hexdigest(), ",
            "h(k,b'keystead/next/1').hexdigest())"
        );
        let output = std::process::Command::new("python3").args(["-c", python]).output().unwrap();
        let ours = format!("{} {}\n", key.vouch(&claim), Hash(*key.next().expose()));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), ours);
    }
}
