//! What a message says of itself, over the C ABI.

use super::arguments::Input;
use super::bytes::{Terminated, keystead_bytes};
use super::entry::{finish_handle, finish_value, on_nothing};
use super::error::keystead_error;
use super::status::keystead_status;
use crate::envelope::{key_id, message};

/// The size in bytes of the plaintext of message[0..message_len], to *out_len (0 on failure). Needs no key, and so
/// proves nothing: only decryption tells whether a message is authentic. CPU only.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is not a message; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_message_decrypted_size(
    message: *const u8,
    message_len: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let input = Input { name: "message", start: message, len: message_len };
    // SAFETY: the rules of the header.
    unsafe { finish_value(("out_len", out_len), 0, err, || on_nothing(|| message::decrypted_size(input.slice()?))) }
}

/// The name and version of the key that message[0..message_len] says it needs, as text: "customer-42/3". The message
/// may also be the first KEYSTEAD_STREAM_HEADER_MAX bytes of a stream, or all of a shorter one. Needs no key, and so
/// proves nothing. CPU only.
///
/// On success *out_id is to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is neither a message nor a stream; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_message_key_id(
    message: *const u8,
    message_len: usize,
    out_id: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let input = Input { name: "message", start: message, len: message_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_id", out_id), err, || {
            on_nothing(|| key_id(input.slice()?).map(|id| Terminated::copy_of(id.to_string().as_bytes())))
        })
    }
}

/// Everything that message[0..message_len] says of itself, as one JSON object: kind, key, algorithm, sizes, IV,
/// salt, key commitment. Needs no key, and so proves nothing. CPU only.
///
/// On success *out_json is to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is not a message; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_message_inspect(
    message: *const u8,
    message_len: usize,
    out_json: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let input = Input { name: "message", start: message, len: message_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_json", out_json), err, || {
            on_nothing(|| Terminated::json(&message::inspect(input.slice()?)?))
        })
    }
}
