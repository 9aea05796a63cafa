//! `tests/vectors/*.json`: what every implementation accepts, and what it refuses.

use keystead::Code;
use keystead::envelope::protected::{Body, Protected};
use keystead::envelope::stream::SEGMENT;
use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use serde_json::Value;

fn unhex(vector: &Value, field: &str) -> Vec<u8> {
    let text = vector[field].as_str().unwrap_or_else(|| panic!("{field} is missing in {vector}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn valid_messages_are_decrypted_and_all_others_refused() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/message.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut refused = 0;
    for vector in &vectors {
        let id = KeyId::parse(vector["key_id"].as_str().unwrap()).unwrap();
        let material: [u8; 32] = unhex(vector, "key").try_into().unwrap();
        let key = Key::new(id, Slot::copy_of(&material).unwrap());
        let message = unhex(vector, "message");
        let mut out = vec![0xaa; message.len()];
        let outcome = key.decrypt(&message, &unhex(vector, "aad"), &mut out);
        match (vector["result"].as_str(), outcome) {
            (Some("valid"), Ok(size)) => assert_eq!(out[..size], unhex(vector, "plaintext"), "{vector}"),
            (Some("refused"), Err(error)) => {
                assert!(matches!(error.code(), Code::NotAuthentic | Code::WrongKey), "{vector}: {error}");
                assert!(out.iter().all(|&b| b == 0), "{vector}");
                refused += 1;
            }
            (_, outcome) => panic!("{outcome:?} for {vector}"),
        }
    }
    assert!(refused >= 100 && vectors.len() - refused >= 10);
}

/// What comes out of a stream given in pieces of `piece` bytes, and how it ends.
fn read_stream(key: &Key, stream: &[u8], aad: &[u8], piece: usize) -> (Vec<u8>, keystead::Result<()>) {
    let mut plaintext = Vec::new();
    let outcome = (|| {
        let mut decryptor = key.decrypt_stream(stream, aad)?;
        let mut out = vec![0xaa; piece + SEGMENT];
        for piece in stream[decryptor.header_size()..].chunks(piece) {
            let size = decryptor.update(piece, &mut out)?;
            plaintext.extend_from_slice(&out[..size]);
        }
        decryptor.finish()
    })();
    (plaintext, outcome)
}

#[test]
fn valid_streams_are_decrypted_and_all_others_refused() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/stream.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    let mut refused = 0;
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let parts = vector["stream"].as_array().unwrap().iter().map(|part| part.as_str().unwrap());
        let digits: String = parts
            .map(|part| part.strip_prefix('@').map_or(part, |piece| all["pieces"][piece].as_str().unwrap()))
            .collect();
        let stream =
            digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        let stream: Vec<u8> = stream.collect();
        let material: [u8; 32] = unhex(vector, "key").try_into().unwrap();
        let key =
            Key::new(KeyId::parse(vector["key_id"].as_str().unwrap()).unwrap(), Slot::copy_of(&material).unwrap());
        for piece in [1000, 1 << 20] {
            let (plaintext, outcome) = read_stream(&key, &stream, &unhex(vector, "aad"), piece);
            match (vector["result"].as_str(), outcome) {
                (Some("valid"), Ok(())) => {
                    assert_eq!(vector["plaintext_size"], plaintext.len(), "{name}");
                    let hash = ring::digest::digest(&ring::digest::SHA256, &plaintext);
                    assert_eq!(unhex(vector, "plaintext_sha256"), hash.as_ref(), "{name}");
                }
                (Some("refused"), Err(error)) => {
                    assert!(matches!(error.code(), Code::NotAuthentic | Code::WrongKey), "{name}: {error}");
                }
                (_, outcome) => panic!("{outcome:?} for {name}"),
            }
        }
        refused += usize::from(vector["result"] == "refused");
    }
    assert!(refused >= 100 && vectors.len() - refused >= 10);
}

/// Whether a key manager that has these keys would unlock it: what the key manager does on the first rung, and the check
/// that comes before it on the second.
fn is_authentic(protected: &Protected, vector: &Value) -> bool {
    match &protected.body {
        Body::Gcm { iv, ciphertext, tag } => {
            let kek = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &unhex(vector, "kek")).unwrap());
            let mut sealed = [&ciphertext[..], tag].concat();
            let aad = Aad::from(protected.header.enc_structure());
            let opened = kek.open_in_place(Nonce::assume_unique_for_key(*iv), aad, &mut sealed);
            opened.is_ok_and(|dek| vector["dek"].is_null() || dek == unhex(vector, "dek"))
        }
        Body::CbcHmac { cbc, mac } => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &unhex(vector, "mac_key"));
            hmac::verify(&key, &cbc.mac_structure(&protected.header), mac).is_ok()
        }
    }
}

#[test]
fn valid_protected_deks_are_authentic_and_all_others_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/protected_dek.json");
    let vectors: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut refused = 0;
    for vector in &vectors {
        let parsed = Protected::parse(&unhex(vector, "protected_dek"));
        if let Err(error) = &parsed {
            assert_eq!(error.code(), Code::NotAuthentic, "{vector}: {error}");
        }
        let accepted = parsed.ok().filter(|protected| is_authentic(protected, vector));
        match (vector["result"].as_str(), accepted) {
            (Some("valid"), Some(protected)) => assert_eq!(vector["space"], protected.header.space.to_string()),
            (Some("refused"), None) => refused += 1,
            (_, accepted) => panic!("{accepted:?} for {vector}"),
        }
    }
    assert!(refused >= 200 && vectors.len() - refused == 6);
}
