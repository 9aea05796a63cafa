//! Answers to the request for a key that are not the key.

use keystead::Code;
use keystead::kmip::{Get, Operation, tags};

use super::fake_server::{FakeKey, Request, failure, success};
use super::fault_server::Act;
use super::replies::{retyped, without};
use super::{Cause, Fault};

const fn get(name: &'static str, bytes: fn(&Request) -> Vec<u8>, code: Code, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Get(Act::Reply(bytes)), code, words }
}

const fn other_key(name: &'static str, key: FakeKey<'static>, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Get(Act::Key(key)), code: Code::AnswerUnexpected, words }
}

pub const FAULTS: &[Fault] = &[
    other_key("another object is answered", FakeKey { id: "key-2", ..FakeKey::GOOD }, "another object than key-1"),
    other_key("the object has no name", FakeKey { id: "", ..FakeKey::GOOD }, "another object than key-1"),
    get(
        "the object is a split key",
        |r| split_key(r.id()),
        Code::KeySplit,
        "unexpected answer to Get: the object is a part of a split key",
    ),
    other_key("the object is a certificate", FakeKey { object_type: 1, ..FakeKey::GOOD }, "certificate"),
    other_key(
        "the object is of no known type",
        FakeKey { object_type: 99, ..FakeKey::GOOD },
        "instead of a symmetric key",
    ),
    other_key("the key is not raw", FakeKey { format: 7, ..FakeKey::GOOD }, "format is 0x7"),
    other_key("the key is one for 3DES", FakeKey { algorithm: 2, ..FakeKey::GOOD }, "3DES"),
    other_key(
        "the key is one for a vendor's cipher",
        FakeKey { algorithm: 0x8000_0001, ..FakeKey::GOOD },
        "algorithm 0x80000001",
    ),
    other_key("the key is said to have 128 bits", FakeKey { bits: 128, ..FakeKey::GOOD }, "128 bits"),
    other_key("the key is said to have -256 bits", FakeKey { bits: -256, ..FakeKey::GOOD }, "-256 bits"),
    other_key("the key has 16 bytes", FakeKey { material: &[0xA7; 16], ..FakeKey::GOOD }, "not 32 bytes"),
    other_key("the key has 33 bytes", FakeKey { material: &[0xA7; 33], ..FakeKey::GOOD }, "not 32 bytes"),
    other_key("the key has no bytes", FakeKey { material: &[], ..FakeKey::GOOD }, "not 32 bytes"),
    other_key("the key is wrapped", FakeKey { wrapped: true, ..FakeKey::GOOD }, "wrapped"),
    get(
        "the payload is missing",
        |r| without(r, tags::RESPONSE_PAYLOAD),
        Code::ReplyMalformed,
        "tag 420094 is missing",
    ),
    get("the object type is missing", |r| without(r, tags::OBJECT_TYPE), Code::ReplyMalformed, "tag 420057 is missing"),
    get(
        "the identifier is missing",
        |r| without(r, tags::UNIQUE_IDENTIFIER),
        Code::ReplyMalformed,
        "tag 420094 is missing",
    ),
    get("the key is missing", |r| without(r, tags::SYMMETRIC_KEY), Code::ReplyMalformed, "tag 42008F is missing"),
    get("the key block is missing", |r| without(r, tags::KEY_BLOCK), Code::ReplyMalformed, "tag 420040 is missing"),
    get(
        "the key's format is missing",
        |r| without(r, tags::KEY_FORMAT_TYPE),
        Code::ReplyMalformed,
        "tag 420042 is missing",
    ),
    get("the key's value is missing", |r| without(r, tags::KEY_VALUE), Code::ReplyMalformed, "tag 420045 is missing"),
    get(
        "the key's bytes are missing",
        |r| without(r, tags::KEY_MATERIAL),
        Code::ReplyMalformed,
        "tag 420043 is missing",
    ),
    get(
        "the key's bytes are text",
        |r| retyped(r, tags::KEY_MATERIAL, 7),
        Code::ReplyMalformed,
        "where a ByteString belongs",
    ),
    get(
        "the key comes without its algorithm",
        |r| without(r, tags::CRYPTOGRAPHIC_ALGORITHM),
        Code::AnswerUnexpected,
        "without its algorithm",
    ),
    get(
        "the key comes without its length",
        |r| without(r, tags::CRYPTOGRAPHIC_LENGTH),
        Code::AnswerUnexpected,
        "without its algorithm or length",
    ),
    get("two identifiers are answered", two_identifiers, Code::ReplyMalformed, "tag 420094 is there twice"),
    get("two keys are answered", two_keys, Code::ReplyMalformed, "is there twice"),
    get("the identifier is not UTF-8", not_utf8, Code::ReplyMalformed, "is not UTF-8"),
    get("the key does not exist", |r| failure(Get::CODE, r.id(), 1, "gone"), Code::KeyNotFound, "was not destroyed"),
    get("the key may not leave the server", |r| failure(Get::CODE, r.id(), 0x16, "no"), Code::ServerRefused, "own log"),
];

fn split_key(id: &[u8]) -> Vec<u8> {
    success(Get::CODE, id, |payload| FakeKey { object_type: 5, ..FakeKey::GOOD }.write(payload))
}

fn two_identifiers(request: &Request) -> Vec<u8> {
    success(Get::CODE, request.id(), |payload| {
        FakeKey::GOOD.write(payload);
        payload.text(tags::UNIQUE_IDENTIFIER, "key-2");
    })
}

fn two_keys(request: &Request) -> Vec<u8> {
    success(Get::CODE, request.id(), |payload| {
        payload.enumeration(tags::OBJECT_TYPE, 2);
        payload.text(tags::UNIQUE_IDENTIFIER, "key-1");
        payload.structure(tags::SYMMETRIC_KEY, |key| {
            key.structure(tags::KEY_BLOCK, |block| {
                block.enumeration(tags::KEY_FORMAT_TYPE, 1);
                block.structure(tags::KEY_VALUE, |value| {
                    value.bytes(tags::KEY_MATERIAL, &[0xA7; 32]);
                    value.bytes(tags::KEY_MATERIAL, &[0xA8; 32]);
                });
                block.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, 3);
                block.integer(tags::CRYPTOGRAPHIC_LENGTH, 256);
            });
        });
    })
}

fn not_utf8(request: &Request) -> Vec<u8> {
    let mut bytes = success(Get::CODE, request.id(), |payload| FakeKey::GOOD.write(payload));
    let start = bytes.windows(5).position(|window| window == b"key-1").unwrap();
    bytes[start] = 0xFF;
    bytes
}
