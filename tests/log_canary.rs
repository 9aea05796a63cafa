//! Nothing that must stay secret appears in anything that is written, in whatever encoding.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keyservers::{KeyServers, Kind};
use keystead::client::Original;
use keystead::envelope::protected::{Body, Protected};
use keystead::envelope::stream::ROOM;
use keystead::{Client, Error};

/// The configuration of the child that works and tells what it did.
const CONFIG: &str = "KEYSTEAD_CANARY_CONFIG";
const PLAINTEXT: &[u8] = b"zqX7-4929121376530098-kvW2-jjQ9-hhP4";
const AAD: &[u8] = b"vGm5:qqz8/wwy3:row=5550129:kkU6/ddL1";
const PASSWORD: &str = "canary-password-of-nobody-7c9e";
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

/// Each byte as a character, for the search of text is fast.
fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn find(text: &str, secret: &[u8]) -> Option<String> {
    let needles = secret.windows(PIECE).step_by(4).flat_map(encodings).map(|needle| characters(&needle));
    needles.into_iter().find(|needle| text.contains(needle))
}

/// A full scenario; everything that an application is told goes to standard output.
fn work(config: &Path) {
    let tell = |error: &Error| println!("{error} {error:?} {}", error.detail());
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
    let mut out = vec![0; message.len()];
    assert_eq!(client.decrypt(&message, AAD, "canary", &mut out).unwrap(), PLAINTEXT.len());
    tell(&client.decrypt(&message, AAD, "other", &mut out).unwrap_err());
    tell(&client.decrypt(&message, PLAINTEXT, "*", &mut out).unwrap_err());
    tell(&client.decrypt(PLAINTEXT, AAD, "*", &mut out).unwrap_err());
    *message.last_mut().unwrap() ^= 1;
    tell(&key.decrypt(&message, AAD, &mut out).unwrap_err());
    tell(&client.key("no-such-canary").err().unwrap());
    let column = [(&column[..], PLAINTEXT)].into_iter();
    tell(&client.decrypt_many(column, "*", &mut out, &mut offsets).unwrap_err());
    tell(&client.decrypt_stream(&stream, PLAINTEXT, "*").err().unwrap());
    let mut decryptor = client.decrypt_stream(&stream[..size], AAD, "canary").unwrap();
    let body = &stream[decryptor.header_size()..size];
    assert_eq!(decryptor.update(body, &mut vec![0; 2 * ROOM]).unwrap(), PLAINTEXT.len());
    decryptor.finish().unwrap();
    client.rotate_key("canary").unwrap();
    work_in_space(&client, &config.with_extension("dek"));
    client.probe_servers().unwrap();
    println!("{:?} {:?}", client.list_keys().unwrap(), serde_json::to_string(&client.status().unwrap()));
    client.close().unwrap();
}

/// What is under a key that never leaves the key server goes there to be encrypted, decrypted and authenticated: the DEK itself, and what
/// it becomes. The server keeps the DEK, so that the test knows it.
fn work_in_space(client: &Client, file: &Path) {
    let _ = fs::remove_file(file);
    client.create_kek("master").unwrap();
    let key = client.create_space("vault", "master", file, Original::Keep).unwrap().0;
    let mut message = vec![0; key.encrypted_size(PLAINTEXT.len()).unwrap()];
    key.encrypt(PLAINTEXT, AAD, &mut message).unwrap();
    let mut protected = fs::read(file).unwrap();
    let unlocked = client.unlock_space(&protected, "vault").unwrap();
    assert_eq!(unlocked.decrypt(&message, AAD, &mut vec![0; message.len()]).unwrap(), PLAINTEXT.len());
    *protected.last_mut().unwrap() ^= 1;
    let error = client.unlock_space(&protected, "vault").err().unwrap();
    println!("{error} {error:?} {}", error.detail());
}

/// What the key server made of the DEK.
fn protected_dek(file: &Path) -> Vec<Vec<u8>> {
    match Protected::parse(&fs::read(file).unwrap()).unwrap().body {
        Body::Gcm { iv, ciphertext, tag } => vec![iv.to_vec(), ciphertext.to_vec(), tag.to_vec()],
        Body::CbcHmac { cbc, mac } => vec![cbc.iv.to_vec(), cbc.ciphertext.to_vec(), mac.to_vec()],
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

#[test]
fn no_secret_appears_in_what_is_written_or_told() {
    if let Some(config) = std::env::var_os(CONFIG) {
        return work(Path::new(&config));
    }
    let servers = KeyServers::start_kind(Kind::PyKmip, 2);
    for format in ["syslog", "syslog-5424", "cef", "leef"] {
        let text = fs::read_to_string(&servers.config).unwrap();
        let text = text.replace("level = \"basic\"", "level = \"debug\"");
        let text = text.replace("format = \"syslog\"", &format!("format = {format:?}"));
        let text = text.replace("[[server]]", &format!("[[server]]\nuser = \"canary\"\npassword = {PASSWORD:?}"));
        let config = servers.dir.join("canary.conf");
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_secret_appears_in_what_is_written_or_told", "--nocapture"])
            .env(CONFIG, &config)
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&[child.stdout, child.stderr].concat()));
        let (log, audit) = (fs::read(&servers.log).unwrap(), fs::read(&servers.audit).unwrap());
        assert!(log.windows(12).any(|text| text == b"kmip.message"), "no message was dumped");
        assert!(log.len() > 2000 && audit.len() > 2000 && child.stdout.len() > 1000, "hardly anything was written");
        let keys = keys(&servers);
        assert!(keys.len() >= 2 && keys.iter().all(|key| key.len() == 32), "{} keys", keys.len());
        let told = characters(&child.stdout);
        for operation in ["kmip.encrypt", "kmip.decrypt", "space.dek_protected", "space.unlocked"] {
            assert!(told.contains(operation), "{operation} is missing");
        }
        let uses =
            ["message.encrypted", "message.decrypted", "batch.encrypted", "stream.encrypted", "stream.decrypted"];
        assert!(
            uses.iter().all(|event| log.windows(event.len()).any(|text| text == event.as_bytes())),
            "a use is missing"
        );
        assert!(uses.iter().all(|event| told.contains(event)), "the function was not told of a use");
        // What a message says in clear of itself is the name of its key; what follows the header is ciphertext.
        let ciphertexts = ["message", "column", "stream"].map(|kind| {
            let bytes = fs::read(config.with_extension(kind)).unwrap();
            bytes[bytes.len() - PLAINTEXT.len() - 16..].to_vec()
        });
        let texts = [("log", log), ("audit trail", audit), ("output", child.stdout), ("stderr", child.stderr)];
        let texts = texts.map(|(what, text)| (what, characters(&text)));
        let protected = protected_dek(&config.with_extension("dek"));
        let secrets = [PLAINTEXT.to_vec(), AAD.to_vec(), PASSWORD.into()].into_iter();
        let secrets = secrets.chain(ciphertexts).chain(keys).chain(protected);
        for secret in secrets {
            for (what, text) in &texts {
                let found = find(text, &secret);
                assert!(found.is_none(), "{format}: the {what} holds {found:?} of a secret");
            }
        }
    }
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    for start in 0..6 {
        let text = [&b"some text "[..start + 4], PLAINTEXT, b" and more"].concat();
        for form in encodings(&text) {
            assert!(find(&characters(&form), PLAINTEXT).is_some(), "{}", String::from_utf8_lossy(&form));
        }
    }
    assert!(find("zqX7-492912 and nothing else", PLAINTEXT).is_none());
}
