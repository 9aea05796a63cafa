//! Output whose size only the call knows.

use serde::Serialize;
use zeroize::Zeroizing;

use super::handle::{Handle, Opaque};
use crate::error::{Code, Error, Result};

/// Output whose size is not known before the call: text or JSON. Free it with keystead_bytes_free(), which
/// wipes it. It belongs to no client, and any number of threads may read it at once.
pub struct keystead_bytes {
    _opaque: (),
}

/// Bytes with a NUL behind them, so that text can be printed as it is.
pub struct Terminated(Zeroizing<Vec<u8>>);

impl Opaque for keystead_bytes {
    const NAME: &'static str = "keystead_bytes";
    const KIND: [u8; 8] = *b"ks-bytes";
    type Value = Terminated;
}

impl Terminated {
    pub(super) fn copy_of(bytes: &[u8]) -> Terminated {
        let mut copy = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
        copy.extend_from_slice(bytes);
        copy.push(0);
        Terminated(copy)
    }

    /// One line of JSON.
    pub(super) fn json(value: &impl Serialize) -> Result<Terminated> {
        let text = serde_json::to_vec(value)
            .map_err(|error| Error::new(Code::Internal, format!("the answer cannot be written as JSON: {error}")))?;
        Ok(Terminated::copy_of(&text))
    }

    fn content(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }
}

/// The first byte. A NUL follows the last one, so text can be used as a C string. NULL for NULL; valid until the
/// bytes are freed. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_bytes_data(bytes: *const keystead_bytes) -> *const u8 {
    // SAFETY: the rules of the header.
    unsafe { Handle::peek(bytes) }.map_or(std::ptr::null(), |bytes| bytes.value().content().as_ptr())
}

/// The number of bytes, without the NUL behind them; 0 for NULL. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_bytes_len(bytes: *const keystead_bytes) -> usize {
    // SAFETY: the rules of the header.
    unsafe { Handle::peek(bytes) }.map_or(0, |bytes| bytes.value().content().len())
}

/// Wipes and frees bytes. NULL is ignored. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_bytes_free(bytes: *mut keystead_bytes) {
    // SAFETY: the rules of the header.
    unsafe { Handle::free(bytes) }
}
