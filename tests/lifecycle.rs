//! The life of a key after its creation, against real key servers.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyservers::KeyServers;
use keystead::client::{Key, Revocation};
use keystead::envelope::{KeyId, message};
use keystead::{Client, Code};

/// A client that verifies its keys several times a second.
fn watchful(servers: &KeyServers) -> Client {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    assert!(!text.contains("[cache]"), "the harness leaves the cache to its tests");
    let path = servers.dir.join("watchful.conf");
    std::fs::write(&path, format!("{text}\n[cache]\nttl = \"400ms\"\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Client::open(&path).unwrap()
}

fn encrypt(key: &Key, plaintext: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, b"", &mut out)?;
    out.truncate(size);
    Ok(out)
}

fn decrypt(client: &Client, message: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; message.len()];
    let size = client.decrypt(message, b"", "*", &mut out)?;
    out.truncate(size);
    Ok(out)
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

/// Waits, ten seconds at most, until `reached` says so.
fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn new_data_uses_the_new_version_everywhere_and_old_data_stays_readable() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let (key, _) = here.create_key("orders").unwrap();
    let follower = elsewhere.key("orders").unwrap();
    let old = encrypt(&key, b"old").unwrap();

    let rotated = here.rotate_key("orders").unwrap();
    for key in [&key, &rotated] {
        assert_eq!(key.id().unwrap(), id("orders/2"));
    }
    eventually("the other process' new version", || follower.id().unwrap() == id("orders/2"));
    let new = encrypt(&follower, b"new").unwrap();
    assert_eq!(message::key_id(&new).unwrap(), id("orders/2"));
    for client in [&here, &elsewhere] {
        assert_eq!(decrypt(client, &old).unwrap(), b"old");
        assert_eq!(decrypt(client, &new).unwrap(), b"new");
    }
    assert_eq!(here.rotate_key("nobody").err().unwrap().code(), Code::KeyNotFound);
}

#[test]
fn readers_and_writers_notice_nothing_of_rotations() {
    let servers = KeyServers::start(2);
    let client = watchful(&servers);
    let (key, _) = client.create_key("busy").unwrap();
    let (over, messages) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let message = encrypt(&key, b"value").expect("a rotation fails no writer");
                    assert_eq!(decrypt(&client, &message).expect("a rotation fails no reader"), b"value");
                    messages.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for version in 2..=5 {
            let id = client.rotate_key("busy").unwrap().id().unwrap();
            assert_eq!(id.version, version);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(messages.into_inner() > 4);
}

#[test]
fn rotations_at_the_same_time_leave_one_active_key_of_each_version() {
    let servers = KeyServers::start(2);
    let clients = [watchful(&servers), watchful(&servers)];
    clients[0].create_key("shared").unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (client, start) = (&clients[n % 2], &start);
            scope.spawn(move || {
                start.wait();
                client.rotate_key("shared").unwrap();
            });
        }
    });
    let versions = clients[0].show_key("shared").unwrap();
    let active: Vec<u32> = versions.iter().filter(|found| found.state == "active").map(|found| found.version).collect();
    let mut once = active.clone();
    once.dedup();
    assert!(active.len() > 1 && active == once, "{versions:?}");
}

#[test]
fn a_deactivated_version_decrypts_and_encrypts_no_more() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let (key, _) = here.create_key("orders").unwrap();
    let follower = elsewhere.key("orders").unwrap();
    let message = encrypt(&key, b"value").unwrap();

    here.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    let error = encrypt(&key, b"value").unwrap_err();
    assert_eq!(error.code(), Code::KeyState);
    assert!(error.message().contains("deactivated"), "{error}");
    eventually("the refusal in the other process", || encrypt(&follower, b"value").is_err());
    for client in [&here, &elsewhere] {
        assert_eq!(decrypt(client, &message).unwrap(), b"value");
    }
    here.revoke_key(&id("orders/1"), Revocation::Superseded).expect("it is deactivated already");
    here.rotate_key("orders").unwrap();
    assert_eq!(encrypt(&key, b"value").map(|new| message::key_id(&new).unwrap()).unwrap(), id("orders/2"));
}

#[test]
fn a_compromised_version_decrypts_nothing() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let message = encrypt(&here.create_key("orders").unwrap().0, b"value").unwrap();
    assert_eq!(decrypt(&elsewhere, &message).unwrap(), b"value");
    here.revoke_key(&id("orders/1"), Revocation::KeyCompromise).unwrap();
    assert_eq!(decrypt(&here, &message).unwrap_err().code(), Code::KeyState);
    eventually("the refusal in the other process", || decrypt(&elsewhere, &message).is_err());
}

#[test]
fn a_version_is_destroyed_in_two_steps_and_then_gone() {
    let servers = KeyServers::start(1);
    let client = watchful(&servers);
    let (key, _) = client.create_key("orders").unwrap();
    let message = encrypt(&key, b"value").unwrap();
    let error = client.destroy_key(&id("orders/1")).unwrap_err();
    assert_eq!(error.code(), Code::KeyState);
    assert!(error.message().contains("revoke it first"), "{error}");
    assert_eq!(decrypt(&client, &message).unwrap(), b"value");

    client.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    client.destroy_key(&id("orders/1")).unwrap();
    let error = key.encrypt(b"value", b"", &mut [0; 256]).unwrap_err();
    assert!(error.code() == Code::KeyState && error.message().contains("destroyed"), "{error}");
    assert_eq!(decrypt(&client, &message).unwrap_err().code(), Code::KeyNotFound);
}
