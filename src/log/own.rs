//! What a record says that a verifier asks it: when it was written, and what the chain tells of itself.
//!
//! An application chooses the client's name and keys' names, so nothing that stands in a value is taken for a field: the event is read where
//! it was written, and fields, which follow what an application chose, from the end.

#![forbid(unsafe_code)]

use super::header::Head;
use super::layout::{Layout, Line};
use super::time::seconds_of;
use super::{catalogue, cef, key_value, leef, view};

/// When it was written, in seconds since 1970.
pub(super) fn time_of(record: &Line<'_>) -> Option<i64> {
    let text = std::str::from_utf8(record.hashed).ok()?;
    let head: Option<Head<'_>> = match record.layout {
        Layout::Csv => {
            let mut is_quoted = false;
            let mut cells = text.split(|c| {
                is_quoted ^= c == '"';
                c == ',' && !is_quoted
            });
            return seconds_of(cells.nth(5)?, cells.next()?);
        }
        Layout::KeyValue => key_value::head_of(text),
        Layout::Cef => cef::head_of(text),
        Layout::Leef => leef::head_of(text),
    };
    head.map(|head| head.moment.seconds())
}

/// The event of a record that the chain writes of itself.
pub(super) fn event_of<'a>(record: &Line<'a>) -> Option<&'a str> {
    let text = std::str::from_utf8(record.hashed).ok()?;
    let event = match record.layout {
        Layout::Csv => text.split(',').next(),
        Layout::KeyValue => key_value::head_of(text).map(|head| head.event),
        Layout::Cef | Layout::Leef => view::event_of(text),
    };
    event.filter(|event| event.starts_with("log."))
}

/// What it says beside its event, for people.
pub(super) fn told(record: &Line<'_>, event: &str) -> Option<String> {
    let text = std::str::from_utf8(record.hashed).ok()?;
    let number = |name| field(record.layout, text, name);
    Some(match event {
        catalogue::LOG_TORN_TAIL => format!("{} bytes", number("bytes")?),
        catalogue::LOG_LOST => format!("{} records, {}", number("count")?, reason(record.layout, text)?),
        _ => reason(record.layout, text)?.to_owned(),
    })
}

/// The last field of the records that have it. A quote in it stays escaped.
fn reason(layout: Layout, text: &str) -> Option<&str> {
    if layout == Layout::Csv {
        return told_in_row(text)?.rsplit("reason ").next();
    }
    let label = if layout == Layout::Leef { "\treason=" } else { " reason=" };
    let end = text.rfind(layout.previous_label())?;
    let value = &text[text.rfind(label)? + label.len()..end];
    Some(value.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')).unwrap_or(value))
}

/// The value of a field that is written without quotes.
pub(super) fn field<'a>(layout: Layout, text: &'a str, name: &str) -> Option<&'a str> {
    if layout == Layout::Csv {
        return told_in_row(text)?.split(", ").find_map(|pair| pair.strip_prefix(name)?.strip_prefix(' '));
    }
    let label = match layout {
        Layout::Cef => format!(" {}=", cef::own_name(name)),
        Layout::Leef => format!("\t{name}="),
        _ => format!(" {name}="),
    };
    let value = &text[text.rfind(&label)? + label.len()..];
    Some(&value[..value.find([' ', '\t']).unwrap_or(value.len())])
}

/// The cell `result_message`, which four others follow up to the previous hash. It is quoted if it holds a comma.
fn told_in_row(text: &str) -> Option<&str> {
    let before = text.rsplitn(5, ',').nth(4)?;
    match before.strip_suffix('"') {
        Some(quoted) => quoted.rsplit('"').next(),
        None => before.rsplit(',').next(),
    }
}
