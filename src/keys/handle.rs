//! What an application holds: a key that follows its name, or is pinned to one version of it.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::now;
use super::uses::{self, Decryptor, Encryptor, Uses};
use super::version::Version;
use crate::envelope::batch::Values;
use crate::envelope::identity::SPACE;
use crate::envelope::{KeyId, Session, Sessions};
use crate::error::{Code, Error, Result};
use crate::log::catalogue;

/// A handle to a named key. Encrypts with the newest version that is known, without blocking. One that was asked for as
/// `NAME/V` stays with that version, and encrypts while it is the newest. Cheap to clone.
#[derive(Clone)]
pub struct Key(Arc<Handle>);

/// The part of a handle that all its clones share.
pub struct Handle {
    name: String,
    /// Of a handle that does not follow its name.
    pinned: Option<u32>,
    /// Whether the version that it is pinned to is not the newest.
    is_overtaken: AtomicBool,
    /// Empty at the end.
    current: ArcSwapOption<Version>,
    /// Of the current version; it begins anew where that changes.
    sessions: Sessions,
    /// Where each use is recorded. `None` at the level `basic`.
    uses: Option<Uses>,
    /// Why it is empty.
    end: AtomicU8,
}

/// Why a handle has no key any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its client was closed.
    Closed,
    /// No key server has the key any more.
    Destroyed,
    /// It was purged from memory.
    Purged,
}

impl Key {
    /// One that follows its name.
    pub(super) fn new(version: Arc<Version>, uses: Option<Uses>) -> Key {
        Key::made(version, None, false, uses)
    }

    /// One that stays with this version.
    pub(super) fn pinned(version: Arc<Version>, is_newest: bool, uses: Option<Uses>) -> Key {
        let pinned = Some(version.id().version);
        Key::made(version, pinned, !is_newest, uses)
    }

    fn made(version: Arc<Version>, pinned: Option<u32>, is_overtaken: bool, uses: Option<Uses>) -> Key {
        Key(Arc::new(Handle {
            name: version.id().name.clone(),
            pinned,
            is_overtaken: AtomicBool::new(is_overtaken),
            current: ArcSwapOption::new(Some(version)),
            sessions: Sessions::default(),
            uses,
            end: AtomicU8::new(End::Closed as u8),
        }))
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
        self.0.current.load().as_ref().and_then(|version| version.key().encrypted_size(n))
    }

    /// Writes the message for `plaintext` to the front of `out` and returns its size. Does not block.
    ///
    /// Errors: `BufferTooSmall`, `InvalidArgument` (too large), `KeyState`, `KeyStale`, `AnswerUnexpected` (key servers show
    /// something else in the place of the key), `Closed`, `Forked`.
    #[inline]
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let encrypt = |out: &mut [u8]| self.0.sessions.encrypt(plaintext, aad, out, || self.0.begin_session());
        match &self.0.uses {
            None => encrypt(out),
            Some(uses) => uses.encrypting(&self.0.name, plaintext.len(), out, encrypt),
        }
    }

    /// Writes the plaintext of `message` to the front of `out` and returns its size. Does not block.
    ///
    /// A message of another key, or of another version of this one, is `WrongKey`: [`crate::Client::decrypt`] finds
    /// the key that a message names. Errors: also `NotAuthentic`, `BufferTooSmall`, `KeyState`, `KeyStale`, `Closed`,
    /// `Forked`.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        match &self.0.uses {
            None => self.decrypt_unrecorded(message, aad, out),
            Some(uses) => uses.decrypting(message, None, || self.decrypt_unrecorded(message, aad, out)),
        }
    }

    /// As [`Key::decrypt`], for whoever records it.
    #[inline]
    pub(crate) fn decrypt_unrecorded(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        version.decrypt(message, aad, out)
    }

    /// Writes the message of every plaintext to `out`, in one session of one version: see
    /// [`envelope::Key::encrypt_many`]. All or nothing. Does not block. Errors: as [`Key::encrypt`].
    pub fn encrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        let encrypt = |values, out: &mut [u8], offsets: &mut [usize]| {
            let current = self.0.current.load();
            let version = current.as_ref().ok_or_else(|| self.0.gone())?;
            self.0.may_encrypt(version)?;
            version.key().encrypt_many(values, out, offsets)
        };
        match &self.0.uses {
            None => encrypt(values, out, offsets),
            Some(uses) => uses.encrypting_many(&self.0.name, values.clone(), (out, offsets), |out, offsets| {
                encrypt(values, out, offsets)
            }),
        }
    }

    /// Writes the plaintext of every message of this key and version to `out`: see [`envelope::Key::decrypt_many`].
    /// All or nothing. Does not block. Errors: as [`Key::decrypt`].
    pub fn decrypt_many<'a>(&self, values: impl Values<'a>, out: &mut [u8], offsets: &mut [usize]) -> Result<usize> {
        let mut decrypt = |values| {
            let current = self.0.current.load();
            let version = current.as_ref().ok_or_else(|| self.0.gone())?;
            version.may_decrypt(now())?;
            version.key().decrypt_many(values, out, offsets)
        };
        match &self.0.uses {
            None => decrypt(values),
            Some(uses) => uses.decrypting_many(values.clone(), || decrypt(values)),
        }
    }

    /// Begins a stream with the newest version that is known. The stream keeps that version to its end. Does not block.
    ///
    /// Errors: `InvalidArgument` (too long an `aad`), `KeyState`, `KeyStale`, `System`, `MemoryExhausted`, `Closed`, `Forked`.
    pub fn encrypt_stream(&self, aad: &[u8]) -> Result<Encryptor> {
        let current = self.0.current.load();
        let version = current.as_ref().ok_or_else(|| self.0.gone())?;
        let begun = self.0.may_encrypt(version).and_then(|()| version.key().encrypt_stream(aad));
        Uses::stream(self.0.uses.as_ref(), catalogue::STREAM_ENCRYPTED, Some(version.id().clone()), begun)
    }

    /// Begins to decrypt a stream of this key and version, as [`crate::Client::decrypt_stream`] does one of any key. Does
    /// not block. Errors: as [`Key::decrypt`].
    pub fn decrypt_stream(&self, start: &[u8], aad: &[u8]) -> Result<Decryptor> {
        let current = self.0.current.load();
        let begun =
            current.as_ref().ok_or_else(|| self.0.gone()).and_then(|version| version.decrypt_stream(start, aad));
        Uses::stream(self.0.uses.as_ref(), catalogue::STREAM_DECRYPTED, uses::named(start), begun)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0
    }

    /// Shows the handle without holding it.
    pub(super) fn watch(&self) -> Weak<Handle> {
        Arc::downgrade(&self.0)
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

    /// The session that the next messages are encrypted in, or why there is none. What state, dates and `max_stale` allow
    /// is compared here, and no session outlasts it.
    #[cold]
    fn begin_session(&self) -> Result<Session> {
        loop {
            let current = self.current.load();
            let version = current.as_ref().ok_or_else(|| self.gone())?;
            self.may_encrypt(version)?;
            let session = version.key().begin_session()?;
            // Otherwise it may have begun after the sessions of its version were ended.
            let is_current = self.current.load().as_ref().is_some_and(|still| Arc::ptr_eq(still, version));
            if is_current && !self.is_overtaken.load(Ordering::Acquire) {
                return Ok(session);
            }
        }
    }

    /// What the version's state allows, and a pin.
    fn may_encrypt(&self, version: &Version) -> Result<()> {
        version.may_encrypt(now())?;
        if self.is_overtaken.load(Ordering::Acquire) { Err(overtaken(version.id())) } else { Ok(()) }
    }

    /// Tells a handle that is pinned whether its version is the newest.
    pub(super) fn set_newest(&self, is_newest: bool) {
        let was_overtaken = self.is_overtaken.swap(!is_newest, Ordering::AcqRel);
        if let Some(version) = self.current.load().as_ref().filter(|_| !is_newest && !was_overtaken) {
            version.key().end_sessions();
        }
    }

    pub(super) fn follow(&self, version: Arc<Version>) {
        self.change(Some(version));
    }

    /// Lets go of the key for good.
    pub(super) fn end(&self, why: End) {
        self.end.store(why as u8, Ordering::Release);
        self.change(None);
    }

    /// No session of the version before it goes on.
    fn change(&self, version: Option<Arc<Version>>) {
        if let Some(before) = self.current.swap(version) {
            before.key().end_sessions();
        }
        self.sessions.clear();
    }

    /// Why there is no current version.
    #[cold]
    pub(super) fn gone(&self) -> Error {
        let name = match self.pinned {
            Some(version) => format!("{}/{version}", self.name),
            None => self.name.clone(),
        };
        match self.end.load(Ordering::Acquire) {
            end if end == End::Destroyed as u8 && name.starts_with(SPACE) => {
                let message = format!(
                    "the key encryption key of {name} was destroyed on the key server; if the space is under another one by \
                     now, unlock it again with its protected DEK"
                );
                Error::new(Code::KeyState, message)
            }
            end if end == End::Destroyed as u8 => {
                let message = format!("key {name:?} was destroyed on the key server; ask the client for it again");
                Error::new(Code::KeyState, message)
            }
            end if end == End::Purged as u8 => {
                let message = format!("key {name:?} was purged from memory; ask the client for it again");
                Error::new(Code::KeyStale, message)
            }
            _ => Error::new(
                Code::Closed,
                "the client of this key was closed; open a client and ask it for the key again",
            ),
        }
    }

    pub(super) fn is_verified_within(&self, limit: Duration) -> bool {
        self.current.load().as_ref().is_some_and(|version| version.is_verified_within(limit))
    }
}

#[cold]
fn overtaken(id: &KeyId) -> Error {
    let message = format!(
        "key {id} is not the newest version of its name, so this handle of that version decrypts only; ask the client for \
         {:?}, without a version, to encrypt",
        id.name
    );
    Error::new(Code::KeyState, message)
}
