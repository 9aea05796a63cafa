//! What a stream promises, seen through a key.

use keystead::Code;
use keystead::envelope::stream::{self, Encryptor, MAX_AAD, MAX_HEADER, ROOM, SEGMENT};
use keystead::envelope::{Key, KeyId, message};
use keystead::memory::slot::Slot;

fn key(id: &str, fill: u8) -> Key {
    Key::new(KeyId::parse(id).unwrap(), Slot::copy_of(&[fill; 32]).unwrap())
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

fn update(encryptor: &mut Encryptor, plaintext: &[u8]) -> Vec<u8> {
    let mut out = vec![0xaa; encryptor.update_size(plaintext.len()).unwrap()];
    let size = encryptor.update(plaintext, &mut out).unwrap();
    assert_eq!(size, out.len());
    out
}

fn finish(encryptor: &mut Encryptor) -> Vec<u8> {
    let mut out = vec![0xaa; encryptor.finish_size()];
    let size = encryptor.finish(&mut out).unwrap();
    assert_eq!(size, out.len());
    out
}

/// The plaintext given in pieces of `piece` bytes.
fn encrypt(key: &Key, plaintext: &[u8], aad: &[u8], piece: usize) -> Vec<u8> {
    let mut encryptor = key.encrypt_stream(aad).unwrap();
    let mut out: Vec<u8> = plaintext.chunks(piece).flat_map(|piece| update(&mut encryptor, piece)).collect();
    out.extend(finish(&mut encryptor));
    out
}

/// What comes out before the stream ends or fails, and how it ends.
fn decrypt(key: &Key, stream: &[u8], aad: &[u8], piece: usize) -> (Vec<u8>, keystead::Result<()>) {
    let mut plaintext = Vec::new();
    let outcome = (|| {
        let mut decryptor = key.decrypt_stream(&stream[..MAX_HEADER.min(stream.len())], aad)?;
        let mut out = vec![0xaa; piece + SEGMENT];
        for piece in stream[decryptor.header_size()..].chunks(piece) {
            let size = decryptor.update(piece, &mut out).inspect_err(|_| {
                assert!(out.iter().all(|&b| b == 0), "a failed decryption left bytes in the output");
            })?;
            plaintext.extend_from_slice(&out[..size]);
        }
        decryptor.finish()
    })();
    (plaintext, outcome)
}

/// The header and the segments of a stream, by the sizes that the format gives.
fn cut(stream: &[u8]) -> Vec<Vec<u8>> {
    let key_id = stream::key_id(stream).unwrap();
    let decryptor = key(&key_id.to_string(), 7).decrypt_stream(stream, b"backup").unwrap();
    let (header, segments) = stream.split_at(decryptor.header_size());
    let segments = segments.chunks(SEGMENT + 42).map(<[u8]>::to_vec);
    std::iter::once(header.to_vec()).chain(segments).collect()
}

#[test]
fn what_was_encrypted_is_decrypted_whatever_the_pieces() {
    let key = key("customer-42/1", 7);
    for n in [0, 1, 7, 8, 239, 240, 65_519, 65_520, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 200_000] {
        let plaintext = bytes(n);
        for piece in [1000, SEGMENT - 1, SEGMENT, SEGMENT + 1, 1 << 20] {
            let stream = encrypt(&key, &plaintext, b"backup", piece);
            let says = stream::inspect(&stream, stream.len() as u64).unwrap();
            let segments = n.div_ceil(SEGMENT).max(1) as u64;
            assert_eq!((says.plaintext_size, says.segments), (n as u64, segments));
            for piece in [977, SEGMENT, SEGMENT + 42, 1 << 20] {
                let (decrypted, outcome) = decrypt(&key, &stream, b"backup", piece);
                outcome.unwrap();
                assert!(decrypted == plaintext, "{n} bytes in pieces of {piece}");
            }
        }
    }
    let stream = encrypt(&key, b"text", b"", 1);
    assert_eq!(decrypt(&key, &stream, b"", 1).0, b"text");
}

#[test]
fn a_stream_and_a_message_are_told_apart_and_cannot_pass_for_each_other() {
    let key = key("customer-42/1", 7);
    let stream = encrypt(&key, b"", b"", 1);
    let mut message = vec![0; key.encrypted_size(0).unwrap()];
    key.encrypt(b"", b"", &mut message).unwrap();
    assert!(stream::is_stream(&stream) && !stream::is_stream(&message) && !stream::is_stream(b""));
    assert_eq!(stream::key_id(&stream).unwrap(), *key.id());

    let header = key.decrypt_stream(&stream, b"").unwrap().header_size();
    for bytes in [&stream[..], &stream[..header]] {
        assert_eq!(key.decrypt(bytes, b"", &mut []).unwrap_err().code(), Code::NotAuthentic);
    }
    assert!(message::inspect(&stream).is_err() && stream::inspect(&message, message.len() as u64).is_err());
    assert_eq!(decrypt(&key, &message, b"", 1).1.unwrap_err().code(), Code::NotAuthentic);
}

#[test]
fn any_altered_bit_is_refused() {
    let key = key("customer-42/1", 7);
    let stream = encrypt(&key, b"a card number", b"backup", 100);
    for bit in 0..stream.len() * 8 {
        let mut altered = stream.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let (plaintext, outcome) = decrypt(&key, &altered, b"backup", 1000);
        let code = outcome.unwrap_err().code();
        assert!(matches!(code, Code::NotAuthentic | Code::WrongKey), "bit {bit}: {code:?}");
        assert!(plaintext.is_empty(), "bit {bit}");
    }
}

#[test]
fn a_truncated_stream_gives_its_genuine_beginning_and_then_an_error() {
    let key = key("a/1", 7);
    let plaintext = bytes(3 * SEGMENT + 100);
    let stream = encrypt(&key, &plaintext, b"backup", 1 << 20);
    let parts = cut(&stream);
    let ends = [1, 2, 3].map(|n| parts[..=n].iter().map(Vec::len).sum::<usize>());
    for end in [parts[0].len(), ends[0] - 1, ends[0], ends[1], ends[1] + 10, ends[2], stream.len() - 1] {
        let (decrypted, outcome) = decrypt(&key, &stream[..end], b"backup", 10_000);
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), Code::NotAuthentic);
        assert!(error.message().contains("incomplete"), "{error}");
        let whole = ends.iter().filter(|&&segment| segment <= end).count();
        assert!(decrypted == plaintext[..whole * SEGMENT], "cut at {end}");
    }
    for end in 0..parts[0].len() {
        assert_eq!(decrypt(&key, &stream[..end], b"backup", 100).1.unwrap_err().code(), Code::NotAuthentic);
    }
}

#[test]
fn reordered_duplicated_extended_and_spliced_streams_are_refused() {
    let key = key("a/1", 7);
    let (one, two) = (bytes(3 * SEGMENT + 100), vec![9; 3 * SEGMENT + 100]);
    let one = cut(&encrypt(&key, &one, b"backup", 1 << 20));
    let two = cut(&encrypt(&key, &two, b"backup", 1 << 20));
    let [h, a, b, c, last] = [0, 1, 2, 3, 4].map(|part| one[part].as_slice());
    let changed: [(&str, Vec<&[u8]>); 12] = [
        ("reordered", vec![h, b, a, c, last]),
        ("duplicated", vec![h, a, a, b, c, last]),
        ("first left out", vec![h, b, c, last]),
        ("middle left out", vec![h, a, c, last]),
        ("last twice", vec![h, a, b, c, last, last]),
        ("last first", vec![h, last, a, b, c]),
        ("a byte behind the end", vec![h, a, b, c, last, b"\0"]),
        ("another stream behind the end", vec![h, a, b, c, last, &two[0], &two[4]]),
        ("a segment of another stream", vec![h, a, &two[2], c, last]),
        ("the end of another stream", vec![h, a, b, c, &two[4]]),
        ("the header of another stream", vec![&two[0], a, b, c, last]),
        ("two headers", vec![h, h, a, b, c, last]),
    ];
    for (what, parts) in changed {
        for piece in [1000, 1 << 20] {
            let (_, outcome) = decrypt(&key, &parts.concat(), b"backup", piece);
            assert_eq!(outcome.unwrap_err().code(), Code::NotAuthentic, "{what}");
        }
    }
    decrypt(&key, &[h, a, b, c, last].concat(), b"backup", 1000).1.unwrap();
}

#[test]
fn other_associated_data_other_keys_and_versions_are_refused_before_any_plaintext() {
    let right = key("customer-1/1", 7);
    let stream = encrypt(&right, b"text", b"backup", 10);
    for (id, fill, aad, code) in [
        ("customer-1/1", 7, &b"other"[..], Code::NotAuthentic),
        ("customer-1/1", 8, b"backup", Code::NotAuthentic),
        ("customer-1/2", 7, b"backup", Code::WrongKey),
        ("customer-2/1", 7, b"backup", Code::WrongKey),
    ] {
        assert_eq!(key(id, fill).decrypt_stream(&stream, aad).err().unwrap().code(), code);
    }
}

#[test]
fn after_a_failure_or_the_end_nothing_more_is_done() {
    let key = key("a/1", 7);
    let mut stream = encrypt(&key, b"text", b"", 10);
    let mut out = vec![0; 2 * SEGMENT];
    let mut decryptor = key.decrypt_stream(&stream, b"").unwrap();
    let segment = stream.split_off(decryptor.header_size());
    let mut altered = segment.clone();
    *altered.last_mut().unwrap() ^= 1;
    for bytes in [&altered, &segment] {
        assert_eq!(decryptor.update(bytes, &mut out).unwrap_err().code(), Code::NotAuthentic);
    }
    assert_eq!(decryptor.finish().unwrap_err().code(), Code::NotAuthentic);

    let mut decryptor = key.decrypt_stream(&stream, b"").unwrap();
    decryptor.update(&segment, &mut out).unwrap();
    decryptor.finish().unwrap();
    assert_eq!(decryptor.update(b"", &mut out).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(decryptor.finish().unwrap_err().code(), Code::InvalidArgument);

    let mut encryptor = key.encrypt_stream(b"").unwrap();
    finish(&mut encryptor);
    assert_eq!(encryptor.update(b"x", &mut out).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(encryptor.finish(&mut out).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn too_small_a_buffer_takes_nothing() {
    let key = key("a/1", 7);
    let plaintext = bytes(2 * SEGMENT);
    let mut encryptor = key.encrypt_stream(b"").unwrap();
    let needed = encryptor.update_size(plaintext.len()).unwrap();
    let error = encryptor.update(&plaintext, &mut vec![0; needed - 1]).unwrap_err();
    assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, Some(needed)));
    let mut stream = update(&mut encryptor, &plaintext);
    let needed = encryptor.finish_size();
    let error = encryptor.finish(&mut vec![0; needed - 1]).unwrap_err();
    assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, Some(needed)));
    stream.extend(finish(&mut encryptor));

    let mut decryptor = key.decrypt_stream(&stream, b"").unwrap();
    let content = &stream[decryptor.header_size()..];
    let needed = content.len() + SEGMENT;
    let error = decryptor.update(content, &mut vec![0; needed - 1]).unwrap_err();
    assert_eq!((error.code(), error.needed()), (Code::BufferTooSmall, Some(needed)));
    let mut out = vec![0; needed];
    let size = decryptor.update(content, &mut out).unwrap();
    decryptor.finish().unwrap();
    assert!(out[..size] == plaintext);
}

#[test]
fn a_stream_outlives_its_key_and_no_two_have_one_salt() {
    let writer = key("a/1", 7);
    let mut encryptor = writer.encrypt_stream(b"backup").unwrap();
    let other = encrypt(&writer, b"", b"backup", 1);
    drop(writer);
    let mut stream = update(&mut encryptor, b"text");
    stream.extend(finish(&mut encryptor));
    assert_eq!(decrypt(&key("a/1", 7), &stream, b"backup", 100).0, b"text");
    let salt = |stream: &[u8]| stream::inspect(stream, stream.len() as u64).unwrap().salt;
    assert_ne!(salt(&stream), salt(&other));
}

#[test]
fn the_longest_name_and_associated_data_fit_and_the_room_suffices() {
    let id = KeyId::of_space(&"n".repeat(128), u32::MAX).unwrap();
    let key = Key::new(id.clone(), Slot::copy_of(&[7; 32]).unwrap());
    assert_eq!(key.encrypt_stream(&vec![0; MAX_AAD + 1]).err().unwrap().code(), Code::InvalidArgument);
    let aad = vec![1; MAX_AAD];
    let stream = encrypt(&key, b"text", &aad, 10);
    let decryptor = key.decrypt_stream(&stream, &aad).unwrap();
    assert_eq!((decryptor.header_size(), decryptor.id()), (MAX_HEADER, &id));
    assert_eq!(decrypt(&key, &stream, &aad, 100).0, b"text");

    let mut encryptor = key.encrypt_stream(b"").unwrap();
    assert!(encryptor.update_size(64 << 20).unwrap() <= (64 << 20) + ROOM);
    update(&mut encryptor, &bytes(SEGMENT));
    assert!(encryptor.update_size(64 << 20).unwrap() <= (64 << 20) + ROOM);
    assert!(encryptor.finish_size() <= ROOM);
}

#[test]
fn many_segments_in_one_call_are_the_same_stream_and_none_of_them_is_less_guarded() {
    let key = key("customer-42/1", 7);
    let plaintext = bytes(37 * SEGMENT + 5);
    for piece in [plaintext.len(), 20 * SEGMENT + 3, SEGMENT] {
        let stream = encrypt(&key, &plaintext, b"backup", piece);
        for piece in [stream.len(), 18 * (SEGMENT + 42) + 1, SEGMENT] {
            let (decrypted, outcome) = decrypt(&key, &stream, b"backup", piece);
            outcome.unwrap();
            assert!(decrypted == plaintext);
        }
    }

    let stream = encrypt(&key, &plaintext, b"backup", plaintext.len());
    let refused = |altered: Vec<u8>, segment: usize| {
        let (decrypted, outcome) = decrypt(&key, &altered, b"backup", altered.len());
        let error = outcome.unwrap_err();
        assert!(
            error.code() == Code::NotAuthentic && error.message().contains(&format!("segment {segment} ")),
            "{error}"
        );
        assert!(decrypted.is_empty());
    };
    let parts = cut(&stream);
    for segment in [0, 17, 18, 19, 36, 37] {
        let mut altered = parts.clone();
        altered[1 + segment].last_mut().map(|byte| *byte ^= 1).unwrap();
        refused(altered.concat(), segment);
    }
    let mut both = parts.clone();
    for segment in [30, 5] {
        both[1 + segment][100] ^= 1;
    }
    refused(both.concat(), 5);
    let mut exchanged = parts;
    exchanged.swap(1 + 3, 1 + 30);
    refused(exchanged.concat(), 3);
}
