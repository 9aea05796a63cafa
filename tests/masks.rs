//! What is promised of masks, through a client of real key servers.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use keyservers::KeyServers;
use keystead::client::{Original, View};
use keystead::envelope::mask::ROOM;
use keystead::{Client, Code};

const MASKS: &str = r#"
[[mask]]
name = "card"
show = "card"
roles = ["support"]

[[mask]]
name = "card"
show = "nothing"
roles = ["marketing"]
"#;

const CARD: &[u8] = b"4111 1111 1111 1234";

/// A configuration with masks.
fn masking(servers: &KeyServers) -> std::path::PathBuf {
    let path = servers.dir.join("masks.conf");
    let level = std::fs::read_to_string(&servers.config).unwrap().replace("\"basic\"", "\"debug\"");
    std::fs::write(&path, level + MASKS).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn view(role: &str) -> View<'_> {
    View { mask: "card", role }
}

#[test]
fn a_role_sees_its_mask_and_the_rest_stays_in_the_call() {
    let mut servers = KeyServers::start(1);
    let config = masking(&servers);
    let client = Client::open(&config).unwrap();
    let key = client.create_key("customer-1").unwrap().0;
    let mut message = vec![0; key.encrypted_size(CARD.len()).unwrap()];
    key.encrypt(CARD, b"row", &mut message).unwrap();

    for (role, shown) in [("support", "**** **** **** 1234"), ("marketing", "***")] {
        let mut out = vec![0xaa; message.len()];
        let size = client.decrypt_masked(&message, b"row", "customer-*", view(role), &mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out[..size]), Ok(shown));
        assert!(out[size..].iter().all(|&b| b == 0), "something is left behind the mask");
    }

    let before = servers.count("primary", "Locate");
    let mut out = vec![0xaa; message.len()];
    let error = client.decrypt_masked(b"no message", b"row", "?", view("intruder"), &mut out).unwrap_err();
    assert_eq!(error.code(), Code::RoleRefused, "the role comes before everything else");
    assert!(out.iter().all(|&b| b == 0));
    assert_eq!(servers.count("primary", "Locate"), before);

    let error = client.decrypt_masked(&message, b"other row", "*", view("support"), &mut out).unwrap_err();
    assert_eq!(error.code(), Code::NotAuthentic);
    let error = client.decrypt_masked(&message, b"row", "*", view("support"), &mut [0; 19]).unwrap_err();
    assert_eq!(error.needed(), Some(CARD.len() + ROOM));

    std::fs::write(servers.dir.join("message"), &message).unwrap();
    let tool = |role: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
        command.arg("--config").arg(&config).args(["decrypt", "--aad", "row", "--mask", "card", "--role", role]);
        command.arg("-i").arg(servers.dir.join("message")).output().unwrap()
    };
    assert_eq!(tool("support").stdout, b"**** **** **** 1234");
    assert!(String::from_utf8_lossy(&tool("intruder").stderr).contains("role \"intruder\" sees nothing"));

    client.close().unwrap();
    for file in [&servers.log, &servers.audit] {
        let text = std::fs::read_to_string(file).unwrap();
        // Four digits alone stand in a hash now and then.
        let tells = ["4111 1111", "1111 1234", "4111111111111234"].iter().any(|part| text.contains(part));
        assert!(!tells, "{} tells of the plaintext", file.display());
    }
    let log = std::fs::read_to_string(&servers.log).unwrap();
    let refusal = log.lines().find(|line| line.contains("event=mask.refused")).expect("a refusal is recorded");
    assert!(refusal.contains("mask=card") && refusal.contains("role=intruder"), "{refusal}");
}

#[test]
fn a_role_sees_its_mask_of_a_value_in_a_data_space_too() {
    if keyservers::is_pinned_below_data_spaces() {
        return; // Such versions have no data spaces.
    }
    let servers = KeyServers::start(1);
    let config = masking(&servers);
    let client = Client::open(&config).unwrap();
    client.create_kek("master").unwrap();
    let file = servers.dir.join("cards.dek");
    let (key, _) = client.create_space("cards", "master", &file, Original::Destroy).unwrap();
    let mut message = vec![0; key.encrypted_size(CARD.len()).unwrap()];
    key.encrypt(CARD, b"row", &mut message).unwrap();

    let mut out = vec![0xaa; message.len()];
    let size = client.decrypt_masked_with(&key, &message, b"row", view("support"), &mut out).unwrap();
    assert_eq!(std::str::from_utf8(&out[..size]), Ok("**** **** **** 1234"));
    assert!(out[size..].iter().all(|&b| b == 0), "something is left behind the mask");
    let masked = |message: &[u8], role: &str, out: &mut [u8]| {
        let outcome = client.decrypt_masked_with(&key, message, b"row", view(role), out);
        assert!(out.iter().all(|&b| b == 0));
        outcome.unwrap_err()
    };
    assert_eq!(masked(b"no message", "intruder", &mut out).code(), Code::RoleRefused);
    assert_eq!(masked(&message, "support", &mut out[..19]).needed(), Some(CARD.len() + ROOM));
    *message.last_mut().unwrap() ^= 1;
    assert_eq!(masked(&message, "support", &mut out).code(), Code::NotAuthentic);
    *message.last_mut().unwrap() ^= 1;

    let path = servers.dir.join("message");
    std::fs::write(&path, &message).unwrap();
    let tool = |role: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
        command.arg("--config").arg(&config).args(["decrypt", "--aad", "row", "--mask", "card", "--role", role]);
        command.arg("--space").arg(&file).arg("-i").arg(&path).output().unwrap()
    };
    assert_eq!(tool("support").stdout, b"**** **** **** 1234");
    assert!(String::from_utf8_lossy(&tool("intruder").stderr).contains("role \"intruder\" sees nothing"));
    client.close().unwrap();
    let log = std::fs::read_to_string(&servers.log).unwrap();
    let told = |line: &&str| line.contains("event=message.decrypted") && line.contains("role=support");
    let told: Vec<_> = log.lines().filter(told).collect();
    assert!(told.iter().any(|line| line.contains("space:cards")), "the use is recorded with its view: {told:?}");
}
