//! What a batch promises, seen through a key.

use std::collections::HashSet;

use keystead::envelope::batch::MAX_BATCH;
use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;
use keystead::{Code, Result};

fn key(id: &str, fill: u8) -> Key {
    Key::new(KeyId::parse(id).unwrap(), Slot::copy_of(&[fill; 32]).unwrap())
}

type Values = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(values: &Values) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    values.iter().map(|(value, aad)| (value.as_slice(), aad.as_slice()))
}

fn parts(out: &[u8], offsets: &[usize]) -> Vec<Vec<u8>> {
    offsets.windows(2).map(|pair| out[pair[0]..pair[1]].to_vec()).collect()
}

fn encrypt(key: &Key, values: &Values) -> Vec<Vec<u8>> {
    let size = values.iter().map(|(plaintext, _)| key.encrypted_size(plaintext.len()).unwrap()).sum();
    let (mut out, mut offsets) = (vec![0xaa; size], vec![9; values.len() + 1]);
    assert_eq!(key.encrypt_many(pairs(values), &mut out, &mut offsets).unwrap(), size);
    parts(&out, &offsets)
}

fn decrypt(key: &Key, values: &Values) -> Result<Vec<Vec<u8>>> {
    let (mut out, mut offsets) = (vec![0xaa; 1 << 20], vec![9; values.len() + 1]);
    let outcome = key.decrypt_many(pairs(values), &mut out, &mut offsets);
    if outcome.is_err() {
        assert!(out.iter().all(|&b| b == 0) && offsets.iter().all(|&o| o == 0), "a failed batch left something");
    }
    outcome.map(|_| parts(&out, &offsets))
}

fn column(rows: usize) -> Values {
    (0..rows).map(|row| (vec![row as u8; row % 300], format!("row {row}").into_bytes())).collect()
}

#[test]
fn a_batch_comes_back_and_its_messages_are_messages() {
    let key = key("customer-42/1", 7);
    for rows in [0, 1, 2, 1000] {
        let values = column(rows);
        let messages = encrypt(&key, &values);
        let encrypted: Values = messages.iter().cloned().zip(values.iter().map(|(_, aad)| aad.clone())).collect();
        let plaintexts: Vec<_> = values.iter().map(|(plaintext, _)| plaintext.clone()).collect();
        assert_eq!(decrypt(&key, &encrypted).unwrap(), plaintexts);
        for ((message, aad), plaintext) in encrypted.iter().zip(&plaintexts) {
            let mut out = vec![0; message.len()];
            let size = key.decrypt(message, aad, &mut out).unwrap();
            assert_eq!(&out[..size], plaintext);
        }
    }
}

#[test]
fn a_batch_takes_its_nonces_from_one_session_and_repeats_none() {
    let key = key("a/1", 7);
    let values = column(1000);
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let messages = encrypt(&key, &values);
        // IV counter and salt. Single messages in between take theirs from the same session.
        let salts: HashSet<_> = messages.iter().map(|m| m[m.len() - 17..].to_vec()).collect();
        assert_eq!(salts.len(), 1);
        let mut single = vec![0; key.encrypted_size(0).unwrap()];
        key.encrypt(b"", b"", &mut single).unwrap();
        for message in messages.iter().chain([&single]) {
            assert!(seen.insert((message[10..14].to_vec(), message[message.len() - 17..].to_vec())));
        }
    }
}

#[test]
fn one_altered_message_refuses_the_whole_batch_and_is_named() {
    let key = key("a/1", 7);
    let values = column(10);
    let mut encrypted: Values = encrypt(&key, &values).into_iter().zip(values.into_iter().map(|v| v.1)).collect();
    encrypted[7].0[30] ^= 1;
    let error = decrypt(&key, &encrypted).unwrap_err();
    assert_eq!(error.code(), Code::NotAuthentic);
    assert!(error.message().contains("value 7"), "{error}");
    encrypted[7].0[30] ^= 1;
    encrypted.swap(2, 3);
    let aad = std::mem::take(&mut encrypted[2].1);
    assert_eq!(decrypt(&key, &encrypted).unwrap_err().code(), Code::NotAuthentic);
    encrypted[2].1 = aad;
    decrypt(&key, &encrypted).unwrap();
    assert_eq!(decrypt(&self::key("b/1", 7), &encrypted).unwrap_err().code(), Code::WrongKey);
}

#[test]
fn too_small_a_buffer_tells_the_size_and_a_wrong_number_of_offsets_is_refused() {
    let key = key("a/1", 7);
    let values = column(10);
    let needed: usize = values.iter().map(|(plaintext, _)| key.encrypted_size(plaintext.len()).unwrap()).sum();
    let (mut out, mut offsets) = (vec![0xaa; needed - 1], vec![9; 11]);
    let error = key.encrypt_many(pairs(&values), &mut out, &mut offsets).unwrap_err();
    assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, Some(needed)));
    assert!(out.iter().all(|&b| b == 0) && offsets == [0; 11]);
    for places in [0, 1, 10, 12, MAX_BATCH + 2] {
        let error = key.encrypt_many(pairs(&values), &mut vec![0; needed], &mut vec![0; places]).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{places} offsets");
    }
}
