//! What a chain writes of itself, as a verifier reads it.
//!
//! An application chooses the client's name and keys' names, so nothing that stands in a value is taken for a field: the event is read where
//! it was written, and fields, which follow what an application chose, from the end.

#![forbid(unsafe_code)]

use super::layout::{Layout, Line};
use super::{cef, key_value, view};

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
