//! Why a call failed, as an object of its own.

use std::ffi::{CString, c_char};

use super::handle::{Handle, Opaque};
use super::status::{KEYSTEAD_E_INVALID_HANDLE, KEYSTEAD_OK, keystead_status};
use crate::error::Error;

/// Why a call failed. Made by a failing call whose last argument was not NULL; free it with
/// keystead_error_free(). It belongs to no client, so it may be read and freed after the client was, and
/// also in a forked child. Any number of threads may read it at once.
pub struct keystead_error {
    _opaque: (),
}

/// What an error says, ready for C.
pub struct Report {
    status: keystead_status,
    retryable: bool,
    message: CString,
    detail: CString,
}

impl Opaque for keystead_error {
    const NAME: &'static str = "keystead_error";
    const KIND: [u8; 8] = *b"ks-error";
    type Value = Report;
}

impl keystead_error {
    pub(super) fn from_error(error: &Error) -> *mut keystead_error {
        Handle::give(Report {
            status: error.code().number(),
            retryable: error.code().is_retryable(),
            message: c_text(error.message()),
            detail: c_text(&error.detail()),
        })
    }
}

/// A text for C, which ends it at the first NUL: one in the middle is replaced.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// The status that the failing call returned; KEYSTEAD_OK for NULL, KEYSTEAD_E_INVALID_HANDLE for a pointer
/// that is no error. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_error_code(error: *const keystead_error) -> keystead_status {
    if error.is_null() {
        return KEYSTEAD_OK;
    }
    // SAFETY: the rules of the header.
    unsafe { Handle::peek(error) }.map_or(KEYSTEAD_E_INVALID_HANDLE, |report| report.value().status)
}

/// The failure in a sentence for people, UTF-8: what was tried, against what, why it failed, what to do. Never
/// holds a key, a password or a plaintext. Never NULL ("" for NULL); valid until the error is freed. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_error_message(error: *const keystead_error) -> *const c_char {
    // SAFETY: the rules of the header.
    unsafe { Handle::peek(error) }.map_or(c"", |report| report.value().message.as_c_str()).as_ptr()
}

/// The failure for programs: one line of JSON with "code", "name", "message", "retryable", and where they apply
/// "file", "line", "column", "needed" (bytes) and "attempts": for every key server that was tried, in order, its
/// "server", "address", "code" and "reason". Never NULL ("" for NULL); valid until the error is freed. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_error_detail(error: *const keystead_error) -> *const c_char {
    // SAFETY: the rules of the header.
    unsafe { Handle::peek(error) }.map_or(c"", |report| report.value().detail.as_c_str()).as_ptr()
}

/// 1 if the same call may succeed later without a change of configuration or data, else 0 (also for NULL). CPU
/// only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_error_is_retryable(error: *const keystead_error) -> i32 {
    // SAFETY: the rules of the header.
    unsafe { Handle::peek(error) }.is_some_and(|report| report.value().retryable).into()
}

/// Frees an error. NULL is ignored. CPU only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_error_free(error: *mut keystead_error) {
    // SAFETY: the rules of the header.
    unsafe { Handle::free(error) }
}
