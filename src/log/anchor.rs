//! Anchors: where a chain stood, kept where whoever takes the machine cannot change it.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::layout::{Hash, MAX_SERIAL, Of, decimal, stream};
use super::recover;
use super::source;
use crate::error::{Code, Error, Result};

const MARK: &str = "keystead-anchor-1 ";

/// The last record of a chain at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    #[serde(serialize_with = "as_hex")]
    pub(super) stream: u64,
    pub(super) serial: u64,
    #[serde(serialize_with = "as_text")]
    pub(super) hash: Hash,
    /// Where the line says so.
    pub(super) of: Option<Of>,
}

impl Anchor {
    /// Of the last record that stands in the file of a log or an audit trail.
    ///
    /// Errors: `System` if the file cannot be read, `InvalidArgument` if no record stands at its end.
    pub fn of(path: &Path) -> Result<Anchor> {
        let last = source::open(path).and_then(|file| {
            let (size, layout) = (file.metadata()?.len(), source::layout_of_file(path)?);
            Ok(recover::last_record(&file, size, layout)?.map(|last| (last, layout)))
        });
        let last = last.map_err(|error| {
            let message = format!(
                "{} cannot be read for an anchor: {error}; correct the path, or run as its owner",
                path.display()
            );
            Error::new(Code::System, message).in_file(path)
        })?;
        let (last, layout) = last.ok_or_else(|| {
            let message = format!(
                "{} does not end with a record; name the file that is written to, uncompressed",
                path.display()
            );
            Error::new(Code::InvalidArgument, message).in_file(path)
        })?;
        Ok(Anchor { stream: last.stream, serial: last.serial, hash: last.head, of: Some(layout.of()) })
    }

    /// All that stand in a file, as [`Anchor::read_all`] finds them.
    ///
    /// Errors: `System` if it cannot be read, `InvalidArgument` if it holds none, or a damaged one.
    pub fn read_file(path: &Path) -> Result<Vec<Anchor>> {
        let shown = path.display();
        let text = fs::read(path).map_err(|error| {
            Error::new(Code::System, format!("the anchors in {shown} could not be read: {error}")).in_file(path)
        })?;
        Anchor::read_all(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            let message = format!(
                "{shown} holds no anchor, or a damaged one; name a file with lines that `keystead log anchor` printed"
            );
            Error::new(Code::InvalidArgument, message).in_file(path)
        })
    }

    /// All that stand in a text, one to a line, behind whatever a relay put before them. `None` if there is none, or one is
    /// damaged.
    pub fn read_all(text: &str) -> Option<Vec<Anchor>> {
        let lines = text.lines().filter_map(|line| line.find(MARK).map(|at| &line[at + MARK.len()..]));
        let anchors = lines.map(Anchor::parse).collect::<Option<Vec<_>>>()?;
        (!anchors.is_empty()).then_some(anchors)
    }

    fn parse(text: &str) -> Option<Anchor> {
        let mut words = text.split_ascii_whitespace();
        let mut word = |name: &str| Some(words.next()?.strip_prefix(name)?.as_bytes());
        let stream = stream(word("stream=")?)?;
        let serial = decimal(word("serial=")?).filter(|serial| *serial <= MAX_SERIAL)?;
        let hash = Hash::parse(word("sha256=")?)?;
        let of = word("of=").and_then(|word| Of::from_word(std::str::from_utf8(word).ok()?));
        Some(Anchor { stream, serial, hash, of })
    }
}

/// The line that [`Anchor::read_all`] reads.
impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}stream={:016x} serial={} sha256={}", self.stream, self.serial, self.hash)?;
        self.of.map_or(Ok(()), |of| write!(f, " of={}", of.word()))
    }
}

fn as_hex<S: serde::Serializer>(number: &u64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

fn as_text<S: serde::Serializer>(hash: &Hash, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_found_behind_what_relays_write_and_a_damaged_one_is_refused() {
        let anchor = Anchor { stream: 255, serial: 12, hash: Hash::of(b"a"), of: Some(Of::Audit) };
        let text = format!("# kept by the auditor\n{anchor}\n<14>Nov 24 20:15:00 host anchors: {anchor} seen\n");
        assert_eq!(Anchor::read_all(&text), Some(vec![anchor, anchor]));
        assert_eq!(Anchor::read_all(&text.replace(" of=audit", "")), Some(vec![Anchor { of: None, ..anchor }; 2]));
        assert_eq!(Anchor::read_all(&text.replace("serial=12", "serial=012")), None);
        assert_eq!(Anchor::read_all("nothing"), None);
    }
}
