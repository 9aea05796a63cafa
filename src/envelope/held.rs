//! The plaintext of a stream that is in no segment yet.

#![forbid(unsafe_code)]

use zeroize::Zeroize;

use super::segment::SEGMENT;
use crate::error::Result;
use crate::memory::copy::append;

/// At most one segment's worth. Wiped if it ends before it was sealed.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Takes what there is room for, and returns what is left.
    pub fn take<'a>(&mut self, plaintext: &'a [u8]) -> &'a [u8] {
        let room = SEGMENT - self.size();
        let (now, later) = plaintext.split_at(plaintext.len().min(room));
        // All at once, so that it never moves and leaves a copy behind.
        self.0.reserve_exact(room);
        append(now, &mut self.0);
        later
    }

    /// Has what is held encrypted where it lies. After a failure it is held still.
    pub fn seal(&mut self, seal: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        seal(&mut self.0)?;
        self.0.clear();
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};

    #[test]
    fn what_is_sealed_is_held_no_more_and_what_could_not_be_sealed_still_is() {
        let mut held = Held::default();
        assert_eq!(held.take(b"two "), b"");
        assert_eq!(held.take(b"pieces"), b"");
        let failed = held.seal(|_| Err(Error::new(Code::Internal, "no")));
        assert!(failed.is_err() && held.size() == 10);
        held.seal(|bytes| {
            assert_eq!(bytes, b"two pieces");
            Ok(())
        })
        .unwrap();
        assert_eq!(held.size(), 0);
    }

    #[test]
    fn no_more_than_one_segment_is_taken() {
        let mut held = Held::default();
        let plaintext = vec![1; SEGMENT + 5];
        assert_eq!(held.take(&plaintext).len(), 5);
        let place = held.0.as_ptr();
        assert_eq!((held.size(), held.take(b"x"), held.0.as_ptr()), (SEGMENT, &b"x"[..], place));
    }
}
