//! Writes `tests/vectors/message.json` (with UPDATE_VECTORS=1) and otherwise holds it to what it would write.
//!
//! The messages are put together here a second time, field by field and straight from the standards, so that
//! one field can be wrong while all others, down to key and tag, are right.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use serde::Serialize;

use super::cbor;
use super::session::{Session, iv};

pub(super) const KEY_ID: &str = "customer-42/7";
pub(super) const KEY: [u8; 32] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
                         \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
pub(super) const SALT: [u8; 16] = *b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf";
const COUNTER: u32 = 5;
const TICKS: u64 = 0x0123_4567_89ab_cdef;
pub(super) const AAD: &[u8] = b"row 1";
const PLAINTEXT: &[u8] = b"hello";

#[derive(Serialize)]
struct Vector {
    name: String,
    /// Name and version of the key that the reader has.
    key_id: String,
    key: String,
    aad: String,
    message: String,
    /// `valid` or `refused`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<String>,
}

/// Everything that makes a message; each vector changes one thing.
#[derive(Clone)]
pub(super) struct Recipe {
    pub id: Vec<u8>,
    pub key: [u8; 32],
    pub salt: Vec<u8>,
    pub iv: [u8; 12],
    pub aad: Vec<u8>,
    pub plaintext: Vec<u8>,
    pub body_protected: Vec<u8>,
    pub algorithm: Vec<u8>,
    pub key_use: &'static str,
}

/// A part of a message under its name.
pub(super) type Field = (&'static str, Vec<u8>);

impl Recipe {
    pub fn new() -> Recipe {
        Recipe {
            id: KEY_ID.into(),
            key: KEY,
            salt: SALT.into(),
            iv: iv(COUNTER, TICKS),
            aad: AAD.into(),
            plaintext: PLAINTEXT.into(),
            body_protected: unhex("a10103"),
            algorithm: unhex("0129"),
            key_use: "message",
        }
    }

    fn prk(&self) -> Vec<u8> {
        hmac_sha256(&self.salt, &[&self.key])
    }

    /// HKDF-Expand to 32 bytes is one HMAC (RFC 5869 §2.3).
    fn expand(&self, info: &[&[u8]]) -> Vec<u8> {
        hmac_sha256(&self.prk(), &[&info.concat()[..], &[1]])
    }

    fn commitment(&self) -> Vec<u8> {
        self.expand(&[b"\x83\x71keystead/commit/1", &text(self.key_use), &bytes(&self.id)])
    }

    pub fn content_key(&self, recipient_protected: &[u8]) -> Vec<u8> {
        let context = unhex("840383f6f6f683f6f6f683190100");
        self.expand(&[&context, &bytes(recipient_protected), &bytes(self.key_use.as_bytes())])
    }

    /// The recipient's protected header, its entries apart.
    pub fn protected(&self) -> Vec<Field> {
        vec![
            ("recipient protected: map", unhex("a3")),
            ("recipient protected: alg", self.algorithm.clone()),
            ("recipient protected: kid", [unhex("04"), bytes(&self.id)].concat()),
            ("recipient protected: key commitment", [unhex("3a00010000"), bytes(&self.commitment())].concat()),
        ]
    }

    pub fn fields(&self) -> Vec<Field> {
        self.fields_with(&join(&self.protected()))
    }

    /// The fields of a message whose recipient's protected header is this, whatever it is.
    fn fields_with(&self, protected: &[u8]) -> Vec<Field> {
        let iv = self.iv;
        let key = UnboundKey::new(&AES_256_GCM, &self.content_key(protected)).unwrap();
        let mut sealed = self.plaintext.clone();
        let structure = [b"\x83\x67Encrypt", &bytes(&self.body_protected)[..], &bytes(&self.aad)].concat();
        LessSafeKey::new(key)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(structure), &mut sealed)
            .unwrap();
        let (head, head_size) = cbor::head(sealed.len());
        let tag = sealed.split_off(self.plaintext.len());
        vec![
            ("COSE_Encrypt tag", unhex("d860")),
            ("array of four", unhex("84")),
            ("body protected", bytes(&self.body_protected)),
            ("body unprotected: IV head", unhex("a1054c")),
            ("IV counter", iv[..4].to_vec()),
            ("IV ticks", iv[4..].to_vec()),
            ("ciphertext head", head[..head_size].to_vec()),
            ("ciphertext", sealed),
            ("tag", tag),
            ("array of recipients", unhex("81")),
            ("recipient", unhex("83")),
            ("recipient protected", bytes(protected)),
            ("recipient unprotected: salt head", [unhex("a133"), vec![0x40 + self.salt.len() as u8]].concat()),
            ("salt", self.salt.clone()),
            ("recipient ciphertext", unhex("40")),
        ]
    }

    /// The fields, the recipient's protected header entry by entry.
    pub fn all_fields(&self) -> Vec<Field> {
        let mut fields = self.fields();
        let at = fields.iter().position(|(name, _)| *name == "recipient protected").unwrap();
        let head = fields[at].1[..2].to_vec();
        fields.splice(at..=at, [vec![("recipient protected: head", head)], self.protected()].concat());
        assert_eq!(join(&fields), join(&self.fields()));
        fields
    }

    fn valid(&self, name: &str) -> Vector {
        let id = String::from_utf8(self.id.clone()).unwrap();
        Vector {
            plaintext: Some(hex(&self.plaintext)),
            result: "valid",
            key_id: id,
            ..self.refused(name, &join(&self.fields()))
        }
    }

    /// Bytes that a reader of the usual key, with this recipe's associated data, refuses.
    fn refused(&self, name: &str, message: &[u8]) -> Vector {
        Vector {
            name: name.to_owned(),
            key_id: KEY_ID.to_owned(),
            key: hex(&self.key),
            aad: hex(&self.aad),
            message: hex(message),
            result: "refused",
            plaintext: None,
        }
    }
}

fn valid_vectors() -> Vec<Vector> {
    let base = Recipe::new();
    let mut vectors = vec![base.valid("the example of docs/FORMAT.md")];
    for n in [0, 7, 8, 239, 240, 1000] {
        let plaintext = (0..n).map(|i| (i % 251) as u8).collect();
        vectors.push(Recipe { plaintext, ..base.clone() }.valid(&format!("{n} bytes of plaintext")));
    }
    for n in [0, 23, 24, 255, 256, 1025] {
        vectors.push(Recipe { aad: vec![0xdd; n], ..base.clone() }.valid(&format!("{n} bytes of associated data")));
    }
    let long = format!("{}/4294967295", "n".repeat(128));
    for id in ["a/1", "A-Z_a.z-09/10", &long] {
        vectors.push(Recipe { id: id.into(), ..base.clone() }.valid(&format!("key {:.20}", id)));
    }
    vectors
}

/// Every field of a message changed in four ways, and nothing mended.
fn damaged_vectors() -> Vec<Vector> {
    let base = Recipe::new();
    damaged(&base.all_fields()).iter().map(|(name, message)| base.refused(name, message)).collect()
}

/// Every field changed in four ways: what was changed, and the whole.
pub(super) fn damaged(fields: &[Field]) -> Vec<(String, Vec<u8>)> {
    let mut damaged = Vec::new();
    for (at, (field, bytes)) in fields.iter().enumerate() {
        let mut push = |what: &str, changed: Vec<u8>| {
            let mut fields = fields.to_vec();
            fields[at].1 = changed;
            damaged.push((format!("{field}: {what}"), join(&fields)));
        };
        let (first, last) = (0, bytes.len() - 1);
        let flipped = |at: usize, mask: u8| {
            let mut bytes = bytes.clone();
            bytes[at] ^= mask;
            bytes
        };
        push("lowest bit of the first byte flipped", flipped(first, 0x01));
        push("highest bit of the last byte flipped", flipped(last, 0x80));
        push("left out", Vec::new());
        push("twice", [&bytes[..], bytes].concat());
    }
    damaged
}

/// Messages that another COSE library might take, in an encoding or with headers that are not the accepted ones.
fn foreign_vectors() -> Vec<Vector> {
    let base = Recipe::new();
    let replaced = |field: &str, bytes: &str| {
        let mut fields = base.fields();
        fields.iter_mut().find(|(name, _)| *name == field).unwrap().1 = unhex(bytes);
        join(&fields)
    };
    let mut vectors = Vec::new();
    for (name, field, bytes) in [
        ("no tag at all", "COSE_Encrypt tag", ""),
        ("tagged as COSE_Encrypt0", "COSE_Encrypt tag", "d0"),
        ("tag not in its shortest form", "COSE_Encrypt tag", "d90060"),
        ("tagged twice", "COSE_Encrypt tag", "d9d9f7d860"),
        ("array of indefinite length", "array of four", "9f"),
        ("array length not in its shortest form", "array of four", "9804"),
        ("IV as text", "body unprotected: IV head", "a1056c"),
        ("partial IV", "body unprotected: IV head", "a1064c"),
        ("IV length not in its shortest form", "body unprotected: IV head", "a105580c"),
        ("another unprotected entry", "body unprotected: IV head", "a203004105054c"),
        ("ciphertext length in two bytes", "ciphertext head", "5815"),
        ("ciphertext length in three bytes", "ciphertext head", "590015"),
        ("ciphertext length in nine bytes", "ciphertext head", "5b0000000000000015"),
        ("ciphertext length beyond the end", "ciphertext head", "5affffffff"),
        ("ciphertext as text", "ciphertext head", "75"),
        ("ciphertext in chunks", "ciphertext head", "5f55"),
        ("no recipients", "array of recipients", "80"),
        ("recipients of indefinite length", "array of recipients", "9f"),
        ("recipient with recipients", "recipient", "84"),
        ("recipient's ciphertext is nil", "recipient ciphertext", "f6"),
        ("recipient's ciphertext is not empty", "recipient ciphertext", "4100"),
        ("something after the end", "recipient ciphertext", "4000"),
    ] {
        vectors.push(base.refused(name, &replaced(field, bytes)));
    }
    let mut fields = base.fields();
    fields[7].1.clear();
    fields[8].1.clear();
    fields[6].1 = unhex("f6");
    vectors.push(base.refused("detached ciphertext", &join(&fields)));
    let recipient = join(&base.fields()[10..]);
    let mut fields = base.fields();
    fields[9].1 = unhex("82");
    vectors.push(base.refused("two recipients", &[join(&fields), recipient].concat()));
    vectors.push(base.refused("empty", b""));
    vectors.push(base.refused("400 nested arrays", &[0x81; 400]));
    vectors.push(base.refused("plaintext", b"hello"));
    vectors
}

/// Messages whose key and tag are right for headers that are not the accepted ones.
fn genuine_but_unaccepted_vectors() -> Vec<Vector> {
    let base = Recipe::new();
    let mut vectors = Vec::new();
    for (name, body_protected) in [
        ("empty body protected", ""),
        ("body alg A128GCM", "a10101"),
        ("body alg missing", "a0"),
        ("body alg not in its shortest form", "a1011803"),
        ("body alg twice", "a201030103"),
        ("body protected of indefinite length", "bf0103ff"),
        ("body protected with a content type", "a201030300"),
        ("body protected with a critical label", "a3010302811a0001000019ffff00"),
    ] {
        let recipe = Recipe { body_protected: unhex(body_protected), ..base.clone() };
        vectors.push(base.refused(name, &join(&recipe.fields())));
    }
    for (name, algorithm) in
        [("direct+HKDF-SHA-512", "012a"), ("direct", "0125"), ("A256KW", "0124"), ("alg as text", "016141")]
    {
        let recipe = Recipe { algorithm: unhex(algorithm), ..base.clone() };
        vectors.push(base.refused(&format!("recipient alg {name}"), &join(&recipe.fields())));
    }
    let long = "n".repeat(129) + "/1";
    for id in [
        "customer-42/8",
        "customer-43/7",
        "customer-42",
        "customer-42/",
        "customer-42/07",
        "customer-42/0",
        "customer-42/+7",
        "customer-42/7 ",
        "customer-42/7/7",
        "customer-42/4294967296",
        "space:customer-42/7",
        "/7",
        "",
        "kunde ä/7",
        &long,
    ] {
        let recipe = Recipe { id: id.into(), ..base.clone() };
        vectors.push(base.refused(&format!("kid \"{id:.30}\""), &join(&recipe.fields())));
    }
    for n in [0, 15, 17, 23] {
        let recipe = Recipe { salt: vec![0xa0; n], ..base.clone() };
        vectors.push(base.refused(&format!("salt of {n} bytes"), &join(&recipe.fields())));
    }
    let recipe = Recipe { key_use: "stream", ..base.clone() };
    vectors.push(base.refused("made for another use", &join(&recipe.fields())));

    let p = base.protected();
    let (alg, kid, commitment) = (&p[1].1, &p[2].1, &p[3].1);
    let shorter = [&unhex("3a00010000581f")[..], &base.commitment()[..31]].concat();
    let other_label = [&unhex("3a000100015820")[..], &base.commitment()].concat();
    let as_text = [&unhex("046d")[..], KEY_ID.as_bytes()].concat();
    let long_kid = [&unhex("04580d")[..], KEY_ID.as_bytes()].concat();
    for (name, protected) in [
        ("entries in another order", [&unhex("a3"), kid, alg, commitment].map(|v| &v[..]).concat()),
        ("commitment missing", [&unhex("a2"), alg, kid].map(|v| &v[..]).concat()),
        ("kid missing", [&unhex("a2"), alg, commitment].map(|v| &v[..]).concat()),
        ("kid twice", [&unhex("a4"), alg, kid, kid, commitment].map(|v| &v[..]).concat()),
        ("kid as text", [&unhex("a3"), alg, &as_text, commitment].map(|v| &v[..]).concat()),
        ("kid length not in its shortest form", [&unhex("a3"), alg, &long_kid, commitment].map(|v| &v[..]).concat()),
        ("commitment of 31 bytes", [&unhex("a3"), alg, kid, &shorter].map(|v| &v[..]).concat()),
        ("commitment under another label", [&unhex("a3"), alg, kid, &other_label].map(|v| &v[..]).concat()),
        ("an unknown entry", [&unhex("a4"), alg, kid, commitment, &unhex("3a0001000100")].map(|v| &v[..]).concat()),
        ("something behind the map", [&unhex("a3"), alg, kid, commitment, &unhex("00")].map(|v| &v[..]).concat()),
        ("a map of indefinite length", [&unhex("bf"), alg, kid, commitment, &unhex("ff")].map(|v| &v[..]).concat()),
        ("empty", Vec::new()),
    ] {
        let message = join(&base.fields_with(&protected));
        vectors.push(base.refused(&format!("recipient protected: {name}"), &message));
    }
    vectors.push(Vector { aad: hex(b"row 2"), ..base.refused("other associated data", &join(&base.fields())) });
    vectors.push(Vector { key: hex(&[9; 32]), ..base.refused("another key of the same name", &join(&base.fields())) });
    vectors
}

fn all_vectors() -> Vec<Vector> {
    [valid_vectors(), damaged_vectors(), foreign_vectors(), genuine_but_unaccepted_vectors()]
        .into_iter()
        .flatten()
        .collect()
}

pub(super) fn join(fields: &[Field]) -> Vec<u8> {
    fields.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

pub(super) fn bytes(string: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::push(&mut out, string);
    out
}

fn text(string: &str) -> Vec<u8> {
    let mut out = bytes(string.as_bytes());
    out[0] += 0x20;
    out
}

pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[test]
fn the_code_writes_what_the_specification_says() {
    for n in [0, 5, 7, 8, 239, 240, 65_519, 65_520, 100_000] {
        for aad in [0, 5, 23, 24, 64, 65, 255, 256, 1024, 1025, 70_000] {
            let recipe = Recipe { plaintext: vec![1; n], aad: vec![2; aad], ..Recipe::new() };
            let session = Session::of(&KEY, KEY_ID, &SALT).unwrap();
            let expected = join(&recipe.fields());
            let mut out = vec![0; expected.len()];
            session.write(&iv(COUNTER, TICKS), &recipe.plaintext, &recipe.aad, &mut out).unwrap();
            assert!(out == expected, "{n} bytes, {aad} of associated data");
        }
    }
}

#[test]
fn the_vectors_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/message.json");
    let vectors = all_vectors();
    let names: std::collections::HashSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!(names.len(), vectors.len(), "two vectors have one name");
    let fresh = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == fresh, "tests/vectors/message.json is stale: run UPDATE_VECTORS=1 cargo test --lib vectors");
}

/// A block of docs/FORMAT.md.
pub(super) fn block(language: &str) -> &'static str {
    let format = include_str!("../../docs/FORMAT.md");
    let start = format.find(&format!("```{language}\n")).expect("the block") + language.len() + 4;
    format[start..].split("```").next().unwrap()
}

/// An example in docs/FORMAT.md, line by line: bytes, then what they are.
pub(super) fn example(language: &str) -> Vec<u8> {
    block(language).lines().flat_map(|line| unhex(line.split('#').next().unwrap())).collect()
}

#[test]
fn the_example_of_the_specification_is_what_the_code_writes() {
    let example = example("message");
    let recipe = Recipe::new();
    assert_eq!(hex(&example), hex(&join(&recipe.fields())));

    let values: Vec<String> =
        block("values").lines().filter_map(|line| Some(line.split_once('=')?.1.trim().to_owned())).collect();
    let protected = join(&recipe.protected());
    let expected: [&[u8]; 7] =
        [&KEY, &SALT, AAD, PLAINTEXT, &recipe.prk(), &recipe.commitment(), &recipe.content_key(&protected)];
    assert_eq!(values, expected.map(hex));
    println!("{}", hex(&example));
}
