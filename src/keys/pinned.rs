//! Handles of one version, `NAME/V`, which do not follow their name.
//!
//! Such a handle decrypts as its version's state allows, and encrypts only while a handle of the name would encrypt with
//! the same version: no pin keeps a version in use that a rotation was to end.

#![forbid(unsafe_code)]

use super::handle::Key;
use super::lookup::Found;
use super::verify::is_gone;
use super::{Keys, is_outage};
use crate::envelope::KeyId;
use crate::error::Result;
use crate::kmip::{Deadline, State};

impl Keys {
    /// The handle that is pinned to this version. Blocks as [`Keys::named`] does.
    pub(super) fn pinned(&self, id: &KeyId) -> Result<Key> {
        if let Some(key) = self.cache.pinned(id).filter(|key| self.is_good(key)) {
            self.cache.count_hit();
            return Ok(key);
        }
        self.cache.count_miss();
        // No name has a slash.
        self.newest_flights.once(id.to_string(), || match self.cache.pinned(id) {
            Some(key) if self.is_good(&key) => Ok(key),
            Some(key) => self.verify_pinned(&key, self.cluster.deadline()).map(|()| key),
            None => self.fetch_pinned(id),
        })
    }

    /// Verifies what is due, as [`Keys::refresh_due`] does with handles that follow their name.
    pub(super) fn refresh_pinned(&self) {
        for key in self.cache.all_pinned() {
            if !key.handle().is_verified_within(self.limits.version_ttl / 4 * 3)
                && let Ok(id) = key.id()
            {
                let _ = self
                    .newest_flights
                    .once(id.to_string(), || self.verify_pinned(&key, self.cluster.deadline()).map(|()| key.clone()));
            }
        }
    }

    fn fetch_pinned(&self, id: &KeyId) -> Result<Key> {
        let deadline = self.cluster.deadline();
        let (found, is_newest) = self.find_pinned(id, deadline)?;
        Ok(self.cache.insert_pinned(self.cached_or_fetched(&found, deadline)?, is_newest))
    }

    /// Learns of the version's state, and whether it is the newest.
    pub(super) fn verify_pinned(&self, key: &Key, deadline: Deadline) -> Result<()> {
        let handle = key.handle();
        let Some(current) = handle.current() else { return Err(handle.gone()) };
        match self.noting_outages(self.find_pinned(current.id(), deadline)) {
            Ok((found, is_newest)) if found.identifier == current.identifier() => {
                self.verified(&current, &found);
                self.cache.set_newest(current.id(), is_newest);
                Ok(())
            }
            Ok((found, _)) => Err(self.alarm_other_key(&current, &found)),
            Err(error) if is_outage(&error) => {
                self.tell_stale(current.id(), &error);
                current.check_stale()
            }
            Err(error) => {
                if is_gone(&error) {
                    self.cache.learn(current.id(), State::Destroyed);
                }
                Err(error)
            }
        }
    }

    /// The version, and whether it is the newest of its name that encrypts.
    fn find_pinned(&self, id: &KeyId, deadline: Deadline) -> Result<(Found, bool)> {
        match self.find_newest(&id.name, deadline) {
            Ok(found) if found.id == *id => Ok((found, true)),
            Err(error) if is_outage(&error) => Err(error),
            // What ails another version is no fault of this one.
            _ => Ok((self.find_version(id, deadline)?, false)),
        }
    }
}
