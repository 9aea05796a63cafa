//! What stands behind every opaque pointer of the header.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Code, Error, Result};
use crate::platform::ProcessStamp;

/// An opaque type of the header. It is never made: its pointers point to a [`Handle`].
pub trait Opaque: Sized {
    /// The type's name in C.
    const NAME: &'static str;
    /// Eight bytes that say which type a pointer points to.
    const KIND: [u8; 8];
    /// What the handle holds.
    type Value: Send + Sync;
}

/// A value with what is checked before it is touched.
///
/// It lives in ordinary memory: the locked memory of keys is taken away from a forked child, so a stamp kept
/// there would fault when it is read.
#[repr(C)] // the kind word is first in every handle, whatever type a wrong pointer is taken for
pub struct Handle<C: Opaque> {
    kind: AtomicU64,
    stamp: ProcessStamp,
    poisoned: AtomicBool,
    value: C::Value,
}

impl<C: Opaque> Handle<C> {
    const KIND: u64 = u64::from_ne_bytes(C::KIND);

    /// Gives a value to C, which owns it until it calls `_free`.
    pub fn give(value: C::Value) -> *mut C {
        let handle = Handle::<C> {
            kind: AtomicU64::new(Self::KIND),
            stamp: ProcessStamp::current(),
            poisoned: AtomicBool::new(false),
            value,
        };
        Box::into_raw(Box::new(handle)).cast()
    }

    /// The handle behind `raw` if it is alive and of this type, in whatever process it was made.
    ///
    /// # Safety
    /// `raw` is NULL or came from [`Handle::give`] and outlives `'a`. A freed pointer is mostly recognised by its
    /// cleared kind word, which is a help in finding mistakes, not a promise.
    #[inline]
    pub unsafe fn peek<'a>(raw: *const C) -> Option<&'a Handle<C>> {
        if raw.is_null() || !raw.cast::<Handle<C>>().is_aligned() {
            return None;
        }
        // SAFETY: aligned and not NULL; every handle of every type starts with its kind word.
        let kind = unsafe { &*raw.cast::<AtomicU64>() };
        if kind.load(Ordering::Acquire) != Self::KIND {
            return None;
        }
        // SAFETY: the kind word says that `give` made it with this type; the caller keeps it alive.
        Some(unsafe { &*raw.cast::<Handle<C>>() })
    }

    /// The handle behind `raw` if it may be used: alive, of this type, of this process, and not poisoned.
    ///
    /// # Safety
    /// As for [`Handle::peek`].
    #[inline]
    pub unsafe fn get<'a>(raw: *const C) -> Result<&'a Handle<C>> {
        // SAFETY: the caller's promise is the same.
        let Some(handle) = (unsafe { Self::peek(raw) }) else {
            return Err(not_a_handle::<C>());
        };
        if !handle.stamp.is_current() {
            return Err(forked::<C>());
        }
        if handle.poisoned.load(Ordering::Relaxed) {
            return Err(poisoned::<C>());
        }
        Ok(handle)
    }

    #[inline]
    pub fn value(&self) -> &C::Value {
        &self.value
    }

    /// Makes every later [`Handle::get`] fail: a panic may have left the value half changed.
    #[cold]
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    /// Takes a handle back from C and drops its value. Does nothing for NULL or another type.
    ///
    /// In a forked child the value is left where it is: its locks may have been held, its slots are gone and its
    /// sockets are the parent's.
    ///
    /// # Safety
    /// As for [`Handle::peek`], and nobody uses `raw` during or after the call.
    pub unsafe fn free(raw: *mut C) {
        // SAFETY: the caller's promise is the same.
        let Some(handle) = (unsafe { Self::peek(raw) }) else { return };
        let was_alive = handle.kind.compare_exchange(Self::KIND, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if was_alive && handle.stamp.is_current() {
            // SAFETY: `give` made it with Box, and the exchange above lets one caller pass.
            let owned = unsafe { Box::from_raw(raw.cast::<Handle<C>>()) };
            // A destructor that panics has nobody to tell; the host goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
        }
    }
}

#[cold]
fn not_a_handle<C: Opaque>() -> Error {
    let name = C::NAME;
    Error::new(
        Code::InvalidHandle,
        format!("the {name} pointer is NULL, freed, or points to something else; pass one that is alive"),
    )
}

#[cold]
fn forked<C: Opaque>() -> Error {
    let name = C::NAME;
    Error::new(
        Code::Forked,
        format!(
            "this {name} was made before the process forked, and a child holds no keys; open a client in the child"
        ),
    )
}

#[cold]
fn poisoned<C: Opaque>() -> Error {
    let name = C::NAME;
    Error::new(
        Code::Internal,
        format!("an earlier call on this {name} hit a fault of the library; free it and make another"),
    )
}
