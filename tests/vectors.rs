//! `tests/vectors/message.json`: what every implementation accepts, and what it refuses.

use keystead::Code;
use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;
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
