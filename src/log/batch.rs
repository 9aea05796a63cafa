//! Records that wait, side by side in a few long buffers that are used again and again: putting one in allocates nothing.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::time::Moment;
use super::{Level, Record, Severity, text};
use crate::memory::copy::{copy, fetch_line};

/// So many records wait at most, and so many bytes of their values.
const MAX_RECORDS: usize = 8192;
const MAX_TEXT: usize = 8 << 20;

/// So far ahead, in bytes, memory is fetched that the thread that writes had last.
const AHEAD: usize = 512;

/// So many shapes are kept from one use of a batch to the next.
const MAX_SHAPES: usize = 256;

/// A field of a record.
pub(crate) type Field<'a> = (&'static str, Cow<'a, str>);

/// Records in the order they came.
#[derive(Default)]
pub(crate) struct Batch {
    /// The values of all fields, and room for more behind `used`.
    text: Vec<u8>,
    used: usize,
    /// Where in `text` each value ends.
    ends: Vec<u32>,
    entries: Vec<Entry>,
    shapes: Vec<Shape>,
    /// The shape of the last record, which the next one probably has.
    last: usize,
}

/// What all records of one call in the source have in common.
struct Shape {
    event: &'static str,
    severity: Severity,
    names: Vec<&'static str>,
}

#[derive(Clone, Copy)]
struct Entry {
    moment: Moment,
    shape: u32,
    /// How many fields there are up to its last.
    fields: u32,
}

impl Batch {
    /// Puts a record in. Values are cut here: whoever logs a mebibyte does not pay for it.
    #[inline]
    pub fn push<'a>(
        &mut self,
        moment: Moment,
        event: &'static str,
        severity: Severity,
        fields: impl Iterator<Item = (&'static str, &'a str)> + Clone,
    ) {
        for (_, value) in fields.clone() {
            if value.len() <= text::MAX_VALUE {
                self.put(value);
            } else {
                self.put(&text::shortened(value));
            }
            self.ends.push(self.used as u32);
        }
        let names = fields.map(|(name, _)| name);
        if !self.shapes.get(self.last).is_some_and(|shape| shape.is_of(event, severity, names.clone())) {
            self.find_shape(event, severity, names);
        }
        self.entries.push(Entry { moment, shape: self.last as u32, fields: self.ends.len() as u32 });
        fetch_ahead(&self.ends, self.ends.len());
        fetch_ahead(&self.entries, self.entries.len());
        fetch_ahead(&self.text, self.used);
    }

    #[cold]
    fn find_shape(
        &mut self,
        event: &'static str,
        severity: Severity,
        names: impl Iterator<Item = &'static str> + Clone,
    ) {
        let known = self.shapes.iter().position(|shape| shape.is_of(event, severity, names.clone()));
        self.last = known.unwrap_or(self.shapes.len());
        if known.is_none() {
            self.shapes.push(Shape { event, severity, names: names.collect() });
        }
    }

    /// Most values are short, and a call of the C library's copy would cost more than they do.
    #[inline(always)]
    fn put(&mut self, value: &str) {
        let end = self.used + value.len();
        if end > self.text.len() {
            self.make_room(end);
        }
        copy(value.as_bytes(), &mut self.text[self.used..end]);
        self.used = end;
    }

    #[cold]
    fn make_room(&mut self, end: usize) {
        self.text.resize(end.next_power_of_two().max(1 << 12), 0);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= MAX_RECORDS || self.used >= MAX_TEXT
    }

    /// Whether it is time to write.
    #[inline]
    pub fn is_half_full(&self) -> bool {
        self.entries.len() >= MAX_RECORDS / 2 || self.used >= MAX_TEXT / 2
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.ends.clear();
        self.entries.clear();
        if self.shapes.len() > MAX_SHAPES {
            self.shapes.clear();
        }
    }

    /// All of them, to be read.
    pub fn records(&self) -> Records<'_> {
        let text = std::str::from_utf8(&self.text[..self.used]).expect("it was put together of whole strings");
        Records { batch: self, text }
    }
}

impl Shape {
    /// By where the names are: as texts they would cost more than the rest of a record.
    #[inline]
    fn is_of(&self, event: &'static str, severity: Severity, mut names: impl Iterator<Item = &'static str>) -> bool {
        let mut own = self.names.iter();
        std::ptr::eq(self.event, event)
            && self.severity == severity
            && names.all(|name| own.next().is_some_and(|own| std::ptr::eq(*own, name)))
            && own.next().is_none()
    }
}

/// Fetches what is to be written a little behind the first `used` of a buffer, which need not be there yet.
#[inline(always)]
fn fetch_ahead<T>(buffer: &[T], used: usize) {
    fetch_line(buffer.as_ptr().wrapping_add(used).cast::<u8>().wrapping_add(AHEAD));
}

/// The records of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    batch: &'a Batch,
    text: &'a str,
}

impl<'a> Records<'a> {
    pub fn len(self) -> usize {
        self.batch.len()
    }

    /// Collects the fields of the record at `index` in `fields`, and returns when it happened and what it is without them.
    pub fn read(self, index: usize, fields: &mut Vec<Field<'a>>) -> (Moment, &'static str, Severity) {
        let Batch { entries, ends, shapes, .. } = self.batch;
        let entry = entries[index];
        let shape = &shapes[entry.shape as usize];
        let first = entry.fields as usize - shape.names.len();
        let mut start = first.checked_sub(1).map_or(0, |before| ends[before] as usize);
        fields.clear();
        for (name, end) in shape.names.iter().zip(&ends[first..]) {
            let end = *end as usize;
            fields.push((name, Cow::Borrowed(&self.text[start..end])));
            start = end;
        }
        (entry.moment, shape.event, shape.severity)
    }
}

/// What was read from a batch, as a record.
pub(crate) fn record<'a>(event: &'static str, severity: Severity, fields: &'a [Field<'a>]) -> Record<'a> {
    Record { event, severity, level: Level::Basic, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut batch = Batch::default();
        for _ in 0..2 {
            let long = "x".repeat(1 << 20);
            let all: [&[(&'static str, &str)]; 4] =
                [&[("a", "1"), ("b", "")], &[], &[("c", "é")], &[("d", long.as_str())]];
            for fields in all {
                batch.push(Moment::now(), "kmip.get", Severity::Alert, fields.iter().copied());
            }
            let mut read = Vec::new();
            for (index, fields) in all.iter().enumerate().take(3) {
                let (_, event, severity) = batch.records().read(index, &mut read);
                assert_eq!((event, severity), ("kmip.get", Severity::Alert));
                assert!(read.iter().map(|(name, value)| (*name, value.as_ref())).eq(fields.iter().copied()));
            }
            batch.records().read(3, &mut read);
            assert!(read[0].1.len() <= text::MAX_VALUE && read[0].1.ends_with(" bytes)"), "{read:?}");
            batch.clear();
        }
    }

    #[test]
    fn a_batch_is_bounded_in_records_and_in_bytes() {
        let mut batch = Batch::default();
        while !batch.is_full() {
            batch.push(Moment::now(), "kmip.get", Severity::Info, std::iter::empty());
        }
        assert_eq!(batch.len(), MAX_RECORDS);
        let (mut batch, value) = (Batch::default(), "x".repeat(text::MAX_VALUE));
        while !batch.is_full() {
            let fields = (0..100).map(|_| ("a", value.as_str()));
            batch.push(Moment::now(), "kmip.get", Severity::Info, fields);
        }
        assert!(batch.len() < 200, "{}", batch.len());
    }
}
