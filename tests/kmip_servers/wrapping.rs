//! Keys that are given to a key server, fetched wrapped, and replaced.

use keystead::kmip::{
    Activate, Connection, Get, GetAttributes, GetWrapped, Locate, Material, Operation, ReKey, Register, ResultReason,
    State, Usage, Version, attributes,
};
use keystead::{Code, Error};

use crate::key_wrap::unwrap;
use crate::keyservers::{KeyServers, Kind};
use crate::{assert_not_asked, connect, done, refused};

/// The vector of RFC 3394 §4.6: 256 bits of key data with a 256-bit KEK.
const KEK: &str = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";
const DATA: &str = "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F";
const WRAPPED: &str = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21";

fn bytes<const N: usize>(hexadecimal: &str) -> [u8; N] {
    std::array::from_fn(|at| u8::from_str_radix(&hexadecimal[2 * at..2 * at + 2], 16).unwrap())
}

/// Makes or gives a key, and activates it.
pub fn active<O: Operation<Answer = String>>(connection: &mut Connection, operation: &O) -> String {
    let id = done(connection, operation);
    done(connection, &Activate { id: &id });
    id
}

pub fn register(connection: &mut Connection, name: &str, usage: Usage, material: Material<'_>) -> String {
    active(connection, &Register { name, group: Some("keystead:moved"), usage, material })
}

/// A key that is given to a server wrapped.
pub fn given<'a>(name: &'a str, bytes: &'a [u8; 40], under: &'a str) -> Register<'a> {
    Register { name, group: None, usage: Usage::DECRYPT, material: Material::Wrapped { bytes, under } }
}

#[test]
fn a_key_given_to_a_server_is_fetched_as_it_was() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let material = bytes(DATA);
    let id = register(&mut connection, "moved/1", Usage::ENCRYPT | Usage::DECRYPT, Material::Plain(&material));
    assert_eq!(*done(&mut connection, &Get { id: &id }).material, material);
    let found = done(&mut connection, &GetAttributes { id: &id, names: &attributes::UNDERSTOOD });
    assert_eq!((found.names, found.object_groups), (vec!["moved/1".into()], vec!["keystead:moved".into()]));
    assert_eq!((found.state, found.usage), (Some(State::Active), Some(Usage::ENCRYPT | Usage::DECRYPT)));
}

#[test]
fn a_key_travels_wrapped_from_a_server_and_to_a_server() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let wraps = Usage::WRAP_KEY | Usage::UNWRAP_KEY;
    let kek = register(&mut connection, "kek/1", wraps, Material::Plain(&bytes(KEK)));
    let id = register(&mut connection, "moved/1", Usage::ENCRYPT, Material::Plain(&bytes(DATA)));
    let fetch = GetWrapped { id: &id, under: &kek };
    let wrapped = bytes(WRAPPED);
    let give = |name| given(name, &wrapped, &kek);
    if connection.version() < Version::new(1, 1) {
        assert_not_asked(&mut connection, &fetch);
        assert_not_asked(&mut connection, &give("moved/2"));
        return;
    }
    let answer = done(&mut connection, &fetch);
    assert_eq!(answer, wrapped);
    assert_eq!(unwrap(&bytes::<32>(KEK), &answer), Some(bytes::<32>(DATA).to_vec()));
    let unfit = refused(&mut connection, &GetWrapped { id: &kek, under: &id });
    assert!(!unfit.code().is_transport() && unfit.reason.is_some(), "its usage is another: {}", unfit.error);
    match KeyServers::kind() {
        Kind::PyKmip => assert_eq!(refused(&mut connection, &give("moved/2")).code(), Code::ServerRefused),
        Kind::Go => {
            let again = done(&mut connection, &give("moved/2"));
            assert_eq!(*done(&mut connection, &Get { id: &again }).material, bytes(DATA));
        }
    }
}

#[test]
fn a_server_replaces_a_key_by_one_that_takes_its_name() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let old = register(&mut connection, "moved/1", Usage::ENCRYPT, Material::Plain(&bytes(DATA)));
    let rekey = ReKey { id: &old };
    if KeyServers::kind() == Kind::PyKmip {
        return assert_unsupported(&mut connection, &rekey);
    }
    let new = done(&mut connection, &rekey);
    let named = Locate { name: Some("moved/1"), ..Locate::default() };
    assert_eq!(done(&mut connection, &named), [new.as_str()]);
    assert_ne!(*done(&mut connection, &Get { id: &new }).material, bytes(DATA));
    assert_eq!(refused(&mut connection, &rekey).code(), Code::PermissionDenied, "it was replaced before");
}

/// A server that does not know an operation says so, or that it does not understand the request. The connection lives on.
pub fn assert_unsupported<O: Operation>(connection: &mut Connection, operation: &O) {
    let failure = refused(connection, operation);
    let (code, number) = match failure.reason {
        Some(ResultReason::INVALID_MESSAGE) => (Code::ServerRefused, "0x4"),
        _ => (Code::Unsupported, "0x5"),
    };
    assert_eq!(failure.code(), code, "{}", failure.error);
    let error = Error::from(failure);
    assert!(error.message().contains(O::NAME) && error.message().contains(number), "{error}");
    assert!(connection.is_usable());
}
