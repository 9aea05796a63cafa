//! Many messages in one call: one look at the session and one addition to its counter for all of them.

#![forbid(unsafe_code)]

use super::key::Key;
use super::message;
use super::session::{COUNTERS, check_length};
use crate::error::{Code, Error, Result};
use crate::memory::{copy, scrub};
use crate::platform;

/// How many values one batch holds at most.
pub const MAX_BATCH: usize = COUNTERS as usize;

/// How many bytes of plaintext one batch holds at most.
const MAX_BYTES: u64 = 1 << 36;

/// So many messages of a batch have the same ticks of the time stamp counter in their IVs. It takes as long to ask as a
/// tenth of a short message does.
const SAME_TICKS: u32 = 64;

/// So far ahead of where a batch writes its place is fetched: two or three short messages, of which one is as long as this.
const AHEAD: usize = 512;
const A_MESSAGE: usize = 256;

/// Values with the associated data of each. It is gone through twice: for the sizes, and for the work.
pub trait Values<'a>: Iterator<Item = (&'a [u8], &'a [u8])> + Clone {}

impl<'a, I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone> Values<'a> for I {}

impl Key {
    /// Writes the message of every plaintext to the front of `out`, one after the other, and returns their size.
    /// `offsets` has one place more than there are values: message `i` is at `offsets[i]..offsets[i + 1]`.
    ///
    /// All or nothing: on failure `out` and `offsets` are zeroed. Errors: as [`Key::encrypt`], and `InvalidArgument` for
    /// more than [`MAX_BATCH`] values, more than 2^36 bytes, or another number of offsets.
    pub fn encrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        let outcome = self.try_encrypt_many(values, out, offsets);
        all_or_nothing(outcome, out, offsets)
    }

    fn try_encrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        self.check_process()?;
        let mut bytes = 0;
        let size = lay_out(values.clone(), offsets, |plaintext, aad| {
            check_length("associated data", aad)?;
            check_length("a plaintext", plaintext)?;
            bytes += plaintext.len() as u64;
            Ok(self.size(plaintext.len()))
        })?;
        if bytes > MAX_BYTES {
            return Err(too_large());
        }
        let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
        let count = offsets.len() as u64 - 1;
        let turn = self.take_many(count, bytes)?;
        let (mut rest, mut ticks) = (out, 0);
        let written = (0..).zip(values.zip(offsets.windows(2))).try_for_each(|(index, ((plaintext, aad), place))| {
            if index % SAME_TICKS == 0 {
                ticks = platform::timestamp_counter();
            }
            let message = rest.split_off_mut(..place[1] - place[0]).expect("`out` ends at the last of the offsets");
            if let Some(ahead) = rest.get(AHEAD..AHEAD + A_MESSAGE) {
                copy::fetch(ahead);
            }
            turn.session.write_one_of_many(&turn.iv_of(index, ticks), plaintext, aad, message)
        });
        scrub::registers();
        written.map(|()| size)
    }

    /// Writes the plaintext of every message to the front of `out`, one after the other, and returns their size.
    /// `offsets` as for [`Key::encrypt_many`].
    ///
    /// All or nothing: on failure `out` and `offsets` are zeroed, and the error says which message was refused. Errors: as
    /// [`Key::decrypt`], and `InvalidArgument` as above.
    pub fn decrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        let outcome = self.try_decrypt_many(values, out, offsets);
        all_or_nothing(outcome, out, offsets)
    }

    fn try_decrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        self.check_process()?;
        let mut index = 0;
        let size = lay_out(values.clone(), offsets, |message, _| {
            index += 1;
            Ok(message::parse(message).map_err(|error| at(index - 1, &error))?.ciphertext.len())
        })?;
        let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
        for (index, (message, aad)) in values.enumerate() {
            let place = &mut out[offsets[index]..offsets[index + 1]];
            self.try_decrypt(message, aad, place).map_err(|error| at(index, &error))?;
        }
        Ok(size)
    }
}

/// Fills in the offsets, and returns the last of them.
pub(super) fn lay_out<'a>(
    values: impl Values<'a>,
    offsets: &mut [usize],
    mut size: impl FnMut(&'a [u8], &'a [u8]) -> Result<usize>,
) -> Result<usize> {
    if offsets.is_empty() || offsets.len() > MAX_BATCH + 1 {
        return Err(too_large());
    }
    let (mut filled, mut at) = (1, 0_usize);
    offsets[0] = 0;
    for (value, aad) in values {
        at = at.checked_add(size(value, aad)?).ok_or_else(too_large)?;
        *offsets.get_mut(filled).ok_or_else(miscounted)? = at;
        filled += 1;
    }
    if filled == offsets.len() { Ok(at) } else { Err(miscounted()) }
}

pub(super) fn all_or_nothing(outcome: Result<usize>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
    if outcome.is_err() {
        out.fill(0);
        offsets.fill(0);
    }
    outcome
}

#[cold]
pub(super) fn at(index: usize, error: &Error) -> Error {
    Error::new(error.code(), format!("value {index} (from 0) of the batch: {}", error.message()))
}

#[cold]
fn too_large() -> Error {
    let text = format!("a batch holds at most {MAX_BATCH} values and 2^36 bytes, and one offset more than values");
    Error::new(Code::InvalidArgument, text)
}

#[cold]
fn miscounted() -> Error {
    Error::new(Code::InvalidArgument, "a batch needs one offset more than it has values")
}
