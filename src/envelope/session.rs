//! Sessions: one salt's content key and the counter of its messages.
//!
//! A nonce must never repeat under one key. A session's content key follows from a salt of its own, and the
//! counter in the nonce never repeats within a session. A session is never given another key: it is replaced
//! as a whole, and lives on for the threads that still use it.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use ring::digest;
use zeroize::Zeroize;

use super::derivation::{self, ContentKey, Use};
use super::message::{IV_SIZE, SALT_SIZE};
use crate::error::{Code, Error, Result};
use crate::platform;

/// How long a session is used, in nanoseconds of the coarse clock.
pub(super) const LIFETIME: u64 = 1_000_000_000;
/// How many messages a session encrypts.
pub(super) const MAX_MESSAGES: u64 = 1 << 20;
/// How many bytes of plaintext a session encrypts, but for the message that crosses the line.
pub(super) const MAX_BYTES: u64 = 1 << 36;

/// What one message adds to [`Session::spent`], besides its bytes.
const MESSAGE: u64 = 1 << 40;

/// One salt's content key, what its messages end with, and how much of it is spent.
pub(super) struct Session {
    spent: Spent,
    born: u64,
    pub key: ContentKey,
    pub recipients: Vec<u8>,
}

/// Messages in the upper 24 bits, bytes of plaintext in the lower 40. On a cache line of its own, because
/// every message writes it while all else in a session is only read.
#[repr(align(64))]
struct Spent(AtomicU64);

impl Session {
    pub fn new(material: &[u8; 32], id: &[u8], salt: &[u8; SALT_SIZE], now: u64) -> Result<Session> {
        let (key, recipients) = derivation::to_encrypt(material, Use::Message, id, salt)?;
        Ok(Session { spent: Spent(AtomicU64::new(0)), born: now, key, recipients })
    }

    /// Takes the next counter for a message of `bytes` bytes (at most 2^30), unless the session is over.
    ///
    /// No counter is given twice. The counter is the sum's upper part before the addition. Every addition
    /// is at least 2^40, so the upper part grows with each one (a carry out of the lower part only makes it skip), and
    /// two additions could give the same counter only if the sum wrapped at 2^64. It cannot: counters are given
    /// while the sum is below 2^20 × 2^40 = 2^60, and whoever is refused calls [`Sessions::renew`] before it
    /// adds again, after which no thread can get hold of this session any more. So each thread adds at
    /// most once beyond the limit, less than 2^41, and Linux has at most 2^22 threads: 2^60 + 2^63 < 2^64. A batch
    /// adds nothing unless all of it is within the limit.
    #[inline]
    fn take(&self, bytes: usize, now: u64) -> Option<u32> {
        // Another thread's session may have been born after this thread read the clock.
        if now.saturating_sub(self.born) >= LIFETIME {
            return None;
        }
        let before = self.spent.0.fetch_add(MESSAGE + bytes as u64, Ordering::Relaxed);
        let (messages, spent_bytes) = (before / MESSAGE, before % MESSAGE);
        (messages < MAX_MESSAGES && spent_bytes < MAX_BYTES).then_some(messages as u32)
    }

    /// Takes `count` counters (at most [`MAX_MESSAGES`]) for `bytes` bytes (at most [`MAX_BYTES`]) together, and returns
    /// the first, unless the session is over or has not that many left.
    fn take_many(&self, count: u64, bytes: u64, now: u64) -> Option<u32> {
        if now.saturating_sub(self.born) >= LIFETIME {
            return None;
        }
        let fits = |spent: u64| spent / MESSAGE + count <= MAX_MESSAGES && spent % MESSAGE < MAX_BYTES;
        let add = |spent| fits(spent).then(|| spent + count * MESSAGE + bytes);
        let before = self.spent.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some((before / MESSAGE) as u32)
    }
}

/// A session that is held, and a counter of it that nobody else has.
pub(super) struct Turn {
    session: Guard<Option<Arc<Session>>>,
    counter: u32,
}

impl Turn {
    #[inline]
    pub fn session(&self) -> &Session {
        self.session.as_ref().expect("a turn is only made of a session")
    }

    /// The counter makes it unique in the session. Should the machine be cloned within the session's lifetime, the
    /// time stamp counter still tells the clones apart.
    #[inline]
    pub fn iv(&self) -> [u8; IV_SIZE] {
        self.iv_of(0)
    }

    /// The IV of one message of a batch.
    #[inline]
    pub fn iv_of(&self, index: u32) -> [u8; IV_SIZE] {
        iv(self.counter + index, platform::timestamp_counter())
    }
}

/// In one piece: a processor waits when it is to read together what was just written apart.
#[inline]
pub(super) fn iv(counter: u32, ticks: u64) -> [u8; IV_SIZE] {
    let iv = u128::from(counter) << 96 | u128::from(ticks) << 32;
    *iv.to_be_bytes().first_chunk().expect("12 of 16 bytes")
}

/// The session that a key encrypts with, one after the other.
pub(super) struct Sessions {
    current: ArcSwapOption<Session>,
    renewal: Mutex<()>,
    /// Asked for once; a key is of no use in another process.
    process: u32,
}

impl Sessions {
    /// None yet: the first message makes the first one.
    pub fn new() -> Sessions {
        Sessions { current: ArcSwapOption::empty(), renewal: Mutex::new(()), process: std::process::id() }
    }

    /// A turn in the current session, or in a new one that `make` derives from a fresh salt.
    #[inline]
    pub fn turn(
        &self,
        bytes: usize,
        now: u64,
        make: impl Fn(&[u8; SALT_SIZE], u64) -> Result<Session>,
    ) -> Result<Turn> {
        loop {
            let session = self.current.load();
            if let Some(counter) = session.as_ref().and_then(|session| session.take(bytes, now)) {
                return Ok(Turn { session, counter });
            }
            self.renew(&session, || make(&fresh_salt(self.process)?, now))?;
        }
    }

    /// A turn with `count` counters in a row, which are all of one session.
    pub fn turn_many(
        &self,
        (count, bytes): (u64, u64),
        now: u64,
        make: impl Fn(&[u8; SALT_SIZE], u64) -> Result<Session>,
    ) -> Result<Turn> {
        loop {
            let session = self.current.load();
            if let Some(counter) = session.as_ref().and_then(|session| session.take_many(count, bytes, now)) {
                return Ok(Turn { session, counter });
            }
            self.renew(&session, || make(&fresh_salt(self.process)?, now))?;
        }
    }

    /// Replaces `over`, unless another thread already has. When it returns, no load finds `over` any more, also
    /// if no new session could be made.
    #[cold]
    fn renew(&self, over: &Option<Arc<Session>>, make: impl FnOnce() -> Result<Session>) -> Result<()> {
        let _turn = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        // `over` is held by the caller, so that its address cannot have been given to a newer session.
        let is_replaced = match (self.current.load().as_ref(), over) {
            (Some(current), Some(over)) => !Arc::ptr_eq(current, over),
            (current, _) => current.is_some(),
        };
        if is_replaced {
            return Ok(());
        }
        self.current.store(None);
        self.current.store(Some(Arc::new(make()?)));
        Ok(())
    }

    /// Drops the current session. The next message starts another one.
    pub fn end(&self) {
        let _turn = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.store(None);
    }
}

/// 128 bits that no other session or stream has. Several sources, so that a clone of the machine or a generator that
/// repeats itself does not repeat a salt.
pub(super) fn fresh_salt(process: u32) -> Result<[u8; SALT_SIZE]> {
    let mut seed = [0; 32];
    platform::fill_random(&mut seed).map_err(|error| {
        Error::new(Code::System, format!("no salt for a new session or stream: getrandom failed ({error}); try again"))
    })?;
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut sources = digest::Context::new(&digest::SHA256);
    sources.update(&seed);
    sources.update(&platform::processor_random().unwrap_or_default().to_ne_bytes());
    sources.update(&since_1970.as_nanos().to_ne_bytes());
    sources.update(&process.to_ne_bytes());
    sources.update(format!("{:?}", std::thread::current().id()).as_bytes());
    seed.zeroize();
    let mut salt = [0; SALT_SIZE];
    salt.copy_from_slice(&sources.finish().as_ref()[..SALT_SIZE]);
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const NOW: u64 = 5_000_000_000;

    fn make(salt: &[u8; SALT_SIZE], now: u64) -> Result<Session> {
        Session::new(&[7; 32], b"a/1", salt, now)
    }

    fn salt(turn: &Turn) -> Vec<u8> {
        turn.session().recipients.clone()
    }

    #[test]
    fn a_session_ends_one_second_after_its_creation() {
        let sessions = Sessions::new();
        let first = sessions.turn(1, NOW, make).unwrap();
        let last = sessions.turn(1, NOW + LIFETIME - 1, make).unwrap();
        let next = sessions.turn(1, NOW + LIFETIME, make).unwrap();
        assert_eq!((salt(&first), first.counter, last.counter), (salt(&last), 0, 1));
        assert_ne!(salt(&next), salt(&last));
        assert_eq!(next.counter, 0);
    }

    #[test]
    fn a_clock_read_before_the_session_was_born_does_not_end_it() {
        let sessions = Sessions::new();
        let first = sessions.turn(1, NOW, make).unwrap();
        let second = sessions.turn(1, NOW - 1, make).unwrap();
        assert_eq!(salt(&first), salt(&second));
    }

    #[test]
    fn a_session_ends_after_its_last_message() {
        let session = make(&[1; SALT_SIZE], NOW).unwrap();
        for counter in 0..MAX_MESSAGES as u32 {
            assert_eq!(session.take(0, NOW), Some(counter));
        }
        assert_eq!(session.take(0, NOW), None);
    }

    #[test]
    fn a_session_ends_after_its_last_byte() {
        let session = make(&[1; SALT_SIZE], NOW).unwrap();
        for counter in 0..64 {
            assert_eq!(session.take(1 << 30, NOW), Some(counter));
        }
        assert_eq!(session.take(0, NOW), None);
    }

    #[test]
    fn counters_only_skip_when_the_bytes_overflow() {
        let session = make(&[1; SALT_SIZE], NOW).unwrap();
        let mut last = None;
        for _ in 0..5000 {
            let counter = session.take(1 << 30, NOW);
            assert!(counter.is_none() || counter > last);
            last = counter.or(last);
        }
    }

    #[test]
    fn a_batch_takes_its_counters_in_one_go_or_begins_a_session() {
        let sessions = Sessions::new();
        let counter = |turn: &Turn| (salt(turn), turn.counter);
        let first = sessions.turn(1, NOW, make).unwrap();
        let batch = sessions.turn_many((MAX_MESSAGES - 1, 7), NOW, make).unwrap();
        assert_eq!(counter(&batch), (salt(&first), 1));
        let next = sessions.turn_many((1, 7), NOW, make).unwrap();
        assert_ne!(salt(&next), salt(&first));
        let whole = sessions.turn_many((MAX_MESSAGES, MAX_BYTES), NOW, make).unwrap();
        assert_eq!((whole.counter, next.counter), (0, 0));
        assert_ne!(salt(&whole), salt(&next));
        let after = sessions.turn(1, NOW, make).unwrap();
        assert_ne!(salt(&after), salt(&whole));
        // What does not fit leaves the session as it was for those who hold it.
        assert_eq!(next.session().take_many(MAX_MESSAGES, 0, NOW), None);
        assert_eq!(next.session().take(0, NOW), Some(1));
    }

    #[test]
    fn a_session_that_cannot_be_replaced_is_not_used_again() {
        let sessions = Sessions::new();
        let first = sessions.turn(1, NOW, make).unwrap();
        let fail = |_: &_, _| Err(Error::new(Code::MemoryExhausted, "none left"));
        for _ in 0..3 {
            assert!(sessions.turn(1, NOW + LIFETIME, fail).is_err());
        }
        let next = sessions.turn(1, NOW, make).unwrap();
        assert_ne!(salt(&first), salt(&next));
        assert_eq!(first.session().spent.0.load(Ordering::Relaxed), MESSAGE + 1);
    }

    #[test]
    fn threads_that_find_a_session_over_make_one_new_one() {
        let sessions = Sessions::new();
        let made = AtomicUsize::new(0);
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    sessions.turn(1, NOW, |salt, now| {
                        made.fetch_add(1, Ordering::Relaxed);
                        make(salt, now)
                    })
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn no_salt_comes_twice() {
        let salts: std::collections::HashSet<_> = (0..1000).map(|_| fresh_salt(1).unwrap()).collect();
        assert_eq!(salts.len(), 1000);
    }
}
