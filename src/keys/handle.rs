//! What an application holds: a key that follows its name.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::now;
use crate::envelope::batch::Values;
use crate::envelope::stream::{Decryptor, Encryptor};
use crate::envelope::{self, KeyId};
use crate::error::{Code, Error, Result};
use crate::kmip::State;

/// A handle to a named key. Encrypts with the newest version that is known, without blocking. Cheap to clone.
#[derive(Clone)]
pub struct Key(Arc<Handle>);

/// The part of a handle that all its clones share.
pub struct Handle {
    name: String,
    /// Empty once the client was closed, or the key destroyed.
    current: ArcSwapOption<Version>,
    is_destroyed: AtomicBool,
}

/// One version of a key with what is known of its state on the server.
pub struct Version {
    key: envelope::Key,
    identifier: String,
    state: AtomicU32,
    /// When the state was last verified, in coarse nanoseconds since boot.
    verified: AtomicU64,
    /// Until when, on the same clock, the state and `max_stale` allow it: all that a message has to compare.
    encrypts_until: AtomicU64,
    decrypts_until: AtomicU64,
    /// When the cache last gave it out, on the same clock.
    used: AtomicU64,
    /// In nanoseconds.
    max_stale: u64,
}

impl Key {
    pub(super) fn new(version: Arc<Version>) -> Key {
        let name = version.id().name.clone();
        Key(Arc::new(Handle { name, current: ArcSwapOption::new(Some(version)), is_destroyed: AtomicBool::new(false) }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Name and version that the next message gets.
    pub fn id(&self) -> Result<KeyId> {
        Ok(self.0.current().ok_or_else(|| self.0.gone())?.id().clone())
    }

    /// The exact size of the message for `n` bytes of plaintext; `None` above the largest message.
    pub fn encrypted_size(&self, n: usize) -> Option<usize> {
        self.0.current.load().as_ref().and_then(|version| version.key.encrypted_size(n))
    }

    /// Writes the message for `plaintext` to the front of `out` and returns its size. Does not block.
    ///
    /// Errors: `BufferTooSmall`, `InvalidArgument` (too large), `KeyState`, `KeyStale`, `Closed`, `Forked`.
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        let now = now();
        version.may_encrypt(now)?;
        version.key.encrypt_at(now, plaintext, aad, out)
    }

    /// Writes the plaintext of `message` to the front of `out` and returns its size. Does not block.
    ///
    /// A message of another key, or of another version of this one, is `WrongKey`: [`crate::Client::decrypt`] finds
    /// the key that a message names. Errors: also `NotAuthentic`, `BufferTooSmall`, `KeyState`, `KeyStale`, `Closed`,
    /// `Forked`.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        version.decrypt(message, aad, out)
    }

    /// Writes the message of every plaintext to `out`, in one session of one version: see
    /// [`envelope::Key::encrypt_many`]. All or nothing. Does not block. Errors: as [`Key::encrypt`].
    pub fn encrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        version.may_encrypt(now())?;
        version.key.encrypt_many(values, out, offsets)
    }

    /// Writes the plaintext of every message of this key and version to `out`: see [`envelope::Key::decrypt_many`].
    /// All or nothing. Does not block. Errors: as [`Key::decrypt`].
    pub fn decrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        version.may_decrypt(now())?;
        version.key.decrypt_many(values, out, offsets)
    }

    /// Begins a stream with the newest version that is known. The stream keeps that version to its end. Does not block.
    ///
    /// Errors: `InvalidArgument` (too long an `aad`), `KeyState`, `KeyStale`, `System`, `MemoryExhausted`, `Closed`, `Forked`.
    pub fn encrypt_stream(&self, aad: &[u8]) -> Result<Encryptor> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        version.may_encrypt(now())?;
        version.key.encrypt_stream(aad)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0
    }

    /// Whether only the cache still holds it.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Handle {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn current(&self) -> Option<Arc<Version>> {
        self.current.load_full()
    }

    pub(super) fn follow(&self, version: Arc<Version>) {
        self.current.store(Some(version));
    }

    /// Lets go of the key because its client is closed.
    pub(super) fn close(&self) {
        self.current.store(None);
    }

    /// Lets go of the key because no key server has it any more.
    pub(super) fn destroy(&self) {
        self.is_destroyed.store(true, Ordering::Release);
        self.current.store(None);
    }

    /// Why there is no current version.
    #[cold]
    pub(super) fn gone(&self) -> Error {
        if self.is_destroyed.load(Ordering::Acquire) {
            let message = format!("key {:?} was destroyed on the key server; ask the client for it again", self.name);
            return Error::new(Code::KeyState, message);
        }
        Error::new(Code::Closed, "the client of this key was closed; open a client and ask it for the key again")
    }

    pub(super) fn touch(&self) {
        if let Some(version) = self.current.load().as_ref() {
            version.touch();
        }
    }

    pub(super) fn is_verified_within(&self, limit: Duration) -> bool {
        self.current.load().as_ref().is_some_and(|version| version.is_verified_within(limit))
    }

    pub(super) fn follows(&self, id: &KeyId) -> bool {
        self.current.load().as_ref().is_some_and(|version| version.id() == id)
    }
}

impl Version {
    pub(super) fn new(key: envelope::Key, identifier: String, state: State, max_stale: Duration) -> Version {
        let version = Version {
            key,
            identifier,
            state: AtomicU32::new(0),
            verified: AtomicU64::new(0),
            encrypts_until: AtomicU64::new(0),
            decrypts_until: AtomicU64::new(0),
            used: AtomicU64::new(now()),
            max_stale: u64::try_from(max_stale.as_nanos()).unwrap_or(u64::MAX),
        };
        version.verify(state);
        version
    }

    pub(super) fn key(&self) -> &envelope::Key {
        &self.key
    }

    pub(super) fn id(&self) -> &KeyId {
        self.key.id()
    }

    /// The server's unique identifier.
    pub(super) fn identifier(&self) -> &str {
        &self.identifier
    }

    /// Takes over the state that a server has just told. States only advance (KMIP 1.4 §3.22): a server that tells an
    /// earlier one than another did before lags behind, and must not bring a revoked key back.
    pub(super) fn verify(&self, state: State) {
        let known = self.state();
        let is_known = !matches!(known, State::Other(_));
        let state = if is_known && state.number() < known.number() { known } else { state };
        let now = now();
        let stale = now.saturating_add(self.max_stale);
        self.state.store(state.number(), Ordering::Relaxed);
        self.verified.store(now, Ordering::Relaxed);
        self.encrypts_until.store(if state == State::Active { stale } else { 0 }, Ordering::Relaxed);
        let decrypts = matches!(state, State::Active | State::Deactivated);
        self.decrypts_until.store(if decrypts { stale } else { 0 }, Ordering::Relaxed);
    }

    pub(super) fn is_verified_within(&self, limit: Duration) -> bool {
        u128::from(now().saturating_sub(self.verified.load(Ordering::Relaxed))) < limit.as_nanos()
    }

    pub(super) fn is_used_within(&self, limit: Duration) -> bool {
        u128::from(now().saturating_sub(self.used())) < limit.as_nanos()
    }

    pub(super) fn touch(&self) {
        self.used.store(now(), Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn quiesce(&self) {
        self.key.quiesce();
    }

    pub(super) fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        self.may_decrypt(now())?;
        self.key.decrypt(message, aad, out)
    }

    pub(super) fn decrypt_stream(&self, start: &[u8], aad: &[u8]) -> Result<Decryptor> {
        self.may_decrypt(now())?;
        self.key.decrypt_stream(start, aad)
    }

    #[inline]
    pub(super) fn may_encrypt(&self, now: u64) -> Result<()> {
        if now < self.encrypts_until.load(Ordering::Relaxed) { Ok(()) } else { Err(self.refuse("encrypt")) }
    }

    #[inline]
    pub(super) fn may_decrypt(&self, now: u64) -> Result<()> {
        if now < self.decrypts_until.load(Ordering::Relaxed) { Ok(()) } else { Err(self.refuse("decrypt")) }
    }

    pub(super) fn check_stale(&self) -> Result<()> {
        let stale = self.verified.load(Ordering::Relaxed).saturating_add(self.max_stale);
        if now() < stale { Ok(()) } else { Err(self.stale()) }
    }

    fn state(&self) -> State {
        State::of(self.state.load(Ordering::Relaxed))
    }

    /// Why it may not be used: its state, or that nobody has verified it for too long.
    #[cold]
    fn refuse(&self, use_: &str) -> Error {
        let state = self.state();
        if state == State::Active || (state == State::Deactivated && use_ == "decrypt") {
            return self.stale();
        }
        let message = format!(
            "key {} is {state} on the key server and may not {use_}; rotate the key to encrypt with a new version",
            self.id()
        );
        Error::new(Code::KeyState, message)
    }

    #[cold]
    fn stale(&self) -> Error {
        let message = format!(
            "the state of key {} could not be verified for more than {:?} (cache.max_stale), because no key server \
             answered; see the log for the reasons, and ask the client for the key again once a server is back",
            self.id(),
            Duration::from_nanos(self.max_stale)
        );
        Error::new(Code::KeyStale, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::slot::Slot;

    fn version(state: State) -> Version {
        let key = envelope::Key::new(KeyId::new("a", 1).unwrap(), Slot::copy_of(&[7; 32]).unwrap());
        Version::new(key, "uid".into(), state, Duration::from_secs(60))
    }

    #[test]
    fn a_server_that_lags_brings_no_revoked_key_back() {
        let version = version(State::PreActive);
        for state in [State::Active, State::Deactivated, State::Compromised] {
            version.verify(state);
            [State::PreActive, State::Active].iter().for_each(|earlier| version.verify(*earlier));
            assert_eq!(version.state(), state);
        }
        assert_eq!(version.may_encrypt(now()).unwrap_err().code(), Code::KeyState);
        assert_eq!(version.may_decrypt(now()).unwrap_err().code(), Code::KeyState);
    }

    #[test]
    fn a_state_nobody_knows_stops_use_until_a_known_one_is_told() {
        let version = version(State::Active);
        version.verify(State::Other(0x8000_0001));
        assert!(version.may_encrypt(now()).is_err() && version.may_decrypt(now()).is_err());
        version.verify(State::Active);
        version.may_encrypt(now()).unwrap();
    }
}
