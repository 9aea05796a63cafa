//! Writes `tests/vectors/protected_dek.json` (with UPDATE_VECTORS=1) and otherwise holds it to what it would write.
//!
//! As for messages, protected DEKs are put together here a second time, straight from the standards.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::Serialize;

use super::KeyId;
use super::protected::{Body, Cbc, Header, MAX_SIZE, Protected, Rung};
use super::vectors::{Field, bytes, damaged, example, hex, hmac_sha256, join, unhex};

const KEK: [u8; 32] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
                         \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
const MAC_KEY: [u8; 32] = [0x5a; 32];
const DEK: [u8; 32] = *b"\x20\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\
                         \x30\x31\x32\x33\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d\x3e\x3f";
const GCM_IV: &str = "a0a1a2a3a4a5a6a7a8a9aaab";
const CBC_IV: &str = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
/// AES-256-CBC of the DEK and sixteen bytes of 10 under the KEK and this IV, by another implementation.
const CBC_CIPHERTEXT: &str =
    "9ac0fce2a401f982829fdba7ba0edff30c48095a793474fc8fe2c73c9ae653dbe7b305656c1c36c6d7b4c81ff4f50f19";

#[derive(Serialize)]
struct Vector {
    name: String,
    kek: String,
    mac_key: String,
    protected_dek: String,
    /// `valid` or `refused`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dek: Option<String>,
}

/// Everything that makes a protected DEK; each vector changes one thing.
#[derive(Clone)]
struct Recipe {
    rung: Rung,
    kek: Vec<u8>,
    space: Vec<u8>,
    algorithm: Vec<u8>,
    purpose: Vec<u8>,
    number: Vec<u8>,
    material: Vec<u8>,
    /// What the CBC rung's inner object says of itself.
    inner: Vec<u8>,
}

impl Recipe {
    fn new(rung: Rung) -> Recipe {
        let (algorithm, number) = if rung == Rung::Gcm { ("0103", "04") } else { ("0105", "02") };
        Recipe {
            rung,
            kek: b"orders-kek/3".to_vec(),
            space: b"space:orders/1".to_vec(),
            algorithm: unhex(algorithm),
            purpose: b"\x6ekeystead/dek/1".to_vec(),
            number: unhex(number),
            material: b"\x63AES\x19\x01\x00".to_vec(),
            inner: unhex("d08340a20139fff80550"),
        }
    }

    /// The protected header, its entries apart.
    fn header(&self) -> Vec<Field> {
        vec![
            ("header: map", unhex("a3")),
            ("header: alg", self.algorithm.clone()),
            ("header: kid", [unhex("04"), bytes(&self.kek)].concat()),
            ("header: content label", unhex("3a00010001")),
            ("header: content array", unhex("85")),
            ("header: purpose", self.purpose.clone()),
            ("header: rung", self.number.clone()),
            ("header: space", bytes(&self.space)),
            ("header: DEK algorithm and length", self.material.clone()),
        ]
    }

    /// The object around a header, whatever that is.
    fn fields_with(&self, header: &[u8]) -> Vec<Field> {
        match self.rung {
            Rung::Gcm => gcm_fields(header),
            Rung::CbcHmac => self.cbc_fields(header),
        }
    }

    fn cbc_fields(&self, header: &[u8]) -> Vec<Field> {
        let inner = [
            ("inner object", self.inner.clone()),
            ("inner IV", unhex(CBC_IV)),
            ("inner ciphertext head", unhex("5830")),
            ("inner ciphertext", unhex(CBC_CIPHERTEXT)),
        ];
        let payload = join(&inner);
        let structure = [&b"\x84\x64MAC0"[..], &bytes(header), b"\x40", &bytes(&payload)].concat();
        let mut fields = vec![
            ("COSE_Mac0 tag", unhex("d1")),
            ("array of four", unhex("84")),
            ("header", bytes(header)),
            ("unprotected", unhex("a0")),
            ("payload head", bytes(&payload)[..2].to_vec()),
        ];
        fields.extend(inner);
        fields.push(("MAC head", unhex("5820")));
        fields.push(("MAC", hmac_sha256(&MAC_KEY, &[&structure])));
        fields
    }

    fn whole(&self) -> Vec<u8> {
        join(&self.fields_with(&join(&self.header())))
    }

    /// The fields, the header entry by entry.
    fn all_fields(&self) -> Vec<Field> {
        let mut fields = self.fields_with(&join(&self.header()));
        let at = fields.iter().position(|(name, _)| *name == "header").unwrap();
        let head = fields[at].1[..fields[at].1.len() - join(&self.header()).len()].to_vec();
        fields.splice(at..=at, [vec![("header: head", head)], self.header()].concat());
        assert_eq!(join(&fields), self.whole());
        fields
    }

    fn valid(&self, name: &str) -> Vector {
        Vector {
            result: "valid",
            space: Some(String::from_utf8(self.space.clone()).unwrap()),
            dek: Some(hex(&DEK)),
            ..self.refused(name, &self.whole())
        }
    }

    fn refused(&self, name: &str, protected_dek: &[u8]) -> Vector {
        Vector {
            name: format!("{}: {name}", self.rung),
            kek: hex(&KEK),
            mac_key: hex(&MAC_KEY),
            protected_dek: hex(protected_dek),
            result: "refused",
            space: None,
            dek: None,
        }
    }
}

fn gcm_fields(header: &[u8]) -> Vec<Field> {
    let structure = [&b"\x83\x68Encrypt0"[..], &bytes(header), b"\x40"].concat();
    let iv: [u8; 12] = unhex(GCM_IV).try_into().unwrap();
    let mut sealed = DEK.to_vec();
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEK).unwrap())
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(structure), &mut sealed)
        .unwrap();
    let tag = sealed.split_off(DEK.len());
    vec![
        ("COSE_Encrypt0 tag", unhex("d0")),
        ("array of three", unhex("83")),
        ("header", bytes(header)),
        ("unprotected: IV head", unhex("a1054c")),
        ("IV", iv.to_vec()),
        ("ciphertext head", unhex("5830")),
        ("ciphertext", sealed),
        ("tag", tag),
    ]
}

const RUNGS: [Rung; 2] = [Rung::Gcm, Rung::CbcHmac];

fn valid_vectors(base: &Recipe) -> Vec<Vector> {
    let long = "n".repeat(128);
    let longest = |prefix: &str| format!("{prefix}{long}/4294967295").into_bytes();
    vec![
        base.valid("the example of docs/FORMAT.md"),
        Recipe { space: b"space:a/1".into(), kek: b"A-Z_a.z-09/10".into(), ..base.clone() }.valid("short names"),
        Recipe { space: longest("space:"), kek: longest(""), ..base.clone() }.valid("the longest names and versions"),
    ]
}

/// Objects whose tag or MAC is right for a header that is not the accepted one.
fn genuine_but_unaccepted_vectors(base: &Recipe) -> Vec<Vector> {
    let mut vectors = Vec::new();
    let mut push = |name: &str, recipe: Recipe| vectors.push(base.refused(name, &recipe.whole()));
    for space in
        ["orders/1", "space:orders", "space:orders/0", "space:orders/01", "space:/1", "space:space:orders/1", ""]
    {
        push(&format!("space \"{space}\""), Recipe { space: space.into(), ..base.clone() });
    }
    for kek in ["orders-kek", "orders-kek/0", "orders-kek/03", "space:orders-kek/3", "kek:orders-kek/3", ""] {
        push(&format!("KEK \"{kek}\""), Recipe { kek: kek.into(), ..base.clone() });
    }
    for (name, algorithm) in [("A128GCM", "0101"), ("HMAC 512/512", "0107"), ("alg as text", "016141")] {
        push(name, Recipe { algorithm: unhex(algorithm), ..base.clone() });
    }
    let other = if base.rung == Rung::Gcm { "02" } else { "04" };
    push("the other rung's number", Recipe { number: unhex(other), ..base.clone() });
    push("rung not in its shortest form", Recipe { number: [&[0x18], &base.number[..]].concat(), ..base.clone() });
    push("another purpose", Recipe { purpose: b"\x6ekeystead/kek/1".into(), ..base.clone() });
    push("a later purpose", Recipe { purpose: b"\x6ekeystead/dek/2".into(), ..base.clone() });
    push("a DEK of 128 bits", Recipe { material: b"\x63AES\x18\x80".into(), ..base.clone() });
    push("a DEK of another algorithm", Recipe { material: b"\x64DES3\x19\x01\x00".into(), ..base.clone() });

    let h = base.header();
    let (alg, kid, content) = (&h[1].1, &h[2].1, &join(&h[3..]));
    for (name, header) in [
        ("entries in another order", [&unhex("a3"), kid, alg, content].map(|v| &v[..]).concat()),
        ("kid missing", [&unhex("a2"), alg, content].map(|v| &v[..]).concat()),
        ("content missing", [&unhex("a2"), alg, kid].map(|v| &v[..]).concat()),
        ("an unknown entry", [&unhex("a4"), alg, kid, content, &unhex("3a0001000200")].map(|v| &v[..]).concat()),
        ("something behind the map", [&unhex("a3"), alg, kid, content, &unhex("00")].map(|v| &v[..]).concat()),
        ("a map of indefinite length", [&unhex("bf"), alg, kid, content, &unhex("ff")].map(|v| &v[..]).concat()),
        ("empty", Vec::new()),
    ] {
        vectors.push(base.refused(&format!("header: {name}"), &join(&base.fields_with(&header))));
    }
    vectors.push(Vector { kek: hex(&[9; 32]), mac_key: hex(&[9; 32]), ..base.refused("other keys", &base.whole()) });
    vectors
}

/// What another COSE library might take, or what belongs elsewhere.
fn foreign_vectors(base: &Recipe) -> Vec<Vector> {
    let whole = base.whole();
    let mut vectors = vec![
        base.refused("no tag at all", &whole[1..]),
        base.refused("tag not in its shortest form", &[&unhex("d8")[..], &[whole[0] & 0x1f], &whole[1..]].concat()),
        base.refused("tagged twice", &[&unhex("d9d9f7")[..], &whole].concat()),
        base.refused("array of indefinite length", &[&whole[..1], &[0x9f], &whole[2..], &[0xff]].concat()),
        base.refused("something after the end", &[&whole[..], &[0]].concat()),
        base.refused("the tag of the other rung", &[&[whole[0] ^ 1], &whole[1..]].concat()),
        base.refused("empty", b""),
        base.refused("300 nested arrays", &[0x81; 300]),
    ];
    if base.rung == Rung::CbcHmac {
        let cbc = |inner: &str| Recipe { inner: unhex(inner), ..base.clone() }.whole();
        vectors.push(base.refused("inner A128CBC", &cbc("d08340a20139fffa0550")));
        vectors.push(base.refused("inner A256CTR", &cbc("d08340a20139fffb0550")));
        vectors.push(base.refused("inner object without its tag", &cbc("8340a20139fff80550")));
        vectors.push(base.refused("inner object with a protected header", &cbc("d08341a0a20139fff80550")));
    }
    vectors
}

fn all_vectors() -> Vec<Vector> {
    RUNGS
        .into_iter()
        .flat_map(|rung| {
            let base = Recipe::new(rung);
            let mut vectors = valid_vectors(&base);
            vectors.extend(damaged(&base.all_fields()).iter().map(|(name, whole)| base.refused(name, whole)));
            vectors.extend(foreign_vectors(&base));
            vectors.extend(genuine_but_unaccepted_vectors(&base));
            vectors
        })
        .collect()
}

/// The same as the code makes of it.
fn protected(rung: Rung) -> Protected {
    let header =
        Header { rung, space: KeyId::of_space("orders", 1).unwrap(), kek: KeyId::new("orders-kek", 3).unwrap() };
    let whole = join(&Recipe::new(rung).fields_with(&header.encode()));
    let end = &whole[whole.len() - 48..];
    let body = match rung {
        Rung::Gcm => Body::Gcm {
            iv: unhex(GCM_IV).try_into().unwrap(),
            ciphertext: end[..32].try_into().unwrap(),
            tag: end[32..].try_into().unwrap(),
        },
        Rung::CbcHmac => {
            let cbc =
                Cbc { iv: unhex(CBC_IV).try_into().unwrap(), ciphertext: unhex(CBC_CIPHERTEXT).try_into().unwrap() };
            let mac = hmac_sha256(&MAC_KEY, &[&cbc.mac_structure(&header)]);
            Body::CbcHmac { cbc, mac: mac.try_into().unwrap() }
        }
    };
    Protected { header, body }
}

#[test]
fn the_code_writes_and_reads_what_the_specification_says() {
    for rung in RUNGS {
        let (protected, recipe) = (protected(rung), Recipe::new(rung));
        assert_eq!(hex(&protected.encode()), hex(&recipe.whole()));
        assert_eq!(Protected::parse(&recipe.whole()).unwrap(), protected);
        let longest = &valid_vectors(&recipe)[2].protected_dek;
        assert!(longest.len() / 2 <= MAX_SIZE, "{}", longest.len() / 2);
    }
    let structure = [&b"\x83\x68Encrypt0"[..], &bytes(&join(&Recipe::new(Rung::Gcm).header())), b"\x40"].concat();
    assert_eq!(protected(Rung::Gcm).header.enc_structure(), structure);
}

#[test]
fn the_vectors_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/protected_dek.json");
    let vectors = all_vectors();
    let names: std::collections::HashSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!(names.len(), vectors.len(), "two vectors have one name");
    let fresh = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == fresh,
        "tests/vectors/protected_dek.json is stale: run UPDATE_VECTORS=1 cargo test --lib vectors"
    );
}

#[test]
fn the_examples_of_the_specification_are_what_the_code_writes() {
    for (rung, language) in [(Rung::Gcm, "protected-gcm"), (Rung::CbcHmac, "protected-cbc-hmac")] {
        assert_eq!(hex(&example(language)), hex(&Recipe::new(rung).whole()));
    }
}
