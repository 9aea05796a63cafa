//! The record as `name=value` pairs, which both syslog formats carry.

#![forbid(unsafe_code)]

use super::header::{Head, parse_zone, push_zone};
use super::layout::push_hex;
use super::time::{Moment, push_digits};
use super::view::Stamped;
use super::{Severity, text};

/// Names that every record has; a field of an event is called otherwise.
const RESERVED: [&str; 11] =
    ["serial", "stream", "ts", "zone", "host", "pid", "client", "event", "severity", "prev", "sha256"];

/// Appends the pairs up to the last field.
pub(super) fn push(stamped: &Stamped<'_>, line: &mut String) {
    let Stamped { record, head, client, link } = stamped;
    line.push_str("serial=");
    push_digits(line, link.serial, 1);
    line.push_str(" stream=");
    push_hex(line, link.stream);
    line.push_str(" ts=");
    head.moment.push_iso(line);
    line.push_str(" zone=");
    push_zone(line, head.offset);
    line.extend([" host=", head.host, " pid="]);
    push_digits(line, head.pid.into(), 1);
    text::push_field(line, "client", client);
    line.push_str(" event=");
    line.push_str(record.event);
    line.push_str(" severity=");
    line.push_str(record.severity.name());
    for (name, value) in record.fields {
        debug_assert!(!RESERVED.contains(name), "{name} is a field of every record");
        text::push_field(line, name, value);
    }
}

/// What the header said when it was written.
pub(super) fn head_of(hashed: &str) -> Option<Head<'_>> {
    let mut words = hashed.splitn(7, ' ').skip(2);
    let mut word = |name: &str| words.next()?.strip_prefix(name);
    let (moment, offset) = (Moment::parse_iso(word("ts=")?)?, parse_zone(word("zone=")?)?);
    let (host, pid) = (word("host=")?, word("pid=")?.parse().ok()?);
    let mut words = after_value(word("client=")?)?.split(' ').skip(1);
    let event = words.next()?.strip_prefix("event=")?;
    let severity = words.next()?.strip_prefix("severity=")?;
    let severity = Severity::ALL.into_iter().find(|known| known.name() == severity)?;
    Some(Head { severity, moment, offset, host, is_local: false, pid, event })
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
