//! Verifying logs and audit trails, over the C ABI.

use std::ffi::c_char;
use std::path::Path;

use super::arguments::{missing, path, text};
use super::bytes::{Terminated, keystead_bytes};
use super::entry::{finish_handle, on_nothing};
use super::error::keystead_error;
use super::status::keystead_status;
use crate::error::{Code, Error, Result};
use crate::log::{Anchor, AuditorPrivateKey, Of, Options, verify_with};

/// More files than a directory of logs holds: a count that is larger is a negative one.
const MAX_FILES: usize = 1 << 20;

/// Verifies files[0..file_count] as one log or one audit trail: rotated files in any order, also compressed ones (gzip).
/// docs/AUDITORS.md tells what is proven. Needs no client and no configuration. Blocks on files only.
///
/// auditor_keys[0..auditor_key_count] are the paths of the auditor's private keys, with which the seals are verified; they
/// may be none. anchors is NULL, or the path of a file with lines that `keystead log anchor` printed, which prove the end.
/// of is "log" or "audit", what the files are to be of, so that one is not taken for the other, or NULL for either. With
/// collected other than 0 the files are what a collector kept, with chains of many processes side by side, the oldest file
/// first.
///
/// On success *out_report is one JSON object, to be freed with keystead_bytes_free(), else NULL. It says "intact" (true or
/// false), and what `keystead log verify --json` says. That something was altered is no failure of this call.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL, no files, another word for of, or a file that holds no key or no anchor;
/// SYSTEM if a file cannot be read; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_log_verify(
    files: *const *const c_char,
    file_count: usize,
    auditor_keys: *const *const c_char,
    auditor_key_count: usize,
    anchors: *const c_char,
    of: *const c_char,
    collected: i32,
    out_report: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_report", out_report), err, || {
            on_nothing(|| {
                let files = paths("files", files, file_count)?;
                if files.is_empty() {
                    return Err(Error::new(Code::InvalidArgument, "there are no files to verify; name at least one"));
                }
                let keys = paths("auditor_keys", auditor_keys, auditor_key_count)?;
                let keys = keys.iter().map(|key| AuditorPrivateKey::read(key)).collect::<Result<Vec<_>>>()?;
                let anchors = match anchors.is_null() {
                    true => Vec::new(),
                    false => Anchor::read_file(path("anchors", anchors)?)?,
                };
                let of = if of.is_null() { None } else { Some(expected(text("of", of)?)?) };
                let options = Options { anchors: &anchors, auditor_keys: &keys, is_collected: collected != 0, of };
                Terminated::json(&verify_with(&files, &options)?.judged())
            })
        })
    }
}

fn expected(word: &str) -> Result<Of> {
    let unknown = || Error::new(Code::InvalidArgument, format!("of cannot be {word:?}; say \"log\" or \"audit\""));
    Of::from_word(word).ok_or_else(unknown)
}

/// # Safety
/// Unless NULL, `starts` has `count` entries, and each is NULL or a string that does not change during `'a`.
unsafe fn paths<'a>(name: &'static str, starts: *const *const c_char, count: usize) -> Result<Vec<&'a Path>> {
    if count > MAX_FILES {
        return Err(Error::new(Code::InvalidArgument, format!("{name} cannot be {count}; was the count negative?")));
    }
    if count > 0 && starts.is_null() {
        return Err(missing(name));
    }
    // SAFETY: the caller's promise.
    (0..count).map(|index| unsafe { path(name, *starts.add(index)) }).collect()
}
