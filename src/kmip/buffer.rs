//! A byte queue that leaves nothing behind.

#![forbid(unsafe_code)]

use zeroize::{Zeroize, Zeroizing};

/// Bytes that arrive at the back and leave at the front. What left is wiped at once; growing moves to a
/// fresh allocation and wipes the old one.
pub struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
    limit: usize,
}

/// The buffer would exceed its limit.
#[derive(Debug)]
pub struct Full;

impl Buffer {
    /// A buffer that starts with `capacity` bytes and never holds more than `limit`.
    pub fn new(capacity: usize, limit: usize) -> Buffer {
        Buffer { bytes: Zeroizing::new(vec![0; capacity]), filled: 0, limit }
    }

    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    /// Room for at least `wanted` more bytes. Follow it with `advance`.
    pub fn spare(&mut self, wanted: usize) -> Result<&mut [u8], Full> {
        let needed = self.filled.checked_add(wanted).filter(|needed| *needed <= self.limit).ok_or(Full)?;
        if needed > self.bytes.len() {
            self.resize(needed.next_power_of_two().min(self.limit));
        }
        Ok(&mut self.bytes[self.filled..])
    }

    /// The first `count` bytes of the spare room were filled.
    pub fn advance(&mut self, count: usize) {
        self.filled += count;
        debug_assert!(self.filled <= self.bytes.len());
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.spare(bytes.len())?[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// Removes and wipes `count` bytes at the front.
    pub fn discard(&mut self, count: usize) {
        if count > 0 {
            self.bytes.copy_within(count..self.filled, 0);
            self.bytes[self.filled - count..self.filled].zeroize();
            self.filled -= count;
        }
    }

    /// Removes and wipes everything.
    pub fn clear(&mut self) {
        self.discard(self.filled);
    }

    /// Gives memory back that a rare large content needed.
    pub fn shrink_to(&mut self, capacity: usize) {
        if self.bytes.len() > capacity && self.filled <= capacity {
            self.resize(capacity);
        }
    }

    fn resize(&mut self, capacity: usize) {
        let mut fresh = Zeroizing::new(vec![0; capacity]);
        fresh[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
        self.bytes = fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_is_wiped() {
        let mut buffer = Buffer::new(8, 16);
        buffer.append(b"secret").unwrap();
        buffer.discard(4);
        assert_eq!(buffer.filled(), b"et");
        assert_eq!(buffer.bytes[2..], [0; 6]);
        buffer.clear();
        assert_eq!(buffer.bytes[..], [0; 8]);
    }

    #[test]
    fn it_grows_to_its_limit_and_not_beyond() {
        let mut buffer = Buffer::new(4, 10);
        buffer.append(b"12345678").unwrap();
        assert!(buffer.append(b"123").is_err());
        assert!(buffer.spare(usize::MAX).is_err());
        buffer.append(b"90").unwrap();
        assert_eq!(buffer.filled(), b"1234567890");
        buffer.clear();
        buffer.shrink_to(4);
        assert_eq!(buffer.bytes.len(), 4);
    }
}
