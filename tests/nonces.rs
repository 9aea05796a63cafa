//! No nonce comes twice under one key: not among threads, and not among a process and its children.
//!
//! A message's content key follows from its salt, so a nonce is what salt and IV say together. `KEYSTEAD_NONCES=100000000
//! KEYSTEAD_NONCE_FORKS=1000 cargo test --release --test nonces` for longer than a moment.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use keystead::Code;
use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;

const THREADS: u64 = 16;
/// As many counters a session gives at most.
const COUNTERS: usize = 1 << 20;
/// Messages of each child, enough for one session.
const OF_A_CHILD: usize = 50;

type Salt = [u8; 16];

fn length(name: &str, short: u64) -> u64 {
    std::env::var(name).map_or(short, |text| text.parse().expect("a number"))
}

/// The same key in every process, as each would fetch it.
fn key() -> Key {
    Key::new(KeyId::new("customer-42", 1).unwrap(), Slot::copy_of(&[7; 32]).unwrap())
}

/// Where the parts of a message of this key are; it never changes.
#[derive(Clone, Copy)]
struct Places {
    size: usize,
    iv: usize,
}

impl Places {
    fn of(key: &Key) -> Places {
        let size = key.encrypted_size(4).unwrap();
        let mut message = vec![0; size];
        key.encrypt(b"text", b"", &mut message).unwrap();
        let head = b"\xa1\x05\x4c"; // {IV: 12 bytes}
        let iv = message.windows(3).position(|bytes| bytes == head).unwrap() + 3;
        Places { size, iv }
    }

    /// The salt, and the counter at the head of the IV.
    fn read(self, message: &[u8]) -> (Salt, u32) {
        let salt = message[self.size - 17..self.size - 1].try_into().unwrap();
        (salt, u32::from_be_bytes(message[self.iv..self.iv + 4].try_into().unwrap()))
    }
}

/// The counters that were seen with one salt.
struct Seen(Vec<AtomicU64>);

impl Seen {
    fn new() -> Seen {
        Seen((0..COUNTERS / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn enter(&self, counter: u32) {
        let (word, bit) = (counter as usize / 64, 1 << (counter % 64));
        let before = self.0[word].fetch_or(bit, Ordering::Relaxed);
        assert_eq!(before & bit, 0, "counter {counter} came twice with one salt");
    }
}

fn encrypt_and_enter(key: &Key, places: Places, messages: u64, seen: &RwLock<HashMap<Salt, Arc<Seen>>>) {
    let mut message = vec![0; places.size];
    let mut last: Option<(Salt, Arc<Seen>)> = None;
    for _ in 0..messages {
        key.encrypt(b"text", b"", &mut message).unwrap();
        let (salt, counter) = places.read(&message);
        if last.as_ref().is_none_or(|(known, _)| *known != salt) {
            let known = seen.read().unwrap().get(&salt).cloned();
            let known = known
                .unwrap_or_else(|| seen.write().unwrap().entry(salt).or_insert_with(|| Arc::new(Seen::new())).clone());
            last = Some((salt, known));
        }
        last.as_ref().expect("just set").1.enter(counter);
    }
}

/// Forks while other threads encrypt, and returns the salts that the child used, each with how many counters.
fn salts_of_a_child(inherited: &Key, places: Places) -> Vec<Salt> {
    let mut ends = [0; 2];
    // SAFETY: `ends` takes the two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the child works with what it makes itself, and leaves without the parent's exit handlers.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a child that hangs is killed, which the parent notices; the descriptor is the child's own copy.
        let mut to_parent = unsafe {
            libc::alarm(60);
            std::fs::File::from_raw_fd(ends[1])
        };
        let refused = inherited.encrypt(b"text", b"", &mut [0; 256]).err().map(|error| error.code());
        let own = key();
        let mut message = vec![0; places.size];
        let mut counters = HashSet::new();
        let is_good = refused == Some(Code::Forked)
            && (0..OF_A_CHILD).all(|_| {
                own.encrypt(b"text", b"", &mut message).is_ok() && {
                    let nonce = places.read(&message);
                    counters.insert(nonce) && to_parent.write_all(&nonce.0).is_ok()
                }
            });
        // SAFETY: leaves at once.
        unsafe { libc::_exit(i32::from(!is_good)) }
    }
    // SAFETY: the descriptors are this process' own; each is closed once.
    let mut from_child = unsafe {
        libc::close(ends[1]);
        std::fs::File::from_raw_fd(ends[0])
    };
    let mut bytes = Vec::new();
    from_child.read_to_end(&mut bytes).unwrap();
    let mut status = -1;
    // SAFETY: waits for the child just made; `status` is valid for writes.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0, "wait status of a child");
    assert_eq!(bytes.len(), OF_A_CHILD * size_of::<Salt>());
    let mut salts: Vec<Salt> = bytes.chunks(16).map(|salt| salt.try_into().unwrap()).collect();
    salts.dedup();
    salts
}

#[test]
fn no_nonce_comes_twice_among_threads_and_children() {
    let (messages, forks) = (length("KEYSTEAD_NONCES", 100_000), length("KEYSTEAD_NONCE_FORKS", 20));
    let key = key();
    let places = Places::of(&key);
    key.quiesce();
    let seen = RwLock::new(HashMap::new());
    let of_children = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| encrypt_and_enter(&key, places, messages.div_ceil(THREADS), &seen));
        }
        (0..forks).flat_map(|_| salts_of_a_child(&key, places)).collect::<Vec<Salt>>()
    });
    let seen = seen.into_inner().unwrap();
    let entered =
        |seen: &Arc<Seen>| seen.0.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum();
    let total: u64 = seen.values().map(|seen| -> u64 { entered(seen) }).sum();
    assert_eq!(total, messages.div_ceil(THREADS) * THREADS);
    let mut salts: HashSet<Salt> = seen.keys().copied().collect();
    assert!(of_children.iter().all(|salt| salts.insert(*salt)), "a child used a salt that somebody else used");
    assert!(of_children.len() as u64 >= forks);
    println!("{total} messages of {} sessions, {forks} forks with {} more", seen.len(), of_children.len());
}
