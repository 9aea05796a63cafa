//! What precedes the hashed part of a record: the header of RFC 3164 §4.1 or of RFC 5424 §6.2.
//!
//! All it says is repeated in the hashed part, so a relay may rewrite it, and [`is_as_written`] can tell what it was.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::layout::{Layout, Line};
use super::time::{Moment, push_ascii, push_digits};
use super::{Severity, cef, key_value, leef};
use crate::config::Format;

/// The facility `user` (RFC 3164 §4.1.1, RFC 5424 §6.2.1).
const FACILITY: u8 = 1;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What a header tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub severity: Severity,
    pub moment: Moment,
    /// How far local time is ahead of UTC, in seconds.
    pub offset: i32,
    pub host: &'a str,
    /// The socket of this machine takes no host, and reads one as the tag.
    pub is_local: bool,
    pub pid: u32,
    pub event: &'a str,
}

impl Head<'_> {
    /// Appends the header that a format begins with.
    pub fn push(&self, format: Format, line: &mut String) {
        line.push('<');
        push_digits(line, (FACILITY * 8 + self.severity as u8).into(), 1);
        line.push('>');
        if format == Format::Syslog5424 {
            line.push_str("1 ");
            self.moment.push_iso(line);
            line.extend([" ", self.host, " keystead "]);
            push_digits(line, self.pid.into(), 1);
            line.extend([" ", self.event, " - "]);
            return;
        }
        let local = self.moment.to_the_second(self.offset);
        let month = usize::from((local[5] - b'0') * 10 + local[6] - b'0');
        line.push_str(MONTHS[month - 1]);
        line.push(' ');
        // A day below 10 stands behind a space.
        line.push(if local[8] == b'0' { ' ' } else { local[8].into() });
        line.push(local[9].into());
        line.push(' ');
        push_ascii(line, &local[11..]);
        line.push(' ');
        if !self.is_local {
            line.extend([self.host, " "]);
        }
        match format {
            // Collectors look for these words in the place of the tag.
            Format::Cef => line.push_str("CEF:"),
            Format::Leef => line.push_str("LEEF:"),
            _ => {
                line.push_str("keystead[");
                push_digits(line, self.pid.into(), 1);
                line.push_str("]: ");
            }
        }
    }
}

/// Whether the header says what the hashed part says.
pub(super) fn is_as_written(record: &Line<'_>) -> bool {
    let Ok(hashed) = std::str::from_utf8(record.hashed) else { return false };
    let (head, formats): (_, &[Format]) = match record.layout {
        Layout::Csv => return record.header.is_empty(),
        Layout::KeyValue => (key_value::head_of(hashed), &[Format::Syslog, Format::Syslog5424]),
        Layout::Cef => (cef::head_of(hashed), &[Format::Cef]),
        Layout::Leef => (leef::head_of(hashed), &[Format::Leef]),
    };
    let Some(head) = head else { return false };
    formats.iter().any(|format| {
        let mut header = String::with_capacity(96);
        head.push(*format, &mut header);
        header.as_bytes() == record.header
    })
}

/// `Z`, `+01:00`, `-03:30`
pub(super) fn push_zone(line: &mut String, offset: i32) {
    if offset == 0 {
        line.push('Z');
        return;
    }
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    let _ = write!(line, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
}

pub(super) fn parse_zone(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    let offset = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
    Some(if text.starts_with('-') { -offset } else { offset })
}

/// The name without its domain, as RFC 3164 §4.1.2 has it. What a parser would stumble over, such as the colons of an
/// IPv6 address, becomes `-`.
pub(super) fn bare_host(name: &str) -> String {
    let bare = if name.parse::<Ipv4Addr>().is_ok() { name } else { name.split('.').next().unwrap_or_default() };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let host: String = bare.chars().map(plain).collect();
    if host.is_empty() { "localhost".to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_rfc_3164_shows_local_time_and_one_of_rfc_5424_universal_time() {
        let mut offset = String::new();
        push_zone(&mut offset, -12_600);
        assert_eq!((offset.as_str(), parse_zone(&offset)), ("-03:30", Some(-12_600)));
        let head = Head {
            severity: Severity::Info,
            moment: Moment::parse_iso("2026-11-30T22:15:00.000001Z").unwrap(),
            offset: parse_zone("+05:45").unwrap(),
            host: "h",
            is_local: false,
            pid: 1,
            event: "kmip.get",
        };
        for (format, text) in [
            (Format::Syslog, "<14>Dec  1 04:00:00 h keystead[1]: "),
            (Format::Syslog5424, "<14>1 2026-11-30T22:15:00.000001Z h keystead 1 kmip.get - "),
            (Format::Cef, "<14>Dec  1 04:00:00 h CEF:"),
            (Format::Leef, "<14>Dec  1 04:00:00 h LEEF:"),
        ] {
            let mut line = String::new();
            head.push(format, &mut line);
            assert_eq!(line, text);
        }
    }

    #[test]
    fn a_host_is_a_bare_name() {
        for (name, host) in [
            ("db1.example.com", "db1"),
            ("10.1.2.3", "10.1.2.3"),
            ("2001:db8::1", "2001-db8--1"),
            ("", "localhost"),
            ("a b\n", "a-b-"),
        ] {
            assert_eq!(bare_host(name), host);
        }
    }
}
