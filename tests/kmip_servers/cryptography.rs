//! What a key server computes with keys that stay in it.

use keystead::Code;
use keystead::kmip::{
    Activate, Cipher, Connection, Create, Decrypt, Encrypt, Exposure, Get, Mac, Operation, Padding, ResultReason,
    Usage, Version,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::keyservers::{KeyServers, Kind};
use crate::{assert_not_asked, connect, done, refused};

const DEK: [u8; 32] = [0xA7; 32];
const IV: [u8; 12] = *b"twelve bytes";
const BLOCK_IV: [u8; 16] = *b"a block of bytes";
const GCM: Cipher<'static> = Cipher::Gcm { iv: &IV, aad: b"header" };

fn cbc(padding: Padding) -> Cipher<'static> {
    Cipher::Cbc { iv: &BLOCK_IV, padding }
}

/// An Active key. The test fetches it to compute the same by itself.
fn key(connection: &mut Connection, name: &str, usage: Usage) -> (String, [u8; 32]) {
    let id = done(connection, &Create { usage, ..Create::new(name, None) });
    done(connection, &Activate { id: &id });
    let material = *done(connection, &Get { id: &id }).material;
    (id, material)
}

#[test]
fn a_key_is_encrypted_with_gcm_under_one_that_stays() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let (id, kek) = key(&mut connection, "kek/1", Usage::ENCRYPT | Usage::DECRYPT);
    let encrypt = Encrypt { id: &id, cipher: GCM, key: &DEK };
    if connection.version() < Version::new(1, 4) {
        assert_not_asked(&mut connection, &encrypt);
        assert_not_asked(&mut connection, &Decrypt::new(&id, GCM, &[0; 48]).unwrap());
        return;
    }
    let sealed = done(&mut connection, &encrypt);
    let mut copy = sealed.clone();
    let kek = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &kek).unwrap());
    let opened = kek.open_in_place(Nonce::assume_unique_for_key(IV), Aad::from(b"header"), &mut copy);
    assert_eq!(opened.unwrap(), DEK, "it is AES-GCM over the key and the additional data");

    assert_eq!(*done(&mut connection, &Decrypt::new(&id, GCM, &sealed).unwrap()), DEK);
    for at in [0, 31, 32, 47] {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        refused(&mut connection, &Decrypt::new(&id, GCM, &altered).unwrap());
    }
    for other in [Cipher::Gcm { iv: &IV, aad: b"footer" }, Cipher::Gcm { iv: b"other bytes!", aad: b"header" }] {
        refused(&mut connection, &Decrypt::new(&id, other, &sealed).unwrap());
    }
    for length in [0, 16, 36, 47, 49] {
        let error = Decrypt::new(&id, GCM, &vec![0; length]).err().expect("no server is asked for that");
        assert_eq!(error.code(), Code::NotAuthentic, "{error}");
    }
    assert!(connection.is_usable());
}

#[test]
fn a_key_is_encrypted_with_cbc_under_one_that_stays() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let (id, _) = key(&mut connection, "kek/1", Usage::ENCRYPT | Usage::DECRYPT);
    for padding in [Padding::None, Padding::Pkcs5] {
        let encrypt = Encrypt { id: &id, cipher: cbc(padding), key: &DEK };
        if connection.version() < Version::new(1, 2) {
            assert_not_asked(&mut connection, &encrypt);
            assert_not_asked(
                &mut connection,
                &Decrypt::new(&id, cbc(padding), &[0; 48][..sealed_size(padding)]).unwrap(),
            );
            continue;
        }
        if padding == Padding::None && KeyServers::kind() == Kind::PyKmip {
            assert_eq!(refused(&mut connection, &encrypt).reason, Some(ResultReason::INVALID_FIELD));
            continue;
        }
        let sealed = done(&mut connection, &encrypt);
        assert_eq!(sealed.len(), sealed_size(padding));
        assert_eq!(*done(&mut connection, &Decrypt::new(&id, cbc(padding), &sealed).unwrap()), DEK);
        // What is added to the initialization vector is added to the first block: that is how CBC chains.
        let mut iv = BLOCK_IV;
        iv[3] ^= 0xFF;
        let cipher = Cipher::Cbc { iv: &iv, padding };
        let other = done(&mut connection, &Decrypt::new(&id, cipher, &sealed).unwrap());
        let mut expected = DEK;
        expected[3] ^= 0xFF;
        assert_eq!(*other, expected);
    }
}

fn sealed_size(padding: Padding) -> usize {
    cbc(padding).sealed_size()
}

#[test]
fn a_key_that_stays_authenticates_data() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let (id, material) = key(&mut connection, "kek.mac/1", Usage::MAC_GENERATE | Usage::MAC_VERIFY);
    let mac = Mac { id: &id, data: b"header, initialization vector, ciphertext" };
    if connection.version() < Version::new(1, 2) {
        return assert_not_asked(&mut connection, &mac);
    }
    let computed = done(&mut connection, &mac);
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &material), mac.data, &computed).expect("it is HMAC-SHA-256");

    let cipher = cbc(Padding::None);
    let failure = refused(&mut connection, &Encrypt { id: &id, cipher, key: &DEK });
    assert_eq!(failure.code(), Code::PermissionDenied, "its usage is another: {}", failure.error);
    let failure = refused(&mut connection, &Mac { id: "no-such-key", data: b"data" });
    assert!(failure.may_mean_not_found(), "{}", failure.error);
}

#[test]
fn a_key_that_must_not_leave_its_server_is_asked_for_as_such() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let create = |exposure| Create { exposure, ..Create::new("kek/1", None) };
    if connection.version() < Version::new(1, 4) {
        // It is for the server's own policy to say, and the request is as any other.
        let id = done(&mut connection, &create(Exposure::Never));
        done(&mut connection, &Get { id: &id });
        return;
    }
    if matches!(KeyServers::kind(), Kind::PyKmip) {
        let failure = refused(&mut connection, &create(Exposure::Never));
        assert_eq!(failure.reason, Some(ResultReason::INVALID_FIELD), "{}", failure.error);
        done(&mut connection, &create(Exposure::Wrapped));
        return;
    }
    for (exposure, reason) in
        [(Exposure::Wrapped, ResultReason::SENSITIVE), (Exposure::Never, ResultReason::NOT_EXTRACTABLE)]
    {
        let id = done(&mut connection, &create(exposure));
        done(&mut connection, &Activate { id: &id });
        assert_eq!(refused(&mut connection, &Get { id: &id }).reason, Some(reason), "{}", Get::NAME);
        let sealed = done(&mut connection, &Encrypt { id: &id, cipher: GCM, key: &DEK });
        assert_eq!(*done(&mut connection, &Decrypt::new(&id, GCM, &sealed).unwrap()), DEK);
    }
}
