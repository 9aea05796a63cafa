//! What every entry point has around its one call: panics contained, the outcome written where C expects it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::arguments::{Input, Output, missing};
use super::error::keystead_error;
use super::handle::{Handle, Opaque};
use super::status::{KEYSTEAD_OK, keystead_status};
use crate::error::{Code, Error, Result};

/// Runs `body` on the value of a handle. A panic in it becomes an error and poisons the handle.
///
/// # Safety
/// As for [`Handle::get`].
#[inline]
pub unsafe fn on_handle<C: Opaque, R>(raw: *const C, body: impl FnOnce(&C::Value) -> Result<R>) -> Result<R> {
    // SAFETY: the caller's promise is the same.
    let handle = unsafe { Handle::get(raw) }?;
    catch_unwind(AssertUnwindSafe(|| body(handle.value()))).unwrap_or_else(|payload| {
        handle.poison();
        Err(fault(payload))
    })
}

/// Runs `body`, which needs no handle. A panic in it becomes an error.
pub fn on_nothing<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    // Every handle starts with a call that has none, so this comes before any other panic.
    #[cfg(all(feature = "c-library", not(test)))]
    panics_go_to_the_log();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(fault(payload)))
}

/// Ends an entry point that gives back a status alone.
///
/// # Safety
/// `err` is NULL or valid for a write.
pub unsafe fn finish(err: *mut *mut keystead_error, body: impl FnOnce() -> Result<()>) -> keystead_status {
    // SAFETY: the caller's promise is the same.
    unsafe {
        clear(err);
        match body() {
            Ok(()) => KEYSTEAD_OK,
            Err(error) => report(error, err),
        }
    }
}

/// Ends an entry point that gives back one value by pointer: NULL or 0 unless it succeeds.
///
/// # Safety
/// `out` and `err` are NULL or valid for a write.
pub unsafe fn finish_value<T: Copy>(
    (name, out): (&'static str, *mut T),
    nothing: T,
    err: *mut *mut keystead_error,
    body: impl FnOnce() -> Result<T>,
) -> keystead_status {
    // SAFETY: the caller's promise is the same; `out` is written only where it is not NULL.
    unsafe {
        finish(err, || {
            if out.is_null() {
                return Err(missing(name));
            }
            out.write(nothing);
            out.write(body()?);
            Ok(())
        })
    }
}

/// Ends an entry point that makes a handle.
///
/// # Safety
/// As for [`finish_value`].
pub unsafe fn finish_handle<C: Opaque>(
    out: (&'static str, *mut *mut C),
    err: *mut *mut keystead_error,
    body: impl FnOnce() -> Result<C::Value>,
) -> keystead_status {
    // SAFETY: the caller's promise is the same.
    unsafe { finish_value(out, std::ptr::null_mut(), err, || body().map(Handle::give)) }
}

/// An entry point that turns `data` into what fills `out`: encryption and decryption.
///
/// This is the hot path: a handful of comparisons, no allocation, no lock.
///
/// # Safety
/// As for [`Handle::get`], [`Input::slice`] and [`Output::slice`]; `err` is NULL or valid for a write.
#[inline]
pub unsafe fn transform<C: Opaque>(
    handle: *const C,
    data: Input,
    aad: Input,
    out: Output,
    err: *mut *mut keystead_error,
    body: impl FnOnce(&C::Value, &[u8], &[u8], &mut [u8]) -> Result<usize>,
) -> keystead_status {
    // SAFETY: the caller's promise is the same; nothing but `buffer` writes to the output while it is alive.
    unsafe {
        clear(err);
        let run = || {
            let buffer = out.slice([data, aad])?;
            let (data, aad) = (data.slice()?, aad.slice()?);
            on_handle(handle, |value| body(value, data, aad, buffer))
        };
        match run() {
            Ok(filled) => {
                out.filled.write(filled);
                KEYSTEAD_OK
            }
            Err(error) => {
                out.withdraw([data, aad], error.needed().unwrap_or(0));
                report(error, err)
            }
        }
    }
}

/// # Safety
/// `err` is NULL or valid for a write.
#[inline]
unsafe fn clear(err: *mut *mut keystead_error) {
    if !err.is_null() {
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { err.write(std::ptr::null_mut()) };
    }
}

/// # Safety
/// `err` is NULL or valid for a write.
#[cold]
unsafe fn report(error: Error, err: *mut *mut keystead_error) -> keystead_status {
    let status = error.code().number();
    if !err.is_null()
        && let Ok(object) = catch_unwind(AssertUnwindSafe(|| keystead_error::from_error(&error)))
    {
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { err.write(object) };
    }
    status
}

/// Says that the library is at fault. Only a text fixed at compile time is repeated: a formatted one may quote data.
#[cold]
fn fault(payload: Box<dyn Any + Send>) -> Error {
    let what = payload.downcast_ref::<&'static str>().copied().unwrap_or("no further word");
    Error::new(Code::Internal, format!("a fault of the library stopped the call ({what}); please report it"))
}

/// Keeps panics, which become statuses, off the host's standard error. Rust programs keep their own hook: this
/// belongs to the C library, whose standard library is private to it.
#[cfg(all(feature = "c-library", not(test)))]
fn panics_go_to_the_log() {
    use std::sync::atomic::{AtomicBool, Ordering};
    // Not a Once: a child that was forked in the middle of one would wait for ever.
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("no further word");
        match info.location() {
            Some(place) => log::error!("a fault of the library at {place}: {what}"),
            None => log::error!("a fault of the library: {what}"),
        }
    }));
}
