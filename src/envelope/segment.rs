//! The bytes of a segment: a COSE_Encrypt0 object (RFC 9052 §5.2) in its one accepted encoding.

#![forbid(unsafe_code)]

use ring::digest::{SHA256, digest};

use super::cbor::{self, Reader};
use super::message::{IV_SIZE, TAG_SIZE};

/// How many bytes of plaintext every segment but the last holds.
pub(super) const SEGMENT: usize = 65_536;

/// Tag 16, an array of three, protected {alg: A256GCM}, unprotected {IV: 12 bytes}.
const FRONT: [u8; 9] = [0xd0, 0x83, 0x43, 0xa1, 0x01, 0x03, 0xa1, 0x05, 0x4c];
/// Where the ciphertext's head begins.
const HEAD_AT: usize = FRONT.len() + IV_SIZE;

/// So many bytes always tell how long a segment is, and no segment is shorter.
pub(super) const MAX_HEAD: usize = HEAD_AT + 5;

/// The size of a segment of `n` bytes of plaintext.
pub(super) const fn size(n: usize) -> usize {
    HEAD_AT + cbor::head_size(n + TAG_SIZE) + n + TAG_SIZE
}

/// It follows from the place of the segment, so that none can be moved, left out or added behind the last.
/// The header's differs from all of them in its last byte.
pub(super) fn iv(number: u32, is_last: bool) -> [u8; IV_SIZE] {
    let mut iv = [0; IV_SIZE];
    iv[7..11].copy_from_slice(&number.to_be_bytes());
    iv[11] = u8::from(is_last);
    iv
}

/// ["Encrypt0", protected {alg: A256GCM}, external_aad] with external_aad = ["keystead/seg/1", SHA-256(header), aad].
/// It is the same for all segments of a stream, and binds them to its header.
pub(super) fn enc_structure(header: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut external = b"\x83\x6ekeystead/seg/1".to_vec();
    cbor::push(&mut external, digest(&SHA256, header).as_ref());
    cbor::push(&mut external, aad);
    let mut structure = b"\x83\x68Encrypt0\x43\xa1\x01\x03".to_vec();
    cbor::push(&mut structure, &external);
    structure
}

/// Writes everything around the ciphertext of `n` bytes plus tag. `out` has exactly the segment's size.
/// Returns where ciphertext and tag belong.
pub(super) fn frame<'a>(out: &'a mut [u8], n: usize, iv: &[u8; IV_SIZE]) -> &'a mut [u8] {
    let (head, head_size) = cbor::head(n + TAG_SIZE);
    let (front, rest) = out.split_at_mut(HEAD_AT);
    front[..FRONT.len()].copy_from_slice(&FRONT);
    front[FRONT.len()..].copy_from_slice(iv);
    let (place, ciphertext) = rest.split_at_mut(head_size);
    place.copy_from_slice(&head[..head_size]);
    ciphertext
}

/// What a segment's first [`MAX_HEAD`] bytes tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Head {
    pub is_last: bool,
    /// How many bytes of plaintext it holds.
    pub n: usize,
}

/// Reads the head of segment `number` of a stream; `None` if what is there cannot be that segment.
pub(super) fn head(bytes: &[u8], number: u32) -> Option<Head> {
    let mut reader = Reader { rest: bytes };
    reader.expect(&FRONT)?;
    let found = reader.array::<IV_SIZE>()?;
    let is_last = *found == iv(number, true);
    let n = reader.length()?.checked_sub(TAG_SIZE)?;
    let is_valid = match is_last {
        true => n <= SEGMENT && (n > 0 || number == 0),
        false => n == SEGMENT && *found == iv(number, false),
    };
    is_valid.then_some(Head { is_last, n })
}

/// Takes apart a whole segment of `n` bytes of plaintext, whose head was read.
pub(super) fn body(segment: &[u8], n: usize) -> Option<(&[u8], &[u8; TAG_SIZE])> {
    segment[size(n) - n - TAG_SIZE..].split_last_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(n: usize, number: u32, is_last: bool) -> Vec<u8> {
        let mut out = vec![0; size(n)];
        assert_eq!(frame(&mut out, n, &iv(number, is_last)).len(), n + TAG_SIZE);
        out
    }

    #[test]
    fn a_head_tells_the_size_of_what_was_written() {
        for n in [1, 7, 8, 239, 240, 65_519, 65_520, SEGMENT] {
            for number in [0, 1, u32::MAX] {
                let segment = written(n, number, true);
                assert_eq!(head(&segment[..MAX_HEAD], number), Some(Head { is_last: true, n }));
                let (ciphertext, _) = body(&segment, n).unwrap();
                assert_eq!(ciphertext.len(), n);
            }
        }
        assert_eq!(head(&written(SEGMENT, 5, false), 5), Some(Head { is_last: false, n: SEGMENT }));
        assert_eq!(head(&written(0, 0, true), 0), Some(Head { is_last: true, n: 0 }));
        assert!(size(0) >= MAX_HEAD);
    }

    #[test]
    fn a_segment_of_another_place_or_length_is_refused() {
        let middle = written(SEGMENT, 5, false);
        assert_eq!((head(&middle, 4), head(&middle, 6)), (None, None));
        for n in [0, 1, SEGMENT - 1, SEGMENT + 1] {
            assert_eq!(head(&written(n, 5, false), 5), None, "{n}");
        }
        assert_eq!(head(&written(0, 5, true), 5), None, "only an empty stream has an empty segment");
        assert_eq!(head(&written(SEGMENT + 1, 5, true), 5), None);
        assert_eq!(head(&middle[..MAX_HEAD - 1], 5), None);
    }
}
