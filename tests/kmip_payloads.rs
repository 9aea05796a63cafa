//! What is read from the payload of each operation's reply, and what is refused.

#[path = "common/fake_server.rs"]
mod fake_server;

use keystead::Code;
use keystead::kmip::attributes::Value;
use keystead::kmip::ttlv::Writer;
use keystead::kmip::{
    Activate, AddAttribute, Check, Cipher, Create, Decrypt, DeleteAttribute, Destroy, DiscoverVersions, Encrypt, Get,
    GetAttributeList, GetAttributes, GetWrapped, Locate, Mac, Material, ModifyAttribute, ObjectType, Operation,
    Padding, Query, ReKey, Register, Revocation, Revoke, RngRetrieve, Usage, Validation, message, tags,
};

use fake_server::{FakeKey, failure, success, version};

const ITEM: u64 = 7;
const ID: &str = "key-1";
const KEY: [u8; 32] = [0xA7; 32];
const GCM: Cipher<'static> = Cipher::Gcm { iv: b"twelve bytes", aad: b"header" };
const CBC: Cipher<'static> = Cipher::Cbc { iv: b"a block of bytes", padding: Padding::Pkcs5 };
const WRAPPED: GetWrapped<'static> = GetWrapped { id: ID, under: "kek-1" };

/// What the operation makes of a reply with this payload.
fn read<O: Operation>(operation: &O, payload: impl FnOnce(&mut Writer)) -> keystead::Result<O::Answer> {
    let reply = success(O::CODE, &ITEM.to_be_bytes(), payload);
    let outcome = message::read_reply(&reply, ITEM, 1).unwrap().pop().unwrap().unwrap();
    operation.read(outcome.result.unwrap_or_else(|_| panic!("it is a success")))
}

fn refused<O: Operation>(operation: &O, cause: &str, payload: impl FnOnce(&mut Writer)) {
    let error = read(operation, payload).err().unwrap_or_else(|| panic!("{} accepted it: {cause}", O::NAME));
    assert!(matches!(error.code(), Code::AnswerUnexpected | Code::ReplyMalformed), "{error}");
    assert!(error.message().contains(cause), "{error}");
}

fn id(payload: &mut Writer) {
    payload.text(tags::UNIQUE_IDENTIFIER, ID);
}

fn sealed(payload: &mut Writer, data: &[u8], iv: Option<&[u8]>, tag: Option<&[u8]>) {
    id(payload);
    payload.bytes(tags::DATA, data);
    iv.iter().for_each(|iv| payload.bytes(tags::IV_COUNTER_NONCE, iv));
    tag.iter().for_each(|tag| payload.bytes(tags::AUTHENTICATED_ENCRYPTION_TAG, tag));
}

/// A wrapped key as servers answer it: the specification has Key Value a byte string, some keep the structure.
fn wrapped(payload: &mut Writer, is_structure: bool, under: &str, bytes: &[u8]) {
    payload.enumeration(tags::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
    id(payload);
    payload.structure(tags::SYMMETRIC_KEY, |key| {
        key.structure(tags::KEY_BLOCK, |block| {
            block.enumeration(tags::KEY_FORMAT_TYPE, 1);
            match is_structure {
                true => block.structure(tags::KEY_VALUE, |value| value.bytes(tags::KEY_MATERIAL, bytes)),
                false => block.bytes(tags::KEY_VALUE, bytes),
            }
            block.structure(tags::KEY_WRAPPING_DATA, |wrapping| {
                wrapping.enumeration(tags::WRAPPING_METHOD, 1);
                wrapping.structure(tags::ENCRYPTION_KEY_INFORMATION, |key| key.text(tags::UNIQUE_IDENTIFIER, under));
            });
        });
    });
}

fn description(payload: &mut Writer) {
    [0x01, 0x0A, 0x9999].iter().for_each(|operation| payload.enumeration(tags::OPERATION, *operation));
    payload.enumeration(tags::OBJECT_TYPE, 2);
    payload.text(tags::VENDOR_IDENTIFICATION, "Vendor\nof keys");
    payload.structure(tags::SERVER_INFORMATION, |information| {
        information.text(0x540001, "appliance 9000");
        information.integer(0x540002, 7);
    });
    payload.structure(tags::VALIDATION_INFORMATION, |validation| {
        validation.enumeration(tags::VALIDATION_AUTHORITY_TYPE, 2);
        validation.integer(tags::VALIDATION_LEVEL, 3);
        validation.text(tags::VALIDATION_CERTIFICATE_IDENTIFIER, "4711");
    });
}

#[test]
fn a_wrapped_key_is_taken_in_both_forms_and_never_in_the_clear() {
    let bytes = [0xC4; 40];
    for is_structure in [false, true] {
        assert_eq!(read(&WRAPPED, |payload| wrapped(payload, is_structure, "kek-1", &bytes)).unwrap(), bytes);
    }
    refused(&WRAPPED, "in the clear", |payload| FakeKey::GOOD.write(payload));
    refused(&WRAPPED, "another key than kek-1", |payload| wrapped(payload, false, "kek-2", &bytes));
    refused(&WRAPPED, "64 bytes instead of 40", |payload| wrapped(payload, false, "kek-1", &[0xC4; 64]));
}

#[test]
fn an_encrypted_key_is_taken_only_under_our_initialization_vector_and_with_a_whole_tag() {
    let (gcm, cbc) = (Encrypt { id: ID, cipher: GCM, key: &KEY }, Encrypt { id: ID, cipher: CBC, key: &KEY });
    let (data, tag) = ([0xC4; 32], [0x7A; 16]);
    for iv in [None, Some(&b"twelve bytes"[..])] {
        let whole = [&data[..], &tag[..]].concat();
        assert_eq!(read(&gcm, |payload| sealed(payload, &data, iv, Some(&tag))).unwrap(), whole);
    }
    assert_eq!(read(&cbc, |payload| sealed(payload, &[0xC4; 48], None, None)).unwrap(), [0xC4; 48]);
    refused(&gcm, "another initialization vector", |payload| sealed(payload, &data, Some(&[0; 16]), Some(&tag)));
    refused(&gcm, "4 bytes instead of 16", |payload| sealed(payload, &data, None, Some(&tag[..4])));
    refused(&gcm, "tag 4200FF is missing", |payload| sealed(payload, &[0xC4; 48], None, None));
    refused(&gcm, "49 bytes instead of 48", |payload| sealed(payload, &[0xC4; 33], None, Some(&tag)));
    refused(&cbc, "32 bytes instead of 48", |payload| sealed(payload, &data, None, None));
    refused(&cbc, "another object", |payload| payload.text(tags::UNIQUE_IDENTIFIER, "key-2"));
}

#[test]
fn a_decrypted_key_random_bytes_and_a_mac_have_their_length() {
    let decrypt = Decrypt::new(ID, GCM, &[0; 48]).unwrap();
    assert_eq!(*read(&decrypt, |payload| sealed(payload, &KEY, None, None)).unwrap(), KEY);
    refused(&decrypt, "not 32 bytes", |payload| sealed(payload, &KEY[..31], None, None));
    assert_eq!(*read(&RngRetrieve, |payload| payload.bytes(tags::DATA, &KEY)).unwrap(), KEY);
    refused(&RngRetrieve, "not 32 bytes", |payload| payload.bytes(tags::DATA, &[1; 33]));
    let mac = Mac { id: ID, data: b"data" };
    let answer = |mac: &'static [u8]| {
        move |payload: &mut Writer| {
            id(payload);
            payload.bytes(tags::MAC_DATA, mac);
        }
    };
    assert_eq!(read(&mac, answer(&[5; 32])).unwrap(), [5; 32]);
    refused(&mac, "20 bytes instead of 32", answer(&[5; 20]));
}

#[test]
fn a_key_is_replaced_by_another_and_a_denied_use_is_no_error() {
    refused(&ReKey { id: ID }, "identifier of the old one", id);
    let check = Check { id: ID, usage: Usage::ENCRYPT };
    assert!(read(&check, id).unwrap());
    assert!(!read(&check, |payload| payload.integer(tags::CRYPTOGRAPHIC_USAGE_MASK, 4)).unwrap());
    refused(&check, "tag 420094 is missing", |_| {});
}

#[test]
fn a_server_describes_itself_in_words_fit_for_a_line() {
    let said = read(&Query, description).unwrap();
    assert_eq!(said.operations, [0x01, 0x0A, 0x9999]);
    assert_eq!(said.objects, [ObjectType::SYMMETRIC_KEY]);
    assert_eq!(said.vendor.as_deref(), Some("Vendor of keys"));
    assert_eq!(said.details, ["appliance 9000"]);
    let validation = Validation { authority: 2, level: Some(3), certificate: Some("4711".into()) };
    assert_eq!(said.validations, [validation]);
    assert_eq!(read(&Query, |_| {}).unwrap(), Default::default());
}

/// A small generator with a fixed seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    /// The bytes with up to five alterations.
    fn alter(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.throw(4) {
            let at = self.throw(bytes.len());
            match self.throw(3) {
                0 => bytes[at] ^= 1 << self.throw(8),
                1 => bytes[at] = [0, 1, 8, 0x42, 0xFF][self.throw(5)],
                _ => bytes.truncate(at.max(16)),
            }
        }
        // An outer length that fits lets the alteration get further.
        if let Some(length) = (bytes.len() as u32).checked_sub(8) {
            bytes[4..8].copy_from_slice(&length.to_be_bytes());
        }
        bytes
    }
}

/// A valid reply to every kind of operation.
fn replies() -> Vec<Vec<u8>> {
    let item = ITEM.to_be_bytes();
    let of = |operation, payload: &dyn Fn(&mut Writer)| success(operation, &item, payload);
    vec![
        of(Get::CODE, &|payload| FakeKey::GOOD.write(payload)),
        of(GetWrapped::CODE, &|payload| wrapped(payload, true, "kek-1", &[0xC4; 40])),
        of(GetWrapped::CODE, &|payload| wrapped(payload, false, "kek-1", &[0xC4; 40])),
        of(Locate::CODE, &|payload| ["a", "b"].iter().for_each(|id| payload.text(tags::UNIQUE_IDENTIFIER, id))),
        of(DiscoverVersions::CODE, &|payload| (0..5).for_each(|minor| version(payload, minor))),
        of(Query::CODE, &description),
        of(Create::CODE, &|payload| {
            payload.enumeration(tags::OBJECT_TYPE, 2);
            id(payload);
        }),
        of(Encrypt::CODE, &|payload| sealed(payload, &[0xC4; 32], Some(b"twelve bytes"), Some(&[0x7A; 16]))),
        of(Decrypt::CODE, &|payload| sealed(payload, &KEY, None, None)),
        of(Mac::CODE, &|payload| {
            id(payload);
            payload.bytes(tags::MAC_DATA, &[5; 32]);
        }),
        of(GetAttributeList::CODE, &|payload| {
            id(payload);
            payload.text(tags::ATTRIBUTE_NAME, "State");
        }),
        of(Check::CODE, &|payload| payload.integer(tags::CRYPTOGRAPHIC_USAGE_MASK, 4)),
        failure(Get::CODE, &item, 1, "not found"),
    ]
}

/// Reads a reply as the answer to every operation; whether it had a payload.
fn read_all(bytes: &[u8]) -> bool {
    let _ = message::reply_length(bytes);
    let Ok(mut outcomes) = message::read_reply(bytes, ITEM, 1) else { return false };
    let Some(Some(outcome)) = outcomes.pop() else { return false };
    let Ok(payload) = outcome.result else { return false };
    let name = "Object Group";
    let _ = Get { id: ID }.read(payload);
    let _ = WRAPPED.read(payload);
    let _ = Locate::default().read(payload);
    let _ = DiscoverVersions.read(payload);
    let _ = Query.read(payload);
    let _ = Create::new("orders/1", None).read(payload);
    let _ = Register { name, group: None, usage: Usage::ENCRYPT, material: Material::Plain(&KEY) }.read(payload);
    let _ = ReKey { id: ID }.read(payload);
    let _ = GetAttributes { id: ID, names: &[] }.read(payload);
    let _ = GetAttributeList { id: ID }.read(payload);
    let _ = AddAttribute { id: ID, name, value: Value::Text("a") }.read(payload);
    let _ = ModifyAttribute { id: ID, name, index: 0, value: Value::Text("a") }.read(payload);
    let _ = DeleteAttribute { id: ID, name, index: 0 }.read(payload);
    let _ = Check { id: ID, usage: Usage::ENCRYPT }.read(payload);
    let _ = Activate { id: ID }.read(payload);
    let _ = Revoke { id: ID, why: Revocation::Superseded, compromised_since: None }.read(payload);
    let _ = Destroy { id: ID }.read(payload);
    for cipher in [GCM, CBC] {
        let _ = Encrypt { id: ID, cipher, key: &KEY }.read(payload);
        let _ = Decrypt::new(ID, cipher, &[0; 48]).unwrap().read(payload);
    }
    let _ = Mac { id: ID, data: b"data" }.read(payload);
    let _ = RngRetrieve.read(payload);
    true
}

/// The most address space that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("it is always there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// `KEYSTEAD_MUTATIONS` lets it run longer than the two seconds it takes else.
#[test]
fn no_altered_reply_makes_a_reader_panic_or_ask_for_memory() {
    let rounds = std::env::var("KEYSTEAD_MUTATIONS").map_or(30_000, |rounds| rounds.parse().expect("a number"));
    let seeds = replies();
    assert_eq!(seeds.iter().filter(|seed| read_all(seed)).count(), seeds.len() - 1, "one of them is a failure");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let before = peak();
    let mut read = 0;
    for _ in 0..rounds {
        let seed = seeds[dice.throw(seeds.len())].clone();
        read += usize::from(read_all(&dice.alter(seed)));
    }
    assert!(read > rounds / 100, "only {read} altered replies got as far as a payload");
    // Threads of other tests have stacks. A length taken from a reply would be up to 4 GiB.
    assert!(peak() - before < 128 << 10, "{} KiB more", peak() - before);
    println!("{rounds} altered replies, {read} of them as far as a payload");
}
