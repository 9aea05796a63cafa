//! Sessions: one salt's content key and the counter of its messages.
//!
//! A nonce must never repeat under one key. A session's content key follows from a salt of its own, and the
//! counter in the nonce never repeats within a session. A session is never given another key: it is replaced
//! as a whole, and lives on for the threads that still use it.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::digest;
use zeroize::Zeroize;

use super::aead;
use super::derivation::{self, ContentKey, Use};
use super::message::{self, IV_SIZE, MAX_PLAINTEXT, SALT_SIZE};
use crate::error::{Code, Error, Result};
use crate::memory::ticket::{Ticket, Ticketed};
use crate::platform::{self, ProcessStamp};

/// How long a session is used, in nanoseconds of the coarse clock.
const LIFETIME: u64 = 1_000_000_000;
/// How many counters a session has. Each message takes one, and one more for each whole [`UNIT`] of its plaintext.
pub(super) const COUNTERS: u64 = 1 << 20;
/// In bytes. All counters together stand for 2^36 bytes.
const UNIT: u64 = 1 << 16;
/// The clock is asked again after so many ticks of the time stamp counter: a millisecond or less on x86-64, at most 43 ms
/// on other processors, both short against a session's life.
const TICKS: u64 = 1 << 20;

/// Whether a key may begin sessions, and which of them are over before their time.
pub(super) struct Permit {
    /// When sessions end at the latest, in nanoseconds of the coarse clock.
    ends: AtomicU64,
    /// Sessions that began under another number than this are over.
    era: AtomicU64,
}

impl Permit {
    pub fn new() -> Permit {
        Permit { ends: AtomicU64::new(u64::MAX), era: AtomicU64::new(0) }
    }

    /// Sessions that begin from now on end at `time` at the latest. Zero ends all at once.
    pub fn ends_at(&self, time: u64) {
        self.ends.store(time, Ordering::Relaxed);
        if time == 0 {
            self.end_all();
        }
    }

    /// Every session is over, whoever holds it.
    pub fn end_all(&self) {
        self.era.fetch_add(1, Ordering::Release);
    }
}

/// One salt's content key, and what its messages end with.
pub struct Session {
    /// In nanoseconds of the coarse clock.
    until: u64,
    era: u64,
    permit: Arc<Permit>,
    process: ProcessStamp,
    /// When the clock was last asked, in ticks of the time stamp counter. Zero at first.
    asked: AtomicU64,
    key: ContentKey,
    recipients: Vec<u8>,
}

impl Session {
    /// Begins a session with a fresh salt.
    pub(super) fn begin(material: &[u8; 32], kid: &str, permit: &Arc<Permit>) -> Result<Session> {
        // Before the end is read: whoever ends all sessions in between ends this one, too.
        let era = permit.era.load(Ordering::Acquire);
        let (now, ends) = (platform::coarse_now(), permit.ends.load(Ordering::Relaxed));
        if now >= ends {
            return Err(Error::new(Code::KeyState, format!("key {kid} may not encrypt any more")));
        }
        let until = ends.min(now.saturating_add(LIFETIME));
        Ok(Session {
            until,
            era,
            permit: permit.clone(),
            ..Session::of(material, kid, &fresh_salt(std::process::id())?)?
        })
    }

    /// The session of a salt, without an end.
    pub(super) fn of(material: &[u8; 32], kid: &str, salt: &[u8; SALT_SIZE]) -> Result<Session> {
        let (key, recipients) = derivation::to_encrypt(material, Use::Message, kid.as_bytes(), salt)?;
        let (permit, process) = (Arc::new(Permit::new()), ProcessStamp::current());
        Ok(Session { until: u64::MAX, era: 0, permit, process, asked: AtomicU64::new(0), key, recipients })
    }

    /// Where the message of `plaintext` goes, if it may be written at all.
    #[inline]
    fn place<'a>(&self, plaintext: &[u8], aad: &[u8], out: &'a mut [u8]) -> Result<&'a mut [u8]> {
        if !self.process.is_current() {
            return Err(forked());
        }
        check_length("associated data", aad)?;
        check_length("a plaintext", plaintext)?;
        let size = message::size(plaintext.len(), self.recipients.len());
        out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))
    }

    /// Writes the message; `out` has exactly its size.
    #[inline]
    pub(super) fn write(&self, iv: &[u8; IV_SIZE], plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> Result<()> {
        let place = message::frame(out, plaintext.len(), iv, &self.recipients);
        aead::seal(&self.key, iv, aad, plaintext, place)
    }

    /// As [`Session::write`]; the caller scrubs the registers behind the last message.
    #[inline]
    pub(super) fn write_one_of_many(
        &self,
        iv: &[u8; IV_SIZE],
        plaintext: &[u8],
        aad: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let place = message::frame(out, plaintext.len(), iv, &self.recipients);
        aead::seal_one_of_many(&self.key, iv, aad, plaintext, place)
    }

    /// Whether it goes on at `ticks` of the time stamp counter.
    #[inline]
    fn goes_on(&self, ticks: u64, now: impl FnOnce() -> u64) -> bool {
        self.era == self.permit.era.load(Ordering::Acquire)
            && (ticks.wrapping_sub(self.asked.load(Ordering::Relaxed)) < TICKS || self.ask(ticks, now()))
    }

    #[cold]
    fn ask(&self, ticks: u64, now: u64) -> bool {
        let goes_on = now < self.until;
        if goes_on {
            self.asked.store(ticks, Ordering::Relaxed);
        }
        goes_on
    }
}

/// The counter makes it unique in the session. Should the machine be cloned within the session's lifetime, the time
/// stamp counter still tells the clones apart.
///
/// In one piece: a processor waits when it is to read together what was just written apart.
#[inline]
pub(super) fn iv(counter: u32, ticks: u64) -> [u8; IV_SIZE] {
    let iv = u128::from(counter) << 96 | u128::from(ticks) << 32;
    *iv.to_be_bytes().first_chunk().expect("12 of 16 bytes")
}

/// A session that is held, and counters of it that nobody else has.
pub(super) struct Turn<'a> {
    pub session: Ticket<'a, Session>,
    /// Of the time stamp counter, when the session was seen to go on.
    ticks: u64,
}

impl Turn<'_> {
    /// The IV of a message of its own.
    #[inline]
    fn iv(&self) -> [u8; IV_SIZE] {
        iv(self.session.first as u32, self.ticks)
    }

    /// The IV of one message of a batch. `ticks` need not be asked for each of them: should the machine be cloned within
    /// the batch, both clones go on with the same values and so write the same messages.
    #[inline]
    pub fn iv_of(&self, index: u32, ticks: u64) -> [u8; IV_SIZE] {
        iv(self.session.first as u32 + index, ticks)
    }
}

/// The sessions that messages are encrypted in, one after the other.
///
/// None at first: the first message begins one.
#[derive(Default)]
pub struct Sessions(Ticketed<Session>);

impl Sessions {
    /// Writes the message for `plaintext` to the front of `out` and returns its size, in the current session or in one
    /// that it begins. Errors are those of [`super::Key::encrypt`] and of `begin`. On failure `out` is zeroed.
    #[inline]
    pub fn encrypt(
        &self,
        plaintext: &[u8],
        aad: &[u8],
        out: &mut [u8],
        begin: impl Fn() -> Result<Session>,
    ) -> Result<usize> {
        let outcome = self.take(1, plaintext.len() as u64, begin).and_then(|turn| {
            let place = turn.session.place(plaintext, aad, out)?;
            let size = place.len();
            turn.session.write(&turn.iv(), plaintext, aad, place)?;
            Ok(size)
        });
        if outcome.is_err() {
            out.fill(0);
        }
        outcome
    }

    /// Counters for that many messages, with so many bytes in all, of one session.
    #[inline]
    pub(super) fn take(&self, messages: u64, bytes: u64, begin: impl Fn() -> Result<Session>) -> Result<Turn<'_>> {
        self.take_at(messages + bytes / UNIT, platform::timestamp_counter(), platform::coarse_now, begin)
    }

    #[inline]
    fn take_at(
        &self,
        counters: u64,
        ticks: u64,
        now: impl Fn() -> u64,
        begin: impl Fn() -> Result<Session>,
    ) -> Result<Turn<'_>> {
        loop {
            let seen = match self.0.draw(counters) {
                Some(session) if has(session.first, counters) && session.goes_on(ticks, &now) => {
                    return Ok(Turn { session, ticks });
                }
                seen => seen,
            };
            self.0.replace(seen.as_ref(), &begin)?;
        }
    }

    /// Lets go of the current session. The next message begins another one.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// Whether a session has so many counters from `first` on. One that is new has enough for any batch.
#[inline]
fn has(first: u64, counters: u64) -> bool {
    first == 0 || first + counters <= COUNTERS
}

#[inline]
pub(super) fn check_length(what: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() <= MAX_PLAINTEXT { Ok(()) } else { Err(too_long(what, bytes.len())) }
}

#[cold]
fn too_long(what: &str, n: usize) -> Error {
    let text = format!("{what} of {n} bytes is too long for one message, which takes {MAX_PLAINTEXT}; split it");
    Error::new(Code::InvalidArgument, text)
}

/// A child has none of its parent's locked memory: its pages fault when touched.
#[cold]
pub(super) fn forked() -> Error {
    Error::new(Code::Forked, "this key was got before a fork; open a client of its own in the child process")
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
    const START: u64 = 1 << 40;

    fn begin_until(until: u64) -> Result<Session> {
        Ok(Session { until, ..Session::of(&[7; 32], "a/1", &fresh_salt(1)?)? })
    }

    fn begin() -> Result<Session> {
        begin_until(NOW + LIFETIME)
    }

    /// One that asks the clock.
    fn take(sessions: &Sessions, counters: u64, now: u64) -> Turn<'_> {
        static TICKS_SO_FAR: AtomicU64 = AtomicU64::new(START);
        let ticks = TICKS_SO_FAR.fetch_add(TICKS, Ordering::Relaxed);
        sessions.take_at(counters, ticks, || now, begin).unwrap()
    }

    fn of(turn: &Turn<'_>) -> (Vec<u8>, u64) {
        (turn.session.recipients.clone(), turn.session.first)
    }

    #[test]
    fn a_session_ends_when_its_time_is_over() {
        let sessions = Sessions::default();
        let (first, _) = of(&take(&sessions, 1, NOW));
        assert_eq!(of(&take(&sessions, 1, NOW + LIFETIME - 1)), (first.clone(), 1));
        let longer = || begin_until(NOW + 2 * LIFETIME);
        let next = sessions.take_at(1, START - 1, || NOW + LIFETIME, longer).unwrap();
        assert_eq!(of(&next).1, 0);
        assert_ne!(of(&next).0, first);
    }

    #[test]
    fn the_clock_is_asked_once_in_so_many_ticks_and_when_they_run_backwards() {
        let sessions = Sessions::default();
        let asked = AtomicUsize::new(0);
        let now = || {
            asked.fetch_add(1, Ordering::Relaxed);
            NOW
        };
        for (ticks, times) in [(START, 1), (START + TICKS - 1, 1), (START + TICKS, 2), (START, 3), (START + 1, 3)] {
            sessions.take_at(1, ticks, now, begin).unwrap();
            assert_eq!(asked.load(Ordering::Relaxed), times, "{ticks}");
        }
    }

    #[test]
    fn a_session_ends_after_its_last_message() {
        let sessions = Sessions::default();
        let (first, _) = of(&take(&sessions, 1, NOW));
        for counter in 1..COUNTERS {
            assert_eq!(sessions.take_at(1, START, || NOW, begin).unwrap().session.first, counter);
        }
        assert_ne!(of(&take(&sessions, 1, NOW)).0, first);
    }

    #[test]
    fn a_session_ends_after_its_last_byte() {
        let sessions = Sessions::default();
        let message = 1 + (1 << 30) / UNIT;
        let (first, _) = of(&take(&sessions, message, NOW));
        for turn in 1..63 {
            assert_eq!(of(&take(&sessions, message, NOW)), (first.clone(), turn * message));
        }
        assert_ne!(of(&take(&sessions, message, NOW)).0, first);
    }

    #[test]
    fn a_batch_takes_its_counters_in_one_go_or_begins_a_session() {
        let sessions = Sessions::default();
        let (first, _) = of(&take(&sessions, 1, NOW));
        assert_eq!(of(&take(&sessions, COUNTERS - 1, NOW)), (first.clone(), 1));
        let (next, counter) = of(&take(&sessions, 2, NOW));
        assert_eq!(counter, 0);
        assert_ne!(next, first);
        let (whole, counter) = of(&take(&sessions, 2 * COUNTERS, NOW));
        assert_eq!(counter, 0);
        assert_ne!(whole, next);
        assert_ne!(of(&take(&sessions, 1, NOW)).0, whole);
    }

    #[test]
    fn a_session_that_cannot_be_replaced_is_not_used_again() {
        let sessions = Sessions::default();
        let (first, _) = of(&take(&sessions, 1, NOW));
        let fail = || Err(Error::new(Code::MemoryExhausted, "none left"));
        for ticks in [1, 2, 3] {
            assert!(sessions.take_at(1, ticks, || NOW + LIFETIME, fail).is_err());
        }
        assert_ne!(of(&take(&sessions, 1, NOW)).0, first);
    }

    #[test]
    fn sessions_end_with_their_permit_whoever_holds_them() {
        let permit = Arc::new(Permit::new());
        let begin = || Session::begin(&[7; 32], "a/1", &permit);
        let sessions = Sessions::default();
        let take = || sessions.take(1, 0, begin).map(|turn| of(&turn).0);
        let first = take().unwrap();
        assert_eq!(take().unwrap(), first);
        permit.end_all();
        let second = take().unwrap();
        assert_ne!(second, first);
        permit.ends_at(0);
        assert_eq!(take().unwrap_err().code(), Code::KeyState);
        permit.ends_at(u64::MAX);
        assert_ne!(take().unwrap(), second);
    }

    #[test]
    fn threads_that_find_a_session_over_begin_one_new_one() {
        let sessions = Sessions::default();
        let begun = AtomicUsize::new(0);
        let start = std::sync::Barrier::new(8);
        let counted = || {
            begun.fetch_add(1, Ordering::Relaxed);
            begin()
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    sessions.take_at(1, START, || NOW, counted).map(drop)
                });
            }
        });
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn no_salt_comes_twice() {
        let salts: std::collections::HashSet<_> = (0..1000).map(|_| fresh_salt(1).unwrap()).collect();
        assert_eq!(salts.len(), 1000);
    }
}
