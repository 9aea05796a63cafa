//! Streams: files and pipes of any length, in constant memory.
//!
//! A stream is a CBOR sequence (RFC 8742): a header, which is a message of no content, and segments under the header's
//! content key. What is not known before the input ends is which segment is the last, so one is always held back.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::derivation::ContentKey;
use super::held::Held;
use super::message::{self, FRONT, IV_SIZE, Parts, Recipient, hex, not_authentic};
use super::parallel::{self, Pieces};
use super::segment::{self, Head, MAX_HEAD};
use super::{KeyId, aead, identity};
use crate::error::{Code, Error, Result};
use crate::platform::ProcessStamp;

/// How many bytes of plaintext every segment but the last holds.
pub const SEGMENT: usize = segment::SEGMENT;
/// The longest associated data of a stream, in bytes: every segment authenticates them again.
pub const MAX_AAD: usize = 65_536;
/// The size of the longest header.
pub const MAX_HEADER: usize = message::size(0, message::recipients_size(identity::MAX_ID));
/// An output buffer of so many bytes more than the input has room for what one call writes, if the input has at
/// most 64 MiB.
pub const ROOM: usize = 2 * SEGMENT;

/// No segment has it: theirs end with 00 or 01.
const HEADER_IV: [u8; IV_SIZE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// Encrypts what it is given piece by piece.
///
/// Its content key is its own: it goes on to its end when the key was rotated or its client closed.
pub struct Encryptor {
    process: ProcessStamp,
    key: ContentKey,
    structure: Vec<u8>,
    /// Until it was written.
    header: Vec<u8>,
    number: u32,
    /// What is not yet in a segment.
    held: Held,
    is_over: bool,
}

impl Encryptor {
    pub(super) fn new(key: ContentKey, recipients: &[u8], aad: &[u8]) -> Result<Encryptor> {
        let mut header = vec![0; message::size(0, recipients.len())];
        let place = message::frame(&mut header, 0, &HEADER_IV, recipients);
        aead::seal(&key, &HEADER_IV, aad, b"", place)?;
        Ok(Encryptor {
            process: ProcessStamp::current(),
            key,
            structure: segment::enc_structure(&header, aad),
            header,
            number: 0,
            held: Held::default(),
            is_over: false,
        })
    }

    /// Exactly what the next [`Encryptor::update`] with `n` bytes writes; `None` if no stream is that long.
    pub fn update_size(&self, n: usize) -> Option<usize> {
        let segments = self.segments(n)?;
        segments.checked_mul(segment::size(SEGMENT))?.checked_add(self.header.len())
    }

    /// How many segments `n` more bytes complete. The last byte is never in one of them.
    fn segments(&self, n: usize) -> Option<usize> {
        let segments = self.held.size().checked_add(n)?.saturating_sub(1) / SEGMENT;
        u32::try_from(segments).ok()?.checked_add(self.number)?;
        Some(segments)
    }

    /// Takes the next bytes of the plaintext and writes what is ready of the stream to the front of `out`, which may be
    /// nothing. Returns its size.
    ///
    /// `BufferTooSmall` (with the size needed; nothing was taken), `InvalidArgument` after the end or above 2^48 bytes,
    /// `Forked`. On failure `out` is zeroed.
    pub fn update(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let outcome = self.try_update(plaintext, out);
        zeroed_on_failure(outcome, out)
    }

    fn try_update(&mut self, mut plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check()?;
        let segments = self.segments(plaintext.len()).ok_or_else(too_long)?;
        let size = self.update_size(plaintext.len()).ok_or_else(too_long)?;
        let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
        let (front, out) = out.split_at_mut(self.header.len());
        front.copy_from_slice(&self.header);
        self.header = Vec::new();
        let is_begun = segments > 0 && self.held.size() > 0;
        let (place, out) = out.split_at_mut(if is_begun { segment::size(SEGMENT) } else { 0 });
        if is_begun {
            plaintext = self.held.take(plaintext);
            self.seal_held(false, place)?;
        }
        let (contents, rest) = plaintext.split_at((segments - usize::from(is_begun)) * SEGMENT);
        plaintext = rest;
        self.seal_many(contents, out)?;
        let rest = self.held.take(plaintext);
        debug_assert!(rest.is_empty(), "what is left is at most one segment");
        Ok(size)
    }

    /// What [`Encryptor::finish`] writes.
    pub fn finish_size(&self) -> usize {
        self.header.len() + segment::size(self.held.size())
    }

    /// Writes the end of the stream to the front of `out` and returns its size. Without it the stream is incomplete,
    /// and refused.
    ///
    /// `BufferTooSmall` (with the size needed), `InvalidArgument` after the end, `Forked`. On failure `out` is zeroed.
    pub fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let outcome = self.try_finish(out);
        zeroed_on_failure(outcome, out)
    }

    fn try_finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.check()?;
        let size = self.finish_size();
        let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
        let (front, place) = out.split_at_mut(self.header.len());
        front.copy_from_slice(&self.header);
        self.seal_held(true, place)?;
        Ok(size)
    }

    /// No number is used twice: it is spent before anything can fail, and after a failure nothing more is sealed.
    fn seal_held(&mut self, is_last: bool, out: &mut [u8]) -> Result<()> {
        let iv = segment::iv(self.number, is_last);
        self.is_over = true;
        let place = segment::frame(out, self.held.size(), &iv);
        let (key, structure) = (&self.key, &self.structure);
        self.held.seal(|held| aead::seal_where_it_lies(key, &iv, structure, held, place))?;
        if !is_last {
            self.number += 1;
            self.is_over = false;
        }
        Ok(())
    }

    /// Whole segments, none of them the last. As with what is held, nothing more is sealed after a failure.
    fn seal_many(&mut self, contents: &[u8], out: &mut [u8]) -> Result<()> {
        let (contents, out) =
            (Pieces { bytes: contents, size: SEGMENT }, Pieces { bytes: out, size: segment::size(SEGMENT) });
        let (key, structure, first) = (&self.key, &self.structure, self.number);
        self.is_over = true;
        parallel::for_each(&contents, out, |number, content, place| {
            let iv = segment::iv(first + number, false);
            aead::seal_under(key, &iv, structure, content, segment::frame(place, SEGMENT, &iv))
        })?;
        self.number += (contents.bytes.len() / SEGMENT) as u32;
        self.is_over = false;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        check_process(self.process)?;
        if self.is_over { Err(over()) } else { Ok(()) }
    }
}

/// Decrypts what it is given piece by piece. Plaintext leaves it only behind a verified tag.
///
/// Until [`Decryptor::finish`] succeeds, what came out is a genuine beginning and no more than that.
pub struct Decryptor {
    process: ProcessStamp,
    id: KeyId,
    key: ContentKey,
    structure: Vec<u8>,
    header_size: usize,
    number: u32,
    /// The beginning of a segment whose end has not come yet.
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// A segment follows.
    Open,
    /// The last segment was verified.
    Complete,
    Finished,
    Failed,
}

impl Decryptor {
    /// The header must be verified, as a reader of one without any segment would otherwise not notice that it is not.
    pub(super) fn new(key: ContentKey, header: &Header<'_>, aad: &[u8]) -> Result<Decryptor> {
        aead::open(&key, &header.parts, aad, &mut [])?;
        Ok(Decryptor {
            process: ProcessStamp::current(),
            id: header.recipient.key_id()?,
            key,
            structure: segment::enc_structure(header.bytes, aad),
            header_size: header.bytes.len(),
            number: 0,
            held: Vec::with_capacity(segment::size(SEGMENT)),
            state: State::Open,
        })
    }

    /// Name and version of the key.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// How many bytes of the stream the header took. What follows them is for [`Decryptor::update`].
    pub fn header_size(&self) -> usize {
        self.header_size
    }

    /// Takes the next bytes of the stream and writes the plaintext that is now verified to the front of `out`, which
    /// may be nothing. Returns its size. `out` has room for `stream.len()` bytes and one [`SEGMENT`] more.
    ///
    /// `NotAuthentic` if anything was altered, removed, exchanged or added; no later call succeeds then. `BufferTooSmall`
    /// (with the size needed; nothing was taken), `InvalidArgument` after the end, `Forked`. On failure `out` is zeroed.
    pub fn update(&mut self, stream: &[u8], out: &mut [u8]) -> Result<usize> {
        let outcome = self.try_update(stream, out);
        if outcome.as_ref().is_err_and(|error| error.code() == Code::NotAuthentic) {
            self.state = State::Failed;
        }
        zeroed_on_failure(outcome, out)
    }

    fn try_update(&mut self, mut stream: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check()?;
        // What is held is, without what surrounds it, less than one segment of plaintext.
        let needed = stream.len().saturating_add(SEGMENT);
        if out.len() < needed {
            return Err(Error::buffer_too_small(needed));
        }
        let mut filled = 0;
        while !stream.is_empty() {
            let run = if self.held.is_empty() { self.run(stream) } else { 0 };
            if run > 1 {
                let (segments, rest) = stream.split_at(run * segment::size(SEGMENT));
                filled += self.open_many(segments, &mut out[filled..])?;
                stream = rest;
            } else if self.held.is_empty()
                && let Some(head) = self.whole(stream)?
            {
                let (segment, rest) = stream.split_at(segment::size(head.n));
                filled += self.open(segment, head, &mut out[filled..])?;
                stream = rest;
            } else {
                stream = self.hold(stream)?;
                filled += self.open_held(&mut out[filled..])?;
            }
        }
        Ok(filled)
    }

    /// How many whole segments, none of them the last, `bytes` begin with, as far as their heads tell.
    fn run(&self, bytes: &[u8]) -> usize {
        if self.state != State::Open {
            return 0;
        }
        let expected = |(number, segment): &(u32, &[u8])| {
            let number = self.number.checked_add(*number);
            number.and_then(|number| segment::head(segment, number)).is_some_and(|head| !head.is_last)
        };
        (0..).zip(bytes.chunks_exact(segment::size(SEGMENT))).take_while(expected).count()
    }

    /// Segments that [`Decryptor::run`] has counted.
    fn open_many(&mut self, segments: &[u8], out: &mut [u8]) -> Result<usize> {
        let count = segments.len() / segment::size(SEGMENT);
        let after = u32::try_from(count).ok().and_then(|count| self.number.checked_add(count));
        let this = &*self;
        let segments = Pieces { bytes: segments, size: segment::size(SEGMENT) };
        let out = Pieces { bytes: &mut out[..count * SEGMENT], size: SEGMENT };
        parallel::for_each(&segments, out, |number, segment, place| {
            let number = this.number + number;
            let (ciphertext, tag) = segment::body(segment, SEGMENT).ok_or_else(|| broken(number))?;
            let iv = segment::iv(number, false);
            match aead::open_under(&this.key, &iv, &this.structure, ciphertext, tag, place) {
                true => Ok(()),
                false => Err(broken(number)),
            }
        })?;
        self.number = after.ok_or_else(|| self.broken())?;
        Ok(count * SEGMENT)
    }

    /// The head of the segment that `bytes` begin with, if all of the segment is there.
    fn whole(&self, bytes: &[u8]) -> Result<Option<Head>> {
        let head = self.head(bytes)?;
        Ok(head.filter(|head| bytes.len() >= segment::size(head.n)))
    }

    fn head(&self, bytes: &[u8]) -> Result<Option<Head>> {
        match self.state {
            State::Open if bytes.len() < MAX_HEAD => Ok(None),
            State::Open => segment::head(bytes, self.number).map(Some).ok_or_else(|| self.broken()),
            // Something follows the last segment.
            _ => Err(self.broken()),
        }
    }

    /// Keeps what is missing of the segment that has begun, so far as is known yet, and returns what is left.
    fn hold<'a>(&mut self, stream: &'a [u8]) -> Result<&'a [u8]> {
        let wanted = self.head(&self.held)?.map_or(MAX_HEAD, |head| segment::size(head.n));
        let (now, later) = stream.split_at((wanted - self.held.len()).min(stream.len()));
        self.held.extend_from_slice(now);
        Ok(later)
    }

    fn open_held(&mut self, out: &mut [u8]) -> Result<usize> {
        let Some(head) = self.whole(&self.held)? else { return Ok(0) };
        let mut segment = std::mem::take(&mut self.held);
        let outcome = self.open(&segment, head, out);
        segment.clear();
        self.held = segment;
        outcome
    }

    fn open(&mut self, segment: &[u8], head: Head, out: &mut [u8]) -> Result<usize> {
        let (ciphertext, tag) = segment::body(segment, head.n).ok_or_else(|| self.broken())?;
        let iv = segment::iv(self.number, head.is_last);
        if !aead::open_under(&self.key, &iv, &self.structure, ciphertext, tag, &mut out[..head.n]) {
            return Err(self.broken());
        }
        match head.is_last {
            true => self.state = State::Complete,
            false => self.number = self.number.checked_add(1).ok_or_else(|| self.broken())?,
        }
        Ok(head.n)
    }

    /// To be called at the end of the input: tells whether the stream was complete.
    ///
    /// `NotAuthentic` if its end is missing, `InvalidArgument` if it was called before, `Forked`.
    pub fn finish(&mut self) -> Result<()> {
        self.check()?;
        if self.state == State::Complete {
            self.state = State::Finished;
            return Ok(());
        }
        self.state = State::Failed;
        Err(self.broken())
    }

    fn check(&self) -> Result<()> {
        check_process(self.process)?;
        match self.state {
            State::Open | State::Complete => Ok(()),
            State::Finished => Err(over()),
            State::Failed => Err(self.broken()),
        }
    }

    #[cold]
    fn broken(&self) -> Error {
        broken(self.number)
    }
}

/// One answer for every kind of tampering, and what it means for those who have used a part already.
#[cold]
fn broken(number: u32) -> Error {
    let text = format!(
        "the stream is not intact: its segment {number} is missing, altered or not the one that belongs there, or \
         something follows the last one; what was decrypted before is genuine but incomplete: discard it, and get \
         the stream again"
    );
    Error::new(Code::NotAuthentic, text)
}

/// A header in its one accepted encoding.
pub(super) struct Header<'a> {
    bytes: &'a [u8],
    parts: Parts<'a>,
    pub recipient: Recipient<'a>,
}

/// Takes the header apart that `start` begins with.
pub(super) fn parse(start: &[u8]) -> Result<Header<'_>> {
    header(start).ok_or_else(not_authentic)
}

fn header(start: &[u8]) -> Option<Header<'_>> {
    let parts = message::parts(start)?;
    let (recipient, rest) = message::recipient(parts.recipients)?;
    let bytes = &start[..start.len() - rest.len()];
    (*parts.iv == HEADER_IV && parts.ciphertext.is_empty()).then_some(Header { bytes, parts, recipient })
}

/// Whether this is the beginning of a stream rather than a message. No message has the IV of a header.
pub fn is_stream(start: &[u8]) -> bool {
    start.strip_prefix(&FRONT).is_some_and(|rest| rest.starts_with(&HEADER_IV))
}

/// The name and version of the key that the stream beginning with `start` says it needs.
pub fn key_id(start: &[u8]) -> Result<KeyId> {
    parse(start)?.recipient.key_id()
}

/// What a stream says of itself; no key needed.
#[derive(Debug, Serialize)]
pub struct Inspection {
    pub kind: &'static str,
    pub key: String,
    pub algorithm: &'static str,
    pub key_derivation: &'static str,
    pub size: u64,
    pub segments: u64,
    pub plaintext_size: u64,
    pub salt: String,
    pub key_commitment: String,
}

/// Tells what the header of a stream of `size` bytes says, and what its size makes of it. Nothing of it is verified:
/// that takes the key. `NotAuthentic` also if no stream has this size.
pub fn inspect(start: &[u8], size: u64) -> Result<Inspection> {
    let Header { bytes, recipient, .. } = parse(start)?;
    let sizes = size.checked_sub(bytes.len() as u64).and_then(content).ok_or_else(not_authentic);
    let (segments, plaintext_size) = sizes?;
    Ok(Inspection {
        kind: "stream",
        key: recipient.key_id()?.to_string(),
        algorithm: "A256GCM",
        key_derivation: "direct+HKDF-SHA-256",
        size,
        segments,
        plaintext_size,
        salt: hex(recipient.salt),
        key_commitment: hex(recipient.commitment),
    })
}

/// How many segments fill `size` bytes, and how many bytes of plaintext they hold.
fn content(size: u64) -> Option<(u64, u64)> {
    let whole = segment::size(SEGMENT) as u64;
    let before = size.checked_sub(1)? / whole;
    let last = usize::try_from(size - before * whole).ok()?;
    // Each step of the head's length leaves sizes that no segment has.
    let n =
        (1..=5).find_map(|head| last.checked_sub(segment::size(0) - 1 + head).filter(|&n| segment::size(n) == last))?;
    (n > 0 || before == 0).then_some((before + 1, before * SEGMENT as u64 + n as u64))
}

pub(super) fn check_aad(aad: &[u8]) -> Result<()> {
    if aad.len() <= MAX_AAD {
        return Ok(());
    }
    let text = format!("associated data of {} bytes are too long for a stream, which takes {MAX_AAD}", aad.len());
    Err(Error::new(Code::InvalidArgument, text))
}

fn zeroed_on_failure(outcome: Result<usize>, out: &mut [u8]) -> Result<usize> {
    if outcome.is_err() {
        out.fill(0);
    }
    outcome
}

/// A child has none of its parent's locked memory: its pages fault when touched.
fn check_process(process: ProcessStamp) -> Result<()> {
    if process.is_current() {
        return Ok(());
    }
    Err(Error::new(Code::Forked, "this stream was begun before a fork; the process that began it goes on with it"))
}

#[cold]
fn over() -> Error {
    Error::new(Code::InvalidArgument, "this stream is over; begin another one")
}

#[cold]
fn too_long() -> Error {
    Error::new(Code::InvalidArgument, "a stream holds at most 2^48 bytes; begin another one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_stream_tells_its_segments_and_plaintext() {
        for n in [0, 1, 7, 8, 239, 240, 65_519, 65_520, SEGMENT] {
            assert_eq!(content(segment::size(n) as u64), Some((1, n as u64)), "{n}");
            let behind_two = (2 * segment::size(SEGMENT) + segment::size(n)) as u64;
            let expected = (n > 0).then_some((3, (2 * SEGMENT + n) as u64));
            assert_eq!(content(behind_two), expected, "{n}");
        }
        for size in [0, 1, segment::size(0) - 1, segment::size(SEGMENT) + 1, segment::size(7) + 1] {
            assert_eq!(content(size as u64), None, "{size}");
        }
    }

    #[test]
    fn the_last_number_is_for_the_last_segment() {
        let key = crate::envelope::Key::new(
            KeyId::new("a", 1).unwrap(),
            crate::memory::slot::Slot::copy_of(&[7; 32]).unwrap(),
        );
        let mut encryptor = key.encrypt_stream(b"").unwrap();
        encryptor.number = u32::MAX - 1;
        assert_eq!(encryptor.update_size(2 * SEGMENT + 1), None);
        let mut out = vec![0xaa; 4 * SEGMENT];
        let error = encryptor.update(&vec![0; 2 * SEGMENT + 1], &mut out).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        encryptor.update(&vec![0; 2 * SEGMENT], &mut out).unwrap();
        encryptor.finish(&mut out).unwrap();
        assert_eq!(encryptor.number, u32::MAX);
    }
}
