//! The record as a syslog line: `<PRI>Mmm dd hh:mm:ss HOST keystead[PID]: ` (RFC 3164 §4.1), then key=value pairs.
//!
//! Everything before `serial=` is repeated inside the hashed part, so a relay may rewrite it, and [`header_of`] can
//! tell what it was.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::chain::{Form, Link, Notice};
use super::layout::Layout;
use super::text;
use super::time::{Civil, Moment};
use super::{Record, Severity, catalogue};
use crate::platform;

/// The facility `user` (RFC 3164 §4.1.1).
const FACILITY: u8 = 1;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Names that every record has; a field of an event is called otherwise.
const RESERVED: [&str; 11] =
    ["serial", "stream", "ts", "zone", "host", "pid", "client", "event", "severity", "prev", "sha256"];

/// What does not change from record to record.
pub(super) struct Syslog {
    host: String,
    pid: u32,
    client: String,
}

impl Syslog {
    pub fn new(client: &str) -> Syslog {
        Syslog { host: bare_host(&platform::host_name()), pid: std::process::id(), client: client.to_owned() }
    }

    /// Appends the line up to ` sha256=`, and returns where the hashed part begins.
    pub fn push(&self, record: &Record<'_>, link: &Link, line: &mut String) -> usize {
        let now = Moment::now();
        let offset = now.local_offset();
        push_header(line, record.severity, now.with_offset(offset), &self.host, self.pid);
        let start = line.len();
        let _ = write!(line, "serial={} stream={:016x} ts=", link.serial, link.stream);
        let utc = now.utc();
        utc.push_date(line);
        line.push('T');
        utc.push_time(line);
        let _ = write!(line, ".{:06}Z zone=", utc.microsecond);
        push_zone(line, offset);
        let _ = write!(line, " host={} pid={}", self.host, self.pid);
        text::push_field(line, "client", &self.client);
        line.push_str(" event=");
        line.push_str(record.event);
        line.push_str(" severity=");
        line.push_str(record.severity.name());
        for (name, value) in record.fields {
            debug_assert!(!RESERVED.contains(name), "{name} is a field of every record");
            text::push_field(line, name, value);
        }
        line.push_str(" prev=");
        line.push_str(link.previous());
        start
    }
}

impl Form for Syslog {
    const LAYOUT: Layout = Layout::Syslog;

    fn notice(&self, notice: &Notice, link: &Link, line: &mut String) -> usize {
        let event = notice.event();
        let severity = catalogue::find(event).map_or(Severity::Warning, |event| event.severity);
        let fields = notice.fields();
        self.push(&Record { event, severity, level: super::Level::Basic, fields: &fields }, link, line)
    }
}

fn push_header(line: &mut String, severity: Severity, local: Civil, host: &str, pid: u32) {
    let month = MONTHS[usize::from(local.month - 1)];
    let _ = write!(line, "<{}>{month} {:2} ", FACILITY * 8 + severity as u8, local.day);
    local.push_time(line);
    let _ = write!(line, " {host} keystead[{pid}]: ");
}

/// The header as it was written with a record, from the record's hashed part.
pub(super) fn header_of(hashed: &str) -> Option<String> {
    let mut words = hashed.splitn(7, ' ').skip(2);
    let mut word = |name: &str| words.next()?.strip_prefix(name);
    let (moment, zone) = (parse_moment(word("ts=")?)?, parse_zone(word("zone=")?)?);
    let (host, pid) = (word("host=")?, word("pid=")?.parse().ok()?);
    let mut words = after_value(word("client=")?)?.split(' ').skip(1);
    let severity = words.nth(1)?.strip_prefix("severity=")?;
    let severity = Severity::ALL.into_iter().find(|known| known.name() == severity)?;
    let mut header = String::with_capacity(80);
    push_header(&mut header, severity, moment.with_offset(zone), host, pid);
    Some(header)
}

/// What follows the value that the text begins with.
fn after_value(text: &str) -> Option<&str> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(&text[text.find(' ')?..]);
    };
    let mut is_escaped = false;
    let end = quoted.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })?;
    Some(&quoted[end + 1..])
}

/// `2026-11-23T20:15:00.123456Z`
fn parse_moment(text: &str) -> Option<Moment> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (month, day) = (u8::try_from(digits(5..7)?).ok()?, u8::try_from(digits(8..10)?).ok()?);
    let time = (digits(11..13)? * 60 + digits(14..16)?) * 60 + digits(17..19)?;
    Some(Moment::from_seconds(super::time::days_from_civil(digits(0..4)?, month, day)? * 86_400 + time))
}

/// `Z`, `+01:00`, `-03:30`
fn push_zone(line: &mut String, offset: i32) {
    if offset == 0 {
        line.push('Z');
        return;
    }
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    let _ = write!(line, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
}

fn parse_zone(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let offset = (hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?) * 60;
    Some(if text.starts_with('-') { -offset } else { offset })
}

/// The name without its domain, as RFC 3164 §4.1.2 has it. What a parser would stumble over, such as the colons of an
/// IPv6 address, becomes `-`.
fn bare_host(name: &str) -> String {
    let bare = if name.parse::<Ipv4Addr>().is_ok() { name } else { name.split('.').next().unwrap_or_default() };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let host: String = bare.chars().map(plain).collect();
    if host.is_empty() { "localhost".to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn link() -> Link {
        Link { stream: 255, serial: 1_000_000_001, previous: [b'0'; 64] }
    }

    #[test]
    fn a_line_is_rfc_3164_and_its_header_can_be_told_from_its_body() {
        let syslog = Syslog { host: "db1".into(), pid: 77, client: "orders api event=x".into() };
        let fields = [("key_name", "a b".into())];
        let record = Record { event: "kmip.get", severity: Severity::Warning, level: Level::Basic, fields: &fields };
        let mut line = String::new();
        let start = syslog.push(&record, &link(), &mut line);
        let (header, body) = line.split_at(start);
        assert!(header.starts_with("<12>") && header.ends_with(" db1 keystead[77]: "), "{header}");
        assert!(body.starts_with("serial=1000000001 stream=00000000000000ff ts=2"), "{body}");
        assert!(body.contains(
            r#" host=db1 pid=77 client="orders api event=x" event=kmip.get severity=warning key_name="a b" prev=000"#
        ));
        assert!(line.is_ascii() && line.len() < 1024);
        for client in ["orders", "a b", r#"" event=e severity=alert \"#, r"\", ""] {
            let syslog = Syslog { host: "db1".into(), pid: 77, client: client.into() };
            line.clear();
            let start = syslog.push(&record, &link(), &mut line);
            assert_eq!(header_of(&line[start..]).as_deref(), Some(&line[..start]), "{client}");
        }
    }

    #[test]
    fn the_header_shows_local_time() {
        let body =
            "serial=1 stream=0 ts=2026-11-30T22:15:00.000001Z zone=+05:45 host=h pid=1 client=c event=e severity=info";
        assert_eq!(header_of(body).unwrap(), "<14>Dec  1 04:00:00 h keystead[1]: ");
        let mut zone = String::new();
        push_zone(&mut zone, -12_600);
        assert_eq!((zone.as_str(), parse_zone(&zone)), ("-03:30", Some(-12_600)));
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
