//! A key that is ready to use.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::derivation::Use;
use super::message::{self, MAX_PLAINTEXT, Parts};
use super::session::{self, Permit, Session, Sessions, Turn, check_length};
use super::stream::{self, Decryptor, Encryptor};
use super::{KeyId, aead, derivation, opened};
use crate::error::{Code, Error, Result};
use crate::memory::slot::Slot;
use crate::platform::ProcessStamp;

/// A key of one name and version. Encrypts and decrypts with the CPU alone: no network, and neither an
/// allocation nor a system call for a message, save about one new session a second, and one allocation
/// for more than 1 KiB of associated data. Any number of threads may use it at once.
pub struct Key {
    id: KeyId,
    /// The id as messages carry it.
    kid: Box<str>,
    recipients_size: usize,
    /// Tells this handle from every other in the table of opened sessions.
    owner: u64,
    process: ProcessStamp,
    permit: Arc<Permit>,
    sessions: Sessions,
    material: Slot<[u8; 32]>,
    room: Option<Room>,
}

/// Gives locked memory back when none is left, and says whether it could.
pub type Room = Arc<dyn Fn() -> bool + Send + Sync>;

impl Key {
    pub fn new(id: KeyId, material: Slot<[u8; 32]>) -> Key {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let kid = id.to_string().into_boxed_str();
        Key {
            id,
            recipients_size: message::recipients_size(kid.len()),
            kid,
            owner: OWNERS.fetch_add(1, Ordering::Relaxed),
            process: ProcessStamp::current(),
            permit: Arc::new(Permit::new()),
            sessions: Sessions::default(),
            material,
            room: None,
        }
    }

    /// The key, which asks `room` when no locked memory is left for a session.
    pub fn with_room(mut self, room: Room) -> Key {
        self.room = Some(room);
        self
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The exact size of the message for a plaintext of `n` bytes; `None` above the largest message,
    /// [`MAX_PLAINTEXT`].
    pub fn encrypted_size(&self, n: usize) -> Option<usize> {
        (n <= MAX_PLAINTEXT).then(|| message::size(n, self.recipients_size))
    }

    /// Writes the message for `plaintext` to the front of `out` and returns its size. Never blocks on I/O.
    ///
    /// `BufferTooSmall` (with the size needed) if `out` is too small, `InvalidArgument` above [`MAX_PLAINTEXT`],
    /// `Forked` in a child, `MemoryExhausted` without locked memory for a session. On failure `out` is zeroed.
    #[inline]
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        self.sessions.encrypt(plaintext, aad, out, || self.begin_session())
    }

    /// Begins a session for a caller that has [`Sessions`] of its own. It ends as [`Key::quiesce`] and
    /// [`Key::end_sessions_at`] tell.
    ///
    /// `KeyState` from the end of all sessions on, `Forked`, `System`, `MemoryExhausted`.
    #[cold]
    pub fn begin_session(&self) -> Result<Session> {
        self.check_process()?;
        self.in_room(|| Session::begin(&self.material, &self.kid, &self.permit))
    }

    /// Lets sessions that begin from now on last until `time` of the coarse clock at the longest. Zero ends all at once.
    pub fn end_sessions_at(&self, time: u64) {
        self.permit.ends_at(time);
    }

    /// Ends all sessions that have begun, whoever holds them.
    pub fn end_sessions(&self) {
        self.permit.end_all();
        self.sessions.clear();
    }

    /// The size of the message for a plaintext of `n` bytes, at most [`MAX_PLAINTEXT`].
    pub(super) fn size(&self, n: usize) -> usize {
        message::size(n, self.recipients_size)
    }

    pub(super) fn take_many(&self, count: u64, bytes: u64) -> Result<Turn<'_>> {
        self.sessions.take(count, bytes, || self.begin_session())
    }

    /// Runs `make` again while no locked memory is left and some can be given back.
    fn in_room<T>(&self, mut make: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match make() {
                Err(error)
                    if error.code() == Code::MemoryExhausted && self.room.as_ref().is_some_and(|room| room()) => {}
                outcome => return outcome,
            }
        }
    }

    /// Writes the plaintext of `message` to the front of `out` and returns its size. Never blocks on I/O.
    ///
    /// `WrongKey` if the message names another key or version, `NotAuthentic` if anything of it or of `aad` was
    /// altered, `BufferTooSmall` (with the size needed), `Forked` in a child. On failure `out` is zeroed.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        let outcome = self.try_decrypt(message, aad, out);
        if outcome.is_err() {
            out.fill(0);
        }
        outcome
    }

    pub(super) fn try_decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check_process()?;
        check_length("associated data", aad)?;
        let parts = message::parse(message)?;
        let size = parts.ciphertext.len();
        if let Some(key) = opened::look(parts.recipients).key(self.owner, parts.recipients) {
            let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
            aead::open(key, &parts, aad, out)?;
        } else {
            self.decrypt_new_session(&parts, aad, out)?;
        }
        Ok(size)
    }

    #[cold]
    fn decrypt_new_session(&self, parts: &Parts<'_>, aad: &[u8], out: &mut [u8]) -> Result<()> {
        let recipient = parts.recipient_of(&self.kid, &self.id)?;
        let size = parts.ciphertext.len();
        let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
        let key = self.in_room(|| derivation::to_decrypt(&self.material, Use::Message, &recipient))?;
        aead::open(&key, parts, aad, out)?;
        opened::keep(self.owner, parts.recipients, key);
        Ok(())
    }

    /// Begins a stream: an encrypted file or pipe of any length. `aad` is what the stream belongs to.
    ///
    /// The encryptor goes on to its end when this key is gone. `InvalidArgument` above [`stream::MAX_AAD`], `Forked`,
    /// `System`, `MemoryExhausted`.
    pub fn encrypt_stream(&self, aad: &[u8]) -> Result<Encryptor> {
        self.check_process()?;
        stream::check_aad(aad)?;
        let salt = session::fresh_salt(std::process::id())?;
        let make = || derivation::to_encrypt(&self.material, Use::Stream, self.kid.as_bytes(), &salt);
        let (key, recipients) = self.in_room(make)?;
        Encryptor::new(key, &recipients, aad)
    }

    /// Begins to decrypt the stream that begins with `start`: at least its first [`stream::MAX_HEADER`] bytes, or
    /// all of a shorter one. [`Decryptor::header_size`] says how many of them were the header.
    ///
    /// `WrongKey` if the stream names another key or version, `NotAuthentic` if it is no stream of this key and
    /// `aad`, `InvalidArgument`, `Forked`, `MemoryExhausted`.
    pub fn decrypt_stream(&self, start: &[u8], aad: &[u8]) -> Result<Decryptor> {
        self.check_process()?;
        stream::check_aad(aad)?;
        let header = stream::parse(start)?;
        if header.recipient.id != self.kid.as_bytes() {
            return Err(message::wrong_key(&header.recipient, &self.id));
        }
        let key = self.in_room(|| derivation::to_decrypt(&self.material, Use::Stream, &header.recipient))?;
        Decryptor::new(key, &header, aad)
    }

    /// What stands for `text` in the names of keys: 32 hexadecimal digits, the same for ever, which tell nothing of it
    /// without the key. `Forked`.
    pub fn pseudonym(&self, text: &str) -> Result<String> {
        self.check_process()?;
        derivation::pseudonym(&self.material, text.as_bytes())
    }

    /// Drops all sessions, so that nothing made after a snapshot repeats what was made before it.
    pub fn quiesce(&self) {
        self.end_sessions();
        opened::forget(self.owner);
    }

    /// A child has none of its parent's locked memory: its pages fault when touched.
    #[inline]
    pub(super) fn check_process(&self) -> Result<()> {
        if self.process.is_current() { Ok(()) } else { Err(session::forked()) }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        opened::forget(self.owner);
    }
}
