//! Data outlives the library: a COSE library that is not ours opens what ours wrote, given the raw key.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;

const KEY: [u8; 32] = *b"a constant that only tests know.";

fn encrypt(key: &Key, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    key.encrypt(plaintext, aad, &mut out).unwrap();
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The Python that has the packages of tests/requirements.txt.
fn python() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("KEYSTEAD_PYTHON").map_or(root.join("build/venv/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is missing: configure with `cmake --preset default`, or point KEYSTEAD_PYTHON to a Python with the packages of \
         tests/requirements.txt",
        python.display()
    );
    python
}

/// What `cwt` says of each message: its plaintext, or `None`.
fn open_with_cwt(messages: &[(&[u8; 32], &[u8], Vec<u8>)]) -> Vec<Option<String>> {
    ask_cwt(
        messages.iter().map(
            |(key, aad, message)| serde_json::json!({"key": hex(&key[..]), "aad": hex(aad), "message": hex(message)}),
        ),
    )
}

fn ask_cwt(cases: impl Iterator<Item = serde_json::Value>) -> Vec<Option<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cwt/open_message.py");
    let mut child =
        Command::new(python()).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<String> = cases.map(|case| format!("{case}\n")).collect();
    let asked = lines.len();
    // In a thread, because both pipes may fill.
    let writer = std::thread::spawn(move || input.write_all(lines.concat().as_bytes()).expect("Python reads"));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let answers: Vec<Option<String>> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let answer: serde_json::Value = serde_json::from_str(line).unwrap();
            answer["plaintext"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(answers.len(), asked);
    answers
}

#[test]
fn a_stock_cose_library_opens_our_messages() {
    let key = Key::new(KeyId::new("customer-42", 7).unwrap(), Slot::copy_of(&KEY).unwrap());
    let aads: [&[u8]; 4] = [b"", b"row 1", &[0xff; 300], &[7; 5000]];
    let mut messages = Vec::new();
    let mut plaintexts = Vec::new();
    for n in [0, 1, 7, 8, 64, 239, 240, 1000, 65_519, 65_520, 1 << 20] {
        for aad in aads {
            let plaintext: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            messages.push((&KEY, aad, encrypt(&key, &plaintext, aad)));
            plaintexts.push(Some(hex(&plaintext)));
        }
        key.quiesce();
    }
    assert!(open_with_cwt(&messages) == plaintexts, "cwt did not return the plaintexts");
}

#[test]
fn a_stock_cose_library_opens_the_valid_vectors() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/message.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let valid: Vec<_> = vectors.iter().filter(|vector| vector["result"] == "valid").collect();
    let expected: Vec<Option<String>> =
        valid.iter().map(|vector| vector["plaintext"].as_str().map(str::to_owned)).collect();
    assert!(valid.len() >= 10 && ask_cwt(valid.into_iter().cloned()) == expected);
}

#[test]
fn a_stock_cose_library_and_the_raw_keys_unlock_a_protected_dek() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/protected_dek.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let valid: Vec<_> = vectors.iter().filter(|vector| vector["result"] == "valid").collect();
    let expected: Vec<Option<String>> = valid.iter().map(|vector| vector["dek"].as_str().map(str::to_owned)).collect();
    assert!(valid.len() == 6 && ask_cwt(valid.into_iter().cloned()) == expected);
}

#[test]
fn a_stock_cose_library_refuses_altered_ones() {
    let key = Key::new(KeyId::new("customer-42", 7).unwrap(), Slot::copy_of(&KEY).unwrap());
    let message = encrypt(&key, b"a card number", b"row 1");
    let altered = |at: usize| {
        let mut altered = message.clone();
        altered[at] ^= 1;
        altered
    };
    let other_key = &[9; 32];
    let commitment = message.len() - 21;
    let answers = open_with_cwt(&[
        (&KEY, b"row 1", message.clone()),
        (&KEY, b"row 2", message.clone()),
        (other_key, b"row 1", message.clone()),
        (&KEY, b"row 1", altered(10)),
        (&KEY, b"row 1", altered(24)),
        (&KEY, b"row 1", altered(commitment)),
        (&KEY, b"row 1", altered(message.len() - 2)),
        (&KEY, b"row 1", message[..message.len() - 1].to_vec()),
    ]);
    assert_eq!(answers[0], Some(hex(b"a card number")));
    assert!(answers[1..].iter().all(Option::is_none), "{answers:?}");
}
