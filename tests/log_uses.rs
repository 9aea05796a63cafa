//! At the level `verbose` every encryption and decryption is recorded, with its key, its size and its result; at `basic` none.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use keyservers::KeyServers;
use keystead::client::{Decryptor, View};
use keystead::envelope::stream::ROOM;
use keystead::{Client, Code};

const TEXT: &[u8] = b"Ada Lovelace, 1815";
const MASK: &str = "\n[[mask]]\nname = \"card\"\nshow = \"nothing\"\nroles = [\"support\"]\n";

/// A client of another level, and what it recorded.
struct Recorded {
    client: Client,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Recorded {
    fn open(servers: &KeyServers, level: &str) -> Recorded {
        let config = servers.dir.join(format!("{level}.conf"));
        let text = fs::read_to_string(&servers.config).unwrap().replace("\"basic\"", &format!("{level:?}"));
        fs::write(&config, text + MASK).unwrap();
        fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let on_record = move |told: keystead::log::Told<'_>| kept.lock().unwrap().push(told.line.to_owned());
        Recorded { client: Client::open_with(&config, Some(Box::new(on_record))).unwrap(), lines }
    }

    /// What is recorded of uses, without what every record has.
    fn uses(&self) -> Vec<String> {
        self.client.close().unwrap();
        let lines = self.lines.lock().unwrap();
        let uses = lines.iter().filter_map(|line| {
            let event = line.split(" event=").nth(1)?;
            let is_use = ["message.", "batch.", "stream."].iter().any(|kind| event.starts_with(kind));
            is_use.then(|| event.split(" prev=").next().unwrap().replace(" severity=info", ""))
        });
        uses.collect()
    }
}

/// All that can be done with a key.
fn work(client: &Client, name: &str) {
    let key = client.create_key(name).unwrap().0;
    let mut message = vec![0; key.encrypted_size(TEXT.len()).unwrap()];
    let mut out = vec![0; 4 * message.len()];
    // The size that is needed is no use of the key.
    assert_eq!(key.encrypt(TEXT, b"", &mut []).unwrap_err().code(), Code::BufferTooSmall);
    key.encrypt(TEXT, b"", &mut message).unwrap();
    key.decrypt(&message, b"", &mut out).unwrap();
    client.decrypt(&message, b"", name, &mut out).unwrap();
    assert_eq!(client.decrypt(&message, b"", "other", &mut out).unwrap_err().code(), Code::WrongKey);
    assert_eq!(key.decrypt(&message, b"row", &mut out).unwrap_err().code(), Code::NotAuthentic);
    assert_eq!(client.decrypt(TEXT, b"", "*", &mut out).unwrap_err().code(), Code::NotAuthentic);
    let view = View { mask: "card", role: "support" };
    client.decrypt_masked(&message, b"", "*", view, &mut out).unwrap();

    let mut offsets = [0; 4];
    let values = [(TEXT, &b""[..]), (b"x", b""), (b"", b"")];
    let size = key.encrypt_many(values.into_iter(), &mut out, &mut offsets).unwrap();
    let column = out[..size].to_vec();
    let messages: Vec<_> = offsets.windows(2).map(|place| (&column[place[0]..place[1]], &b""[..])).collect();
    key.decrypt_many(messages.iter().copied(), &mut out, &mut offsets).unwrap();
    let newer = client.rotate_key(name).unwrap();
    let mut other = vec![0; newer.encrypted_size(3).unwrap()];
    newer.encrypt(b"new", b"", &mut other).unwrap();
    let mixed: Vec<_> = messages[..2].iter().copied().chain([(&other[..], &b""[..])]).collect();
    client.decrypt_many(mixed.iter().copied(), name, &mut out, &mut offsets).unwrap();
    client.reencrypt_many(mixed.iter().copied(), name, &mut out, &mut offsets).unwrap();

    let mut stream = newer.encrypt_stream(b"").unwrap();
    let mut encrypted = vec![0; 3 * ROOM];
    let mut size = stream.update(TEXT, &mut encrypted).unwrap();
    assert_eq!(stream.finish(&mut []).unwrap_err().code(), Code::BufferTooSmall);
    size += stream.finish(&mut encrypted[size..]).unwrap();
    drop(stream);
    drop(newer.encrypt_stream(b"").unwrap());
    let encrypted = &encrypted[..size];
    let mut out = vec![0; 2 * ROOM];
    let mut decrypt = |mut stream: Decryptor, end: usize| {
        let body = &encrypted[stream.header_size()..end];
        stream.update(body, &mut out).and_then(|_| stream.finish())
    };
    decrypt(newer.decrypt_stream(encrypted, b"").unwrap(), size).unwrap();
    decrypt(client.decrypt_stream(encrypted, b"", "*").unwrap(), size - 1).unwrap_err();
    assert!(newer.decrypt_stream(encrypted, b"row").is_err());
}

/// A key, its version and the result as records spell them.
fn told(event: &str, name: &str, version: u32, rest: &str) -> String {
    format!("{event} key_name={name} key_version={version} {rest} result=success")
}

#[test]
fn every_use_of_a_key_is_recorded_at_verbose_and_none_at_basic() {
    let servers = KeyServers::start(1);
    let basic = Recorded::open(&servers, "basic");
    work(&basic.client, "basic-1");
    assert_eq!(basic.uses(), Vec::<String>::new());

    for level in ["verbose", "debug"] {
        let name = format!("{level}-1");
        let recorded = Recorded::open(&servers, level);
        work(&recorded.client, &name);
        let uses = recorded.uses();
        let failed = |event: &str, rest: &str, reason: &str| {
            format!("{event} severity=warning{rest} result=failure reason={reason} message=")
        };
        let of_first = format!(" key_name={name} key_version=1 size=18");
        let of_second = format!(" key_name={name} key_version=2");
        let expected = [
            told("message.encrypted", &name, 1, "size=18"),
            told("message.decrypted", &name, 1, "size=18"),
            told("message.decrypted", &name, 1, "size=18"),
            failed("message.decrypted", &of_first, "\"wrong key\""),
            failed("message.decrypted", &of_first, "\"not authentic\""),
            failed("message.decrypted", " size=0", "\"not authentic\""),
            told("message.decrypted", &name, 1, "size=18 mask=card role=support"),
            told("batch.encrypted", &name, 1, "count=3 size=19"),
            told("batch.decrypted", &name, 1, "count=3 size=19"),
            told("message.encrypted", &name, 2, "size=3"),
            told("batch.decrypted", &name, 1, "count=2 size=19"),
            told("batch.decrypted", &name, 2, "count=1 size=3"),
            told("batch.reencrypted", &name, 1, "new_version=2 count=2 size=19"),
            told("batch.reencrypted", &name, 2, "new_version=2 count=1 size=3"),
            told("stream.encrypted", &name, 2, "size=18"),
            failed("stream.encrypted", &format!("{of_second} size=0"), "\"invalid argument\""),
            told("stream.decrypted", &name, 2, "size=18"),
            failed("stream.decrypted", &format!("{of_second} size=0"), "\"not authentic\""),
            failed("stream.decrypted", &format!("{of_second} size=0"), "\"not authentic\""),
        ];
        for (number, (use_, expected)) in uses.iter().zip(&expected).enumerate() {
            let is_expected = use_ == expected || expected.ends_with("message=") && use_.starts_with(expected);
            assert!(is_expected, "{level}, use {number}: {use_}\ninstead of {expected}");
        }
        assert_eq!(uses.len(), expected.len(), "{uses:#?}");
    }
}
