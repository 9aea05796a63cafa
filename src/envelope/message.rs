//! The bytes of a message: a COSE_Encrypt object (RFC 9052 §5.1) in its one accepted encoding.

#![forbid(unsafe_code)]

use super::cbor::{self, Reader};
use super::{KeyId, identity};
use crate::error::{Code, Error, Result};
use crate::memory::copy::copy;

/// The longest plaintext, and the longest associated data, of one message, in bytes.
pub const MAX_PLAINTEXT: usize = 1 << 30;

pub(super) const IV_SIZE: usize = 12;
pub(super) const SALT_SIZE: usize = 16;
pub(super) const TAG_SIZE: usize = 16;
pub(super) const COMMITMENT_SIZE: usize = 32;

/// Tag 96, an array of four, protected {alg: A256GCM}, unprotected {IV: 12 bytes}.
pub(super) const FRONT: [u8; 10] = [0xd8, 0x60, 0x84, 0x43, 0xa1, 0x01, 0x03, 0xa1, 0x05, 0x4c];
/// Where the ciphertext's head begins.
const HEAD_AT: usize = FRONT.len() + IV_SIZE;

/// One recipient: an array of protected header, unprotected header, ciphertext.
const RECIPIENTS: [u8; 2] = [0x81, 0x83];
/// Three entries: {alg: direct+HKDF-SHA-256, kid: …
const PROTECTED: [u8; 4] = [0xa3, 0x01, 0x29, 0x04];
/// … -65537: the key commitment, 32 bytes}.
const COMMITMENT: [u8; 7] = [0x3a, 0x00, 0x01, 0x00, 0x00, 0x58, 0x20];
/// {salt: 16 bytes}, RFC 9053 §5.1.
const SALT: [u8; 3] = [0xa1, 0x33, 0x50];
/// Direct methods have no encrypted key, RFC 9052 §8.5.1.
const NO_CIPHERTEXT: [u8; 1] = [0x40];

/// How many bytes the recipients take for an id of `id_size` bytes.
pub(super) const fn recipients_size(id_size: usize) -> usize {
    let protected = PROTECTED.len() + cbor::head_size(id_size) + id_size + COMMITMENT.len() + COMMITMENT_SIZE;
    RECIPIENTS.len() + cbor::head_size(protected) + protected + SALT.len() + SALT_SIZE + NO_CIPHERTEXT.len()
}

/// The size of the message for a plaintext of `n` bytes, at most [`MAX_PLAINTEXT`].
pub(super) const fn size(n: usize, recipients_size: usize) -> usize {
    let ciphertext = n + TAG_SIZE;
    HEAD_AT + cbor::head_size(ciphertext) + ciphertext + recipients_size
}

/// The recipient's protected header, which the content key depends on.
pub(super) fn protected(id: &[u8], commitment: &[u8; COMMITMENT_SIZE]) -> Vec<u8> {
    let mut out = Vec::with_capacity(recipients_size(id.len()));
    out.extend_from_slice(&PROTECTED);
    cbor::push(&mut out, id);
    out.extend_from_slice(&COMMITMENT);
    out.extend_from_slice(commitment);
    out
}

/// The end of every message of one session.
pub(super) fn recipients(protected: &[u8], salt: &[u8; SALT_SIZE]) -> Vec<u8> {
    let mut out = RECIPIENTS.to_vec();
    cbor::push(&mut out, protected);
    out.extend_from_slice(&SALT);
    out.extend_from_slice(salt);
    out.extend_from_slice(&NO_CIPHERTEXT);
    out
}

/// Writes everything around the ciphertext of `n` bytes plus tag. `out` has exactly the message's size.
/// Returns where ciphertext and tag belong.
#[inline]
pub(super) fn frame<'a>(out: &'a mut [u8], n: usize, iv: &[u8; IV_SIZE], recipients: &[u8]) -> &'a mut [u8] {
    let (head, head_size) = cbor::head(n + TAG_SIZE);
    let (front, rest) = out.split_at_mut(HEAD_AT);
    front[..FRONT.len()].copy_from_slice(&FRONT);
    front[FRONT.len()..].copy_from_slice(iv);
    // All of its bytes: a constant length is one store, and what is too much is overwritten by the ciphertext.
    rest[..head.len()].copy_from_slice(&head);
    let (ciphertext, end) = rest[head_size..].split_at_mut(n + TAG_SIZE);
    copy(recipients, end);
    ciphertext
}

/// A message taken apart up to its recipients.
pub(super) struct Parts<'a> {
    pub iv: &'a [u8; IV_SIZE],
    /// As long as the plaintext.
    pub ciphertext: &'a [u8],
    pub tag: &'a [u8; TAG_SIZE],
    /// The rest of the message: it names the session.
    pub recipients: &'a [u8],
}

/// The one recipient of a message.
pub(super) struct Recipient<'a> {
    pub protected: &'a [u8],
    /// `NAME/V`.
    pub id: &'a [u8],
    pub commitment: &'a [u8; COMMITMENT_SIZE],
    pub salt: &'a [u8; SALT_SIZE],
}

/// Takes a message apart if it is in the one accepted encoding, so far as its recipients. They need no parsing
/// when they are, byte for byte, those of a message that was parsed and verified before.
#[inline]
pub(super) fn parse(message: &[u8]) -> Result<Parts<'_>> {
    parts(message).ok_or_else(not_authentic)
}

#[inline]
pub(super) fn parts(message: &[u8]) -> Option<Parts<'_>> {
    let mut reader = Reader { rest: message };
    reader.expect(&FRONT)?;
    let iv = reader.array()?;
    let (ciphertext, tag) = reader.bytes()?.split_last_chunk()?;
    (ciphertext.len() <= MAX_PLAINTEXT).then_some(Parts { iv, ciphertext, tag, recipients: reader.rest })
}

impl<'a> Parts<'a> {
    /// Takes the recipients apart if there is one, in the one accepted encoding.
    pub fn recipient(&self) -> Result<Recipient<'a>> {
        match recipient(self.recipients) {
            Some((recipient, [])) => Ok(recipient),
            _ => Err(not_authentic()),
        }
    }

    /// The recipient if its id is this one. `given` is the key of that id, for the error.
    pub fn recipient_of(&self, id: &str, given: &KeyId) -> Result<Recipient<'a>> {
        match recipient_of_any_id(self.recipients) {
            // An id that is ours need not be looked at any further.
            Some((recipient, [])) if recipient.id == id.as_bytes() => Ok(recipient),
            Some((recipient, [])) => Err(wrong_key(&recipient, given)),
            _ => Err(not_authentic()),
        }
    }
}

/// The recipient at the front of `recipients`, and what follows it.
pub(super) fn recipient(recipients: &[u8]) -> Option<(Recipient<'_>, &[u8])> {
    recipient_of_any_id(recipients).filter(|(recipient, _)| identity::split(recipient.id).is_some())
}

fn recipient_of_any_id(recipients: &[u8]) -> Option<(Recipient<'_>, &[u8])> {
    let mut reader = Reader { rest: recipients };
    reader.expect(&RECIPIENTS)?;
    let protected = reader.bytes()?;
    reader.expect(&SALT)?;
    let salt = reader.array()?;
    reader.expect(&NO_CIPHERTEXT)?;

    let mut inner = Reader { rest: protected };
    inner.expect(&PROTECTED)?;
    let id = inner.bytes()?;
    inner.expect(&COMMITMENT)?;
    let commitment = inner.array()?;

    inner.rest.is_empty().then_some((Recipient { protected, id, commitment, salt }, reader.rest))
}

impl Recipient<'_> {
    pub fn key_id(&self) -> Result<KeyId> {
        let (name, version) = identity::split(self.id).ok_or_else(not_authentic)?;
        Ok(KeyId { name: name.to_owned(), version })
    }
}

/// One answer for every kind of tampering, so that nobody learns from it which byte was wrong.
#[cold]
pub(super) fn not_authentic() -> Error {
    Error::new(
        Code::NotAuthentic,
        "nothing was decrypted: the message or stream was altered or cut, belongs to other associated data, or is \
         something else; give the bytes and the associated data exactly as they were when it was encrypted",
    )
}

/// Nobody tried to decrypt anything.
#[cold]
pub(super) fn unreadable(what: &str) -> Error {
    let text = format!("this is no {what}, or it was altered or cut; give the bytes exactly as they were written");
    Error::new(Code::NotAuthentic, text)
}

/// The message names another key than the one that was to decrypt it.
#[cold]
pub(super) fn wrong_key(recipient: &Recipient<'_>, given: &KeyId) -> Error {
    match recipient.key_id() {
        Ok(named) => Error::new(
            Code::WrongKey,
            format!("the message was encrypted with key {named} and not with {given}; decrypt it with {named}"),
        ),
        Err(error) => error,
    }
}

/// The name and version of the key that `message` says it needs. Parses the whole message strictly.
pub fn key_id(message: &[u8]) -> Result<KeyId> {
    parse(message)?.recipient()?.key_id()
}

/// Whether this begins as every message and every stream does, and next to nothing else.
pub fn is_message(start: &[u8]) -> bool {
    start.starts_with(&FRONT)
}

/// The exact size of the plaintext of `message`, in bytes.
pub fn decrypted_size(message: &[u8]) -> Result<usize> {
    let parts = parse(message)?;
    parts.recipient()?;
    Ok(parts.ciphertext.len())
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

/// Parses the message strictly and tells what it says. Nothing of it is verified: that takes the key.
pub fn inspect(message: &[u8]) -> Result<Inspection> {
    let read = || {
        let parts = parse(message)?;
        let recipient = parts.recipient()?;
        Ok((recipient.key_id()?, parts, recipient))
    };
    let (key, parts, recipient) = read().map_err(|_: Error| unreadable("message"))?;
    Ok(Inspection {
        kind: "message",
        key: key.to_string(),
        algorithm: "A256GCM",
        key_derivation: "direct+HKDF-SHA-256",
        size: message.len(),
        plaintext_size: parts.ciphertext.len(),
        iv: hex(parts.iv),
        salt: hex(recipient.salt),
        key_commitment: hex(recipient.commitment),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
