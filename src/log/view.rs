//! The formats as views of one record.

#![forbid(unsafe_code)]

use super::chain::{Form, Link};
use super::header::{Head, bare_host};
use super::layout::Layout;
use super::time::Moment;
use super::{Record, Severity, cef, key_value, leef};
use crate::config::Format;
use crate::platform;

/// What writes records in one format.
pub(super) struct View {
    format: Format,
    host: String,
    is_local: bool,
    pid: u32,
    client: String,
}

/// A record with what it is given when it is written.
#[derive(Clone, Copy)]
pub(super) struct Stamped<'a> {
    pub record: &'a Record<'a>,
    pub head: Head<'a>,
    pub client: &'a str,
    pub link: &'a Link,
}

impl View {
    /// `is_local`: for the socket of this machine.
    pub fn new(format: Format, client: &str, is_local: bool) -> View {
        let (host, pid) = (bare_host(&platform::host_name()), std::process::id());
        View { format, host, is_local, pid, client: client.to_owned() }
    }
}

impl Form for View {
    fn layout(&self) -> Layout {
        match self.format {
            Format::Syslog | Format::Syslog5424 => Layout::KeyValue,
            Format::Cef => Layout::Cef,
            Format::Leef => Layout::Leef,
        }
    }

    /// `moment` is when it happened.
    fn record(&self, record: &Record<'_>, moment: Moment, link: &Link, line: &mut String) -> usize {
        let head = Head {
            severity: record.severity,
            moment,
            offset: moment.local_offset(),
            host: &self.host,
            is_local: self.is_local,
            pid: self.pid,
            event: record.event,
        };
        head.push(self.format, line);
        let start = line.len();
        let stamped = Stamped { record, head, client: &self.client, link };
        let layout = self.layout();
        match layout {
            Layout::Cef => cef::push(&stamped, line),
            Layout::Leef => leef::push(&stamped, line),
            _ => key_value::push(&stamped, line),
        }
        line.push_str(layout.previous_label());
        line.push_str(link.previous());
        start
    }
}

/// The first field of a CEF or LEEF body that is no version but tells which event it is.
pub(super) fn event_of(hashed: &str) -> Option<&str> {
    hashed.split('|').nth(4)
}

/// From 1 to 10, as CEF and LEEF grade.
pub(super) const fn grade(severity: Severity) -> u8 {
    match severity {
        Severity::Alert => 10,
        Severity::Error => 8,
        Severity::Warning => 6,
        Severity::Notice => 4,
        Severity::Info => 2,
        Severity::Debug => 1,
    }
}

/// The severity that has the grade.
pub(super) fn of_grade(text: &str) -> Option<Severity> {
    let number: u8 = text.parse().ok()?;
    Severity::ALL.into_iter().find(|severity| grade(*severity) == number)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::log::Level;
    use crate::log::header::is_as_written;
    use crate::log::layout::Hash;

    const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];

    fn line(format: Format, client: &str, fields: &[(&'static str, Cow<'_, str>)]) -> String {
        let view = View { format, host: "db1".into(), is_local: false, pid: 77, client: client.into() };
        let link = Link { stream: 255, serial: 1_000_000_001, previous: [b'0'; 64] };
        let record = Record { event: "kmip.get", severity: Severity::Warning, level: Level::Basic, fields };
        let mut line = String::new();
        let start = view.record(&record, Moment::now(), &link, &mut line);
        let hash = Hash::of(&line.as_bytes()[start..]);
        line.push_str(view.layout().label());
        hash.push_hex(&mut line);
        line
    }

    /// What of a header contradicts the body is found, in every format and whatever the client is called.
    #[test]
    fn a_header_can_be_told_from_the_hashed_part() {
        for format in FORMATS {
            for client in ["orders", "a b", r#"" event=e severity=alert \"#, r"\", "", "x|y=z\tsev=1", " rt=0 "] {
                let line = line(format, client, &[("key_name", "a b".into()), ("message", "a=b|c\\".into())]);
                let record = Layout::KeyValue.parse(line.as_bytes()).unwrap();
                assert!(Hash::of(record.hashed) == record.hash && record.serial == 1_000_000_001, "{line}");
                assert!(is_as_written(&record), "{line}");
                for (from, to) in [("<12>", "<13>"), (" db1 ", " db2 ")] {
                    let line = line.replacen(from, to, 1);
                    assert!(!is_as_written(&Layout::KeyValue.parse(line.as_bytes()).unwrap()), "{line}");
                }
            }
        }
    }

    #[test]
    fn nothing_in_a_value_breaks_hides_or_turns_a_line() {
        let hostile = "a\r\nb\0\u{1b}[31m\u{85}\u{2028}\u{202e}\u{feff}c\td|e\\f=g]h\"";
        for format in FORMATS {
            let line = line(format, "orders", &[("message", hostile.into())]);
            let tabs = line.matches('\t').count();
            assert!(!line.chars().any(|c| crate::log::text::is_invisible(c) && c != '\t'), "{line:?}");
            assert_eq!(tabs > 0, format == Format::Leef, "{line:?}");
        }
    }

    #[test]
    fn lines_are_what_their_formats_ask_for() {
        let address = |text: &'static str| [("ip_addr", text.into()), ("port", "5696".into())];
        let cef = line(Format::Cef, "orders", &address("192.0.2.1"));
        assert!(cef.contains(" db1 CEF:0|Keystead|Keystead|"), "{cef}");
        assert!(
            cef.contains("|kmip.get|KMIP Get: a key was fetched|6|externalId=1000000001 deviceExternalId=0000"),
            "{cef}"
        );
        assert!(cef.contains(" dst=192.0.2.1 dpt=5696 cs2Label=prev cs2=000"), "{cef}");
        let cef = line(Format::Cef, "orders", &address("2001:db8::1"));
        assert!(cef.contains(" c6a3Label=Destination IPv6 Address c6a3=2001:db8::1 dpt=5696 "), "{cef}");
        let leef = line(Format::Leef, "orders", &address("2001:db8::1"));
        assert!(leef.contains("|kmip.get|x09|serial=1000000001\tstream=00000000000000ff\tdevTime=1"), "{leef}");
        assert!(leef.contains("\tdst=2001:db8::1\tdstPort=5696\tprev=000"), "{leef}");
        let syslog = line(Format::Syslog5424, "orders", &address("2001:db8::1"));
        assert!(syslog.starts_with("<12>1 20") && syslog.contains(" db1 keystead 77 kmip.get - serial=1"), "{syslog}");
        assert!(line(Format::Syslog, "orders", &[]).len() < 1024);
    }
}
