//! The promises that every entry point keeps, on a handle that needs no key server.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use super::arguments::{Input, Output, path, text};
use super::bytes::{keystead_bytes, keystead_bytes_data, keystead_bytes_free, keystead_bytes_len};
use super::client::*;
use super::entry::{finish, finish_handle, on_handle, on_nothing, transform};
use super::error::*;
use super::handle::{Handle, Opaque};
use super::key::*;
use super::message::*;
use super::status::*;
use crate::error::{Attempt, Code, Error, Result};

/// Stands where a key stands: its "encryption" copies.
struct Copier {
    _opaque: (),
}

impl Opaque for Copier {
    const NAME: &'static str = "copier";
    const KIND: [u8; 8] = *b"testcopy";
    type Value = Arc<()>;
}

fn copy(_: &Arc<()>, data: &[u8], _: &[u8], out: &mut [u8]) -> Result<usize> {
    if out.len() < data.len() {
        return Err(Error::buffer_too_small(data.len()));
    }
    out[..data.len()].copy_from_slice(data);
    Ok(data.len())
}

fn half_write_then_fail(_: &Arc<()>, data: &[u8], _: &[u8], out: &mut [u8]) -> Result<usize> {
    out[..data.len()].copy_from_slice(data);
    Err(Error::new(Code::NotAuthentic, "altered"))
}

fn half_write_then_panic(_: &Arc<()>, data: &[u8], _: &[u8], out: &mut [u8]) -> Result<usize> {
    out[..data.len()].copy_from_slice(data);
    panic!("on purpose")
}

struct Call {
    copier: *mut Copier,
    err: *mut keystead_error,
    out_len: usize,
}

impl Call {
    fn new() -> Call {
        Call { copier: Handle::give(Arc::new(())), err: null_mut(), out_len: 77 }
    }

    fn run(
        &mut self,
        data: &[u8],
        out: &mut [u8],
        body: impl FnOnce(&Arc<()>, &[u8], &[u8], &mut [u8]) -> Result<usize>,
    ) -> keystead_status {
        self.run_raw((data.as_ptr(), data.len()), (null(), 0), (out.as_mut_ptr(), out.len()), body)
    }

    fn run_raw(
        &mut self,
        data: (*const u8, usize),
        aad: (*const u8, usize),
        out: (*mut u8, usize),
        body: impl FnOnce(&Arc<()>, &[u8], &[u8], &mut [u8]) -> Result<usize>,
    ) -> keystead_status {
        self.forget_error();
        let data = Input { name: "data", start: data.0, len: data.1 };
        let aad = Input { name: "aad", start: aad.0, len: aad.1 };
        let out = Output { start: out.0, capacity: out.1, filled: &raw mut self.out_len };
        // SAFETY: every test passes pointers that are valid, or that must be refused without being followed.
        let status = unsafe { transform(self.copier, data, aad, out, &raw mut self.err, body) };
        // SAFETY: `err` was just written.
        assert_eq!(unsafe { keystead_error_code(self.err) }, status);
        status
    }

    fn message(&self) -> &str {
        // SAFETY: the accessor returns a text that lives as long as the error.
        unsafe { CStr::from_ptr(keystead_error_message(self.err)) }.to_str().unwrap()
    }

    fn forget_error(&mut self) {
        // SAFETY: `err` is NULL or an error of ours.
        unsafe { keystead_error_free(std::mem::replace(&mut self.err, null_mut())) };
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.forget_error();
        // SAFETY: ours, and freed once.
        unsafe { Handle::free(self.copier) };
    }
}

#[test]
fn output_that_fits_exactly_is_written_and_measured() {
    let (mut call, mut out) = (Call::new(), [9; 5]);
    assert_eq!(call.run(b"hello", &mut out, copy), KEYSTEAD_OK);
    assert_eq!((&out, call.out_len), (b"hello", 5));
    assert!(call.err.is_null());
}

#[test]
fn a_small_buffer_is_told_the_size_it_needs() {
    let (mut call, mut out) = (Call::new(), [9; 4]);
    assert_eq!(call.run(b"hello", &mut out, copy), KEYSTEAD_E_BUFFER_TOO_SMALL);
    assert_eq!((out, call.out_len), ([0; 4], 5));
    let asked = call.run_raw((b"hello".as_ptr(), 5), (null(), 0), (null_mut(), 0), copy);
    assert_eq!((asked, call.out_len), (KEYSTEAD_E_BUFFER_TOO_SMALL, 5));
}

#[test]
fn a_failed_call_leaves_nothing_in_its_output() {
    let (mut call, mut out) = (Call::new(), [9; 8]);
    assert_eq!(call.run(b"hello", &mut out, half_write_then_fail), KEYSTEAD_E_NOT_AUTHENTIC);
    assert_eq!((out, call.out_len), ([0; 8], 0));
}

#[test]
fn a_panic_becomes_a_status_and_ends_the_use_of_its_handle() {
    let (mut call, mut out) = (Call::new(), [9; 8]);
    assert_eq!(call.run(b"hello", &mut out, half_write_then_panic), KEYSTEAD_E_INTERNAL);
    assert_eq!((out, call.out_len), ([0; 8], 0));
    assert!(call.message().contains("on purpose"), "{}", call.message());
    assert_eq!(call.run(b"hello", &mut out, copy), KEYSTEAD_E_INTERNAL);
    assert!(call.message().contains("an earlier call"), "{}", call.message());
}

#[test]
fn the_text_of_a_panic_that_could_quote_data_is_not_repeated() {
    let (mut call, mut out) = (Call::new(), [0; 8]);
    let secret = "hunter2";
    assert_eq!(call.run(b"", &mut out, |_, _, _, _| panic!("got {secret}")), KEYSTEAD_E_INTERNAL);
    assert!(!call.message().contains(secret), "{}", call.message());
}

#[test]
fn a_panic_without_a_handle_becomes_a_status() {
    // SAFETY: NULL is allowed.
    let status = unsafe { finish(null_mut(), || on_nothing(|| panic!("on purpose"))) };
    assert_eq!(status, KEYSTEAD_E_INTERNAL);
}

#[test]
fn pointers_that_cannot_be_followed_are_refused() {
    let (mut call, data, mut out) = (Call::new(), [1; 4], [9; 4]);
    let (good, buffer) = ((data.as_ptr(), 4), (out.as_mut_ptr(), 4));
    let huge = isize::MAX as usize + 1;
    assert_eq!(call.run_raw((null(), 4), (null(), 0), buffer, copy), KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(call.run_raw(good, (null(), 1), buffer, copy), KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(call.run_raw((data.as_ptr(), huge), (null(), 0), buffer, copy), KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(call.run_raw((data.as_ptr(), usize::MAX), (null(), 0), buffer, copy), KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(call.run_raw(good, (null(), 0), (null_mut(), 4), copy), KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(call.run_raw(good, (null(), 0), (buffer.0, huge), copy), KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(call.out_len, 0);
    assert_eq!(call.run_raw((null(), 0), (null(), 0), buffer, copy), KEYSTEAD_OK);
}

#[test]
fn a_missing_place_for_the_size_is_refused_before_anything_is_done() {
    let (call, mut buffer) = (Call::new(), [9; 4]);
    let input = Input { name: "data", start: b"hi".as_ptr(), len: 2 };
    let out = Output { start: buffer.as_mut_ptr(), capacity: 4, filled: null_mut() };
    // SAFETY: the pointers are valid or NULL.
    let status = unsafe { transform(call.copier, input, input, out, null_mut(), |_, _, _, _| unreachable!()) };
    assert_eq!(status, KEYSTEAD_E_INVALID_ARGUMENT);
    assert_eq!(buffer, [0; 4]);
}

#[test]
fn an_output_that_shares_a_byte_with_an_input_is_refused_and_left_alone() {
    let (mut call, mut memory) = (Call::new(), [7; 32]);
    let start = memory.as_mut_ptr();
    let at = |offset: usize| start.wrapping_add(offset);
    let none = (null(), 0);
    for (input, output) in [((8, 8), (8, 8)), ((8, 8), (15, 4)), ((8, 8), (5, 4)), ((8, 8), (0, 32)), ((0, 32), (8, 1))]
    {
        let (data, out) = ((at(input.0).cast_const(), input.1), (at(output.0), output.1));
        assert_eq!(call.run_raw(data, none, out, copy), KEYSTEAD_E_INVALID_ARGUMENT);
        assert!(call.message().contains("overlaps data"), "{}", call.message());
        assert_eq!(call.run_raw(none, data, out, copy), KEYSTEAD_E_INVALID_ARGUMENT);
        assert!(call.message().contains("overlaps aad"), "{}", call.message());
    }
    let (data, out) = ((at(8).cast_const(), 8), (at(16), 16));
    assert_eq!(call.run_raw(data, (at(0).cast_const(), 8), out, copy), KEYSTEAD_OK, "neighbours do not overlap");
    assert_eq!(memory, [7; 32]);
}

#[test]
fn a_pointer_to_something_else_is_not_taken_for_a_handle() {
    let mut call = Call::new();
    assert_eq!(call.run(b"hello", &mut [0; 2], copy), KEYSTEAD_E_BUFFER_TOO_SMALL);
    // SAFETY: the pointers are alive; wrong types must be noticed.
    unsafe {
        assert_eq!(on_handle(call.err.cast::<Copier>(), |_| Ok(())).unwrap_err().code(), Code::InvalidHandle);
        assert_eq!(on_handle(null::<Copier>(), |_| Ok(())).unwrap_err().code(), Code::InvalidHandle);
        assert_eq!(keystead_key_encrypted_size(call.copier.cast(), 10), 0);
        assert_eq!(keystead_error_code(call.copier.cast()), KEYSTEAD_E_INVALID_HANDLE);
        let unaligned = call.copier.cast::<u8>().wrapping_add(1);
        assert_eq!(keystead_error_code(unaligned.cast()), KEYSTEAD_E_INVALID_HANDLE);
        // Freeing by the wrong function must not free.
        keystead_key_free(call.copier.cast());
        keystead_error_free(call.copier.cast());
        assert!(on_handle(call.copier, |_| Ok(())).is_ok());
    }
}

#[test]
fn freeing_drops_what_the_handle_held() {
    let value = Arc::new(());
    let copier = Handle::<Copier>::give(Arc::clone(&value));
    assert_eq!(Arc::strong_count(&value), 2);
    // SAFETY: ours, and freed once.
    unsafe { Handle::free(copier) };
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn an_inherited_handle_says_forked_and_its_free_leaves_the_value_alone() {
    let value = Arc::new(());
    let copier = Handle::<Copier>::give(Arc::clone(&value));
    // SAFETY: the child checks a few numbers and leaves with _exit.
    let status = unsafe {
        match libc::fork() {
            0 => {
                let (mut out_len, mut out) = (9, [9; 4]);
                let data = Input { name: "data", start: b"hi".as_ptr(), len: 2 };
                let aad = Input { name: "aad", start: null(), len: 0 };
                let output = Output { start: out.as_mut_ptr(), capacity: 4, filled: &raw mut out_len };
                let said = transform(copier, data, aad, output, null_mut(), copy);
                Handle::free(copier);
                let kept = Arc::strong_count(&value) == 2;
                libc::_exit(if said == KEYSTEAD_E_FORKED && out == [0; 4] && out_len == 0 && kept { 0 } else { 1 })
            }
            child => {
                let mut status = 0;
                libc::waitpid(child, &mut status, 0);
                status
            }
        }
    };
    assert_eq!(status, 0, "the child could use, or dropped, what belongs to its parent");
    // SAFETY: ours, and freed once in this process.
    unsafe {
        assert!(on_handle(copier, |_| Ok(())).is_ok());
        Handle::free(copier);
    }
}

#[test]
fn a_handle_is_given_out_only_on_success() {
    let mut out: *mut Copier = std::ptr::dangling_mut();
    let mut err: *mut keystead_error = std::ptr::dangling_mut();
    // SAFETY: the places exist; what is in them before is not read.
    unsafe {
        let refused = || Err(Error::new(Code::KeyNotFound, "no such key"));
        assert_eq!(finish_handle(("out", &raw mut out), &raw mut err, refused), KEYSTEAD_E_KEY_NOT_FOUND);
        assert!(out.is_null());
        keystead_error_free(err);
        assert_eq!(finish_handle(("out", &raw mut out), &raw mut err, || Ok(Arc::new(()))), KEYSTEAD_OK);
        assert!(!out.is_null() && err.is_null());
        Handle::free(out);
        let nowhere: *mut *mut Copier = null_mut();
        let untouched = || unreachable!("without a place for the handle nothing may be made");
        assert_eq!(finish_handle(("out", nowhere), null_mut(), untouched), KEYSTEAD_E_INVALID_ARGUMENT);
    }
}

#[test]
fn an_error_tells_people_and_programs_what_happened() {
    let attempt = Attempt {
        server: "kms1:5696".into(),
        address: Some("127.0.0.1:5696".into()),
        code: KEYSTEAD_E_UNREACHABLE,
        reason: "connection refused".into(),
    };
    let error = Error::new(Code::NoServer, "no key server answered\0, all refused").after(vec![attempt]);
    // SAFETY: the error is alive until it is freed below.
    unsafe {
        let error = keystead_error::from_error(&error);
        assert_eq!(keystead_error_code(error), KEYSTEAD_E_NO_SERVER);
        assert_eq!(keystead_error_is_retryable(error), 1);
        let message = CStr::from_ptr(keystead_error_message(error)).to_str().unwrap();
        assert_eq!(message, "no key server answered\u{fffd}, all refused");
        let detail = CStr::from_ptr(keystead_error_detail(error)).to_str().unwrap();
        let detail: serde_json::Value = serde_json::from_str(detail).unwrap();
        assert_eq!(detail["name"], "NO_SERVER");
        assert_eq!(detail["attempts"][0]["reason"], "connection refused");
        keystead_error_free(error);
    }
}

#[test]
fn texts_must_be_there_and_be_utf8_but_paths_may_be_any_bytes() {
    let odd = CString::new(vec![b'a', 0xff]).unwrap();
    // SAFETY: NULL or a string that ends in NUL.
    unsafe {
        assert_eq!(text("name", null()).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(text("name", odd.as_ptr()).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(text("name", c"Löwe".as_ptr()).unwrap(), "Löwe");
        assert_eq!(path("path", odd.as_ptr()).unwrap().as_os_str().len(), 2);
        assert!(path("path", null()).is_err());
    }
}

#[test]
fn null_is_safe_everywhere() {
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        let handle = KEYSTEAD_E_INVALID_HANDLE;
        let argument = KEYSTEAD_E_INVALID_ARGUMENT;
        let (mut client, mut key, mut bytes, mut size) = (null_mut(), null_mut(), null_mut(), 1);
        assert_eq!(keystead_client_open(null(), null_mut(), null_mut()), argument);
        assert_eq!(keystead_client_open(null(), &raw mut client, null_mut()), argument);
        assert_eq!(keystead_client_open_with(null(), None, None, null_mut(), &raw mut client, null_mut()), argument);
        assert_eq!(keystead_client_close(null(), null_mut()), handle);
        assert_eq!(keystead_client_key(null(), null(), null_mut(), null_mut()), argument);
        assert_eq!(keystead_client_key(null(), null(), &raw mut key, null_mut()), handle);
        assert_eq!(keystead_client_create_key(null(), null(), &raw mut key, null_mut()), handle);
        assert_eq!(keystead_client_status(null(), &raw mut bytes, null_mut()), handle);
        assert_eq!(keystead_client_quiesce(null(), null_mut()), handle);
        let none = null_mut();
        assert_eq!(
            keystead_client_decrypt(null(), null(), 0, null(), 0, null(), none, 0, none.cast(), none.cast()),
            argument
        );
        assert_eq!(
            keystead_client_decrypt(null(), null(), 0, null(), 0, null(), none, 0, &raw mut size, none.cast()),
            handle
        );
        assert_eq!(keystead_key_encrypt(null(), null(), 0, null(), 0, none, 0, &raw mut size, none.cast()), handle);
        assert_eq!(keystead_key_decrypt(null(), null(), 0, null(), 0, none, 0, &raw mut size, none.cast()), handle);
        assert_eq!(keystead_key_id(null(), &raw mut bytes, null_mut()), handle);
        assert_eq!(keystead_key_encrypted_size(null(), 1), 0);
        assert_eq!(keystead_message_decrypted_size(null(), 1, &raw mut size, null_mut()), argument);
        assert_eq!(keystead_message_decrypted_size(null(), 0, null_mut(), null_mut()), argument);
        assert_eq!(keystead_message_key_id(null(), 1, &raw mut bytes, null_mut()), argument);
        assert_eq!(keystead_message_inspect(null(), 1, &raw mut bytes, null_mut()), argument);
        #[cfg(feature = "auditor")]
        {
            use super::verify::keystead_log_verify;
            assert_eq!(
                keystead_log_verify(null(), 1, null(), 0, null(), null(), 0, &raw mut bytes, null_mut()),
                argument
            );
            assert_eq!(
                keystead_log_verify(null(), 0, null(), 0, null(), null(), 0, &raw mut bytes, null_mut()),
                argument
            );
            let none = [null()];
            assert_eq!(
                keystead_log_verify(none.as_ptr(), 1, null(), 0, null(), null(), 0, &raw mut bytes, null_mut()),
                argument
            );
            let (files, of) = ([c"/".as_ptr()], c"trail".as_ptr());
            assert_eq!(
                keystead_log_verify(files.as_ptr(), 1, null(), 0, null(), of, 0, &raw mut bytes, null_mut()),
                argument
            );
        }
        assert!(client.is_null() && key.is_null() && bytes.is_null() && size == 0);

        assert_eq!(keystead_error_code(null()), KEYSTEAD_OK);
        assert_eq!(CStr::from_ptr(keystead_error_message(null())), c"");
        assert_eq!(CStr::from_ptr(keystead_error_detail(null())), c"");
        assert_eq!(keystead_error_is_retryable(null()), 0);
        assert!(keystead_bytes_data(null()).is_null());
        assert_eq!(keystead_bytes_len(null()), 0);
        keystead_client_free(null_mut());
        keystead_key_free(null_mut());
        keystead_error_free(null_mut());
        keystead_bytes_free(null_mut());
    }
}

#[test]
fn bytes_end_in_a_nul_that_is_not_counted() {
    let bytes = Handle::<keystead_bytes>::give(super::bytes::Terminated::copy_of(b"ab/1"));
    // SAFETY: alive until it is freed.
    unsafe {
        assert_eq!(keystead_bytes_len(bytes), 4);
        assert_eq!(CStr::from_ptr(keystead_bytes_data(bytes).cast()), c"ab/1");
        keystead_bytes_free(bytes);
    }
}
