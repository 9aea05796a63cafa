//! What a message promises, seen through a key.

use std::collections::HashMap;

use keystead::Code;
use keystead::envelope::{Key, KeyId, MAX_PLAINTEXT, message};
use keystead::memory::slot::Slot;

fn key(id: &str, fill: u8) -> Key {
    Key::new(KeyId::parse(id).unwrap(), Slot::copy_of(&[fill; 32]).unwrap())
}

fn encrypt(key: &Key, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut out = vec![0xaa; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, aad, &mut out).unwrap();
    assert_eq!(size, out.len());
    out
}

fn decrypt(key: &Key, message: &[u8], aad: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0xaa; message.len()];
    match key.decrypt(message, aad, &mut out) {
        Ok(size) => {
            out.truncate(size);
            Ok(out)
        }
        Err(error) => {
            assert!(out.iter().all(|&b| b == 0), "a failed decryption left bytes in the output");
            Err(error)
        }
    }
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn what_was_encrypted_is_decrypted() {
    let key = key("customer-42/1", 7);
    for n in [0, 1, 7, 8, 15, 16, 64, 239, 240, 1000, 65_519, 65_520, 1 << 20] {
        for aad in [0, 1, 23, 64, 65, 1024, 1025, 70_000] {
            let (plaintext, aad) = (bytes(n), bytes(aad));
            let message = encrypt(&key, &plaintext, &aad);
            assert_eq!(message::decrypted_size(&message).unwrap(), n);
            assert_eq!(message::key_id(&message).unwrap(), *key.id());
            assert!(decrypt(&key, &message, &aad).unwrap() == plaintext, "{n}");
        }
    }
}

#[test]
fn another_handle_of_the_same_key_decrypts_old_and_new_sessions() {
    let (writer, reader) = (key("a/1", 7), key("a/1", 7));
    let mut messages = Vec::new();
    for i in 0..600_u32 {
        messages.push(encrypt(&writer, &i.to_be_bytes(), b""));
        writer.quiesce();
    }
    for _ in 0..2 {
        for (i, message) in (0_u32..).zip(&messages) {
            assert_eq!(decrypt(&reader, message, b"").unwrap(), i.to_be_bytes());
            assert_eq!(decrypt(&reader, message, b"").unwrap(), i.to_be_bytes());
        }
    }
}

#[test]
fn any_altered_bit_is_refused() {
    let (writer, reader) = (key("customer-42/1", 7), key("customer-42/1", 7));
    let message = encrypt(&writer, b"a card number", b"row 1");
    // Once with the session unknown to the reader, once with it open.
    for _ in 0..2 {
        for bit in 0..message.len() * 8 {
            let mut altered = message.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let code = decrypt(&reader, &altered, b"row 1").unwrap_err().code();
            assert!(matches!(code, Code::NotAuthentic | Code::WrongKey), "bit {bit}: {code:?}");
        }
        assert_eq!(decrypt(&reader, &message, b"row 1").unwrap(), b"a card number");
    }
}

#[test]
fn every_refusal_of_altered_bytes_reads_the_same() {
    let key = key("customer-42/1", 7);
    let message = encrypt(&key, b"a card number", b"row 1");
    let texts: Vec<String> = [message[..10].to_vec(), [&message[..], &[0]].concat(), b"hello".to_vec(), Vec::new()]
        .iter()
        .map(|altered| decrypt(&key, altered, b"row 1").unwrap_err().message().to_owned())
        .chain([decrypt(&key, &message, b"row 2").unwrap_err().message().to_owned()])
        .collect();
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
}

#[test]
fn a_cut_or_extended_message_is_refused() {
    let key = key("a/1", 7);
    let message = encrypt(&key, b"text", b"");
    for n in 0..message.len() {
        assert_eq!(decrypt(&key, &message[..n], b"").unwrap_err().code(), Code::NotAuthentic);
        assert_eq!(decrypt(&key, &message[n + 1..], b"").unwrap_err().code(), Code::NotAuthentic);
    }
    for byte in 0..=255 {
        assert_eq!(decrypt(&key, &[&message[..], &[byte]].concat(), b"").unwrap_err().code(), Code::NotAuthentic);
    }
}

#[test]
fn other_associated_data_is_refused() {
    let key = key("a/1", 7);
    let message = encrypt(&key, b"text", b"row 1");
    for aad in [&b""[..], b"row 2", b"row 1 ", b"row", &[0; 2000]] {
        assert_eq!(decrypt(&key, &message, aad).unwrap_err().code(), Code::NotAuthentic);
    }
}

#[test]
fn a_message_of_another_name_or_version_names_both() {
    let message = encrypt(&key("customer-1/1", 7), b"text", b"");
    for other in ["customer-2/1", "customer-1/2"] {
        let error = decrypt(&key(other, 7), &message, b"").unwrap_err();
        assert_eq!(error.code(), Code::WrongKey);
        assert!(error.message().contains("customer-1/1") && error.message().contains(other), "{error}");
    }
}

#[test]
fn another_key_of_the_same_name_is_refused() {
    let (right, wrong) = (key("a/1", 7), key("a/1", 8));
    let message = encrypt(&right, b"text", b"");
    decrypt(&right, &message, b"").unwrap();
    assert_eq!(decrypt(&wrong, &message, b"").unwrap_err().code(), Code::NotAuthentic);
}

#[test]
fn too_small_a_buffer_tells_the_size_and_is_zeroed() {
    let key = key("a/1", 7);
    let needed = key.encrypted_size(100).unwrap();
    let mut out = vec![0xaa; needed - 1];
    let error = key.encrypt(&[1; 100], b"", &mut out).unwrap_err();
    assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, Some(needed)));
    assert!(out.iter().all(|&b| b == 0));

    let message = encrypt(&key, &[1; 100], b"");
    let mut out = [0xaa; 99];
    let error = key.decrypt(&message, b"", &mut out).unwrap_err();
    assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, Some(100)));
    assert_eq!(out, [0; 99]);
}

#[test]
fn a_call_without_room_costs_a_counter_and_nothing_else() {
    let key = key("a/1", 7);
    // Again, should the session's second end in between.
    let (first, second) = loop {
        let first = encrypt(&key, b"", b"");
        for _ in 0..5 {
            let mut out = [0xaa; 10];
            let error = key.encrypt(b"text", b"", &mut out).unwrap_err();
            assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, key.encrypted_size(4)));
            assert_eq!(out, [0; 10]);
        }
        let second = encrypt(&key, b"", b"");
        if salt(&first) == salt(&second) {
            break (first, second);
        }
    };
    assert_eq!(counter(&second), counter(&first) + 6);
}

#[test]
fn bytes_behind_the_message_stay_as_they_are() {
    let key = key("a/1", 7);
    let mut out = [0xaa; 400];
    let size = key.encrypt(b"text", b"", &mut out).unwrap();
    assert!(out[size..].iter().all(|&b| b == 0xaa));
}

#[test]
fn a_name_of_16_characters_costs_at_most_128_bytes() {
    let key = key("0123456789abcdef/1", 7);
    for n in [0, 1, 64, 1000, 65_000] {
        assert!(key.encrypted_size(n).unwrap() - n <= 128);
    }
    assert!(key.encrypted_size(MAX_PLAINTEXT).unwrap() - MAX_PLAINTEXT <= 132);
    assert_eq!(key.encrypted_size(MAX_PLAINTEXT + 1), None);
    assert_eq!(key.encrypted_size(usize::MAX), None);
}

#[test]
fn the_longest_name_and_version_fit() {
    let id = format!("{}/4294967295", "n".repeat(128));
    let key = key(&id, 7);
    let message = encrypt(&key, b"text", b"");
    assert_eq!(message::key_id(&message).unwrap().to_string(), id);
    assert_eq!(decrypt(&key, &message, b"").unwrap(), b"text");
}

#[test]
fn inspect_tells_what_a_message_says() {
    let key = key("customer-42/3", 7);
    let message = encrypt(&key, b"text", b"");
    let says = message::inspect(&message).unwrap();
    assert_eq!((says.key.as_str(), says.plaintext_size, says.size), ("customer-42/3", 4, message.len()));
    assert_eq!((says.iv.len(), says.salt.len(), says.key_commitment.len()), (24, 32, 64));
    assert_eq!(message::inspect(b"hello").unwrap_err().code(), Code::NotAuthentic);
}

fn salt(message: &[u8]) -> [u8; 16] {
    message[message.len() - 17..message.len() - 1].try_into().unwrap()
}

fn counter(message: &[u8]) -> u32 {
    u32::from_be_bytes(message[10..14].try_into().unwrap())
}

#[test]
fn eight_threads_with_a_million_messages_each_repeat_no_nonce() {
    const THREADS: usize = 8;
    // Unoptimised, a million would take minutes.
    const MESSAGES: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let key = key("a/1", 7);
    let used: Vec<HashMap<[u8; 16], Vec<u32>>> = std::thread::scope(|scope| {
        let work = || {
            let mut used: HashMap<_, Vec<u32>> = HashMap::new();
            let mut out = vec![0; key.encrypted_size(1).unwrap()];
            for _ in 0..MESSAGES {
                key.encrypt(b"x", b"", &mut out).unwrap();
                used.entry(salt(&out)).or_default().push(counter(&out));
            }
            used
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut seen: HashMap<[u8; 16], Vec<u32>> = HashMap::new();
    for (salt, counters) in used.into_iter().flatten() {
        seen.entry(salt).or_default().extend(counters);
    }
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), THREADS * MESSAGES);
    for counters in seen.values_mut() {
        counters.sort_unstable();
        assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "a counter was used twice in one session");
        assert!(counters.len() <= 1 << 20, "a session was used beyond its limit");
    }
}

#[test]
fn threads_that_share_the_opened_sessions_get_what_is_theirs() {
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..20_u8 {
                    // All keys have the same name, so that only their handles tell their sessions apart.
                    let (writer, reader) = (key("a/1", thread), key("a/1", thread));
                    let messages: Vec<_> = (0..40)
                        .map(|i| {
                            writer.quiesce();
                            (i, encrypt(&writer, &[thread, round, i], b""))
                        })
                        .collect();
                    for (i, message) in messages.iter().chain(&messages) {
                        assert_eq!(decrypt(&reader, message, b"").unwrap(), [thread, round, *i]);
                    }
                }
            });
        }
    });
}

#[test]
fn quiesce_ends_the_session() {
    let key = key("a/1", 7);
    let before = encrypt(&key, b"x", b"");
    key.quiesce();
    assert_ne!(salt(&before), salt(&encrypt(&key, b"x", b"")));
    assert_eq!(decrypt(&key, &before, b"").unwrap(), b"x");
}
