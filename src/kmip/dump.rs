//! A KMIP message as text for people who look for a fault in a conversation.
//!
//! It tells the structure, the tags, types and lengths, and the values of a few tags that hold nothing but numbers of
//! the protocol. Every other value is left out: most of what else travels is a key, a password or data, and what a
//! vendor adds is not known.

#![forbid(unsafe_code)]

use super::tags::{self, Tag};
use super::ttlv::{Item, Kind, Malformed, Reader};
use crate::error::Error;

/// More lines than any message of ours has.
const MOST_LINES: usize = 2_000;

/// Tags whose numbers are the protocol's own.
const SHOWN: [Tag; 14] = [
    tags::PROTOCOL_VERSION_MAJOR,
    tags::PROTOCOL_VERSION_MINOR,
    tags::BATCH_COUNT,
    tags::BATCH_ERROR_CONTINUATION_OPTION,
    tags::MAXIMUM_RESPONSE_SIZE,
    tags::MAXIMUM_ITEMS,
    tags::OPERATION,
    tags::OBJECT_TYPE,
    tags::RESULT_STATUS,
    tags::RESULT_REASON,
    tags::QUERY_FUNCTION,
    tags::KEY_FORMAT_TYPE,
    tags::BLOCK_CIPHER_MODE,
    tags::REVOCATION_REASON_CODE,
];

/// One line for each item of a request or a response, indented by its depth; the last one says what is wrong with
/// it, or that more was left out.
pub fn lines(message: &[u8]) -> Vec<String> {
    let root = if message.starts_with(&[0x42, 0x00, 0x7B]) { tags::RESPONSE_MESSAGE } else { tags::REQUEST_MESSAGE };
    let mut lines = vec![format!("{root:06X} Structure {} bytes", message.len())];
    let told = Reader::message(message, root).and_then(|items| describe(items, 1, &mut lines));
    if let Err(fault) = told {
        lines.push(Error::from(fault).message().to_owned());
    }
    lines
}

fn describe(mut items: Reader<'_>, depth: usize, lines: &mut Vec<String>) -> Result<(), Malformed> {
    while let Some(item) = items.next()? {
        if lines.len() >= MOST_LINES {
            return Err(Malformed::new("more lines than are shown"));
        }
        let shown = if SHOWN.contains(&item.tag()) { number(&item) } else { None };
        let value = shown.map(|number| format!(" = {number:#x}")).unwrap_or_default();
        let indent = "  ".repeat(depth);
        lines.push(format!("{indent}{:06X} {:?} {} bytes{value}", item.tag(), item.kind(), item.length()));
        if item.kind() == Kind::Structure {
            describe(item.structure()?, depth + 1, lines)?;
        }
    }
    Ok(())
}

fn number(item: &Item<'_>) -> Option<u32> {
    match item.kind() {
        Kind::Integer => item.integer().ok().map(|number| number as u32),
        Kind::Enumeration => item.enumeration().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmip::ttlv::Writer;

    /// Appears in no number of the protocol, neither as text nor in hexadecimal or decimal.
    const CANARY: &str = "canary-5f3e9a";

    fn request() -> Vec<u8> {
        let mut writer = Writer::with_capacity(4096);
        writer.structure(tags::REQUEST_MESSAGE, |message| {
            message.structure(tags::REQUEST_HEADER, |header| {
                header.structure(tags::CREDENTIAL_VALUE, |value| {
                    value.text(tags::USERNAME, CANARY);
                    value.text(tags::PASSWORD, CANARY);
                });
            });
            message.structure(tags::BATCH_ITEM, |item| {
                item.enumeration(tags::OPERATION, 3);
                item.bytes(tags::DATA, CANARY.as_bytes());
                item.integer(0x540001, 0x5F3E_9A00);
                item.bytes(tags::KEY_MATERIAL, CANARY.as_bytes());
                // A vendor may put anything under a tag that usually holds a number.
                item.bytes(tags::BATCH_COUNT, CANARY.as_bytes());
            });
        });
        writer.written().unwrap().to_vec()
    }

    #[test]
    fn structure_tags_types_and_lengths_are_shown_and_no_value_of_a_secret() {
        let text = lines(&request()).join("\n");
        for shown in ["  420077 Structure", "    42005C Enumeration 4 bytes = 0x3", "    420043 ByteString 13 bytes"] {
            assert!(text.contains(shown), "{text}");
        }
        let hexadecimal: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            CANARY.to_owned(),
            hexadecimal,
            "5f3e9a00".into(),
            0x5F3E_9A00.to_string(),
            format!("{:?}", CANARY.as_bytes()),
        ];
        let text = text.to_lowercase();
        assert!(forms.iter().all(|form| !text.contains(form)), "{text}");
    }

    #[test]
    fn what_is_no_message_is_said_and_shows_none_of_its_bytes() {
        let whole = request();
        for length in 0..whole.len() {
            let told = lines(&whole[..length]);
            assert!(told.len() == 2 && !told.join(" ").contains("canary"), "{told:?}");
        }
    }

    #[test]
    fn a_message_of_many_items_is_cut() {
        let mut writer = Writer::with_capacity(1 << 20);
        writer.structure(tags::RESPONSE_MESSAGE, |message| {
            (0..10_000).for_each(|_| message.integer(tags::BATCH_COUNT, 1));
        });
        let told = lines(writer.written().unwrap());
        assert_eq!(told.len(), MOST_LINES + 1);
        assert_eq!(told.last().map(String::as_str), Some("more lines than are shown"));
    }
}
