//! Sixteen threads work while keys rotate every second and a key server restarts: nobody notices.
//!
//! `KEYSTEAD_STORM_SECONDS=30 cargo test --test storm` for longer than a moment.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind};
use keystead::Client;
use keystead::client::Key;
use keystead::envelope::message;

const THREADS: usize = 16;
const NAMES: [&str; 2] = ["orders", "invoices"];
const SECOND: Duration = Duration::from_secs(1);
const VERSION_TTL: Duration = Duration::from_secs(2);
/// What sixteen busy threads on a machine of two cores may take from the refresh, and from a rotation, of which the next
/// ones make up. PyKMIP takes milliseconds of CPU for an answer, and keeps no pace: the second kind of server does.
fn allowances(kind: Kind) -> [Duration; 2] {
    if kind == Kind::Go { [3, 8].map(Duration::from_secs) } else { [10, 60].map(Duration::from_secs) }
}

/// In seconds: a server is killed at the second of ten, and back at the third.
const KILLED: u64 = 2;
const RESTARTED: u64 = 3;

fn open(servers: &KeyServers, file: &str) -> Client {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let path = servers.dir.join(file);
    std::fs::write(&path, format!("{text}\n[cache]\nttl = \"1m\"\nversion_ttl = \"{}s\"\n", VERSION_TTL.as_secs()))
        .unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Client::open(&path).unwrap()
}

fn decrypt(client: &Client, message: &[u8], aad: &[u8], name: &str) -> Vec<u8> {
    let mut out = vec![0; message.len()];
    let size = client.decrypt(message, aad, name, &mut out).expect("no message is unreadable");
    out.truncate(size);
    out
}

/// A key, and what became of it.
struct Rotating {
    key: Key,
    allowance: Duration,
    rotations: Mutex<Vec<Rotation>>,
}

struct Rotation {
    begun: Instant,
    done: Instant,
    version: u32,
}

impl Rotating {
    fn new(client: &Client, name: &str, allowance: Duration) -> Rotating {
        Rotating { key: client.create_key(name).unwrap().0, allowance, rotations: Mutex::default() }
    }

    fn rotate(&self, elsewhere: &Client) {
        let begun = Instant::now();
        let key = elsewhere.rotate_key(self.key.name()).expect("no rotation is refused");
        let rotation = Rotation { begun, done: Instant::now(), version: key.id().unwrap().version };
        let mut rotations = self.rotations.lock().unwrap();
        // Not always the next: a server that dies may have made one that nobody was told of.
        assert!(rotation.version > rotations.last().map_or(1, |last| last.version), "the version is not a new one");
        rotations.push(rotation);
    }

    /// The version that whoever asks at `now` has to know: the one that was current a `version_ttl` ago.
    fn owed(&self, now: Instant) -> u32 {
        let rotations = self.rotations.lock().unwrap();
        rotations
            .iter()
            .rev()
            .find(|each| each.done + VERSION_TTL + self.allowance <= now)
            .map_or(1, |each| each.version)
    }

    /// Whether the version can have been there at `now`.
    fn was_begun(&self, version: u32, now: Instant) -> bool {
        let rotations = self.rotations.lock().unwrap();
        version == 1 || rotations.iter().find(|each| each.version >= version).is_some_and(|each| each.begun < now)
    }
}

/// What one thread did.
#[derive(Default)]
struct Work {
    messages: u64,
    /// A message of each version that it used, and when it had the first.
    kept: BTreeMap<u32, (Vec<u8>, Instant)>,
}

/// Encrypts and decrypts until it is over.
fn work(client: &Client, rotating: &Rotating, over: &AtomicBool) -> Work {
    let (key, name) = (&rotating.key, rotating.key.name());
    let Work { messages: mut number, mut kept } = Work::default();
    let mut rested = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let (plaintext, before) = (number.to_be_bytes(), Instant::now());
        let mut message = vec![0; key.encrypted_size(8).unwrap() + 1];
        let size = key.encrypt(&plaintext, b"row", &mut message).expect("no writer is refused");
        message.truncate(size);
        let version = message::key_id(&message).unwrap().version;
        let owed = rotating.owed(before);
        assert!(version >= owed, "{name}: version {version} was used, and {owed} was current {VERSION_TTL:?} before");
        assert_eq!(decrypt(client, &message, b"row", name), plaintext);
        kept.entry(version).or_insert_with(|| (message, Instant::now()));
        if number.is_multiple_of(16) {
            let (_, (old, _)) = kept.first_key_value().unwrap();
            decrypt(client, old, b"row", name);
            // Leaves the others, the refresh and the key servers their share of two cores, also where nothing is optimised.
            std::thread::sleep((rested.elapsed() * 8).clamp(Duration::from_millis(1), Duration::from_millis(100)));
            rested = Instant::now();
        }
        number += 1;
    }
    Work { messages: number, kept }
}

/// Rotates each key every second, and has a server die and come back. Returns how often it did.
fn storm(servers: &mut KeyServers, elsewhere: &Client, keys: &[Rotating], seconds: u64, late: Duration) -> u64 {
    let start = Instant::now();
    let port = servers.servers[0].port;
    let mut restarts = 0;
    for second in 0..seconds {
        let due = start + SECOND * second as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        keys.iter().for_each(|key| key.rotate(elsewhere));
        let lag = due.elapsed();
        assert!(lag < late, "the rotations of second {second} were done {lag:?} after its begin");
        if second % 10 == KILLED {
            servers.kill("primary");
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the server was not killed");
        } else if second % 10 == RESTARTED {
            servers.restart("primary");
            assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "the server was not restarted");
            restarts += 1;
        }
    }
    std::thread::sleep((start + SECOND * seconds as u32).saturating_duration_since(Instant::now()));
    restarts
}

#[test]
fn nobody_notices_rotations_nor_the_restart_of_a_server_and_new_versions_are_used_in_time() {
    let seconds: u64 = std::env::var("KEYSTEAD_STORM_SECONDS").map_or(8, |text| text.parse().expect("a number"));
    assert!(seconds > RESTARTED, "KEYSTEAD_STORM_SECONDS={seconds} is over before a server restarts");
    let kind = if Kind::Go.is_there() { Kind::Go } else { Kind::PyKmip };
    let [allowance, late] = allowances(kind);
    let mut servers = KeyServers::start_kind(kind, 2);
    let (here, elsewhere) = (open(&servers, "here.conf"), open(&servers, "elsewhere.conf"));
    let keys = NAMES.map(|name| Rotating::new(&here, name, allowance));
    let over = AtomicBool::new(false);
    let (restarts, works) = std::thread::scope(|scope| {
        let (here, over) = (&here, &over);
        let worker = |number: usize| {
            scope.spawn({
                let key = &keys[number % keys.len()];
                move || work(here, key, over)
            })
        };
        let workers: Vec<_> = (0..THREADS).map(worker).collect();
        let restarts = panic::catch_unwind(AssertUnwindSafe(|| storm(&mut servers, &elsewhere, &keys, seconds, late)));
        over.store(true, Ordering::Relaxed);
        let works: Vec<Work> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        (restarts.unwrap(), works)
    });
    assert_eq!(restarts, (seconds + 9 - RESTARTED) / 10);
    // The clients met the dead server.
    let audit = std::fs::read_to_string(&servers.audit).unwrap();
    let primary = format!(",{},", servers.servers[0].port);
    assert!(
        audit.lines().any(|row| row.contains(&primary) && row.contains(",failure,")),
        "nobody asked the dead server"
    );
    let fresh = open(&servers, "fresh.conf");
    // Fewer versions than a thread has that uses each for as long as it may.
    let least = seconds / (VERSION_TTL + allowance).as_secs();
    for (number, work) in works.iter().enumerate() {
        let key = &keys[number % keys.len()];
        assert!(work.kept.len() as u64 >= least, "thread {number} used {} versions in {seconds} s", work.kept.len());
        for (version, (message, first_used)) in &work.kept {
            assert!(key.was_begun(*version, *first_used), "version {version} was used before it was made");
            decrypt(&fresh, message, b"row", key.key.name());
        }
    }
    let rotations = keys.each_ref().map(|key| key.rotations.lock().unwrap().len() as u64);
    assert_eq!(rotations, [seconds; NAMES.len()], "rotations of each key");
    let messages: u64 = works.iter().map(|work| work.messages).sum();
    println!(
        "{kind:?}: {messages} messages by {THREADS} threads; {seconds} rotations of {} keys; {restarts} restarts",
        keys.len()
    );
}
