//! Streams over the C ABI.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::arguments::{Input, Output, text};
use super::client::keystead_client;
use super::entry::{finish, finish_handle, on_handle, transform};
use super::error::keystead_error;
use super::handle::{Handle, Opaque};
use super::key::keystead_key;
use super::status::keystead_status;
use crate::client::{Decryptor, Encryptor};
use crate::envelope::stream;
use crate::error::{Code, Error, Result};

/// So many bytes from the start of a stream always hold its header.
pub const KEYSTEAD_STREAM_HEADER_MAX: usize = 256;

/// An output buffer longer than the input by this is enough for each call on a stream with up to 64 MiB of input.
pub const KEYSTEAD_STREAM_ROOM: usize = 131072;

const _: () = assert!(stream::MAX_HEADER <= KEYSTEAD_STREAM_HEADER_MAX && stream::ROOM == KEYSTEAD_STREAM_ROOM);

/// Encrypts a file or pipe of any length, piece by piece and in constant memory. Calls on one of them take turns.
pub struct keystead_encryptor {
    _opaque: (),
}

impl Opaque for keystead_encryptor {
    const NAME: &'static str = "keystead_encryptor";
    const KIND: [u8; 8] = *b"ks--encr";
    type Value = Mutex<Encryptor>;
}

/// Decrypts a stream, piece by piece and in constant memory. Calls on one of them take turns.
///
/// What comes out of it was verified, but until keystead_decryptor_finish() succeeds it may be no more than the
/// beginning: do not act on it before, or be able to undo it.
pub struct keystead_decryptor {
    _opaque: (),
}

impl Opaque for keystead_decryptor {
    const NAME: &'static str = "keystead_decryptor";
    const KIND: [u8; 8] = *b"ks--decr";
    type Value = Mutex<Decryptor>;
}

/// A panic under the lock has poisoned the handle, which is checked before.
fn turn<T>(stream: &Mutex<T>) -> MutexGuard<'_, T> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_aad() -> Input {
    Input { name: "aad", start: std::ptr::null(), len: 0 }
}

/// Begins a stream. aad[0..aad_len], at most 65536 bytes, is not stored, but must be the same when the stream is
/// decrypted. The stream keeps the key's current version to its end, also when the key is rotated or freed or
/// the client closed; its own key is wiped when it is freed. CPU only, save for a system call for random bytes.
///
/// On success *out_encryptor is to be freed with keystead_encryptor_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; KEY_STATE if the key must not encrypt any
/// more; KEY_STALE if that could not be verified for longer than max_stale; SYSTEM; MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_encrypt_stream(
    key: *const keystead_key,
    aad: *const u8,
    aad_len: usize,
    out_encryptor: *mut *mut keystead_encryptor,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let aad = Input { name: "aad", start: aad, len: aad_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_encryptor", out_encryptor), err, || {
            on_handle(key, |key| key.encrypt_stream(aad.slice()?).map(Mutex::new))
        })
    }
}

/// The size in bytes of what the next keystead_encryptor_update() with plaintext_len bytes writes, if no other
/// call comes between; 0 if the encryptor is not usable or a stream cannot be that long. Pure arithmetic.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_encryptor_update_size(
    encryptor: *const keystead_encryptor,
    plaintext_len: usize,
) -> usize {
    let too_long = || Error::new(Code::InvalidArgument, "no stream is that long");
    // SAFETY: the rules of the header.
    unsafe { on_handle(encryptor, |encryptor| turn(encryptor).update_size(plaintext_len).ok_or_else(too_long)) }
        .unwrap_or(0)
}

/// Encrypts the next plaintext_len bytes, of any number. What is ready of the stream goes to
/// out[0..out_capacity], which may not overlap plaintext, and its size, which may be 0, to *out_len. If the
/// buffer is too small, *out_len is the size needed and nothing was taken: call again. CPU only.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL with a length, an overlap, a stream that is over, or more than
/// 2^48 bytes; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_encryptor_update(
    encryptor: *const keystead_encryptor,
    plaintext: *const u8,
    plaintext_len: usize,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let plaintext = Input { name: "plaintext", start: plaintext, len: plaintext_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe {
        transform(encryptor, plaintext, no_aad(), out, err, |encryptor, plaintext, _, out| {
            turn(encryptor).update(plaintext, out)
        })
    }
}

/// Writes the end of the stream, which is refused without it, to out[0..out_capacity], and its size to *out_len:
/// at most KEYSTEAD_STREAM_ROOM. If the buffer is too small, *out_len is the size needed: call again. CPU only.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT if the stream is over; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED;
/// INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_encryptor_finish(
    encryptor: *const keystead_encryptor,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe { transform(encryptor, no_aad(), no_aad(), out, err, |encryptor, _, _, out| turn(encryptor).finish(out)) }
}

/// Frees an encryptor and wipes what it holds; NULL is ignored. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_encryptor_free(encryptor: *mut keystead_encryptor) {
    // SAFETY: the rules of the header.
    unsafe { Handle::free(encryptor) }
}

/// Begins to decrypt the stream that begins with start[0..start_len]: its first KEYSTEAD_STREAM_HEADER_MAX bytes or
/// more, or all of a shorter one. The key is the one that the header names, if that name matches expect, as for
/// keystead_client_decrypt(). aad[0..aad_len] must be what the stream was encrypted with. Blocks on the network
/// until the deadline of the configuration, unless the key is cached.
///
/// On success *out_decryptor is to be freed with keystead_decryptor_free(), else NULL. Give everything behind the
/// first keystead_decryptor_header_size() bytes of the stream to keystead_decryptor_update().
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the name does not match
/// expect; NOT_AUTHENTIC for a header that is altered, of another context or not one of a stream; and what
/// keystead_client_key() returns for a key that cannot be had or used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_decrypt_stream(
    client: *const keystead_client,
    start: *const u8,
    start_len: usize,
    aad: *const u8,
    aad_len: usize,
    expect: *const c_char,
    out_decryptor: *mut *mut keystead_decryptor,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let start = Input { name: "start", start, len: start_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_decryptor", out_decryptor), err, || {
            on_handle(client, |client| {
                client.decrypt_stream(start.slice()?, aad.slice()?, text("expect", expect)?).map(Mutex::new)
            })
        })
    }
}

/// As keystead_client_decrypt_stream(), with this key, which the stream must name with its version: the way to the streams
/// of a data space. CPU only.
///
/// On success *out_decryptor is to be freed with keystead_decryptor_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; WRONG_KEY if the stream names another key or
/// version; NOT_AUTHENTIC; KEY_STATE; KEY_STALE; MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_decrypt_stream(
    key: *const keystead_key,
    start: *const u8,
    start_len: usize,
    aad: *const u8,
    aad_len: usize,
    out_decryptor: *mut *mut keystead_decryptor,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let start = Input { name: "start", start, len: start_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_decryptor", out_decryptor), err, || {
            on_handle(key, |key| key.decrypt_stream(start.slice()?, aad.slice()?).map(Mutex::new))
        })
    }
}

/// How many bytes the header took at the start of the stream; 0 if the decryptor is not usable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_decryptor_header_size(decryptor: *const keystead_decryptor) -> usize {
    // SAFETY: the rules of the header.
    unsafe { on_handle(decryptor, |decryptor| Ok::<_, Error>(turn(decryptor).header_size())) }.unwrap_or(0)
}

/// Takes the next stream_len bytes of the stream, of any number. The plaintext that is now verified goes to
/// out[0..out_capacity], which may not overlap stream, and its size, which may be 0, to *out_len. The buffer is
/// to hold stream_len + 65536 bytes; if it is too small, *out_len is that size and nothing was taken. CPU only.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL with a length, an overlap, or a stream that is over;
/// INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; NOT_AUTHENTIC, now and from now on, if anything is altered, missing,
/// exchanged or added: what was decrypted before is genuine but incomplete, so discard it; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_decryptor_update(
    decryptor: *const keystead_decryptor,
    stream: *const u8,
    stream_len: usize,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let stream = Input { name: "stream", start: stream, len: stream_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe {
        transform(decryptor, stream, no_aad(), out, err, |decryptor, stream, _, out| {
            turn(decryptor).update(stream, out)
        })
    }
}

/// To be called where the stream ends: tells whether that is its end. CPU only.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT if the stream is over; INVALID_HANDLE; FORKED; NOT_AUTHENTIC if its end is
/// missing: what was decrypted is genuine but incomplete, so discard it; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_decryptor_finish(
    decryptor: *const keystead_decryptor,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(decryptor, |decryptor| -> Result<()> { turn(decryptor).finish() })) }
}

/// Frees a decryptor and wipes what it holds; NULL is ignored. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_decryptor_free(decryptor: *mut keystead_decryptor) {
    // SAFETY: the rules of the header.
    unsafe { Handle::free(decryptor) }
}
