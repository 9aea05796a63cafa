//! The record in the Common Event Format, version 0.
//!
//! Fields have the names of the format's dictionary where it has one, custom strings and numbers where a collector would
//! drop anything else, and else names of our own.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt::Write;
use std::net::Ipv6Addr;

use super::header::{Head, parse_zone, push_zone};
use super::layout::push_hex;
use super::time::{Moment, push_digits};
use super::view::{Stamped, event_of, grade, of_grade};
use super::{catalogue, text};

/// Appends the body from the version behind `CEF:` up to the last field.
pub(super) fn push(stamped: &Stamped<'_>, line: &mut String) {
    let Stamped { record, head, client, link } = stamped;
    let (event, grade) = (record.event, grade(record.severity));
    line.push_str(concat!("0|Keystead|Keystead|", env!("CARGO_PKG_VERSION"), "|"));
    line.extend([event, "|", name_of(event), "|"]);
    push_digits(line, grade.into(), 1);
    line.push_str("|externalId=");
    push_digits(line, link.serial, 1);
    line.push_str(" deviceExternalId=");
    push_hex(line, link.stream);
    line.push_str(" rt=");
    head.moment.push_milliseconds(line);
    line.push_str(" dtz=");
    push_zone(line, head.offset);
    line.extend([" dvchost=", head.host, " dvcpid="]);
    push_digits(line, head.pid.into(), 1);
    push_pair(line, "sourceServiceName", client);
    for (name, value) in record.fields {
        push_field(line, name, value);
    }
}

/// What people call the event: the beginning of its meaning.
fn name_of(event: &'static str) -> &'static str {
    // Most records are of the same kind as the one before, and to look for it takes as long as a few fields.
    thread_local! {
        static LAST: Cell<[&'static str; 2]> = const { Cell::new([""; 2]) };
    }
    let [of, known] = LAST.get();
    if std::ptr::eq(of, event) {
        return known;
    }
    let meaning = catalogue::find(event).map_or("", |event| event.meaning);
    let name = meaning.split([';', '.']).next().unwrap_or_default();
    LAST.set([event, name]);
    name
}

fn push_field(line: &mut String, name: &str, value: &str) {
    let mut labelled = |key: &str, label: &str| {
        if !value.is_empty() {
            line.extend([" ", key, "Label=", label]);
        }
        push_pair(line, key, value);
    };
    match name {
        "key_name" => labelled("cs3", name),
        "identifier" => labelled("cs4", name),
        "state" => labelled("cs5", name),
        "kmip_version" => labelled("cs6", name),
        "duration_us" => labelled("cn1", name),
        "key_version" => labelled("cn2", name),
        // `dst` holds an address of IPv4 alone.
        "ip_addr" if value.contains(':') && value.parse::<Ipv6Addr>().is_ok() => {
            labelled("c6a3", "Destination IPv6 Address");
        }
        "ip_addr" => push_pair(line, "dst", value),
        "key_server" => push_pair(line, "dhost", value),
        "port" => push_pair(line, "dpt", value),
        "user" => push_pair(line, "suser", value),
        "operation" => push_pair(line, "act", value),
        "result" => push_pair(line, "outcome", value),
        "message" => push_pair(line, "msg", value),
        "reason" => push_pair(line, "reason", value),
        _ => push_pair(line, &own_name(name), value),
    }
}

/// `keysteadLastSeen` for `last_seen`: what is in no dictionary begins with the vendor's name.
pub(super) fn own_name(name: &str) -> String {
    let mut own = String::from("keystead");
    for word in name.split('_') {
        own.extend(word.chars().take(1).map(|c| c.to_ascii_uppercase()));
        own.extend(word.chars().skip(1));
    }
    own
}

/// Appends ` key=value`, unless there is no value: the format has no way to write one that is empty.
fn push_pair(line: &mut String, key: &str, value: &str) {
    let Some(last) = value.len().checked_sub(1) else { return };
    line.extend([" ", key, "="]);
    let is_plain = |b: u8| matches!(b, b'!'..=b'~') & !matches!(b, b'\\' | b'=');
    if text::is_all(value, is_plain) {
        return line.push_str(value);
    }
    for (at, c) in value.char_indices() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\\' | '=' => line.extend(['\\', c]),
            // Readers drop a space at either end.
            ' ' if at != 0 && at != last => line.push(c),
            _ if c == ' ' || text::is_invisible(c) => {
                let _ = write!(line, "\\\\u{{{:x}}}", c as u32);
            }
            _ => line.push(c),
        }
    }
}

/// What the header said when it was written.
pub(super) fn head_of(hashed: &str) -> Option<Head<'_>> {
    let mut columns = hashed.splitn(8, '|');
    let severity = of_grade(columns.nth(6)?)?;
    let mut words = columns.next()?.split(' ').skip(2);
    let mut word = |name: &str| words.next()?.strip_prefix(name);
    let (moment, offset) = (Moment::from_milliseconds(word("rt=")?.parse().ok()?), parse_zone(word("dtz=")?)?);
    let (host, pid) = (word("dvchost=")?, word("dvcpid=")?.parse().ok()?);
    Some(Head { severity, moment, offset, host, is_local: false, pid, event: event_of(hashed)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(value: &str) -> String {
        let mut line = String::new();
        push_pair(&mut line, "k", value);
        line
    }

    #[test]
    fn values_are_escaped_as_the_format_has_it() {
        assert_eq!(pair("a b|c"), " k=a b|c");
        assert_eq!(pair(r"a=b\c"), r" k=a\=b\\c");
        assert_eq!(pair("a\r\nb\tc\0"), r" k=a\r\nb\\u{9}c\\u{0}");
        assert_eq!(pair(" a "), r" k=\\u{20}a\\u{20}");
        assert_eq!(pair(""), "");
    }

    #[test]
    fn names_of_events_need_no_escaping_and_keys_are_words() {
        for event in catalogue::EVENTS {
            let texts = [event.id, name_of(event.id)];
            assert!(texts.iter().all(|text| !text.is_empty() && !text.contains(['|', '\\', '\n', '\r'])), "{texts:?}");
        }
        assert_eq!(own_name("last_seen"), "keysteadLastSeen");
    }
}
