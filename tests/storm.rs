//! Sixteen threads work while keys rotate every second and a key server restarts: nobody notices.
//!
//! `KEYSTEAD_STORM_SECONDS=30 cargo test --test storm` for longer than a moment.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind};
use keystead::Client;
use keystead::client::Key;
use keystead::envelope::message;

const THREADS: usize = 16;
const VERSION_TTL: Duration = Duration::from_secs(2);
/// What sixteen busy threads may owe the refresh on a machine of two cores.
const PATIENCE: Duration = Duration::from_secs(1);

fn open(servers: &KeyServers, file: &str) -> Client {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let path = servers.dir.join(file);
    std::fs::write(&path, format!("{text}\n[cache]\nttl = \"1m\"\nversion_ttl = \"{}s\"\n", VERSION_TTL.as_secs()))
        .unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Client::open(&path).unwrap()
}

fn decrypt(client: &Client, message: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut out = vec![0; message.len()];
    let size = client.decrypt(message, aad, "busy", &mut out).expect("no message is unreadable");
    out.truncate(size);
    out
}

/// When each version was made, as its maker was told.
type Made = Mutex<BTreeMap<u32, Instant>>;

/// The version that everybody has to know at `now`.
fn owed(made: &Made, now: Instant) -> u32 {
    let made = made.lock().unwrap();
    made.iter().rev().find(|(_, at)| **at + VERSION_TTL + PATIENCE <= now).map_or(1, |(version, _)| *version)
}

/// Encrypts and decrypts until it is over. Returns a message of each version that it used.
fn work(client: &Client, key: &Key, made: &Made, over: &AtomicBool, count: &AtomicU64) -> BTreeMap<u32, Vec<u8>> {
    let mut kept = BTreeMap::new();
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let (plaintext, before) = (number.to_be_bytes(), Instant::now());
        let mut message = vec![0; key.encrypted_size(8).unwrap() + 1];
        let size = key.encrypt(&plaintext, b"row", &mut message).expect("no writer is refused");
        message.truncate(size);
        let version = message::key_id(&message).unwrap().version;
        let owed = owed(made, before);
        assert!(version >= owed, "version {version} was used when {owed} was old already");
        assert_eq!(decrypt(client, &message, b"row"), plaintext);
        kept.entry(version).or_insert(message);
        if number.is_multiple_of(64) {
            let (_, old) = kept.first_key_value().unwrap();
            decrypt(client, old, b"row");
            // Leaves the others, the refresh and the key servers their share of two cores.
            std::thread::sleep(Duration::from_millis(1));
        }
        number += 1;
    }
    count.fetch_add(number, Ordering::Relaxed);
    kept
}

#[test]
fn nobody_notices_rotations_nor_the_restart_of_a_server_and_new_versions_are_used_in_time() {
    let seconds = std::env::var("KEYSTEAD_STORM_SECONDS").map_or(6, |text| text.parse().expect("a number"));
    let mut servers = KeyServers::start_kind(if Kind::Go.is_there() { Kind::Go } else { Kind::PyKmip }, 2);
    let (here, elsewhere) = (open(&servers, "here.conf"), open(&servers, "elsewhere.conf"));
    let (key, _) = here.create_key("busy").unwrap();
    let (made, over, count) = (Made::default(), AtomicBool::new(false), AtomicU64::new(0));
    let kept: Vec<BTreeMap<u32, Vec<u8>>> = std::thread::scope(|scope| {
        let worker = || work(&here, &key, &made, &over, &count);
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut round = 0;
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_secs(1);
            let version = elsewhere.rotate_key("busy").expect("no rotation is refused").id().unwrap().version;
            made.lock().unwrap().insert(version, Instant::now());
            match round {
                2 => servers.kill("primary"),
                3 => servers.restart("primary"),
                _ => {}
            }
            round = (round + 1) % 10;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        over.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let fresh = open(&servers, "fresh.conf");
    let messages: Vec<&Vec<u8>> = kept.iter().flat_map(BTreeMap::values).collect();
    messages.iter().for_each(|message| drop(decrypt(&fresh, message, b"row")));
    let versions = made.into_inner().unwrap().len();
    let used = kept.iter().map(BTreeMap::len).max().unwrap();
    println!("{} messages of {used} versions by {THREADS} threads; {versions} rotations", count.into_inner());
    assert!(versions >= 4 && used >= 2, "{versions} rotations, {used} versions used");
}
