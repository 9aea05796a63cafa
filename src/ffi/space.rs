//! Data spaces over the C ABI.

use std::ffi::c_char;

use super::arguments::{Input, path, text};
use super::bytes::{Terminated, keystead_bytes};
use super::client::keystead_client;
use super::entry::{finish, finish_handle, on_handle, on_nothing};
use super::error::keystead_error;
use super::key::keystead_key;
use super::status::keystead_status;
use crate::client::Original;
use crate::envelope::{KeyId, protected};

/// Creates the data space called name: the key manager makes its key and encrypts it under the newest version of the
/// KEK called kek, and the result, the protected DEK, is written to the file at file_path, to be kept near the data. A
/// crash leaves the whole file or none. Then the key manager's own copy of the key is destroyed, or kept if keep_original
/// is not 0.
///
/// The file must not be there yet. If it is, with the same two names in it, the space is unlocked, and what an earlier call
/// left undone is done: so the call may be repeated, and several threads and processes may make it at the same time: all get
/// the same key. When it fails before the file is there, the key that was made is destroyed. Blocks on the network until the
/// deadline of the configuration, and on files.
///
/// On success *out_key is the space's key, as from keystead_client_unlock_space(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the file is that of another space;
/// NOT_AUTHENTIC if it is no protected DEK; KEY_NOT_FOUND if there is no such KEK; UNSUPPORTED below KMIP 1.2; KEY_STATE;
/// KEY_WEAK; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_create_space(
    client: *const keystead_client,
    name: *const c_char,
    kek: *const c_char,
    file_path: *const c_char,
    keep_original: i32,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let original = if keep_original == 0 { Original::Destroy } else { Original::Keep };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_key", out_key), err, || {
            on_handle(client, |client| {
                let (name, kek, file) = (text("name", name)?, text("kek", kek)?, path("file_path", file_path)?);
                client.create_space(name, kek, file, original).map(|(key, _)| key)
            })
        })
    }
}

/// Unlocks the data space whose protected DEK is protected_dek[0..protected_dek_len], the content of the file that
/// keystead_client_create_space() wrote: has the key manager decrypt it, if the space's name matches expect, which is a
/// name, a prefix followed by * ("orders-*"), or "*" for any. Expect as little as possible: somebody who knows the key of one
/// space could put its protected DEK in the place of another's. Blocks on the network until the deadline of the
/// configuration.
///
/// On success *out_key is the space's key, to be freed with keystead_key_free(), else NULL. It is used like any other; the
/// messages name it "space:NAME/V", and only the unlocked key decrypts them. It stops to work within the time to live
/// of the cache when the KEK is compromised or destroyed.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the space is not the expected one;
/// NOT_AUTHENTIC for whatever is altered or no protected DEK; KEY_NOT_FOUND if the key servers lack its KEK; KEY_STATE if
/// that is compromised or destroyed; UNSUPPORTED; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM;
/// MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_unlock_space(
    client: *const keystead_client,
    protected_dek: *const u8,
    protected_dek_len: usize,
    expect: *const c_char,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let input = Input { name: "protected_dek", start: protected_dek, len: protected_dek_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_key", out_key), err, || {
            on_handle(client, |client| client.unlock_space(input.slice()?, text("expect", expect)?))
        })
    }
}

/// Has the protected DEK in the file at file_path encrypted under the newest version of the KEK called kek, which may be
/// another KEK than before. The space's key and its data stay the same, and keys that were unlocked go on. The file is
/// replaced only by what was unlocked once; a crash leaves the old or the new one. Where it is under that version already,
/// nothing is done. Whoever rewraps the same file at the same time is waited for. Blocks on the network until the deadline of
/// the configuration, and on files.
///
/// On success *out_kek_id is the name and version of the KEK that it is under now, "master/2", to be freed with
/// keystead_bytes_free(), else NULL.
///
/// Returns what keystead_client_unlock_space() returns; DEADLINE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_rewrap_space(
    client: *const keystead_client,
    kek: *const c_char,
    file_path: *const c_char,
    out_kek_id: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_kek_id", out_kek_id), err, || {
            on_handle(client, |client| {
                let done = client.rewrap_space(text("kek", kek)?, path("file_path", file_path)?)?;
                Ok(Terminated::copy_of(done.to.to_string().as_bytes()))
            })
        })
    }
}

/// Destroys the key manager's own copy of the key of a data space, which keep_original or a creation that was interrupted has
/// left: what is protected in a file goes on, and what only that copy can open is lost for ever. key_id is what
/// keystead_key_id() says of the space's key, "space:orders/1", or "orders/1". To destroy what is destroyed is no error where
/// the key server remembers it. Blocks on the network until the deadline of the configuration.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; KEY_NOT_FOUND if there is none; KEY_STATE;
/// KEY_REFERENCED; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_discard_original(
    client: *const keystead_client,
    key_id: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || {
            on_handle(client, |client| {
                let id = text("key_id", key_id)?;
                let KeyId { name, version } = KeyId::parse(id.strip_prefix("space:").unwrap_or(id))?;
                client.discard_original(&name, version)
            })
        })
    }
}

/// Everything that the protected DEK protected_dek[0..protected_dek_len] says of itself, as one JSON object: kind, key,
/// kek, rung, algorithm, size, IV, authenticator. Needs no key, and so proves nothing. CPU only.
///
/// On success *out_json is to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; NOT_AUTHENTIC if it is not a protected DEK; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_protected_dek_inspect(
    protected_dek: *const u8,
    protected_dek_len: usize,
    out_json: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let input = Input { name: "protected_dek", start: protected_dek, len: protected_dek_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_json", out_json), err, || {
            on_nothing(|| Terminated::json(&protected::inspect(input.slice()?)?))
        })
    }
}
