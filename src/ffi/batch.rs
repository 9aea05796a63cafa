//! Many messages in one call, over the C ABI.

use std::ffi::c_char;

use super::arguments::{Input, Output, missing, text};
use super::client::keystead_client;
use super::entry::{finish, on_handle};
use super::error::keystead_error;
use super::handle::Opaque;
use super::key::keystead_key;
use super::status::{KEYSTEAD_OK, keystead_status};
use crate::envelope::batch::MAX_BATCH;
use crate::error::{Code, Error, Result};

/// `count` byte strings, each by its start and its length. Both arrays may be NULL: then all of them are empty.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    starts: *const *const u8,
    lens: *const usize,
}

impl Column {
    /// # Safety
    /// Unless NULL, both arrays have more than `index` entries.
    unsafe fn input(self, index: usize) -> Input {
        if self.starts.is_null() || self.lens.is_null() {
            return Input { name: self.name, start: std::ptr::null(), len: 0 };
        }
        // SAFETY: the caller's promise.
        unsafe { Input { name: self.name, start: *self.starts.add(index), len: *self.lens.add(index) } }
    }
}

/// What a call of this module is given.
struct Batch {
    values: Column,
    aads: Column,
    count: usize,
    out: Output,
    offsets: *mut usize,
}

impl Batch {
    /// # Safety
    /// The rules of the header.
    unsafe fn inputs(&self) -> impl Iterator<Item = Input> {
        // SAFETY: the caller's promise.
        (0..self.count.min(MAX_BATCH)).flat_map(|index| unsafe { [self.values.input(index), self.aads.input(index)] })
    }

    /// # Safety
    /// The rules of the header.
    unsafe fn run<C: Opaque>(
        &self,
        handle: *const C,
        body: impl FnOnce(&C::Value, Vec<(&[u8], &[u8])>, &mut [u8], &mut [usize]) -> Result<usize>,
    ) -> Result<usize> {
        if self.count > MAX_BATCH {
            return Err(Error::new(Code::InvalidArgument, format!("a batch holds at most {MAX_BATCH} values")));
        }
        let is_half = self.aads.starts.is_null() != self.aads.lens.is_null();
        if self.count > 0 && (self.values.starts.is_null() || self.values.lens.is_null() || is_half) {
            return Err(missing(if is_half { self.aads.name } else { self.values.name }));
        }
        if self.offsets.is_null() {
            return Err(missing("out_offsets"));
        }
        // SAFETY: the caller's promise; the arrays are not NULL, and neither output overlaps anything.
        unsafe {
            let places =
                Output { start: self.offsets.cast(), capacity: (self.count + 1) * size_of::<usize>(), ..self.out };
            let outputs = Input { name: "out_offsets", start: places.start, len: places.capacity };
            places.slice(self.inputs())?;
            let out = self.out.slice(self.inputs().chain([outputs]))?;
            let offsets = std::slice::from_raw_parts_mut(self.offsets, self.count + 1);
            let pair = |index| Ok((self.values.input(index).slice()?, self.aads.input(index).slice()?));
            let values = (0..self.count).map(pair).collect::<Result<Vec<_>>>()?;
            on_handle(handle, |value| body(value, values, out, offsets))
        }
    }

    /// # Safety
    /// The rules of the header.
    unsafe fn finish<C: Opaque>(
        &self,
        handle: *const C,
        err: *mut *mut keystead_error,
        body: impl FnOnce(&C::Value, Vec<(&[u8], &[u8])>, &mut [u8], &mut [usize]) -> Result<usize>,
    ) -> keystead_status {
        let mut needed = 0;
        // SAFETY: the caller's promise.
        unsafe {
            let status = finish(err, || {
                let outcome = self.run(handle, body).inspect_err(|error| needed = error.needed().unwrap_or(0));
                outcome.map(|filled| self.out.filled.write(filled))
            });
            if status != KEYSTEAD_OK {
                self.out.withdraw(self.inputs(), needed);
            }
            status
        }
    }
}

/// Encrypts count values in one call, at most 1048576: value i is plaintexts[i][0..plaintext_lens[i]], its
/// associated data aads[i][0..aad_lens[i]]; NULL for both arrays of aads means none for any value. Every value
/// becomes a message, like those of keystead_key_encrypt(). All or nothing. CPU only.
///
/// The messages go to out[0..out_capacity], one after the other, and their size to *out_len: message i is at
/// out_offsets[i] up to out_offsets[i + 1], so out_offsets has count + 1 places. The outputs may not overlap an
/// input or each other. If the buffer is too small, *out_len is the size needed. On any failure out is zeroed,
/// out_offsets tells nothing, and *out_len is 0 unless the buffer was too small.
///
/// Returns what keystead_key_encrypt() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_encrypt_many(
    key: *const keystead_key,
    plaintexts: *const *const u8,
    plaintext_lens: *const usize,
    aads: *const *const u8,
    aad_lens: *const usize,
    count: usize,
    out: *mut u8,
    out_capacity: usize,
    out_offsets: *mut usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let values = Column { name: "plaintexts", starts: plaintexts, lens: plaintext_lens };
    let aads = Column { name: "aads", starts: aads, lens: aad_lens };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    let batch = Batch { values, aads, count, out, offsets: out_offsets };
    // SAFETY: the rules of the header.
    unsafe {
        batch.finish(key, err, |key, values, out, offsets| key.encrypt_many(values.iter().copied(), out, offsets))
    }
}

/// Decrypts count messages of this key and its version in one call, as keystead_key_encrypt_many() encrypts: the
/// plaintexts go to out, one after the other, which never takes more than the messages did. All or nothing: if one
/// is refused, the error says which, and there is no output. CPU only.
///
/// Returns what keystead_key_decrypt() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_key_decrypt_many(
    key: *const keystead_key,
    messages: *const *const u8,
    message_lens: *const usize,
    aads: *const *const u8,
    aad_lens: *const usize,
    count: usize,
    out: *mut u8,
    out_capacity: usize,
    out_offsets: *mut usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let values = Column { name: "messages", starts: messages, lens: message_lens };
    let aads = Column { name: "aads", starts: aads, lens: aad_lens };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    let batch = Batch { values, aads, count, out, offsets: out_offsets };
    // SAFETY: the rules of the header.
    unsafe {
        batch.finish(key, err, |key, values, out, offsets| key.decrypt_many(values.iter().copied(), out, offsets))
    }
}

/// Decrypts count messages of any keys and versions in one call, as keystead_key_decrypt_many() does those of one. Each
/// is decrypted with the key that it names, if all of these names match expect, as for keystead_client_decrypt(); they
/// are compared before any cache or network access. Blocks on the network until the deadline of the configuration for
/// each key that is not cached.
///
/// Returns what keystead_client_decrypt() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_decrypt_many(
    client: *const keystead_client,
    messages: *const *const u8,
    message_lens: *const usize,
    aads: *const *const u8,
    aad_lens: *const usize,
    count: usize,
    expect: *const c_char,
    out: *mut u8,
    out_capacity: usize,
    out_offsets: *mut usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let values = Column { name: "messages", starts: messages, lens: message_lens };
    let aads = Column { name: "aads", starts: aads, lens: aad_lens };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    let batch = Batch { values, aads, count, out, offsets: out_offsets };
    // SAFETY: the rules of the header.
    unsafe {
        batch.finish(client, err, |client, values, out, offsets| {
            client.decrypt_many(values.iter().copied(), text("expect", expect)?, out, offsets)
        })
    }
}

/// Writes count messages anew, each under the newest active version of the key that it names; a message of that
/// version is copied as it is, so that equal bytes tell which were current. Otherwise as
/// keystead_client_decrypt_many(). The plaintexts do not leave the call. Give out 16 bytes more than the messages have
/// for each of them, and it is large enough.
///
/// Returns what keystead_client_decrypt() and keystead_client_key() return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_reencrypt_many(
    client: *const keystead_client,
    messages: *const *const u8,
    message_lens: *const usize,
    aads: *const *const u8,
    aad_lens: *const usize,
    count: usize,
    expect: *const c_char,
    out: *mut u8,
    out_capacity: usize,
    out_offsets: *mut usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let values = Column { name: "messages", starts: messages, lens: message_lens };
    let aads = Column { name: "aads", starts: aads, lens: aad_lens };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    let batch = Batch { values, aads, count, out, offsets: out_offsets };
    // SAFETY: the rules of the header.
    unsafe {
        batch.finish(client, err, |client, values, out, offsets| {
            client.reencrypt_many(values.iter().copied(), text("expect", expect)?, out, offsets)
        })
    }
}
