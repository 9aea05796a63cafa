//! Replies that arrive and are no answer to what was asked, whatever it was.

use keystead::Code;
use keystead::kmip::tags::{self, Tag};
use keystead::kmip::ttlv::Writer;

use super::fake_server::{Request, failed_item, failure, item, reply, success, version};
use super::fault_server::{Act, right_reply};
use super::{Cause, Fault};

const fn malformed(name: &'static str, bytes: fn(&Request) -> Vec<u8>, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Request(Act::Reply(bytes)), code: Code::ReplyMalformed, words }
}

const fn refused(name: &'static str, bytes: fn(&Request) -> Vec<u8>, code: Code, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Request(Act::Reply(bytes)), code, words }
}

pub const FAULTS: &[Fault] = &[
    malformed("HTTP comes within TLS", |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not start like a KMIP"),
    malformed("our own request comes back", |request| request.bytes.clone(), "does not start like a KMIP"),
    malformed("the reply claims four gibibytes", |_| claiming(!7), "claims 4294967288 bytes, more than"),
    malformed("the reply claims more than was allowed", |_| claiming(1 << 20), "claims 1048576 bytes, more than"),
    malformed("the reply is empty", |_| claiming(0), "tag 42007A is missing"),
    malformed("the reply's length is odd", |_| [claiming(20), vec![0; 20]].concat(), "cannot have length 20"),
    malformed("bytes follow the reply", |request| [right_reply(request), vec![0; 8]].concat(), "8 bytes follow"),
    malformed("the reply comes twice", |request| [right_reply(request), right_reply(request)].concat(), "bytes follow"),
    malformed(
        "an item claims four gibibytes",
        |r| patched(r, |item| item[4..8].fill(0xFF)),
        "claims 4294967295 bytes where",
    ),
    malformed("an item claims more than there is", |r| patched(r, |item| item[5] = 1), "bytes where"),
    malformed("an item is of no type", |r| patched(r, |item| item[3] = 0x0B), "has type 0B, which does not exist"),
    malformed("an integer has eight bytes", |r| patched(r, |item| (item[3], item[7]) = (2, 8)), "cannot have length 8"),
    malformed(
        "a Boolean is neither true nor false",
        |r| patched(r, |item| (item[3], item[7], item[15]) = (6, 8, 2)),
        "neither 0 nor 1",
    ),
    malformed(
        "padding is not zero",
        |r| patched(r, |item| (item[7], item[15]) = (7, 1)),
        "padding of tag 540001 is not zero",
    ),
    malformed("four hundred structures nest", nested, "nest deeper than 32 levels"),
    malformed("the header is missing", |request| without(request, tags::RESPONSE_HEADER), "tag 42007A is missing"),
    malformed(
        "the protocol version is missing",
        |request| without(request, tags::PROTOCOL_VERSION),
        "tag 420069 is missing",
    ),
    malformed("the reply is of another major version", other_version, "it is of KMIP 2.0"),
    malformed("nothing is answered in the reply", |request| without(request, tags::BATCH_ITEM), "it answers nothing"),
    malformed("the result status is missing", |request| without(request, tags::RESULT_STATUS), "tag 42007F is missing"),
    malformed("the result status is there twice", twice, "tag 42007F is there twice"),
    malformed(
        "the result status is text",
        |request| retyped(request, tags::RESULT_STATUS, 7),
        "holds a TextString where a Enumeration",
    ),
    malformed("another request is answered", |request| success(request.items[0].0, &[9; 8], |_| {}), "not requested"),
    malformed(
        "the answer's item is not numbered as ours",
        |request| success(request.items[0].0, &[9], |_| {}),
        "not ours",
    ),
    malformed("the request is answered twice", answered_twice, "answers an operation twice"),
    malformed("an answer to nothing in particular is added", unnamed_too, "does not say which operation it answers"),
    malformed(
        "another operation is answered",
        |request| success(0x15, request.id(), |_| {}),
        "about another operation",
    ),
    refused("a failure comes without a reason", |r| failed(r, 1), Code::ServerRefused, "no reason given"),
    refused("the result is of no known status", |r| failed(r, 9), Code::ServerRefused, "no reason given"),
    refused("the operation stays pending", |r| failed(r, 2), Code::ServerRefused, "no reason given"),
    refused(
        "the server denies permission",
        |r| denied(r, 0x0C),
        Code::PermissionDenied,
        "check the permissions of our client",
    ),
    refused("the server fails", |r| denied(r, 0x100), Code::ServerRefused, "see the key server's own log"),
    refused("the reason is unknown", |r| denied(r, 0x8000_00AA), Code::ServerRefused, "reason 0x800000aa"),
];

/// Bytes that start like a reply of that length.
pub fn claiming(length: u32) -> Vec<u8> {
    [&[0x42, 0, 0x7B, 1][..], &length.to_be_bytes()].concat()
}

const VENDOR: Tag = 0x540001;

/// A reply whose payload is one item of 64 zeros, changed; `patch` sees it from its tag on.
fn patched(request: &Request, patch: fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = success(request.items[0].0, request.id(), |payload| payload.bytes(VENDOR, &[0; 64]));
    let start = start_of(&bytes, VENDOR);
    patch(&mut bytes[start..]);
    bytes
}

fn start_of(bytes: &[u8], tag: Tag) -> usize {
    let tag = &tag.to_be_bytes()[1..];
    bytes.windows(3).position(|window| window == tag).unwrap()
}

/// The right reply with a vendor's tag in place of this one.
pub fn without(request: &Request, tag: Tag) -> Vec<u8> {
    let mut bytes = right_reply(request);
    let start = start_of(&bytes, tag);
    bytes[start] = 0x54;
    bytes
}

/// The right reply with another type of this item.
pub fn retyped(request: &Request, tag: Tag, kind: u8) -> Vec<u8> {
    let mut bytes = right_reply(request);
    let start = start_of(&bytes, tag);
    bytes[start + 3] = kind;
    bytes
}

fn nested(request: &Request) -> Vec<u8> {
    fn nest(writer: &mut Writer, left: usize) {
        if left > 0 {
            writer.structure(VENDOR, |inner| nest(inner, left - 1));
        }
    }
    success(request.items[0].0, request.id(), |payload| nest(payload, 400))
}

fn other_version(request: &Request) -> Vec<u8> {
    let mut bytes = right_reply(request);
    let major = start_of(&bytes, tags::PROTOCOL_VERSION_MAJOR) + 11;
    let minor = start_of(&bytes, tags::PROTOCOL_VERSION_MINOR) + 11;
    (bytes[major], bytes[minor]) = (2, 0);
    bytes
}

fn with_item(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    reply(|message| message.structure(tags::BATCH_ITEM, fill))
}

fn twice(request: &Request) -> Vec<u8> {
    with_item(|item| {
        item.bytes(tags::UNIQUE_BATCH_ITEM_ID, request.id());
        item.enumeration(tags::RESULT_STATUS, 0);
        item.enumeration(tags::RESULT_STATUS, 1);
    })
}

fn failed(request: &Request, status: u32) -> Vec<u8> {
    with_item(|item| {
        item.bytes(tags::UNIQUE_BATCH_ITEM_ID, request.id());
        item.enumeration(tags::RESULT_STATUS, status);
    })
}

fn denied(request: &Request, reason: u32) -> Vec<u8> {
    failure(request.items[0].0, request.id(), reason, "no")
}

fn answered_twice(request: &Request) -> Vec<u8> {
    let (operation, id) = (request.items[0].0, request.id());
    reply(|message| {
        item(message, operation, id, |_| {});
        failed_item(message, operation, id, 1, "on second thoughts");
    })
}

fn unnamed_too(request: &Request) -> Vec<u8> {
    reply(|message| {
        item(message, request.items[0].0, request.id(), |payload| version(payload, 4));
        message.structure(tags::BATCH_ITEM, |item| item.enumeration(tags::RESULT_STATUS, 0));
    })
}
