//! Our requests are, byte for byte, those of an independent implementation, and it reads what we write.
//!
//! `kmip-protocol` is only ever given bytes that these tests made themselves.

use kmip_protocol::types::common::{
    AttributeIndex, AttributeName, AttributeValue, BlockCipherMode, CryptographicAlgorithm, CryptographicLength,
    CryptographicParameters, Data, DataLength, KeyFormatType, KeyMaterial, ObjectType, Operation as Code,
    PaddingMethod, RevocationReasonCode, TagLength, UniqueBatchItemID, UniqueIdentifier,
};
use kmip_protocol::types::request::{
    Attribute, Authentication, BatchCount, BatchItem, KeyBlock, KeyValue, ManagedObject as GivenObject,
    MaximumResponseSize, ProtocolVersion, ProtocolVersionMajor, ProtocolVersionMinor, QueryFunction, RequestHeader,
    RequestMessage, RequestPayload, RevocationReason, SymmetricKey, TemplateAttribute,
};
use kmip_protocol::types::response::{ManagedObject, ResponseMessage, ResponsePayload};
use zeroize::Zeroizing;

use keystead::kmip::attributes::Value;
use keystead::kmip::message::{Credential, Head, MAXIMUM_REPLY, read_reply, write_request};
use keystead::kmip::ttlv::Writer;
use keystead::kmip::{
    Activate, AddAttribute, Cipher, Create, Decrypt, DeleteAttribute, Destroy, DiscoverVersions, Encrypt, Get,
    GetAttributeList, GetAttributes, Locate, Mac, Material, ModifyAttribute, Operation, Padding, Query, Register,
    Revocation, Revoke, RngRetrieve, Usage, Version, attributes, tags,
};

const ITEM: u64 = 0x0102_0304_0506_0708;

fn ours<O: Operation>(operation: &O, version: Version, credential: Option<&Credential>) -> Vec<u8> {
    let mut writer = Writer::with_capacity(4096);
    let head = Head { version, credential, first_item: ITEM };
    write_request(&mut writer, &head, std::slice::from_ref(operation));
    writer.written().unwrap().to_vec()
}

fn theirs(code: Code, payload: RequestPayload, minor: i32, authentication: Option<Authentication>) -> Vec<u8> {
    let item = UniqueBatchItemID(ITEM.to_be_bytes().to_vec());
    let header =
        RequestHeader(version(minor), Some(MaximumResponseSize(MAXIMUM_REPLY as i32)), authentication, BatchCount(1));
    kmip_ttlv::ser::to_vec(&RequestMessage(header, vec![BatchItem(code, Some(item), payload)])).unwrap()
}

fn version(minor: i32) -> ProtocolVersion {
    ProtocolVersion(ProtocolVersionMajor(1), ProtocolVersionMinor(minor))
}

fn id() -> Option<UniqueIdentifier> {
    Some(UniqueIdentifier("5a6f-1".into()))
}

fn assert_same<O: Operation>(operation: &O, code: Code, payload: RequestPayload) {
    assert_same_in(operation.since().minor..=4, operation, code, payload);
}

fn assert_same_in<O: Operation>(
    minors: std::ops::RangeInclusive<u16>,
    operation: &O,
    code: Code,
    payload: RequestPayload,
) {
    for minor in minors {
        assert_eq!(
            ours(operation, Version::new(1, minor), None),
            theirs(code, payload.clone(), minor.into(), None),
            "{} in 1.{minor}",
            O::NAME
        );
    }
}

#[test]
fn create_is_what_another_implementation_writes() {
    let attributes = vec![
        Attribute::CryptographicAlgorithm(CryptographicAlgorithm::AES),
        Attribute::CryptographicLength(256),
        // Encrypt and Decrypt.
        Attribute(AttributeName("Cryptographic Usage Mask".into()), None, AttributeValue::Integer(0xC)),
        Attribute::Name("orders/1".into()),
        Attribute::ObjectGroup("keystead:orders".into()),
    ];
    let payload = RequestPayload::Create(ObjectType::SymmetricKey, TemplateAttribute::unnamed(attributes));
    assert_same(&Create::new("orders/1", Some("keystead:orders")), Code::Create, payload);
}

#[test]
fn get_activate_revoke_and_destroy_are_what_another_implementation_writes() {
    assert_same(&Get { id: "5a6f-1" }, Code::Get, RequestPayload::Get(id(), None, None, None));
    assert_same(&Activate { id: "5a6f-1" }, Code::Activate, RequestPayload::Activate(id()));
    assert_same(
        &Revoke { id: "5a6f-1", why: Revocation::KeyCompromise, compromised_since: None },
        Code::Revoke,
        RequestPayload::Revoke(id(), RevocationReason(RevocationReasonCode::KeyCompromise, None), None),
    );
    assert_same(&Destroy { id: "5a6f-1" }, Code::Destroy, RequestPayload::Destroy(id()));
}

#[test]
fn locate_is_what_another_implementation_writes() {
    let name = Attribute::Name("orders/1".into());
    let group = Attribute::ObjectGroup("keystead:orders".into());
    let both = Locate { name: Some("orders/1"), group: Some("keystead:orders"), maximum: None };
    assert_same(&both, Code::Locate, RequestPayload::Locate(vec![name.clone(), group]));
    assert_same(
        &Locate { name: Some("orders/1"), ..Locate::default() },
        Code::Locate,
        RequestPayload::Locate(vec![name]),
    );
}

#[test]
fn get_attributes_is_what_another_implementation_writes() {
    let names = [attributes::STATE, attributes::NAME];
    let payload = RequestPayload::GetAttributes(id(), Some(names.map(|name| AttributeName(name.into())).to_vec()));
    assert_same(&GetAttributes { id: "5a6f-1", names: &names }, Code::GetAttributes, payload);
    let all = RequestPayload::GetAttributes(id(), None);
    assert_same(&GetAttributes { id: "5a6f-1", names: &[] }, Code::GetAttributes, all);
}

#[test]
fn discover_versions_is_what_another_implementation_writes() {
    let payload = RequestPayload::DiscoverVersions((0..=4).rev().map(version).collect());
    assert_same(&DiscoverVersions, Code::DiscoverVersions, payload);
}

#[test]
fn register_is_what_another_implementation_writes() {
    let attributes = vec![
        Attribute::CryptographicAlgorithm(CryptographicAlgorithm::AES),
        Attribute::CryptographicLength(256),
        Attribute(AttributeName("Cryptographic Usage Mask".into()), None, AttributeValue::Integer(0xC)),
        Attribute::Name("orders/1".into()),
    ];
    let value = KeyValue(KeyMaterial::Bytes(vec![0xA7; 32]), None);
    let key = GivenObject::SymmetricKey(SymmetricKey(KeyBlock(
        KeyFormatType::Raw,
        None,
        Some(value),
        Some(CryptographicAlgorithm::AES),
        Some(CryptographicLength(256)),
        None,
    )));
    let template = TemplateAttribute::unnamed(attributes);
    let (usage, material) = (Usage::ENCRYPT | Usage::DECRYPT, Material::Plain(&[0xA7; 32]));
    let register = Register { name: "orders/1", group: None, usage, material };
    assert_same(&register, Code::Register, RequestPayload::Register(ObjectType::SymmetricKey, template, Some(key)));
}

#[test]
fn changes_of_attributes_are_what_another_implementation_writes() {
    assert_same(&GetAttributeList { id: "5a6f-1" }, Code::GetAttributeList, RequestPayload::GetAttributeList(id()));

    let name = AddAttribute { id: "5a6f-1", name: attributes::NAME, value: Value::Name("orders/1") };
    let payload = RequestPayload::AddAttribute(id(), Attribute::Name("orders/1".into()));
    assert_same(&name, Code::AddAttribute, payload);

    let (group, index) = (AttributeName(attributes::OBJECT_GROUP.into()), Some(AttributeIndex(2)));
    let value = AttributeValue::TextString("team-a".into());
    let second =
        ModifyAttribute { id: "5a6f-1", name: attributes::OBJECT_GROUP, index: 2, value: Value::Text("team-a") };
    let payload = RequestPayload::ModifyAttribute(id(), Attribute(group.clone(), index, value));
    assert_same(&second, Code::ModifyAttribute, payload);

    let delete = |index| DeleteAttribute { id: "5a6f-1", name: attributes::OBJECT_GROUP, index };
    let payload = RequestPayload::DeleteAttribute(id(), group.clone(), Some(AttributeIndex(2)));
    assert_same(&delete(2), Code::DeleteAttribute, payload);
    assert_same(&delete(0), Code::DeleteAttribute, RequestPayload::DeleteAttribute(id(), group, None));
}

#[test]
fn rng_retrieve_is_what_another_implementation_writes() {
    assert_same(&RngRetrieve, Code::RNGRetrieve, RequestPayload::RNGRetrieve(DataLength(32)));
}

#[test]
fn query_is_what_another_implementation_writes() {
    let functions =
        [QueryFunction::QueryOperations, QueryFunction::QueryObjects, QueryFunction::QueryServerInformation];
    assert_same_in(0..=2, &Query, Code::Query, RequestPayload::Query(functions.to_vec()));
    // It knows no function of later versions.
    let asked = ours(&Query, Version::new(1, 3), None);
    let validations = [0x42, 0, 0x74, 5, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0];
    assert!(asked.ends_with(&validations));
}

/// The other implementation knows Sign, whose payload begins like those of the operations that it does not know:
/// Unique Identifier, Cryptographic Parameters, Data.
fn like_sign(parameters: CryptographicParameters, data: &[u8]) -> RequestPayload {
    RequestPayload::Sign(id(), Some(parameters), Data(data.to_vec()))
}

#[test]
fn mac_is_what_another_implementation_writes() {
    // It has no name for the algorithm HMAC-SHA256, the number of which is 9 and not 3.
    let parameters = CryptographicParameters::default().with_cryptographic_algorithm(CryptographicAlgorithm::AES);
    for minor in 2..=4 {
        let mut expected = theirs(Code::MAC, like_sign(parameters, b"some data"), minor.into(), None);
        let algorithm = |number| [0x42, 0, 0x28, 5, 0, 0, 0, 4, 0, 0, 0, number, 0, 0, 0, 0];
        let at = expected.windows(16).position(|window| window == algorithm(3)).unwrap();
        expected[at..at + 16].copy_from_slice(&algorithm(9));
        assert_eq!(ours(&Mac { id: "5a6f-1", data: b"some data" }, Version::new(1, minor), None), expected);
    }
}

#[test]
fn encrypt_and_decrypt_begin_as_another_implementation_writes() {
    let gcm = Cipher::Gcm { iv: b"twelve bytes", aad: b"header" };
    let cbc = |padding| Cipher::Cbc { iv: b"a block of bytes", padding };
    let aes = || CryptographicParameters::default().with_cryptographic_algorithm(CryptographicAlgorithm::AES);
    let aes_cbc = |padding| aes().with_block_cipher_mode(BlockCipherMode::CBC).with_padding_method(padding);
    let cases = [
        (gcm, 4, aes().with_block_cipher_mode(BlockCipherMode::GCM).with_tag_length(TagLength(16))),
        (cbc(Padding::None), 2, aes_cbc(PaddingMethod::None)),
        (cbc(Padding::Pkcs5), 2, aes_cbc(PaddingMethod::PKCS5)),
    ];
    for (cipher, since, parameters) in cases {
        let sealed = vec![0xC4; cipher.sealed_size()];
        let ciphertext = if since == 4 { &sealed[..32] } else { &sealed[..] };
        for minor in since..=4 {
            let encrypt = Encrypt { id: "5a6f-1", cipher, key: &[0xA7; 32] };
            assert_begins(&encrypt, minor, Code::Encrypt, like_sign(parameters, &[0xA7; 32]));
            let decrypt = Decrypt::new("5a6f-1", cipher, &sealed).unwrap();
            assert_begins(&decrypt, minor, Code::Decrypt, like_sign(parameters, ciphertext));
        }
        assert_eq!(Encrypt { id: "", cipher, key: &[0; 32] }.since(), Version::new(1, since));
    }
}

/// Our request consists of theirs and more fields behind, by which the outer structures are longer.
fn assert_begins<O: Operation>(operation: &O, minor: u16, code: Code, payload: RequestPayload) {
    let ours = payload_of(ours(operation, Version::new(1, minor), None));
    let theirs = payload_of(theirs(code, payload, minor.into(), None));
    assert!(ours.starts_with(&theirs) && ours.len() > theirs.len(), "{} in 1.{minor}", O::NAME);
}

/// What follows the header of the request payload.
fn payload_of(request: Vec<u8>) -> Vec<u8> {
    let at = request.windows(4).position(|window| window == [0x42, 0, 0x79, 1]).expect("a request payload");
    request[at + 8..].to_vec()
}

#[test]
fn a_credential_is_what_another_implementation_writes() {
    use kmip_protocol::auth::{CredentialType, UsernameAndPasswordCredential};
    for password in [None, Some("pass word")] {
        let credential = Credential {
            user: "orders-api".into(),
            password: password.map(|password| Zeroizing::new(String::from(password))),
        };
        let authentication = Authentication::build(CredentialType::UsernameAndPassword(
            UsernameAndPasswordCredential::new("orders-api".into(), password.map(String::from)),
        ));
        assert_eq!(
            ours(&Activate { id: "5a6f-1" }, Version::new(1, 2), Some(&credential)),
            theirs(Code::Activate, RequestPayload::Activate(id()), 2, Some(authentication)),
        );
    }
}

#[test]
fn maximum_items_stands_where_the_standard_wants_it() {
    // The other implementation cannot express it: KMIP 1.4 §4.9 puts it before the attributes.
    let with = ours(&Locate { name: Some("n"), group: None, maximum: Some(16) }, Version::new(1, 4), None);
    let without = ours(&Locate { name: Some("n"), group: None, maximum: None }, Version::new(1, 4), None);
    let item = [0x42, 0, 0x4F, 2, 0, 0, 0, 4, 0, 0, 0, 16, 0, 0, 0, 0];
    let at = with.windows(16).position(|window| window == item).expect("it is there");
    assert_eq!(with.len(), without.len() + 16);
    assert_eq!(with[at + 16..], without[at..], "it comes first in the payload");
}

#[test]
fn a_batch_asks_the_server_to_go_on_after_a_failure() {
    let mut writer = Writer::with_capacity(4096);
    let head = Head { version: Version::new(1, 4), credential: None, first_item: 1 };
    write_request(&mut writer, &head, &[Get { id: "a" }, Get { id: "b" }]);
    let option = [0x42, 0, 0x0E, 5, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0];
    let count = [0x42, 0, 0x0D, 2, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0];
    let expected = [option, count].concat();
    assert!(writer.written().unwrap().windows(32).any(|window| window == expected));
}

#[test]
fn both_implementations_read_the_same_key_from_a_reply() {
    let reply = get_reply();
    let message: ResponseMessage = kmip_protocol::response::from_slice(&reply).unwrap();
    let Some(ResponsePayload::Get(theirs)) = &message.batch_items[0].payload else { panic!("no Get payload") };
    let ManagedObject::SymmetricKey(key) = &theirs.cryptographic_object else { panic!("no symmetric key") };
    assert_eq!(theirs.unique_identifier.0, "5a6f-1");
    assert_eq!(key.key_block.cryptographic_length, Some(256));

    let mut outcomes = read_reply(&reply, ITEM, 1).unwrap();
    let outcome = outcomes.pop().unwrap().unwrap();
    let Ok(payload) = outcome.result else { panic!("no success") };
    let ours = Get { id: "5a6f-1" }.read(payload).unwrap();
    assert_eq!(*ours.material, [0x5A; 32]);
    let theirs = format!("{:?}", key.key_block.key_value.key_material);
    assert_eq!(theirs.matches("90").count(), 32, "0x5A is 90: {theirs}");
}

fn get_reply() -> Vec<u8> {
    const TIME_STAMP: u32 = 0x420092;
    let mut writer = Writer::with_capacity(4096);
    writer.structure(tags::RESPONSE_MESSAGE, |message| {
        message.structure(tags::RESPONSE_HEADER, |header| {
            header.structure(tags::PROTOCOL_VERSION, |version| {
                version.integer(tags::PROTOCOL_VERSION_MAJOR, 1);
                version.integer(tags::PROTOCOL_VERSION_MINOR, 4);
            });
            header.date_time(TIME_STAMP, 1_700_000_000);
            header.integer(tags::BATCH_COUNT, 1);
        });
        message.structure(tags::BATCH_ITEM, |item| {
            item.enumeration(tags::OPERATION, Get::CODE);
            item.bytes(tags::UNIQUE_BATCH_ITEM_ID, &ITEM.to_be_bytes());
            item.enumeration(tags::RESULT_STATUS, 0);
            item.structure(tags::RESPONSE_PAYLOAD, |payload| {
                payload.enumeration(tags::OBJECT_TYPE, 2);
                payload.text(tags::UNIQUE_IDENTIFIER, "5a6f-1");
                payload.structure(tags::SYMMETRIC_KEY, |key| {
                    key.structure(tags::KEY_BLOCK, |block| {
                        block.enumeration(tags::KEY_FORMAT_TYPE, 1);
                        block.structure(tags::KEY_VALUE, |value| value.bytes(tags::KEY_MATERIAL, &[0x5A; 32]));
                        block.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, 3);
                        block.integer(tags::CRYPTOGRAPHIC_LENGTH, 256);
                    });
                });
            });
        });
    });
    writer.written().unwrap().to_vec()
}
