//! AES-256-GCM over the Enc_structure of a message or a segment (RFC 9052 §5.3).

#![forbid(unsafe_code)]

use ring::aead::{Aad, LessSafeKey, Nonce, Tag};
use ring::error::Unspecified;

use super::cbor;
use super::message::{IV_SIZE, Parts, TAG_SIZE, not_authentic};
use crate::error::{Code, Error, Result};
use crate::memory::{copy::copy, scrub};

/// ["Encrypt", protected {alg: A256GCM}, …; the external_aad follows.
const ENC_STRUCTURE: [u8; 13] = *b"\x83\x67Encrypt\x43\xa1\x01\x03";

/// Encrypts `plaintext` into `out`, which is longer by the tag.
#[inline]
pub(super) fn seal(key: &LessSafeKey, iv: &[u8; IV_SIZE], aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> Result<()> {
    let sealed = seal_one_of_many(key, iv, aad, plaintext, out);
    scrub::registers();
    sealed
}

/// As [`seal`], and leaves the registers as they are: they are scrubbed behind the last of many.
#[inline]
pub(super) fn seal_one_of_many(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let (ciphertext, tag) = out.split_at_mut(plaintext.len());
    with_enc_structure(aad, |structure| encrypt(key, iv, structure, plaintext, ciphertext, tag))
}

/// As [`seal`], with the Enc_structure as a whole.
#[inline]
pub(super) fn seal_under(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    structure: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let (ciphertext, tag) = out.split_at_mut(plaintext.len());
    let sealed = encrypt(key, iv, structure, plaintext, ciphertext, tag);
    scrub::registers();
    sealed
}

/// As [`seal_under`], but encrypts the plaintext where it lies, so that it is nowhere afterwards, and copies the ciphertext.
pub(super) fn seal_where_it_lies(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    structure: &[u8],
    plaintext: &mut [u8],
    out: &mut [u8],
) -> Result<()> {
    let (ciphertext, tag) = out.split_at_mut(plaintext.len());
    let sealed = encrypt_in_place(key, iv, structure, plaintext, tag);
    scrub::registers();
    sealed?;
    copy(plaintext, ciphertext);
    Ok(())
}

/// In line at each length of associated data, and therefore small: a call costs a short message a tenth of its time.
#[inline(always)]
fn encrypt(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    structure: &[u8],
    plaintext: &[u8],
    ciphertext: &mut [u8],
    tag: &mut [u8],
) -> Result<()> {
    copy(plaintext, ciphertext);
    encrypt_in_place(key, iv, structure, ciphertext, tag)
}

/// The tag is looked at where ring leaves it: to move it costs more than to copy it, in odd pieces that a processor waits for.
#[inline(always)]
fn encrypt_in_place(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    structure: &[u8],
    bytes: &mut [u8],
    tag: &mut [u8],
) -> Result<()> {
    match &key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(*iv), Aad::from(structure), bytes) {
        Ok(sealed) => {
            tag.copy_from_slice(sealed.as_ref());
            Ok(())
        }
        Err(Unspecified) => Err(refused()),
    }
}

#[cold]
fn refused() -> Error {
    Error::new(Code::Internal, "AES-256-GCM refused a plaintext of a length that messages allow; report this")
}

/// Verifies and decrypts a message into `out`, which is as long as its ciphertext.
#[inline]
pub(super) fn open(key: &LessSafeKey, message: &Parts<'_>, aad: &[u8], out: &mut [u8]) -> Result<()> {
    let Parts { iv, ciphertext, tag, .. } = *message;
    let opened = with_enc_structure(aad, |structure| decrypt(key, iv, structure, ciphertext, tag, out));
    scrub::registers();
    if opened { Ok(()) } else { Err(not_authentic()) }
}

/// As [`open`], with the Enc_structure as a whole. Whether the tag was right; without it `out` is not to be used.
#[inline]
pub(super) fn open_under(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    structure: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_SIZE],
    out: &mut [u8],
) -> bool {
    let opened = decrypt(key, iv, structure, ciphertext, tag, out);
    scrub::registers();
    opened
}

#[inline(always)]
fn decrypt(
    key: &LessSafeKey,
    iv: &[u8; IV_SIZE],
    structure: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_SIZE],
    out: &mut [u8],
) -> bool {
    copy(ciphertext, out);
    let (nonce, tag) = (Nonce::assume_unique_for_key(*iv), Tag::from(*tag));
    key.open_in_place_separate_tag(nonce, Aad::from(structure), tag, out, 0..).is_ok()
}

/// Assembles the Enc_structure where it costs least: ring takes associated data in one piece. Only more than
/// 1 KiB of it needs an allocation.
#[inline]
fn with_enc_structure<R>(aad: &[u8], run: impl FnOnce(&[u8]) -> R) -> R {
    match aad.len() {
        0 => run(b"\x83\x67Encrypt\x43\xa1\x01\x03\x40"),
        1..=64 => on_the_stack::<{ 64 + 18 }, R>(aad, run),
        65..=1024 => on_the_stack::<{ 1024 + 18 }, R>(aad, run),
        _ => {
            let mut all = Vec::with_capacity(aad.len() + 18);
            all.extend_from_slice(&ENC_STRUCTURE);
            cbor::push(&mut all, aad);
            run(&all)
        }
    }
}

#[inline]
fn on_the_stack<const N: usize, R>(aad: &[u8], run: impl FnOnce(&[u8]) -> R) -> R {
    let mut all = [0; N];
    let (head, head_size) = cbor::head(aad.len());
    let (prefix, rest) = all.split_at_mut(ENC_STRUCTURE.len());
    prefix.copy_from_slice(&ENC_STRUCTURE);
    rest[..head.len()].copy_from_slice(&head);
    rest[head_size..][..aad.len()].copy_from_slice(aad);
    let size = ENC_STRUCTURE.len() + head_size + aad.len();
    run(&all[..size])
}
