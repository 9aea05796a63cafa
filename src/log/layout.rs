//! Where in a line the links of the chain stand: serial, previous hash and hash.
//!
//! The formats of the log and the audit trail lay them out differently and are otherwise the same chain: SHA-256 over a
//! part of the line that holds the hash of the line before. `docs/LOG.md` specifies them.

#![forbid(unsafe_code)]

use ring::digest;
use serde::Serialize;

use super::time::push_ascii;

/// No chain gets there.
pub(super) const MAX_SERIAL: u64 = i64::MAX as u64;

/// How a line is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A syslog header of RFC 3164 or RFC 5424, then `serial=… prev=… sha256=…`.
    KeyValue,
    /// `<PRI>Mmm dd hh:mm:ss HOST CEF:0|…|externalId=… cs2=… cs1=…`
    Cef,
    /// `<PRI>Mmm dd hh:mm:ss HOST LEEF:2.0|…|x09|serial=…`, then `prev=…` and `sha256=…` behind tabulators.
    Leef,
    /// The audit trail: a header row, then rows of which the last four columns are stream, serial, prev and sha256.
    Csv,
}

/// What a chain is a record of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Of {
    #[serde(rename = "log")]
    Log,
    #[serde(rename = "audit trail")]
    Audit,
}

impl Of {
    pub const ALL: [Of; 2] = [Of::Log, Of::Audit];

    /// As anchors and options name it: `log` or `audit`.
    pub const fn word(self) -> &'static str {
        match self {
            Of::Log => "log",
            Of::Audit => "audit",
        }
    }

    /// What the word names.
    pub fn from_word(word: &str) -> Option<Of> {
        Of::ALL.into_iter().find(|of| of.word() == word)
    }

    /// With its article, for people.
    pub(super) const fn a(self) -> &'static str {
        match self {
            Of::Log => "a log",
            Of::Audit => "an audit trail",
        }
    }
}

/// As it is called.
impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Of::Log => "log",
            Of::Audit => "audit trail",
        })
    }
}

/// The header row of the audit trail.
pub(crate) const CSV_HEADER: &str = "operation,key_server,ip_address,port,key_name,date,time,user,result,key_version,\
     identifier,state,kmip_version,result_reason,result_message,duration_us,stream,serial,prev,sha256";

impl Layout {
    /// Those that a log may have; one file may hold several, since its format may be changed.
    pub const OF_LOGS: [Layout; 3] = [Layout::KeyValue, Layout::Cef, Layout::Leef];

    /// What a chain in it is of.
    pub const fn of(self) -> Of {
        if matches!(self, Layout::Csv) { Of::Audit } else { Of::Log }
    }

    /// What stands between the hashed part and the hash.
    pub const fn label(self) -> &'static str {
        match self {
            Layout::KeyValue => " sha256=",
            Layout::Cef => " cs1Label=sha256 cs1=",
            Layout::Leef => "\tsha256=",
            Layout::Csv => ",",
        }
    }

    /// What stands before the hash of the record before.
    pub const fn previous_label(self) -> &'static str {
        match self {
            Layout::KeyValue => " prev=",
            Layout::Cef => " cs2Label=prev cs2=",
            Layout::Leef => "\tprev=",
            Layout::Csv => ",",
        }
    }

    /// What the serial follows, and what separates it from the stream.
    const fn link_labels(self) -> (&'static str, &'static str) {
        match self {
            Layout::KeyValue => ("serial=", " stream="),
            Layout::Cef => ("|externalId=", " deviceExternalId="),
            Layout::Leef => ("|x09|serial=", "\tstream="),
            Layout::Csv => ("", ","),
        }
    }

    pub fn line_end(self) -> &'static str {
        match self {
            Layout::Csv => "\r\n",
            _ => "\n",
        }
    }

    /// The line, without its end, that an empty file begins with.
    pub fn header(self) -> Option<&'static str> {
        (self == Layout::Csv).then_some(CSV_HEADER)
    }

    /// Reads a line, without its line end, of the log or of the audit trail. `None` if it is no record of it at all.
    pub fn parse(self, line: &[u8]) -> Option<Line<'_>> {
        let (rest, hash) = line.split_at_checked(line.len().checked_sub(64)?)?;
        let hash = Hash::parse(hash)?;
        let candidates: &[Layout] = if self == Layout::Csv { &[Layout::Csv] } else { &Layout::OF_LOGS };
        let (layout, rest) =
            candidates.iter().find_map(|layout| Some((*layout, rest.strip_suffix(layout.label().as_bytes())?)))?;
        let start = layout.start(rest)?;
        let hashed = &rest[start..];
        let (before, previous) = hashed.split_at_checked(hashed.len().checked_sub(64)?)?;
        let previous = Hash::parse(previous)?;
        let (stream, serial) = layout.links(before.strip_suffix(layout.previous_label().as_bytes())?)?;
        // The room above lets whoever compares serials add to them.
        let serial = Some(serial).filter(|serial| *serial <= MAX_SERIAL)?;
        Some(Line { layout, header: &line[..start], hashed, stream, serial, previous, hash })
    }

    /// Where the hashed part begins. A relay that takes `CEF:` for a tag may put a space behind it.
    fn start(self, line: &[u8]) -> Option<usize> {
        let find = |what: &[u8]| line.windows(what.len()).position(|window| window == what).map(|at| at + what.len());
        match self {
            Layout::KeyValue if line.starts_with(b"serial=") => Some(0),
            Layout::KeyValue => Some(find(b" serial=")? - "serial=".len()),
            Layout::Cef | Layout::Leef => {
                let tag: &[u8] = if self == Layout::Cef { b"CEF:" } else { b"LEEF:" };
                let end = find(tag)?;
                Some(end + usize::from(line.get(end) == Some(&b' ')))
            }
            Layout::Csv => Some(0),
        }
    }

    /// Stream and serial.
    fn links(self, hashed: &[u8]) -> Option<(u64, u64)> {
        if self == Layout::Csv {
            let mut columns = hashed.rsplitn(3, |b| *b == b',');
            let serial = decimal(columns.next()?)?;
            return Some((stream(columns.next()?)?, serial));
        }
        let (serial_label, stream_label) = self.link_labels();
        let find = |text: &[u8], what: &str| text.windows(what.len()).position(|window| window == what.as_bytes());
        let rest = &hashed[find(hashed, serial_label)? + serial_label.len()..];
        let end = find(rest, stream_label)?;
        let (serial, rest) = (&rest[..end], &rest[end + stream_label.len()..]);
        let end = rest.iter().position(|b| *b == stream_label.as_bytes()[0]).unwrap_or(rest.len());
        Some((stream(&rest[..end])?, decimal(serial)?))
    }
}

/// A line that is a record, as it claims to be; whether its hash is right is another question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub layout: Layout,
    /// What stands before the hashed part.
    pub header: &'a [u8],
    pub hashed: &'a [u8],
    pub stream: u64,
    pub serial: u64,
    pub previous: Hash,
    pub hash: Hash,
}

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands for the hash before the first record of a chain.
    pub const NONE: Hash = Hash([0; 32]);

    pub fn of(bytes: &[u8]) -> Hash {
        let digest = digest::digest(&digest::SHA256, bytes);
        Hash(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// From exactly 64 lower-case hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Hash> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(digits[0])? << 4 | nibble(digits[1])?;
        }
        Some(Hash(bytes))
    }

    /// Appends the 64 digits.
    pub fn push_hex(self, text: &mut String) {
        push_ascii(text, &self.hex());
    }

    /// The 64 digits.
    pub fn hex(self) -> [u8; 64] {
        let mut digits = [0; 64];
        hex(&self.0, &mut digits);
        digits
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).expect("hexadecimal digits are ASCII"))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A decimal number as it is written: no sign, no leading zero.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let is_written_so = text.first().is_some_and(|first| *first != b'0') && text.iter().all(u8::is_ascii_digit);
    if is_written_so { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Appends the 16 hexadecimal digits that name a chain.
pub(crate) fn push_hex(out: &mut String, stream: u64) {
    let mut digits = [0; 16];
    hex(&stream.to_be_bytes(), &mut digits);
    push_ascii(out, &digits);
}

/// Two digits for each byte.
fn hex(bytes: &[u8], out: &mut [u8]) {
    // Without a table and without a branch, so that the compiler does many at a time.
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    for (digits, byte) in out.chunks_exact_mut(2).zip(bytes) {
        (digits[0], digits[1]) = (digit(byte >> 4), digit(byte & 15));
    }
}

/// The 16 hexadecimal digits that name a chain.
pub(super) fn stream(text: &[u8]) -> Option<u64> {
    if text.len() != 16 {
        return None;
    }
    text.iter().try_fold(0, |number, digit| Some(number << 4 | u64::from(nibble(*digit)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sha_256_in_lower_case() {
        let empty = Hash::of(b"");
        assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Hash::parse(&empty.hex()), Some(empty));
        assert_eq!(Hash::parse(empty.to_string().to_uppercase().as_bytes()), None);
    }

    #[test]
    fn every_layout_shows_its_links() {
        let (a, b) = (Hash::of(b"a"), Hash::of(b"b"));
        let text =
            format!("<14>Nov 23 20:15:00 host keystead[7]: serial=12 stream=00000000000000ff k=v prev={a} sha256={b}");
        let line = Layout::KeyValue.parse(text.as_bytes()).unwrap();
        assert_eq!((line.serial, line.stream, line.previous, line.hash), (12, 255, a, b));
        assert!(line.header.ends_with(b"]: ") && line.hashed.starts_with(b"serial=12 "));

        for (tag, layout, text) in [
            (
                "CEF:",
                Layout::Cef,
                format!(
                    "0|K|K|1|kmip.get|n|2|externalId=12 deviceExternalId=00000000000000ff rt=1 cs2Label=prev cs2={a} cs1Label=sha256 cs1={b}"
                ),
            ),
            (
                "CEF: ",
                Layout::Cef,
                format!(
                    "0|K|K|1|e|n|2|externalId=12 deviceExternalId=00000000000000ff cs2Label=prev cs2={a} cs1Label=sha256 cs1={b}"
                ),
            ),
            (
                "LEEF:",
                Layout::Leef,
                format!("2.0|K|K|1|e|x09|serial=12\tstream=00000000000000ff\tprev={a}\tsha256={b}"),
            ),
        ] {
            let text = format!("<14>Nov 23 20:15:00 host {tag}{text}");
            let line = Layout::KeyValue.parse(text.as_bytes()).unwrap();
            assert_eq!((line.serial, line.stream, line.previous, line.hash), (12, 255, a, b));
            assert_eq!(line.layout, layout);
            assert!(line.header.ends_with(tag.as_bytes()) && line.hashed[0].is_ascii_digit());
        }

        let text = format!("Get,\"a,b\",,5696,k,00000000000000ff,12,{a},{b}");
        let line = Layout::Csv.parse(text.as_bytes()).unwrap();
        assert_eq!((line.serial, line.stream, line.previous, line.hash), (12, 255, a, b));
        assert!(line.header.is_empty() && line.hashed.ends_with(&a.hex()));
    }

    #[test]
    fn what_is_no_record_is_not_taken_for_one() {
        let hash = Hash::of(b"");
        for text in [
            String::new(),
            "a line of somebody else".to_owned(),
            hash.to_string(),
            format!("serial=012 stream=00000000000000ff prev={hash} sha256={hash}"),
            format!("serial=9223372036854775808 stream=00000000000000ff prev={hash} sha256={hash}"),
            format!("serial=12 stream=ff prev={hash} sha256={hash}"),
            format!("serial=12 stream=00000000000000ff prev={hash} sha256={hash} "),
            format!("serial=12 stream=00000000000000ff prev={hash}"),
        ] {
            assert!(Layout::KeyValue.parse(text.as_bytes()).is_none(), "{text}");
            assert!(Layout::Csv.parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Layout::Csv.parse(CSV_HEADER.as_bytes()).is_none());
    }
}
