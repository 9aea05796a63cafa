//! Named keys: made on and fetched from the cluster, cached, verified.
//!
//! On the server each version of a key has the Name `NAME/V` and the Object Group `keystead:NAME`. What a
//! server answers is checked (name, algorithm, length, state), never assumed.

#![forbid(unsafe_code)]

mod cache;
mod column;
mod create;
mod flight;
mod handle;
mod lifecycle;
mod lookup;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use create::Creation;
pub use handle::Key;

use crate::cluster::{Cluster, Subject};
use crate::config::{self, Policy};
use crate::envelope::stream::Decryptor;
use crate::envelope::{self, KeyId, is_valid_name};
use crate::error::{Code, Error, Result};
use crate::kmip::{Deadline, Get};
use crate::log::{Severity, catalogue};
use crate::platform;
use cache::Cache;
use flight::Flights;
use handle::Version;
pub use lookup::Found;

/// So much longer than a whole call an outage is believed to last: until the background refresh has tried again.
const OUTAGE: Duration = Duration::from_secs(10);

/// The keys of a client.
pub struct Keys {
    cluster: Arc<Cluster>,
    limits: config::Cache,
    policy: Policy,
    cache: Cache,
    newest_flights: Flights<String, Key>,
    version_flights: Flights<KeyId, Arc<Version>>,
    create_flights: Flights<String, (Key, Creation)>,
    /// Until when, in coarse nanoseconds, it is left to the background refresh to find out whether a server answers again.
    outage_until: AtomicU64,
}

impl Keys {
    pub fn new(cluster: Arc<Cluster>, limits: config::Cache, policy: Policy) -> Keys {
        let cache = Cache::new(limits.max_entries);
        Keys {
            cluster,
            limits,
            policy,
            cache,
            newest_flights: Flights::default(),
            version_flights: Flights::default(),
            create_flights: Flights::default(),
            outage_until: AtomicU64::new(0),
        }
    }

    /// The handle that follows `name`. Blocks on the network unless the key is cached and verified within `ttl`, or
    /// within `max_stale` while no server answers.
    pub fn named(&self, name: &str) -> Result<Key> {
        if let Some(key) = self.cache.named(name)
            && self.is_good(&key)
        {
            self.cache.count_hit();
            return Ok(key);
        }
        check_name(name)?;
        self.cache.count_miss();
        self.newest_flights.once(name.to_owned(), || match self.cache.named(name) {
            Some(key) if self.is_good(&key) => Ok(key),
            Some(key) => self.refresh(&key).map(|()| key),
            None => self.fetch_newest(name),
        })
    }

    /// Makes the first version of `name`, or returns the key where there is one. Blocks.
    pub fn create(&self, name: &str) -> Result<(Key, Creation)> {
        check_name(name)?;
        // Rivals within one process need not meet on the key server.
        self.create_flights.once(name.to_owned(), || {
            let deadline = self.cluster.deadline();
            let (mut found, creation) = self.create_or_find(name, deadline)?;
            if let Some(key) = self.cache.named(name) {
                return Ok((key, creation));
            }
            let version = self.fetch(&found, deadline).or_else(|error| {
                // Its server went away before the others had heard of it.
                if !is_outage(&error) || deadline.is_past() {
                    return Err(error);
                }
                found = self.create_or_find(name, deadline)?.0;
                self.fetch(&found, deadline)
            })?;
            Ok((self.cache.insert_named(version), creation))
        })
    }

    /// Decrypts with the key that the message names. Blocks unless that key is cached.
    pub fn decrypt(&self, id: &KeyId, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        self.version(id)?.decrypt(message, aad, out)
    }

    /// Begins to decrypt a stream with the key that it names. Blocks unless that key is cached.
    pub fn decrypt_stream(&self, id: &KeyId, start: &[u8], aad: &[u8]) -> Result<Decryptor> {
        self.version(id)?.decrypt_stream(start, aad)
    }

    /// Verifies every cached key whose last verification is older than three quarters of `ttl`, so that a
    /// handle in use never waits and never goes stale while a server answers. So it does with the older versions that
    /// were used lately. Blocks.
    pub fn refresh_due(&self) {
        for key in self.cache.all_named() {
            if !key.handle().is_verified_within(self.limits.ttl / 4 * 3) {
                let name = key.name().to_owned();
                // Failures are recorded where they happen; the key goes on until `max_stale`.
                let _ = self.newest_flights.once(name, || self.refresh(&key).map(|()| key.clone()));
            }
        }
        for version in self.cache.all_versions() {
            let is_due =
                !version.is_verified_within(self.limits.ttl / 4 * 3) && version.is_used_within(self.limits.ttl);
            if is_due && !self.is_followed(version.id()) {
                let id = version.id();
                let _ = self.version_flights.once(id.clone(), || self.verify_version(id, Some(version.clone())));
            }
        }
    }

    /// Every version of every key that the servers know under our naming. Blocks.
    pub fn list(&self) -> Result<Vec<Found>> {
        self.find_all(self.cluster.deadline())
    }

    /// Every version of one key. Blocks.
    pub fn show(&self, name: &str) -> Result<Vec<Found>> {
        check_name(name)?;
        self.find_group(name, self.cluster.deadline())
    }

    /// Ends every session, so that what is encrypted after a snapshot shares no subkey with what came before.
    pub fn quiesce(&self) {
        self.cache.all_versions().iter().for_each(|version| version.quiesce());
    }

    /// Wipes every key, also those behind handles that are still held.
    pub fn close(&self) {
        self.cache.close();
    }

    /// Cached versions, hits and misses by name.
    pub fn counts(&self) -> (usize, u64, u64) {
        self.cache.counts()
    }

    fn version(&self, id: &KeyId) -> Result<Arc<Version>> {
        if let Some(version) = self.cache.version(id)
            && (self.is_fresh(&version) || self.is_followed(id))
        {
            self.cache.count_hit();
            return Ok(version);
        }
        self.cache.count_miss();
        self.version_flights.once(id.clone(), || self.verify_version(id, self.cache.version(id)))
    }

    fn verify_version(&self, id: &KeyId, known: Option<Arc<Version>>) -> Result<Arc<Version>> {
        let deadline = self.cluster.deadline();
        match (self.noting_outages(self.find_version(id, deadline)), known) {
            (Ok(found), Some(version)) if version.identifier() == found.identifier => {
                version.verify(found.state);
                Ok(version)
            }
            (Ok(found), _) => Ok(self.cache.insert_version(self.fetch(&found, deadline)?)),
            (Err(error), Some(version)) if is_outage(&error) => {
                self.tell_stale(id, &error);
                Ok(version)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn is_good(&self, key: &Key) -> bool {
        key.handle().current().is_some_and(|version| self.is_fresh(&version))
    }

    /// Whether a version need not be verified before it is used. In an outage nobody waits for an attempt that is in vain.
    fn is_fresh(&self, version: &Version) -> bool {
        let is_outage = || now() < self.outage_until.load(Ordering::Relaxed);
        version.is_verified_within(self.limits.ttl) || is_outage() && version.check_stale().is_ok()
    }

    /// Remembers whether any server answers.
    fn noting_outages<T>(&self, outcome: Result<T>) -> Result<T> {
        let until = match &outcome {
            Err(error) if error.code().is_transport() => {
                now().saturating_add((self.cluster.longest_call() + OUTAGE).as_nanos() as u64)
            }
            _ => 0,
        };
        self.outage_until.store(until, Ordering::Relaxed);
        outcome
    }

    /// Whether a handle follows this very version, so that the background refresh keeps it verified.
    fn is_followed(&self, id: &KeyId) -> bool {
        self.cache.is_followed(id)
    }

    fn fetch_newest(&self, name: &str) -> Result<Key> {
        let deadline = self.cluster.deadline();
        let found = self.find_newest(name, deadline)?;
        let version = match self.cache.version(&found.id) {
            Some(version) if version.identifier() == found.identifier => {
                version.verify(found.state);
                version
            }
            _ => self.fetch(&found, deadline)?,
        };
        Ok(self.cache.insert_named(version))
    }

    /// Brings a handle up to date: its state, and a newer version where there is one.
    fn refresh(&self, key: &Key) -> Result<()> {
        let handle = key.handle();
        let Some(current) = handle.current() else { return Err(handle.gone()) };
        let deadline = self.cluster.deadline();
        match self.noting_outages(self.find_newest(&current.id().name, deadline)) {
            Ok(found) if found.id == *current.id() && found.identifier == current.identifier() => {
                current.verify(found.state);
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
            Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => {
                self.cache.remove(handle);
                Err(error)
            }
            Err(error) if error.code() == Code::KeyState => {
                // No version is active any more: what the current one may still do is its own state's affair.
                current.verify(self.find_version(current.id(), deadline)?.state);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A server shows an older version as the newest: ours is not active any more, or that server lags.
    fn verify_overtaken(&self, current: &Version, older: &Found, deadline: Deadline) -> Result<()> {
        match self.find_version(current.id(), deadline) {
            Ok(found) if found.identifier == current.identifier() => {
                current.verify(found.state);
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
    fn fetch(&self, found: &Found, deadline: Deadline) -> Result<Arc<Version>> {
        let get = Get { id: &found.identifier };
        let material = self.cluster.call(&get, subject(&found.id), Some(found.server), deadline)?.answer.material;
        if looks_made_by_hand(&material) {
            let message = format!(
                "the bytes of key {} on the key server are printable or repeat themselves, so they were not made by a \
                 random generator; create the key anew on the key server",
                found.id
            );
            if self.policy == Policy::Strict {
                return Err(Error::new(Code::KeyWeak, message));
            }
            self.cluster.journal().event(catalogue::KEY_REFUSED, Severity::Warning, &[("message", message.into())]);
        }
        let key = envelope::Key::new(found.id.clone(), material);
        Ok(Arc::new(Version::new(key, found.identifier.clone(), found.state, self.limits.max_stale)))
    }

    fn tell_stale(&self, id: &KeyId, error: &Error) {
        let fields = [("key_name", id.to_string().into()), ("message", error.message().into())];
        self.cluster.journal().event(catalogue::CACHE_STALE, Severity::Warning, &fields);
    }

    /// The servers now show an older version, or another object under the same name and version.
    fn alarm_other_key(&self, current: &Version, found: &Found) -> Error {
        let message = format!(
            "key {} was object {:?}, and the key servers now show {} as object {:?}; encryption stops until they agree: \
             compare the servers of the cluster",
            current.id(),
            current.identifier(),
            found.id,
            found.identifier
        );
        self.cluster.journal().event(
            catalogue::KEY_CONTRADICTION,
            Severity::Alert,
            &[("message", message.clone().into())],
        );
        Error::new(Code::AnswerUnexpected, message)
    }
}

/// Whether the servers that can tell could not be asked: one that lags does not know what another one does.
fn is_outage(error: &Error) -> bool {
    error.code().is_transport() || error.code() == Code::KeyNotFound && !error.attempts().is_empty()
}

/// What the journal says an operation on this version is about.
fn subject(id: &KeyId) -> Subject<'_> {
    Subject { name: &id.name, version: Some(id.version) }
}

fn check_name(name: &str) -> Result<()> {
    if is_valid_name(name) {
        return Ok(());
    }
    let message = format!(
        "{name:?} is no key name: 1 to 128 of the letters A-Z and a-z, digits, dot, underscore and hyphen are allowed"
    );
    Err(Error::new(Code::InvalidArgument, message))
}

/// A random generator makes 32 printable bytes once in 10^13, and fewer than 8 different ones never.
fn looks_made_by_hand(material: &[u8; 32]) -> bool {
    let mut seen = zeroize::Zeroizing::new([false; 256]);
    material.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    let distinct = seen.iter().filter(|&&seen| seen).count();
    distinct < 8 || material.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

/// Now, in coarse nanoseconds since boot.
fn now() -> u64 {
    platform::coarse_now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_bytes_that_people_type_or_programs_fill_in_are_noticed() {
        assert!(looks_made_by_hand(b"correct horse battery staple 123"));
        assert!(looks_made_by_hand(&[0; 32]));
        assert!(looks_made_by_hand(&[0xAA; 32]));
        let random: [u8; 32] = ring::digest::digest(&ring::digest::SHA256, b"x").as_ref().try_into().unwrap();
        assert!(!looks_made_by_hand(&random));
    }
}
