//! The little of CBOR (RFC 8949) that the formats need beside constants: byte strings of definite length, the
//! length in its shortest form.

#![forbid(unsafe_code)]

/// Major type 2, RFC 8949 §3.1.
const BYTE_STRING: u8 = 2 << 5;

/// The head of a byte string of `length` bytes: an array and how much of it counts. Made in one piece: a processor waits
/// when it is to read together what was just written apart.
#[inline]
pub(super) fn head(length: usize) -> ([u8; 8], usize) {
    const FIRST: u64 = BYTE_STRING as u64;
    let l = length as u64;
    let (head, size) = match length {
        0..24 => (FIRST | l, 1),
        24..0x100 => ((FIRST | 24) << 8 | l, 2),
        0x100..0x1_0000 => ((FIRST | 25) << 16 | l, 3),
        0x1_0000..=0xffff_ffff => ((FIRST | 26) << 32 | l, 5),
        _ => unreachable!("no string of the formats reaches 4 GiB"),
    };
    ((head << (64 - 8 * size)).to_be_bytes(), size)
}

/// How many bytes [`head`] takes.
#[inline]
pub(super) const fn head_size(length: usize) -> usize {
    match length {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 5,
    }
}

/// Appends a byte string.
pub(super) fn push(out: &mut Vec<u8>, string: &[u8]) {
    let (head, size) = head(string.len());
    out.extend_from_slice(&head[..size]);
    out.extend_from_slice(string);
}

/// Takes things off the front of `rest`. `None` means: not what was expected.
pub(super) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(taken)
    }

    /// Exactly these bytes.
    pub fn expect<const N: usize>(&mut self, bytes: &[u8; N]) -> Option<()> {
        (self.array()? == bytes).then_some(())
    }

    /// A byte string whose length is below 4 GiB and in its shortest form.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// The head of such a byte string.
    pub fn length(&mut self) -> Option<usize> {
        let before = self.rest.len();
        let length = match *self.array()? {
            [first @ 0x40..=0x57] => usize::from(first - BYTE_STRING),
            [0x58] => usize::from(u8::from_be_bytes(*self.array()?)),
            [0x59] => usize::from(u16::from_be_bytes(*self.array()?)),
            [0x5a] => usize::try_from(u32::from_be_bytes(*self.array()?)).ok()?,
            _ => return None,
        };
        (before - self.rest.len() == head_size(length)).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_accepted_form() {
        for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536, 100_000] {
            let mut encoded = Vec::new();
            push(&mut encoded, &vec![7; length]);
            assert_eq!(encoded.len(), head_size(length) + length);
            let mut reader = Reader { rest: &encoded };
            assert_eq!(reader.bytes().map(<[u8]>::len), Some(length));
            assert!(reader.rest.is_empty());
        }
        let longer: [&[u8]; 4] =
            [&[0x58, 1, 7], &[0x59, 0, 1, 7], &[0x5a, 0, 0, 0, 1, 7], &[0x5b, 0, 0, 0, 0, 0, 0, 0, 1, 7]];
        for encoded in longer {
            assert_eq!(Reader { rest: encoded }.bytes(), None);
        }
        // A chunked string, a text string, a length beyond the end.
        let others: [&[u8]; 3] = [&[0x5f, 0x41, 7, 0xff], &[0x61, 7], &[0x5a, 0xff, 0xff, 0xff, 0xff, 7]];
        for encoded in others {
            assert_eq!(Reader { rest: encoded }.bytes(), None);
        }
    }
}
