//! Nothing that must stay secret appears in anything that is written, in whatever encoding.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keyservers::{KeyServers, Kind};
use keystead::client::{Original, View};
use keystead::envelope::mask::ROOM as MASK_ROOM;
use keystead::envelope::protected::{Body, Protected};
use keystead::envelope::stream::ROOM;
use keystead::{Client, Code, Error};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};

/// The configuration of the child that works and tells what it did.
const CONFIG: &str = "KEYSTEAD_CANARY_CONFIG";
const PLAINTEXT: &[u8] = b"zqX7-4929121376530098-kvW2-jjQ9-hhP4";
const AAD: &[u8] = b"vGm5:qqz8/wwy3:row=5550129:kkU6/ddL1";
/// Whom a pseudonym stands for.
const PERSON: &str = "Wz8.Lovelace-3306917742@qqj4.example";
const PASSWORD: &str = "canary-password-of-nobody-7c9e";
/// What a configuration says beside its key servers, log and audit trail.
const SECTIONS: &str = r#"
[keys]
template = "user-{id}"
pseudonym_key = "names"

[[mask]]
name = "canary"
show = "last 4"
roles = ["support"]
"#;
/// As much of a secret is looked for, from every fourth of its bytes on.
const PIECE: usize = 12;

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let bit = |at: usize| usize::from(bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1));
    let digit = |at: usize| char::from(alphabet[(at * 6..at * 6 + 6).fold(0, |value, at| value << 1 | bit(at))]);
    (0..bytes.len() * 8 / 6).map(digit).collect()
}

/// The piece in every encoding; in base64 without the digits that its neighbours share.
fn encodings(piece: &[u8]) -> Vec<Vec<u8>> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{piece:?}");
    let mut all = vec![piece.to_vec(), hex.clone().into(), hex.to_uppercase().into(), list[1..list.len() - 1].into()];
    for rest in ["+/", "-_"] {
        let alphabet: [u8; 64] = format!("{LETTERS}{rest}").into_bytes().try_into().unwrap();
        for shift in 0..3 {
            let shifted = [&[0; 3][..shift], piece].concat();
            all.push(base64(&shifted, &alphabet)[(shift * 8).div_ceil(6)..].into());
        }
    }
    all
}

/// Every encoding of every piece of secrets, by how it begins, so that a text is read once for all of them.
#[derive(Default)]
struct Wanted(HashMap<[u8; START], Vec<Vec<u8>>>);

/// No encoding of a piece is shorter.
const START: usize = 8;

impl Wanted {
    fn new(secrets: &[Vec<u8>]) -> Wanted {
        let mut wanted = Wanted::default();
        for encoded in secrets.iter().flat_map(|secret| secret.windows(PIECE).step_by(4)).flat_map(encodings) {
            wanted.0.entry(encoded[..START].try_into().unwrap()).or_default().push(encoded);
        }
        wanted
    }

    fn find_in(&self, text: &[u8]) -> Option<String> {
        let starts = text.windows(START).enumerate();
        let found = starts
            .filter_map(|(at, start)| Some((at, self.0.get(start)?)))
            .find_map(|(at, encoded)| encoded.iter().find(|encoded| text[at..].starts_with(encoded)))?;
        Some(String::from_utf8_lossy(found).into_owned())
    }
}

/// Where docs/FORMAT.md has the ciphertext and the tag of a text as long as ours: behind the beginning of a message or of a
/// segment, an IV of 12 bytes and a head of two.
fn ciphertext(bytes: &[u8], beginning: &[u8]) -> Range<usize> {
    let start = bytes.windows(beginning.len()).position(|part| part == beginning).unwrap() + beginning.len() + 12;
    let size = PLAINTEXT.len() + 16;
    assert_eq!(bytes[start..start + 2], [0x58, size as u8]);
    start + 2..start + 2 + size
}

const MESSAGE: &[u8] = b"\xd8\x60\x84\x43\xa1\x01\x03\xa1\x05\x4c";
const SEGMENT: &[u8] = b"\xd0\x83\x43\xa1\x01\x03\xa1\x05\x4c";

/// A byte string in CBOR.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    let head = if length < 24 { vec![0x40 | length] } else { vec![0x58, length] };
    [&head, bytes].concat()
}

/// Decrypts by what docs/FORMAT.md says, and by nothing of ours.
fn decrypt(key: &[u8], what: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let is_recipient = |part: &[u8]| part[..3] == [0x81, 0x83, 0x58] && part[4..] == [0xa3, 1, 0x29];
    let recipient = bytes.windows(7).position(is_recipient).unwrap() + 4;
    let end = recipient + usize::from(bytes[recipient - 1]);
    assert_eq!(bytes[end..end + 3], [0xa1, 0x33, 0x50]);
    let used_for = if what == "stream" { "stream" } else { "message" };
    let beginning = b"\x84\x03\x83\xf6\xf6\xf6\x83\xf6\xf6\xf6\x83\x19\x01\x00";
    let context = [&beginning[..], &string(&bytes[recipient..end]), &string(used_for.as_bytes())].concat();
    let derived = Salt::new(HKDF_SHA256, &bytes[end + 3..end + 19]).extract(key);
    let content_key: UnboundKey = derived.expand(&[&context], &AES_256_GCM).unwrap().into();
    let (aad, range) = if what == "stream" {
        let header = digest(&SHA256, &bytes[..end + 20]);
        let of_segment = [&b"\x83\x6ekeystead/seg/1"[..], &string(header.as_ref()), &string(AAD)].concat();
        ([&b"\x83\x68Encrypt0\x43\xa1\x01\x03"[..], &string(&of_segment)].concat(), ciphertext(bytes, SEGMENT))
    } else {
        ([&b"\x83\x67Encrypt\x43\xa1\x01\x03"[..], &string(AAD)].concat(), ciphertext(bytes, MESSAGE))
    };
    let nonce = Nonce::try_assume_unique_for_key(&bytes[range.start - 14..range.start - 2]).unwrap();
    let mut text = bytes[range].to_vec();
    Some(LessSafeKey::new(content_key).open_in_place(nonce, Aad::from(aad), &mut text).ok()?.to_vec())
}

fn tell(error: &Error) {
    println!("{error} {error:?} {}", error.detail());
}

/// A full scenario; everything that an application is told goes to standard output.
fn work(config: &Path) {
    let on_record = |told: keystead::log::Told<'_>| println!("told: {}", told.line);
    let client = Client::open_with(config, Some(Box::new(on_record))).unwrap();
    let key = client.create_key("canary").unwrap().0;
    let mut message = vec![0; key.encrypted_size(PLAINTEXT.len()).unwrap()];
    key.encrypt(PLAINTEXT, AAD, &mut message).unwrap();
    fs::write(config.with_extension("message"), &message).unwrap();
    let (mut column, mut offsets) = (vec![0; message.len()], [0; 2]);
    key.encrypt_many([(PLAINTEXT, AAD)].into_iter(), &mut column, &mut offsets).unwrap();
    fs::write(config.with_extension("column"), &column).unwrap();
    let mut stream = vec![0; 2 * ROOM];
    let mut encryptor = key.encrypt_stream(AAD).unwrap();
    let size = encryptor.update(PLAINTEXT, &mut stream).unwrap();
    let size = size + encryptor.finish(&mut stream[size..]).unwrap();
    fs::write(config.with_extension("stream"), &stream[..size]).unwrap();
    let mut out = vec![0; message.len() + MASK_ROOM];
    assert_eq!(client.decrypt(&message, AAD, "canary", &mut out).unwrap(), PLAINTEXT.len());
    tell(&client.decrypt(&message, AAD, "other", &mut out).unwrap_err());
    tell(&client.decrypt(&message, PLAINTEXT, "*", &mut out).unwrap_err());
    tell(&client.decrypt(PLAINTEXT, AAD, "*", &mut out).unwrap_err());
    // In the ciphertext, so that the tag is wrong; in the salt, so that the commitment is; and in what is always the same.
    for place in [ciphertext(&message, MESSAGE).start, message.len() - 2, message.len() - 1] {
        let mut altered = message.clone();
        altered[place] ^= 1;
        for error in [key.decrypt(&altered, AAD, &mut out), client.decrypt(&altered, AAD, "*", &mut out)] {
            let error = error.unwrap_err();
            assert_eq!(error.code(), Code::NotAuthentic);
            tell(&error);
        }
    }
    tell(&client.key("no-such-canary").err().unwrap());
    let columns = [(&column[..], PLAINTEXT)].into_iter();
    tell(&client.decrypt_many(columns, "*", &mut out, &mut offsets).unwrap_err());
    tell(&client.decrypt_stream(&stream, PLAINTEXT, "*").err().unwrap());
    let mut decryptor = client.decrypt_stream(&stream[..size], AAD, "canary").unwrap();
    let body = &stream[decryptor.header_size()..size];
    assert_eq!(decryptor.update(body, &mut vec![0; 2 * ROOM]).unwrap(), PLAINTEXT.len());
    decryptor.finish().unwrap();
    work_with_masks(&client, &message, &mut out);
    client.rotate_key("canary").unwrap();
    client.reencrypt_many([(&message[..], AAD)].into_iter(), "*", &mut column, &mut offsets).unwrap();
    fs::write(config.with_extension("anew"), &column).unwrap();
    work_with_pseudonyms(&client);
    work_in_space(&client, config);
    client.probe_servers().unwrap();
    println!("{:?} {:?}", client.list_keys().unwrap(), serde_json::to_string(&client.status().unwrap()));
    client.close().unwrap();
}

fn work_with_masks(client: &Client, message: &[u8], out: &mut [u8]) {
    let view = |role| View { mask: "canary", role };
    let size = client.decrypt_masked(message, AAD, "canary", view("support"), out).unwrap();
    assert!(out[..size].ends_with(&PLAINTEXT[PLAINTEXT.len() - 4..]) && !out[..size].starts_with(&PLAINTEXT[..4]));
    tell(&client.decrypt_masked(message, AAD, "canary", view("intruder"), out).unwrap_err());
    tell(&client.decrypt_masked(message, PLAINTEXT, "canary", view("support"), out).unwrap_err());
}

fn work_with_pseudonyms(client: &Client) {
    client.create_key("names").unwrap();
    tell(&client.key_for(&format!("{PERSON}.org")).err().unwrap());
    client.register(PERSON).unwrap();
    client.key_for(PERSON).unwrap();
    println!("{}", client.key_name(PERSON).unwrap());
}

/// What is under a key that never leaves the key server goes there to be encrypted, decrypted and authenticated: the DEK itself, and what
/// it becomes. The server keeps the DEK, so that the test knows it.
fn work_in_space(client: &Client, config: &Path) {
    let name = config.file_stem().unwrap().to_str().unwrap();
    let (kek, file) = (format!("master-{name}"), config.with_extension("dek"));
    client.create_kek(&kek).unwrap();
    let key = client.create_space(&format!("vault-{name}"), &kek, &file, Original::Keep).unwrap().0;
    let mut message = vec![0; key.encrypted_size(PLAINTEXT.len()).unwrap()];
    key.encrypt(PLAINTEXT, AAD, &mut message).unwrap();
    fs::write(config.with_extension("vault"), &message).unwrap();
    let view = View { mask: "canary", role: "support" };
    let mut out = vec![0; message.len() + MASK_ROOM];
    client.decrypt_masked_with(&key, &message, AAD, view, &mut out).unwrap();
    let mut protected = fs::read(&file).unwrap();
    fs::write(config.with_extension("dek-before"), &protected).unwrap();
    client.rotate_kek(&kek).unwrap();
    client.rewrap_space(&kek, &file).unwrap();
    let unlocked = client.unlock_space(&fs::read(&file).unwrap(), "vault-*").unwrap();
    assert_eq!(unlocked.decrypt(&message, AAD, &mut out).unwrap(), PLAINTEXT.len());
    *protected.last_mut().unwrap() ^= 1;
    let error = client.unlock_space(&protected, "*").err().unwrap();
    assert_eq!(error.code(), Code::NotAuthentic);
    tell(&error);
}

/// What the key server made of the DEK, and how.
fn protected_dek(file: &Path) -> (&'static str, Vec<Vec<u8>>) {
    match Protected::parse(&fs::read(file).unwrap()).unwrap().body {
        Body::Gcm { iv, ciphertext, tag } => ("gcm", vec![iv.to_vec(), ciphertext.to_vec(), tag.to_vec()]),
        Body::CbcHmac { cbc, mac } => ("cbc-hmac", vec![cbc.iv.to_vec(), cbc.ciphertext.to_vec(), mac.to_vec()]),
    }
}

/// The keys that the server holds.
fn keys(servers: &KeyServers) -> Vec<Vec<u8>> {
    let python = std::env::var_os("KEYSTEAD_PYTHON").unwrap_or_else(|| "python3".into());
    let script = "import sqlite3, sys\nfor (value,) in sqlite3.connect(sys.argv[1]).execute('select value from managed_objects'):\n    print(bytes(value).hex())";
    let output = Command::new(python).args(["-c", script]).arg(servers.dir.join("keys.sqlite")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    text.lines().map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect()).collect()
}

/// A scenario in a process of its own: what it wrote and told, and what of that must be nowhere.
struct Outcome {
    texts: [(&'static str, Vec<u8>); 4],
    secrets: Vec<Vec<u8>>,
    /// How the data space is protected.
    rung: &'static str,
}

/// Where the log goes; the others are tested with the sinks.
#[derive(Clone, Copy, PartialEq)]
enum Sink {
    File,
    Stderr,
    Tcp,
}

fn run(servers: &KeyServers, format: &str, sink: Sink, kmip_version: &str) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = servers.dir.join(format!("canary-{format}.conf"));
    let text = fs::read_to_string(&servers.config).unwrap();
    let text = text.lines().filter(|line| !line.starts_with("kmip_version")).collect::<Vec<_>>().join("\n");
    let text = text.replace("level = \"basic\"", "level = \"debug\"");
    let text = text.replace("format = \"syslog\"", &format!("format = {format:?}"));
    let text = text.replace("[[server]]", &format!("[[server]]\nuser = \"canary\"\npassword = {PASSWORD:?}"));
    let text = text.replace("[[server]]", &format!("[[server]]\nkmip_version = {kmip_version:?}"));
    let text = match sink {
        Sink::File => text,
        Sink::Stderr => text.replace(&format!("file:{}", servers.log.display()), "stderr"),
        Sink::Tcp => text
            .replace(&format!("file:{}", servers.log.display()), &format!("tcp://{}", listener.local_addr().unwrap())),
    };
    fs::write(&config, text + SECTIONS).unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let collector = std::thread::spawn(move || {
        let mut received = Vec::new();
        if sink == Sink::Tcp {
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        }
        received
    });
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_secret_appears_in_what_is_written_or_told", "--nocapture"])
        .env(CONFIG, &config)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&[child.stdout, child.stderr].concat()));
    let log = match sink {
        Sink::File => fs::read(&servers.log).unwrap(),
        Sink::Stderr => child.stderr.clone(),
        Sink::Tcp => collector.join().unwrap(),
    };
    let audit = fs::read(&servers.audit).unwrap();
    let texts = [("log", log), ("audit trail", audit), ("output", child.stdout), ("stderr", child.stderr)];
    let keys = keys(servers);
    assert!(keys.len() >= 2 && keys.iter().all(|key| key.len() == 32), "{} keys", keys.len());
    let ciphertexts = ["message", "column", "stream", "anew", "vault"].map(|what| {
        let bytes = fs::read(config.with_extension(what)).unwrap();
        let opened = keys.iter().find_map(|key| decrypt(key, what, &bytes));
        assert_eq!(opened.as_deref(), Some(PLAINTEXT), "what is looked for of the {what} is not its ciphertext");
        bytes[ciphertext(&bytes, if what == "stream" { SEGMENT } else { MESSAGE })].to_vec()
    });
    let [(_, before), (rung, after)] = ["dek-before", "dek"].map(|name| protected_dek(&config.with_extension(name)));
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "it was not rewrapped");
    let secrets = [PLAINTEXT.to_vec(), AAD.to_vec(), PASSWORD.into(), PERSON.into()].into_iter();
    let secrets = secrets.chain(ciphertexts).chain(keys).chain(before).chain(after).collect();
    Outcome { texts, secrets, rung }
}

/// What has to be there for a secret to be missed in it.
fn is_whole(texts: &[(&str, Vec<u8>); 4]) {
    let [log, audit, told, _] = texts.each_ref().map(|(_, text)| String::from_utf8_lossy(text));
    assert!(log.len() > 2000 && audit.len() > 2000 && told.len() > 1000, "hardly anything was written");
    let events = [
        "kmip.message",
        "kmip.encrypt",
        "kmip.decrypt",
        "space.dek_protected",
        "space.unlocked",
        "space.rewrapped",
        "message.encrypted",
        "message.decrypted",
        "batch.encrypted",
        "stream.encrypted",
        "stream.decrypted",
        "mask.refused",
    ];
    for event in events {
        assert!(log.contains(event), "{event} was not logged");
        assert!(told.contains(event), "the function was not told of {event}");
    }
}

#[test]
fn no_secret_appears_in_what_is_written_or_told() {
    if let Some(config) = std::env::var_os(CONFIG) {
        return work(Path::new(&config));
    }
    let servers = KeyServers::start_kind(Kind::PyKmip, 2);
    let mut rungs = Vec::new();
    for (format, sink, kmip_version) in [
        ("syslog", Sink::File, "1.4"),
        ("syslog-5424", Sink::Stderr, "1.2"),
        ("cef", Sink::Tcp, "1.4"),
        ("leef", Sink::File, "1.2"),
    ] {
        let outcome = run(&servers, format, sink, kmip_version);
        is_whole(&outcome.texts);
        let wanted = Wanted::new(&outcome.secrets);
        for (what, text) in &outcome.texts {
            let found = wanted.find_in(text);
            assert!(found.is_none(), "{format}: the {what} holds {found:?} of a secret");
        }
        rungs.push(outcome.rung);
    }
    assert_eq!(rungs, ["gcm", "cbc-hmac", "gcm", "cbc-hmac"]);
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    let wanted = Wanted::new(&[PLAINTEXT.to_vec()]);
    for start in 0..6 {
        let text = [&b"some text "[..start + 4], PLAINTEXT, b" and more"].concat();
        for form in encodings(&text) {
            assert!(wanted.find_in(&form).is_some(), "{}", String::from_utf8_lossy(&form));
        }
    }
    assert!(wanted.find_in(b"zqX7-492912 and nothing else").is_none());
}
