//! TTLV, the encoding of KMIP (KMIP 1.4 §9.1): tag, type, length, value padded to eight bytes.
//!
//! The reader borrows from the reply and trusts nothing: [`Reader::message`] checks every length, type,
//! padding and the depth of the whole tree once, before any value is looked at. What it does not know it
//! skips. The writer fills a wiped buffer of fixed capacity, so that no copy of a password is left behind.

#![forbid(unsafe_code)]

use zeroize::{Zeroize, Zeroizing};

use super::tags::Tag;
use crate::error::{Code, Error};

/// How deep structures may nest. The deepest reply of KMIP 1.4 needs fewer than ten levels.
pub const MAX_DEPTH: usize = 32;

/// The bytes of tag, type and length.
pub const HEADER: usize = 8;

/// The type of a value (KMIP 1.4 §9.1.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Structure = 1,
    Integer = 2,
    LongInteger = 3,
    BigInteger = 4,
    Enumeration = 5,
    Boolean = 6,
    TextString = 7,
    ByteString = 8,
    DateTime = 9,
    Interval = 10,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::*;
        let all = [
            Structure,
            Integer,
            LongInteger,
            BigInteger,
            Enumeration,
            Boolean,
            TextString,
            ByteString,
            DateTime,
            Interval,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether a value of this type may be `length` bytes long.
    fn admits(self, length: usize) -> bool {
        match self {
            Kind::Integer | Kind::Enumeration | Kind::Interval => length == 4,
            Kind::LongInteger | Kind::Boolean | Kind::DateTime => length == 8,
            Kind::Structure | Kind::BigInteger => length.is_multiple_of(8),
            Kind::TextString | Kind::ByteString => true,
        }
    }
}

/// Why bytes are not the TTLV that was expected. Names positions and tags, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl Malformed {
    pub fn new(what: impl Into<String>) -> Malformed {
        Malformed(what.into())
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Error {
        Error::new(Code::ReplyMalformed, malformed.0)
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// One tag with its value, borrowed from the message.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    tag: Tag,
    kind: Kind,
    value: &'a [u8],
}

impl<'a> Item<'a> {
    pub fn tag(&self) -> Tag {
        self.tag
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes of its value, without padding.
    pub fn length(&self) -> usize {
        self.value.len()
    }

    pub fn structure(&self) -> Result<Reader<'a>> {
        self.expect(Kind::Structure).map(|rest| Reader { rest })
    }

    pub fn integer(&self) -> Result<i32> {
        self.expect(Kind::Integer).map(|value| i32::from_be_bytes(sized(value)))
    }

    /// The number of an enumeration, whether or not we know a name for it.
    pub fn enumeration(&self) -> Result<u32> {
        self.expect(Kind::Enumeration).map(|value| u32::from_be_bytes(sized(value)))
    }

    pub fn boolean(&self) -> Result<bool> {
        self.expect(Kind::Boolean).map(|value| u64::from_be_bytes(sized(value)) == 1)
    }

    pub fn text(&self) -> Result<&'a str> {
        let value = self.expect(Kind::TextString)?;
        std::str::from_utf8(value).map_err(|_| Malformed(format!("the text of tag {:06X} is not UTF-8", self.tag)))
    }

    pub fn bytes(&self) -> Result<&'a [u8]> {
        self.expect(Kind::ByteString)
    }

    /// Seconds since 1970.
    pub fn date_time(&self) -> Result<i64> {
        self.expect(Kind::DateTime).map(|value| i64::from_be_bytes(sized(value)))
    }

    fn expect(&self, kind: Kind) -> Result<&'a [u8]> {
        if self.kind == kind {
            return Ok(self.value);
        }
        Err(Malformed(format!("tag {:06X} holds a {:?} where a {kind:?} belongs", self.tag, self.kind)))
    }
}

/// A value whose length was checked when its header was read.
fn sized<const N: usize>(value: &[u8]) -> [u8; N] {
    value.try_into().expect("the length was checked against the type")
}

/// The items of one structure, in order. Copying it starts over.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the whole tree and returns the one structure it must consist of.
    pub fn message(bytes: &'a [u8], tag: Tag) -> Result<Reader<'a>> {
        let mut outer = Reader { rest: bytes };
        let Some(item) = outer.next()? else { return Err(Malformed::new("the message is empty")) };
        if item.tag != tag {
            return Err(Malformed(format!("the message starts with tag {:06X} instead of {tag:06X}", item.tag)));
        }
        if !outer.rest.is_empty() {
            return Err(Malformed(format!("{} bytes follow the message", outer.rest.len())));
        }
        let message = item.structure()?;
        message.check(1)?;
        Ok(message)
    }

    /// A structure without items.
    pub fn empty() -> Reader<'a> {
        Reader { rest: &[] }
    }

    /// The next item, or `None` at the end of the structure.
    #[allow(clippy::should_implement_trait)] // Fallible, and a Copy iterator would surprise.
    pub fn next(&mut self) -> Result<Option<Item<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (item, rest) = split(self.rest)?;
        self.rest = rest;
        Ok(Some(item))
    }

    /// The item with this tag. Of two nobody can say which one is meant.
    pub fn find(self, tag: Tag) -> Result<Option<Item<'a>>> {
        let mut items = self.all(tag);
        let found = items.next().transpose()?;
        match items.next() {
            None => Ok(found),
            Some(_) => Err(Malformed(format!("tag {tag:06X} is there twice"))),
        }
    }

    /// The item with this tag, which must be there.
    pub fn require(self, tag: Tag) -> Result<Item<'a>> {
        self.find(tag)?.ok_or_else(|| Malformed(format!("tag {tag:06X} is missing")))
    }

    /// Every item with this tag.
    pub fn all(mut self, tag: Tag) -> impl Iterator<Item = Result<Item<'a>>> {
        std::iter::from_fn(move || self.next().transpose()).filter(move |item| match item {
            Ok(item) => item.tag == tag,
            Err(_) => true,
        })
    }

    fn check(mut self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Malformed(format!("structures nest deeper than {MAX_DEPTH} levels")));
        }
        while let Some(item) = self.next()? {
            if item.kind == Kind::Structure {
                item.structure()?.check(depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Takes one item off the front, checking everything but what is inside a structure.
fn split(bytes: &[u8]) -> Result<(Item<'_>, &[u8])> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Malformed(format!("{} bytes are too few for a tag, type and length", bytes.len())));
    };
    let tag = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let kind = Kind::of(header[3])
        .ok_or_else(|| Malformed(format!("tag {tag:06X} has type {:02X}, which does not exist", header[3])))?;
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if !kind.admits(length) {
        return Err(Malformed(format!("a {kind:?} (tag {tag:06X}) cannot have length {length}")));
    }
    // A length near 2^32 must not wrap where usize has 32 bits.
    let padded = length.checked_next_multiple_of(8).filter(|padded| *padded <= rest.len());
    let Some(padded) = padded else {
        return Err(Malformed(format!("tag {tag:06X} claims {length} bytes where {} are left", rest.len())));
    };
    let (value, padding) = rest[..padded].split_at(length);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Malformed(format!("the padding of tag {tag:06X} is not zero")));
    }
    if kind == Kind::Boolean && u64::from_be_bytes(sized(value)) > 1 {
        return Err(Malformed(format!("the Boolean of tag {tag:06X} is neither 0 nor 1")));
    }
    Ok((Item { tag, kind, value }, &rest[padded..]))
}

/// Builds a message in a buffer that never grows and is wiped when cleared or dropped.
pub struct Writer {
    buffer: Zeroizing<Vec<u8>>,
    overflowed: bool,
}

impl Writer {
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { buffer: Zeroizing::new(Vec::with_capacity(capacity)), overflowed: false }
    }

    /// Wipes what was written.
    pub fn clear(&mut self) {
        self.buffer.zeroize();
        self.overflowed = false;
    }

    /// What was written, unless it did not fit.
    pub fn written(&self) -> crate::error::Result<&[u8]> {
        if self.overflowed {
            let capacity = self.buffer.capacity();
            let message = format!("the request to the key server exceeds {capacity} bytes; use shorter names");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        Ok(&self.buffer)
    }

    /// A structure with what `fill` writes inside.
    pub fn structure(&mut self, tag: Tag, fill: impl FnOnce(&mut Writer)) {
        self.header(tag, Kind::Structure, 0);
        let start = self.buffer.len();
        fill(self);
        if !self.overflowed {
            let length = (self.buffer.len() - start) as u32;
            self.buffer[start - 4..start].copy_from_slice(&length.to_be_bytes());
        }
    }

    pub fn integer(&mut self, tag: Tag, value: i32) {
        self.primitive(tag, Kind::Integer, &value.to_be_bytes());
    }

    pub fn enumeration(&mut self, tag: Tag, value: u32) {
        self.primitive(tag, Kind::Enumeration, &value.to_be_bytes());
    }

    pub fn boolean(&mut self, tag: Tag, value: bool) {
        self.primitive(tag, Kind::Boolean, &u64::from(value).to_be_bytes());
    }

    /// Seconds since 1970.
    pub fn date_time(&mut self, tag: Tag, value: i64) {
        self.primitive(tag, Kind::DateTime, &value.to_be_bytes());
    }

    pub fn text(&mut self, tag: Tag, value: &str) {
        self.primitive(tag, Kind::TextString, value.as_bytes());
    }

    pub fn bytes(&mut self, tag: Tag, value: &[u8]) {
        self.primitive(tag, Kind::ByteString, value);
    }

    fn primitive(&mut self, tag: Tag, kind: Kind, value: &[u8]) {
        self.header(tag, kind, value.len());
        self.push(value);
        self.push(&[0; 7][..value.len().next_multiple_of(8) - value.len()]);
    }

    fn header(&mut self, tag: Tag, kind: Kind, length: usize) {
        let [_, a, b, c] = tag.to_be_bytes();
        let [w, x, y, z] = (length as u32).to_be_bytes();
        self.push(&[a, b, c, kind as u8, w, x, y, z]);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.overflowed || bytes.len() > self.buffer.capacity() - self.buffer.len() {
            self.overflowed = true;
            return;
        }
        self.buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
