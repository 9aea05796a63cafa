//! The record in the Log Event Extended Format, version 2.0: pairs behind tabulators.
//!
//! The format has no escaping, so what would end a pair is replaced by its visible form (`\t`, `\n`, `\r`).

#![forbid(unsafe_code)]

use super::header::{Head, parse_zone, push_zone};
use super::layout::push_hex;
use super::text;
use super::time::{Moment, push_digits};
use super::view::{Stamped, event_of, grade, of_grade};

/// Appends the body from the version behind `LEEF:` up to the last field.
pub(super) fn push(stamped: &Stamped<'_>, line: &mut String) {
    let Stamped { record, head, client, link } = stamped;
    line.push_str(concat!("2.0|Keystead|Keystead|", env!("CARGO_PKG_VERSION"), "|"));
    line.extend([record.event, "|x09|serial="]);
    push_digits(line, link.serial, 1);
    line.push_str("\tstream=");
    push_hex(line, link.stream);
    line.push_str("\tdevTime=");
    head.moment.push_milliseconds(line);
    line.push_str("\tzone=");
    push_zone(line, head.offset);
    line.push_str("\tsev=");
    push_digits(line, grade(record.severity).into(), 1);
    line.extend(["\thost=", head.host, "\tpid="]);
    push_digits(line, head.pid.into(), 1);
    push_pair(line, "client", client);
    for (name, value) in record.fields {
        push_pair(line, name_of(name), value);
    }
}

/// The format's own name for a field, where it has one.
fn name_of(field: &'static str) -> &'static str {
    match field {
        "ip_addr" => "dst",
        "port" => "dstPort",
        "user" => "usrName",
        _ => field,
    }
}

fn push_pair(line: &mut String, key: &str, value: &str) {
    line.extend(["\t", key, "="]);
    text::push_visible_text(line, value);
}

/// What the header said when it was written.
pub(super) fn head_of(hashed: &str) -> Option<Head<'_>> {
    let mut words = hashed.splitn(7, '|').nth(6)?.split('\t').skip(2);
    let mut word = |name: &str| words.next()?.strip_prefix(name);
    let (moment, offset) = (Moment::from_milliseconds(word("devTime=")?.parse().ok()?), parse_zone(word("zone=")?)?);
    let severity = of_grade(word("sev=")?)?;
    let (host, pid) = (word("host=")?, word("pid=")?.parse().ok()?);
    Some(Head { severity, moment, offset, host, is_local: false, pid, event: event_of(hashed)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_pair_is_replaced() {
        let mut line = String::new();
        push_pair(&mut line, "k", "a=b|c\td\r\ne\u{2028}");
        assert_eq!(line, "\tk=a=b|c\\td\\r\\ne\\u{2028}");
    }
}
