//! Records of what is encrypted and decrypted, at the levels `verbose` and `debug`.
//!
//! Below these nobody has a [`Uses`], and a message costs one comparison more than nothing.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::envelope::batch::Values;
use crate::envelope::{self, KeyId, message, stream};
use crate::error::{Code, Error, Result};
use crate::log::time::push_numbers;
use crate::log::{Level, Log, Record, Severity, catalogue};

/// Where uses of keys are recorded.
#[derive(Clone)]
pub struct Uses(Arc<Log>);

/// What was done with a key.
#[derive(Clone, Copy, Default)]
struct Use<'a> {
    event: &'static str,
    key: Option<&'a KeyId>,
    /// What stands for the key where it is not known.
    name: &'a str,
    /// Of messages in a batch.
    count: Option<u64>,
    /// Of the plaintext.
    size: u64,
    new_version: Option<u32>,
    view: Option<(&'a str, &'a str)>,
}

impl Uses {
    /// `None` unless the level asks for them.
    pub fn of(log: &Arc<Log>) -> Option<Uses> {
        log.is_enabled(Level::Verbose).then(|| Uses(log.clone()))
    }

    /// Encrypts a message into `out`. `name` is the key's.
    #[cold]
    pub(super) fn encrypting(
        &self,
        name: &str,
        size: usize,
        out: &mut [u8],
        encrypt: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let outcome = encrypt(out);
        let key = outcome.as_ref().ok().and_then(|size| message::key_id(&out[..*size]).ok());
        let (event, size) = (catalogue::MESSAGE_ENCRYPTED, size as u64);
        self.tell(Use { event, key: key.as_ref(), name, size, ..Use::default() }, &outcome);
        outcome
    }

    /// Decrypts a message. `view`: the mask and the role under which it is looked at.
    #[cold]
    pub fn decrypting(
        &self,
        message: &[u8],
        view: Option<(&str, &str)>,
        decrypt: impl FnOnce() -> Result<usize>,
    ) -> Result<usize> {
        let outcome = decrypt();
        let (key, size) = (message::key_id(message).ok(), message::decrypted_size(message).unwrap_or(0) as u64);
        let use_ = Use { event: catalogue::MESSAGE_DECRYPTED, key: key.as_ref(), size, view, ..Use::default() };
        self.tell(use_, &outcome);
        outcome
    }

    /// Encrypts a column into `out`. `name` is the key's.
    #[cold]
    pub(super) fn encrypting_many<'a>(
        &self,
        name: &str,
        values: impl Values<'a>,
        (out, offsets): (&mut [u8], &mut [usize]),
        encrypt: impl FnOnce(&mut [u8], &mut [usize]) -> Result<usize>,
    ) -> Result<usize> {
        let outcome = encrypt(out, offsets);
        let first = out.get(..offsets.get(1).copied().unwrap_or(0)).unwrap_or_default();
        let key = outcome.as_ref().ok().and_then(|_| message::key_id(first).ok());
        let (count, size) = values.fold((0, 0), |(count, size), (one, _)| (count + 1, size + one.len() as u64));
        let event = catalogue::BATCH_ENCRYPTED;
        self.tell(Use { event, key: key.as_ref(), name, count: Some(count), size, ..Use::default() }, &outcome);
        outcome
    }

    /// Decrypts a column. A record is written for each key that its messages name.
    #[cold]
    pub fn decrypting_many<'a>(
        &self,
        messages: impl Values<'a>,
        decrypt: impl FnOnce() -> Result<usize>,
    ) -> Result<usize> {
        let outcome = decrypt();
        self.tell_each(catalogue::BATCH_DECRYPTED, messages.map(|(message, _)| (message, None)), &outcome);
        outcome
    }

    /// Writes a column anew into `out`. A record is written for each key that its messages name.
    #[cold]
    pub fn reencrypting_many<'a>(
        &self,
        messages: impl Values<'a>,
        (out, offsets): (&mut [u8], &mut [usize]),
        reencrypt: impl FnOnce(&mut [u8], &mut [usize]) -> Result<usize>,
    ) -> Result<usize> {
        let outcome = reencrypt(out, offsets);
        let new = |index: usize| {
            let place = outcome.as_ref().ok().and_then(|_| out.get(offsets[index]..offsets[index + 1]));
            place.and_then(|place| message::key_id(place).ok()).map(|key| key.version)
        };
        let moved = messages.enumerate().map(|(index, (message, _))| (message, new(index)));
        self.tell_each(catalogue::BATCH_REENCRYPTED, moved, &outcome);
        outcome
    }

    /// The stream, which is recorded once it is over; or that it did not begin.
    pub(super) fn stream<S>(
        uses: Option<&Uses>,
        event: &'static str,
        key: Option<KeyId>,
        begun: Result<S>,
    ) -> Result<Recorded<S>> {
        let mut use_ = uses.map(|uses| StreamUse { uses: uses.clone(), event, key, size: 0, is_over: false });
        match begun {
            Ok(stream) => Ok(Recorded { stream, use_ }),
            Err(error) => {
                use_.iter_mut().for_each(|use_| use_.end(Some(&error)));
                Err(error)
            }
        }
    }

    fn tell_each<'a>(
        &self,
        event: &'static str,
        messages: impl Iterator<Item = (&'a [u8], Option<u32>)>,
        outcome: &Result<usize>,
    ) {
        let mut sums: BTreeMap<(Option<KeyId>, Option<u32>), (u64, u64)> = BTreeMap::new();
        for (message, new_version) in messages {
            let sum = sums.entry((message::key_id(message).ok(), new_version)).or_default();
            *sum = (sum.0 + 1, sum.1 + message::decrypted_size(message).unwrap_or(0) as u64);
        }
        for ((key, new_version), (count, size)) in &sums {
            let (key, count, new_version) = (key.as_ref(), Some(*count), *new_version);
            self.tell(Use { event, key, count, size: *size, new_version, ..Use::default() }, outcome);
        }
    }

    fn tell<T>(&self, use_: Use<'_>, outcome: &Result<T>) {
        self.tell_end(use_, outcome.as_ref().err().map(|error| (error.code(), error.message())));
    }

    fn tell_end(&self, use_: Use<'_>, failure: Option<(Code, &str)>) {
        // Whoever is told what size the buffer needs calls again.
        if failure.is_some_and(|(code, _)| code == Code::BufferTooSmall) {
            return;
        }
        let mut digits = String::with_capacity(48);
        let numbers =
            [use_.key.map(|key| key.version.into()), use_.new_version.map(u64::from), use_.count, Some(use_.size)];
        let ends = push_numbers(&mut digits, numbers);
        let (mask, role) = use_.view.unwrap_or_default();
        let reason = failure.map(|(code, _)| code.name().to_lowercase().replace('_', " ")).unwrap_or_default();
        let mut fields: [(&str, Cow<'_, str>); 10] = [
            ("key_name", use_.key.map_or(use_.name, |key| &key.name).into()),
            ("key_version", digits[..ends[0]].into()),
            ("new_version", digits[ends[0]..ends[1]].into()),
            ("count", digits[ends[1]..ends[2]].into()),
            ("size", digits[ends[2]..].into()),
            ("mask", mask.into()),
            ("role", role.into()),
            ("result", if failure.is_none() { "success" } else { "failure" }.into()),
            ("reason", reason.into()),
            ("message", failure.map(|(_, message)| message).unwrap_or_default().into()),
        ];
        let mut told = 0;
        for at in 0..fields.len() {
            if !fields[at].1.is_empty() {
                fields.swap(told, at);
                told += 1;
            }
        }
        let severity = if failure.is_none() { Severity::Info } else { Severity::Warning };
        self.0.write(&Record { event: use_.event, severity, level: Level::Verbose, fields: &fields[..told] });
    }
}

/// A stream that is encrypted, see [`stream::Encryptor`].
pub type Encryptor = Recorded<stream::Encryptor>;

/// A stream that is decrypted, see [`stream::Decryptor`].
pub type Decryptor = Recorded<stream::Decryptor>;

/// A stream of which the log tells once it is over.
pub struct Recorded<S> {
    stream: S,
    use_: Option<StreamUse>,
}

struct StreamUse {
    uses: Uses,
    event: &'static str,
    key: Option<KeyId>,
    size: u64,
    is_over: bool,
}

impl Recorded<stream::Encryptor> {
    /// See [`stream::Encryptor::update_size`].
    pub fn update_size(&self, n: usize) -> Option<usize> {
        self.stream.update_size(n)
    }

    /// See [`stream::Encryptor::update`].
    pub fn update(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let outcome = self.stream.update(plaintext, out);
        self.went_on(plaintext.len(), &outcome);
        outcome
    }

    /// See [`stream::Encryptor::finish_size`].
    pub fn finish_size(&self) -> usize {
        self.stream.finish_size()
    }

    /// See [`stream::Encryptor::finish`].
    pub fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let outcome = self.stream.finish(out);
        self.ended(&outcome);
        outcome
    }
}

impl Recorded<stream::Decryptor> {
    /// See [`stream::Decryptor::id`].
    pub fn id(&self) -> &KeyId {
        self.stream.id()
    }

    /// See [`stream::Decryptor::header_size`].
    pub fn header_size(&self) -> usize {
        self.stream.header_size()
    }

    /// See [`stream::Decryptor::update`].
    pub fn update(&mut self, stream: &[u8], out: &mut [u8]) -> Result<usize> {
        let outcome = self.stream.update(stream, out);
        self.went_on(*outcome.as_ref().unwrap_or(&0), &outcome);
        outcome
    }

    /// See [`stream::Decryptor::finish`].
    pub fn finish(&mut self) -> Result<()> {
        let outcome = self.stream.finish();
        self.ended(&outcome);
        outcome
    }
}

impl<S> Recorded<S> {
    fn went_on<T>(&mut self, size: usize, outcome: &Result<T>) {
        match (&mut self.use_, outcome) {
            (Some(use_), Ok(_)) => use_.size += size as u64,
            (Some(use_), Err(error)) => use_.end(Some(error)),
            (None, _) => {}
        }
    }

    fn ended<T>(&mut self, outcome: &Result<T>) {
        if let Some(use_) = &mut self.use_ {
            use_.end(outcome.as_ref().err());
        }
    }
}

impl StreamUse {
    /// Tells it once. A buffer that was too small ends nothing.
    fn end(&mut self, error: Option<&Error>) {
        if !self.is_over && error.is_none_or(|error| error.code() != Code::BufferTooSmall) {
            self.is_over = true;
            self.tell(error.map(|error| (error.code(), error.message())));
        }
    }

    fn tell(&self, failure: Option<(Code, &str)>) {
        let (event, key, size) = (self.event, self.key.as_ref(), self.size);
        self.uses.tell_end(Use { event, key, size, ..Use::default() }, failure);
    }
}

impl Drop for StreamUse {
    fn drop(&mut self) {
        if !self.is_over {
            self.tell(Some((Code::InvalidArgument, "the stream was given up before its end")));
        }
    }
}

/// The key that a stream names.
pub(super) fn named(start: &[u8]) -> Option<KeyId> {
    envelope::key_id(start).ok()
}
