//! Pointers and lengths from C, checked before they become slices and strings.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Code, Error, Result};

/// Bytes to read: `start[0..len]`.
#[derive(Clone, Copy)]
pub struct Input {
    /// What the header calls it.
    pub name: &'static str,
    pub start: *const u8,
    pub len: usize,
}

impl Input {
    /// # Safety
    /// Unless NULL, `start` is valid for reads of `len` bytes that nobody writes during `'a`.
    #[inline]
    pub unsafe fn slice<'a>(self) -> Result<&'a [u8]> {
        if self.len == 0 {
            return Ok(&[]);
        }
        check_range(self.name, self.start, self.len)?;
        // SAFETY: not NULL, not longer than isize::MAX, and the caller vouches for the bytes.
        Ok(unsafe { std::slice::from_raw_parts(self.start, self.len) })
    }
}

/// A buffer to fill: `start[0..capacity]`, and where to say how much of it was filled.
#[derive(Clone, Copy)]
pub struct Output {
    pub start: *mut u8,
    pub capacity: usize,
    pub filled: *mut usize,
}

impl Output {
    /// The buffer, if it shares no byte with `inputs`: a slice that is written must not alias one that is read.
    ///
    /// # Safety
    /// Unless NULL, `start` is valid for reads and writes of `capacity` bytes that nobody else uses during `'a`.
    #[inline(always)] // on the hot path with two inputs, which leaves four comparisons of it
    pub unsafe fn slice<'a>(self, inputs: impl IntoIterator<Item = Input>) -> Result<&'a mut [u8]> {
        if self.filled.is_null() {
            return Err(missing("out_len"));
        }
        if self.capacity == 0 {
            return Ok(&mut []);
        }
        check_range("out", self.start, self.capacity)?;
        for input in inputs {
            if self.overlaps(input) {
                return Err(overlapping(input.name));
            }
        }
        // SAFETY: not NULL, not longer than isize::MAX, no shared byte, and the caller vouches for the buffer.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start, self.capacity) })
    }

    /// After a failure: zeroes the buffer and says how many bytes would have been `needed`, if that was the reason.
    ///
    /// # Safety
    /// As for [`Output::slice`]; `filled` is NULL or valid for a write.
    #[cold]
    pub unsafe fn withdraw(self, inputs: impl IntoIterator<Item = Input>, needed: usize) {
        let usable = self.capacity > 0 && check_range("out", self.start, self.capacity).is_ok();
        // Zeroing what overlaps would destroy the caller's input.
        if usable && !inputs.into_iter().any(|input| self.overlaps(input)) {
            // SAFETY: the caller vouches for the buffer.
            unsafe { self.start.write_bytes(0, self.capacity) };
        }
        if !self.filled.is_null() {
            // SAFETY: not NULL, and the caller vouches for it.
            unsafe { self.filled.write(needed) };
        }
    }

    #[inline]
    fn overlaps(self, input: Input) -> bool {
        let (out, read) = (self.start.addr(), input.start.addr());
        out < read.saturating_add(input.len) && read < out.saturating_add(self.capacity)
    }
}

/// A NUL-terminated argument in UTF-8.
///
/// # Safety
/// `start` is NULL or points to a string that ends in NUL and does not change during `'a`.
pub unsafe fn text<'a>(name: &'static str, start: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise is the same.
    unsafe { c_string(name, start) }?
        .to_str()
        .map_err(|_| Error::new(Code::InvalidArgument, format!("the argument {name} is not valid UTF-8")))
}

/// A NUL-terminated path, in whatever encoding the file system has.
///
/// # Safety
/// As for [`text`].
pub unsafe fn path<'a>(name: &'static str, start: *const c_char) -> Result<&'a Path> {
    // SAFETY: the caller's promise is the same.
    let path = unsafe { c_string(name, start) }?;
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

unsafe fn c_string<'a>(name: &'static str, start: *const c_char) -> Result<&'a CStr> {
    if start.is_null() {
        return Err(missing(name));
    }
    // SAFETY: not NULL, and the caller vouches for the NUL at its end.
    Ok(unsafe { CStr::from_ptr(start) })
}

#[inline]
fn check_range(name: &'static str, start: *const u8, len: usize) -> Result<()> {
    if start.is_null() {
        return Err(missing(name));
    }
    // No object is larger, and a negative number that was cast to size_t ends here.
    if len > isize::MAX as usize {
        return Err(too_long(name, len));
    }
    Ok(())
}

#[cold]
pub fn missing(name: &'static str) -> Error {
    Error::new(Code::InvalidArgument, format!("the argument {name} is NULL"))
}

#[cold]
fn too_long(name: &'static str, len: usize) -> Error {
    Error::new(Code::InvalidArgument, format!("the argument {name} cannot hold {len} bytes; was the length negative?"))
}

#[cold]
fn overlapping(name: &'static str) -> Error {
    Error::new(Code::InvalidArgument, format!("the buffer out overlaps {name}; give the output memory of its own"))
}
