//! Keys over the C ABI.

use super::arguments::{Input, Output};
use super::bytes::{Terminated, keystead_bytes};
use super::entry::{finish_handle, on_handle, transform};
use super::error::keystead_error;
use super::handle::{Handle, Opaque};
use super::status::keystead_status;
use crate::client::Key;
use crate::error::{Code, Error};

/// A key that is ready to use. It encrypts and decrypts with the CPU alone: no network, no allocation, no system
/// call, no lock (the log levels verbose and debug record each use, which takes all but a network). One key may serve
/// any number of threads.
pub struct keystead_key {
    _opaque: (),
}

impl Opaque for keystead_key {
    const NAME: &'static str = "keystead_key";
    const KIND: [u8; 8] = *b"ks--key-";
    type Value = Key;
}

/// The name and version that new messages get, as text: "customer-42/3". CPU only.
///
/// On success *out_id is to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_id(
    key: *const keystead_key,
    out_id: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_id", out_id), err, || {
            on_handle(key, |key| key.id().map(|id| Terminated::copy_of(id.to_string().as_bytes())))
        })
    }
}

/// The size in bytes of the message for a plaintext of plaintext_len bytes; 0 if no message can hold that much,
/// or if the key is not usable (NULL, freed, made before a fork). Pure arithmetic.
///
/// A key follows its name, and a version with one more digit (9 to 10) makes messages one byte longer: if the key
/// is rotated between this call and the encryption, that may say BUFFER_TOO_SMALL and the size that is needed now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_encrypted_size(key: *const keystead_key, plaintext_len: usize) -> usize {
    let too_large = || Error::new(Code::InvalidArgument, "no message can hold this plaintext");
    // SAFETY: the rules of the header.
    unsafe { on_handle(key, |key| key.encrypted_size(plaintext_len).ok_or_else(too_large)) }.unwrap_or(0)
}

/// Encrypts plaintext[0..plaintext_len]. aad[0..aad_len] is not stored, but must be the same when the message is
/// decrypted: give what the value belongs to (table, column, row), so that it is refused anywhere else. CPU only.
///
/// The message goes to out[0..out_capacity], which may not overlap plaintext or aad, and its size to *out_len;
/// keystead_key_encrypted_size() tells the size before. If the buffer is too small, *out_len is the size needed.
/// On any failure out is zeroed, and *out_len is 0 unless the buffer was too small.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL with a length, an overlap, or a plaintext too large for a
/// message; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; CLOSED; KEY_STATE if the key must not encrypt any more;
/// KEY_STALE if that could not be verified for longer than max_stale; ANSWER_UNEXPECTED while key servers show something
/// else in the place of the key; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_encrypt(
    key: *const keystead_key,
    plaintext: *const u8,
    plaintext_len: usize,
    aad: *const u8,
    aad_len: usize,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let plaintext = Input { name: "plaintext", start: plaintext, len: plaintext_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe { transform(key, plaintext, aad, out, err, Key::encrypt) }
}

/// Decrypts message[0..message_len], which must name this key and its version; keystead_client_decrypt() finds
/// the key of any message. aad[0..aad_len] must be what the message was encrypted with. CPU only.
///
/// The plaintext goes to out[0..out_capacity], which may not overlap message or aad, and its size to *out_len;
/// keystead_message_decrypted_size() tells the size before. If the buffer is too small, *out_len is the size
/// needed. On any failure out is zeroed, and *out_len is 0 unless the buffer was too small.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; CLOSED; WRONG_KEY if the
/// message names another key or version; NOT_AUTHENTIC for whatever is altered, of another context or not a
/// message; KEY_STATE; KEY_STALE; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_decrypt(
    key: *const keystead_key,
    message: *const u8,
    message_len: usize,
    aad: *const u8,
    aad_len: usize,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let message = Input { name: "message", start: message, len: message_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe { transform(key, message, aad, out, err, Key::decrypt) }
}

/// Frees a key; NULL is ignored. The client keeps its cached copy. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_free(key: *mut keystead_key) {
    // SAFETY: the rules of the header.
    unsafe { Handle::free(key) }
}
