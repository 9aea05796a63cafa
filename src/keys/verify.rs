//! Keeping cached keys verified: their state, their newest version, and what holds while no server answers.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::handle::Key;
use super::lookup::Found;
use super::prohibited::Object;
use super::version::Version;
use super::{Keys, now, subject};
use crate::envelope::{self, KeyId};
use crate::error::{Code, Error, Result};
use crate::kmip::{Deadline, Get, State};
use crate::log::{Severity, catalogue};
use crate::memory::slot::Slot;

/// So much longer than a whole call an outage is believed to last: until the background refresh has tried again.
const OUTAGE: Duration = Duration::from_secs(10);

impl Keys {
    /// Verifies every cached key whose last verification is older than three quarters of `version_ttl`, so that a
    /// handle in use never waits and never goes stale while a server answers. The older versions that were used lately follow
    /// after three quarters of `ttl`. Blocks.
    pub fn refresh_due(&self) {
        self.refresh_spaces();
        for key in self.cache.all_named() {
            if !key.handle().is_verified_within(self.limits.version_ttl / 4 * 3) {
                let name = key.name().to_owned();
                // Failures are recorded where they happen; the key goes on until `max_stale`.
                let _ = self
                    .newest_flights
                    .once(name, || self.refresh(&key, self.cluster.deadline()).map(|()| key.clone()));
            }
        }
        self.refresh_pinned();
        for version in self.cache.all_versions() {
            let is_due =
                !version.is_verified_within(self.limits.ttl / 4 * 3) && version.is_used_within(self.limits.ttl);
            if is_due && !self.cache.is_followed(&version) {
                let id = version.id();
                let _ = self.version_flights.once(id.clone(), || self.verify_version(id, Some(version.clone())));
            }
        }
    }

    pub(super) fn verify_version(&self, id: &KeyId, known: Option<Arc<Version>>) -> Result<Arc<Version>> {
        let deadline = self.cluster.deadline();
        match (self.noting_outages(self.find_version(id, deadline)), known) {
            (Ok(found), Some(version)) if version.identifier() == found.identifier => {
                self.verified(&version, &found);
                Ok(version)
            }
            (Ok(found), Some(version)) => {
                // What it has encrypted is still its own, and the other object cannot read it.
                self.alarm_other_key(&version, &found);
                version.check_stale().map(|()| version)
            }
            (Ok(found), None) => Ok(self.cache.insert_version(self.fetch(&found, deadline)?)),
            (Err(error), Some(version)) if is_outage(&error) => {
                self.tell_stale(id, &error);
                Ok(version)
            }
            (Err(error), _) => {
                if is_gone(&error) {
                    self.cache.learn(id, State::Destroyed);
                }
                Err(error)
            }
        }
    }

    /// The handle of a name that need not be verified before it is used.
    #[inline]
    pub(super) fn hit(&self, name: &str) -> Option<Key> {
        self.cache.hit(name, |version, now| self.is_fresh(version, self.limits.version_ttl, now))
    }

    pub(super) fn is_good(&self, key: &Key) -> bool {
        key.handle().current().is_some_and(|version| self.is_fresh(&version, self.limits.version_ttl, now()))
    }

    /// Whether a version need not be verified before it is used. In an outage nobody waits for an attempt that is in vain.
    #[inline]
    pub(super) fn is_fresh(&self, version: &Version, ttl: Duration, now: u64) -> bool {
        let is_verified = version.was_verified_within(ttl, now) && !version.is_worn();
        is_verified || now < self.outage_until.load(Ordering::Relaxed) && version.check_stale().is_ok()
    }

    /// Remembers whether any server answers.
    pub(super) fn noting_outages<T>(&self, outcome: Result<T>) -> Result<T> {
        let until = match &outcome {
            Err(error) if error.code().is_transport() => {
                now().saturating_add((self.cluster.longest_call() + OUTAGE).as_nanos() as u64)
            }
            _ => 0,
        };
        self.outage_until.store(until, Ordering::Relaxed);
        outcome
    }

    pub(super) fn fetch_newest(&self, name: &str) -> Result<Key> {
        let deadline = self.cluster.deadline();
        let found = self.find_newest(name, deadline)?;
        Ok(self.cache.insert_named(self.cached_or_fetched(&found, deadline)?))
    }

    /// The key that was found, with what was just told of it. One that is in memory gives way to no other object.
    pub(super) fn cached_or_fetched(&self, found: &Found, deadline: Deadline) -> Result<Arc<Version>> {
        match self.cache.version(&found.id) {
            Some(version) if version.identifier() == found.identifier => {
                self.verified(&version, found);
                Ok(version)
            }
            Some(version) => Err(self.alarm_other_key(&version, found)),
            None => self.fetch(found, deadline),
        }
    }

    /// Brings a handle up to date: its state, and a newer version where there is one.
    pub(super) fn refresh(&self, key: &Key, deadline: Deadline) -> Result<()> {
        let handle = key.handle();
        let Some(current) = handle.current() else { return Err(handle.gone()) };
        match self.noting_outages(self.find_newest(&current.id().name, deadline)) {
            Ok(found) if found.id == *current.id() && found.identifier == current.identifier() => {
                self.verified(&current, &found);
                Ok(())
            }
            Ok(found) if found.id.version > current.id().version => {
                let newer = self.fetch(&found, deadline)?;
                self.cache.follow(handle, newer);
                Ok(())
            }
            Ok(found) if found.id.version < current.id().version => self.verify_overtaken(&current, &found, deadline),
            Ok(found) => Err(self.alarm_other_key(&current, &found)),
            Err(error) if is_outage(&error) => {
                self.tell_stale(current.id(), &error);
                current.check_stale()
            }
            Err(error) if is_gone(&error) => {
                self.cache.remove(handle);
                Err(error)
            }
            Err(error) if error.code() == Code::KeyState => {
                // No version is active any more: what the current one may still do is its own state's affair.
                let found = self.find_version(current.id(), deadline)?;
                if found.identifier != current.identifier() {
                    return Err(self.alarm_other_key(&current, &found));
                }
                self.verified(&current, &found);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A server shows an older version as the newest: ours is not active any more, or that server lags.
    fn verify_overtaken(&self, current: &Version, older: &Found, deadline: Deadline) -> Result<()> {
        match self.find_version(current.id(), deadline) {
            Ok(found) if found.identifier == current.identifier() => {
                self.verified(current, &found);
                Ok(())
            }
            Ok(found) => Err(self.alarm_other_key(current, &found)),
            Err(error) if is_outage(&error) => {
                self.tell_stale(current.id(), &error);
                current.check_stale()
            }
            Err(error) if error.code() == Code::KeyNotFound => Err(self.alarm_other_key(current, older)),
            Err(error) => Err(error),
        }
    }

    /// Gets the key bytes from the server that described the key, or from another one.
    pub(super) fn fetch(&self, found: &Found, deadline: Deadline) -> Result<Arc<Version>> {
        self.check_tenant(found)?;
        let get = Get { id: &found.identifier };
        let get = || Ok(self.cluster.call(&get, subject(&found.id), Some(found.server), deadline)?.answer.material);
        let material = self.room.with(get)?;
        self.check_material(&Object::of(found), &material)?;
        Ok(Arc::new(Version::new(self.ready(found.id.clone(), material), found, self.rules)))
    }

    /// The key, which may have others give up their memory.
    pub(super) fn ready(&self, id: KeyId, material: Slot<[u8; 32]>) -> envelope::Key {
        let room = Arc::downgrade(&self.room);
        let room = move || room.upgrade().is_some_and(|room| room.make());
        envelope::Key::new(id, material).with_room(Arc::new(room))
    }

    /// Takes over what a server has just told of a version. A destroyed one is wiped at once.
    pub(super) fn verified(&self, version: &Version, found: &Found) {
        version.verify(found.standing());
        self.cache.count_refresh();
        if found.state.is_destroyed() {
            self.cache.learn(version.id(), found.state);
        }
    }

    pub(super) fn tell_stale(&self, id: &KeyId, error: &Error) {
        self.cache.count_stale();
        let fields = [("key_name", id.to_string().into()), ("message", error.message().into())];
        self.cluster.journal().event(catalogue::CACHE_STALE, Severity::Warning, &fields);
    }

    /// The servers now show an older version, or another object under the same name and version. The key encrypts no more
    /// until a server shows it again.
    pub(super) fn alarm_other_key(&self, current: &Version, found: &Found) -> Error {
        let message = format!(
            "key {} was object {:?}, and the key servers now show {} as object {:?}; encryption stops until they agree: \
             compare the servers of the cluster",
            current.id(),
            current.identifier(),
            found.id,
            found.identifier
        );
        if current.contradict() {
            let fields = [("message", message.clone().into())];
            self.cluster.journal().event(catalogue::KEY_CONTRADICTION, Severity::Alert, &fields);
        }
        Error::new(Code::AnswerUnexpected, message)
    }
}

/// Whether every server was asked, and none knows the key.
pub(super) fn is_gone(error: &Error) -> bool {
    error.code() == Code::KeyNotFound && error.attempts().is_empty()
}

/// Whether the servers that can tell could not be asked: one that lags does not know what another one does.
pub(super) fn is_outage(error: &Error) -> bool {
    error.code().is_transport() || error.code() == Code::KeyNotFound && !error.attempts().is_empty()
}
