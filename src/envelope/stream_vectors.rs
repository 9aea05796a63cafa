//! Writes `tests/vectors/stream.json` (with UPDATE_VECTORS=1) and otherwise holds it to what it would write.
//!
//! As for messages, streams are put together here a second time, straight from the standards.

use std::collections::BTreeMap;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::derivation::{self, Use};
use super::segment::SEGMENT;
use super::stream::Encryptor;
use super::vectors::{AAD, Field, KEY, KEY_ID, Recipe, SALT, bytes, damaged, example, hex, join, unhex};

#[derive(Serialize)]
struct Vectors {
    /// Bytes that several vectors have in common.
    pieces: BTreeMap<&'static str, String>,
    vectors: Vec<Vector>,
}

#[derive(Serialize)]
struct Vector {
    name: String,
    /// Name and version of the key that the reader has.
    key_id: String,
    key: String,
    aad: String,
    /// One after the other: hexadecimal digits, or `@` and the name of a piece.
    stream: Vec<String>,
    /// `valid` or `refused`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext_sha256: Option<String>,
}

/// What makes a stream: its header, and what its segments take from it.
#[derive(Clone)]
struct Stream {
    header: Recipe,
    /// The context of the segments' Enc_structure.
    context: &'static [u8],
    /// What the segments' associated data begin with.
    label: &'static [u8],
}

impl Stream {
    fn new() -> Stream {
        let mut iv = [0; 12];
        iv[11] = 2;
        let header = Recipe { iv, plaintext: Vec::new(), key_use: "stream", ..Recipe::new() };
        Stream { header, context: b"\x68Encrypt0", label: b"\x6ekeystead/seg/1" }
    }

    fn with(change: impl FnOnce(&mut Recipe)) -> Stream {
        let mut stream = Stream::new();
        change(&mut stream.header);
        stream
    }

    fn header(&self) -> Vec<u8> {
        join(&self.header.fields())
    }

    fn segment(&self, number: u32, flag: u8, plaintext: &[u8]) -> Vec<Field> {
        let iv = [&[0; 7][..], &number.to_be_bytes(), &[flag]].concat();
        let hash = digest(&SHA256, &self.header());
        let external = [b"\x83", self.label, &bytes(hash.as_ref()), &bytes(&self.header.aad)].concat();
        let structure = [b"\x83", self.context, &unhex("43a10103"), &bytes(&external)].concat();
        let key = self.header.content_key(&join(&self.header.protected()));
        let mut sealed = plaintext.to_vec();
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
            .seal_in_place_append_tag(Nonce::try_assume_unique_for_key(&iv).unwrap(), Aad::from(structure), &mut sealed)
            .unwrap();
        let whole = bytes(&sealed);
        let tag = sealed.split_off(plaintext.len());
        vec![
            ("COSE_Encrypt0 tag", unhex("d0")),
            ("array of three", unhex("83")),
            ("segment protected", unhex("43a10103")),
            ("segment unprotected: IV head", unhex("a1054c")),
            ("segment IV: zeros", iv[..7].to_vec()),
            ("segment IV: number", iv[7..11].to_vec()),
            ("segment IV: last", iv[11..].to_vec()),
            ("segment ciphertext head", whole[..whole.len() - plaintext.len() - 16].to_vec()),
            ("segment ciphertext", sealed),
            ("segment tag", tag),
        ]
    }

    fn whole(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = self.header();
        let last = plaintext.len().saturating_sub(1) / SEGMENT;
        for number in 0..=last {
            let content = &plaintext[number * SEGMENT..plaintext.len().min((number + 1) * SEGMENT)];
            out.extend(join(&self.segment(number as u32, u8::from(number == last), content)));
        }
        out
    }

    fn valid(&self, name: &str, stream: Vec<String>, plaintext: &[u8]) -> Vector {
        Vector {
            key_id: String::from_utf8(self.header.id.clone()).unwrap(),
            result: "valid",
            plaintext_size: Some(plaintext.len()),
            plaintext_sha256: Some(hex(digest(&SHA256, plaintext).as_ref())),
            ..self.refused(name, stream)
        }
    }

    fn refused(&self, name: &str, stream: Vec<String>) -> Vector {
        Vector {
            name: name.to_owned(),
            key_id: KEY_ID.to_owned(),
            key: hex(&self.header.key),
            aad: hex(&self.header.aad),
            stream,
            result: "refused",
            plaintext_size: None,
            plaintext_sha256: None,
        }
    }
}

const HELLO: &[u8] = b"hello";

fn content(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

fn valid_vectors() -> Vec<Vector> {
    let base = Stream::new();
    let mut vectors = vec![base.valid("the example of docs/FORMAT.md", vec![hex(&base.whole(HELLO))], HELLO)];
    for n in [0, 1, 7, 8, 239, 240, 1000] {
        let plaintext = content(n);
        vectors.push(base.valid(&format!("{n} bytes of plaintext"), vec![hex(&base.whole(&plaintext))], &plaintext));
    }
    for n in [0, 23, 24, 256, 1025] {
        let stream = Stream::with(|header| header.aad = vec![0xdd; n]);
        vectors.push(stream.valid(&format!("{n} bytes of associated data"), vec![hex(&stream.whole(HELLO))], HELLO));
    }
    let long = format!("{}/4294967295", "n".repeat(128));
    let stream = Stream::with(|header| header.id = long.into());
    vectors.push(stream.valid("the longest name and version", vec![hex(&stream.whole(HELLO))], HELLO));
    vectors
}

/// Every field of a stream of one segment changed in four ways.
fn damaged_vectors() -> Vec<Vector> {
    let base = Stream::new();
    let fields = [base.header.all_fields(), base.segment(0, 1, HELLO)].concat();
    // The header is a message of no content.
    let fields: Vec<Field> = fields.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    damaged(&fields).iter().map(|(name, stream)| base.refused(name, vec![hex(stream)])).collect()
}

/// Whole segments at places where they do not belong. "first" is a whole segment, "last" the second and last one.
fn moved_vectors() -> (BTreeMap<&'static str, String>, Vec<Vector>) {
    let base = Stream::new();
    let other = Stream::with(|header| header.salt = vec![0xb0; 16]);
    let plaintext = content(SEGMENT + 5);
    let last = |stream: &Stream| hex(&join(&stream.segment(1, 1, &plaintext[SEGMENT..])));
    let pieces = BTreeMap::from([
        ("header", hex(&base.header())),
        ("first", hex(&join(&base.segment(0, 0, &plaintext[..SEGMENT])))),
        ("last", last(&base)),
        ("header of another", hex(&other.header())),
        ("last of another", last(&other)),
        ("empty last", hex(&join(&base.segment(1, 1, b"")))),
        ("only", hex(&join(&base.segment(0, 1, HELLO)))),
    ]);
    let parts = |parts: &[&str]| parts.iter().map(|part| format!("@{part}")).collect::<Vec<_>>();
    let mut vectors = vec![base.valid("two segments", parts(&["header", "first", "last"]), &plaintext)];
    for (name, stream) in [
        ("header alone", &["header"][..]),
        ("last segment missing", &["header", "first"]),
        ("first segment missing", &["header", "last"]),
        ("header missing", &["first", "last"]),
        ("reordered", &["header", "last", "first"]),
        ("first segment twice", &["header", "first", "first", "last"]),
        ("last segment twice", &["header", "first", "last", "last"]),
        ("header twice", &["header", "header", "first", "last"]),
        ("header of another stream", &["header of another", "first", "last"]),
        ("last segment of another stream", &["header", "first", "last of another"]),
        ("another stream behind it", &["header", "only", "header", "only"]),
        ("an empty last segment that is not the only one", &["header", "first", "empty last"]),
        ("a last segment for the first", &["header", "only", "last"]),
    ] {
        vectors.push(base.refused(name, parts(stream)));
    }
    for (name, end) in [("a byte behind it", "00"), ("an empty CBOR array behind it", "80")] {
        let stream = [parts(&["header", "first", "last"]), vec![end.to_owned()]].concat();
        vectors.push(base.refused(name, stream));
    }
    for cut in [1, 6, 21] {
        let mut stream = parts(&["header", "first"]);
        stream.push(pieces["last"][..pieces["last"].len() - 2 * cut].to_owned());
        vectors.push(base.refused(&format!("{cut} bytes of its end missing"), stream));
    }
    (pieces, vectors)
}

/// Streams whose key and tags are right for bytes that are not the accepted ones.
fn genuine_but_unaccepted_vectors() -> Vec<Vector> {
    let base = Stream::new();
    let mut vectors = Vec::new();
    let mut push = |name: &str, stream: &Stream, segment: Vec<Field>| {
        vectors.push(base.refused(name, vec![hex(&stream.header()), hex(&join(&segment))]));
    };
    push("the only segment is numbered 1", &base, base.segment(1, 1, HELLO));
    push("a short segment that is not the last", &base, base.segment(0, 0, HELLO));
    push("last flag 2", &base, base.segment(0, 2, HELLO));
    let context = Stream { context: b"\x67Encrypt", ..base.clone() };
    push("segment made as a COSE_Encrypt", &context, context.segment(0, 1, HELLO));
    let label = Stream { label: b"\x6ekeystead/seg/2", ..base.clone() };
    push("segment of another label", &label, label.segment(0, 1, HELLO));
    for (name, stream) in [
        ("header made for messages", Stream::with(|header| header.key_use = "message")),
        ("header with content", Stream::with(|header| header.plaintext = b"x".to_vec())),
        ("header with the IV of segment 0", Stream::with(|header| header.iv[11] = 1)),
        ("header with a message's IV", Stream::with(|header| header.iv = Recipe::new().iv)),
        ("header algorithm direct+HKDF-SHA-512", Stream::with(|header| header.algorithm = unhex("012a"))),
        ("salt of 15 bytes", Stream::with(|header| header.salt = vec![0xa0; 15])),
        ("another version of the key", Stream::with(|header| header.id = "customer-42/8".into())),
        ("another name", Stream::with(|header| header.id = "customer-43/7".into())),
        ("other associated data", Stream::with(|header| header.aad = b"row 2".into())),
        ("another key of the same name", Stream::with(|header| header.key = [9; 32])),
    ] {
        push(name, &stream, stream.segment(0, 1, HELLO));
    }
    for (name, field, bytes) in [
        ("tag not in its shortest form", "COSE_Encrypt0 tag", "d810"),
        ("no tag", "COSE_Encrypt0 tag", ""),
        ("array of indefinite length", "array of three", "9f"),
        ("partial IV", "segment unprotected: IV head", "a1064c"),
        ("ciphertext length in two bytes", "segment ciphertext head", "5815"),
        ("ciphertext length beyond the end", "segment ciphertext head", "5a00010010"),
        ("ciphertext longer than any segment", "segment ciphertext head", "5a00010011"),
        ("ciphertext shorter than a tag", "segment ciphertext head", "4f"),
    ] {
        let mut segment = base.segment(0, 1, HELLO);
        segment.iter_mut().find(|(name, _)| *name == field).unwrap().1 = unhex(bytes);
        push(&format!("segment: {name}"), &base, segment);
    }
    let message = Recipe { plaintext: Vec::new(), ..Recipe::new() };
    vectors.push(base.refused("a message", vec![hex(&join(&message.fields()))]));
    vectors.push(base.refused("nothing at all", Vec::new()));
    vectors
}

#[test]
fn the_stream_vectors_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/stream.json");
    let (pieces, moved) = moved_vectors();
    let vectors = [valid_vectors(), damaged_vectors(), moved, genuine_but_unaccepted_vectors()];
    let all = Vectors { pieces, vectors: vectors.into_iter().flatten().collect() };
    let names: std::collections::HashSet<&str> = all.vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!(names.len(), all.vectors.len(), "two vectors have one name");
    let fresh = serde_json::to_string_pretty(&all).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == fresh, "tests/vectors/stream.json is stale: run UPDATE_VECTORS=1 cargo test --lib vectors");
}

#[test]
fn the_code_writes_the_streams_that_the_specification_says() {
    for n in [0, 1, 7, 8, 239, 240, 65_519, 65_520, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 200_000] {
        for aad in [0, 5, 23, 24, 256, 65_536] {
            let stream = Stream::with(|header| header.aad = vec![2; aad]);
            let plaintext = content(n);
            let expected = stream.whole(&plaintext);
            let (key, recipients) = derivation::to_encrypt(&KEY, Use::Stream, KEY_ID.as_bytes(), &SALT).unwrap();
            let mut encryptor = Encryptor::new(key, &recipients, &stream.header.aad).unwrap();
            let mut out = vec![0; expected.len()];
            let size = encryptor.update(&plaintext, &mut out).unwrap();
            let end = encryptor.finish(&mut out[size..]).unwrap();
            assert!(size + end == expected.len() && out == expected, "{n} bytes, {aad} of associated data");
        }
    }
}

#[test]
fn the_example_stream_of_the_specification_is_what_the_code_writes() {
    let stream = Stream::new();
    assert_eq!(stream.header.aad, AAD);
    let expected = stream.whole(HELLO);
    println!("{}", hex(&expected));
    assert_eq!(hex(&example("stream")), hex(&expected));
}
