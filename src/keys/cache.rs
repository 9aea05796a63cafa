//! Which keys are in memory.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::handle::{Handle, Key, Version};
use crate::envelope::KeyId;
use crate::kmip::State;

/// Handles by name, and versions by name and version. A version that a handle follows is in both.
pub struct Cache {
    max_entries: usize,
    contents: RwLock<Contents>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
struct Contents {
    /// Its client was closed: what is still on its way from a key server is not kept.
    is_closed: bool,
    named: HashMap<String, Key>,
    versions: HashMap<KeyId, Arc<Version>>,
}

impl Cache {
    pub fn new(max_entries: usize) -> Cache {
        Cache { max_entries, contents: RwLock::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub fn named(&self, name: &str) -> Option<Key> {
        let key = self.read().named.get(name)?.clone();
        key.handle().touch();
        Some(key)
    }

    pub fn is_followed(&self, id: &KeyId) -> bool {
        self.read().named.get(&id.name).is_some_and(|key| key.handle().follows(id))
    }

    pub fn all_named(&self) -> Vec<Key> {
        self.read().named.values().cloned().collect()
    }

    pub fn version(&self, id: &KeyId) -> Option<Arc<Version>> {
        let version = self.read().versions.get(id)?.clone();
        version.touch();
        Some(version)
    }

    /// Every version that is in use. Two threads may have fetched one at the same time: then the handle follows another
    /// object than the one kept by name and version.
    pub fn all_versions(&self) -> Vec<Arc<Version>> {
        let contents = self.read();
        let is_apart = |one: &Arc<Version>| contents.versions.get(one.id()).is_none_or(|kept| !Arc::ptr_eq(kept, one));
        let followed = contents.named.values().filter_map(|key| key.handle().current());
        contents.versions.values().cloned().chain(followed.filter(is_apart)).collect()
    }

    /// Keeps the version, and makes a handle that follows its name. A handle that is there already stays.
    pub fn insert_named(&self, version: Arc<Version>) -> Key {
        let mut contents = self.write();
        if contents.is_closed {
            let key = Key::new(version);
            key.handle().close();
            return key;
        }
        let id = version.id().clone();
        contents.versions.insert(id.clone(), version.clone());
        let key = contents.named.entry(id.name).or_insert_with(|| Key::new(version)).clone();
        contents.evict(self.max_entries);
        key
    }

    pub fn insert_version(&self, version: Arc<Version>) -> Arc<Version> {
        self.write().insert(version.clone(), self.max_entries);
        version
    }

    /// Lets a handle go on with a newer version.
    pub fn follow(&self, handle: &Handle, newer: Arc<Version>) {
        let mut contents = self.write();
        if !contents.is_closed {
            contents.insert(newer.clone(), self.max_entries);
            handle.follow(newer);
        }
    }

    /// Forgets the current version of a handle whose key was destroyed; the handle refuses from now on.
    pub fn remove(&self, handle: &Handle) {
        let mut contents = self.write();
        contents.named.remove(handle.name());
        contents.versions.retain(|id, _| id.name != handle.name());
        handle.destroy();
    }

    /// Takes over the state that a version was just brought to. A destroyed one is wiped at once.
    pub fn learn(&self, id: &KeyId, state: State) {
        let mut contents = self.write();
        if let Some(version) = contents.versions.get(id) {
            version.verify(state);
        }
        let followed = contents.named.get(&id.name).and_then(|key| key.handle().current());
        if let Some(version) = followed.filter(|version| version.id() == id) {
            version.verify(state);
        }
        if state == State::Destroyed {
            contents.versions.remove(id);
            let follows = |key: &Key| key.handle().current().is_some_and(|version| version.id() == id);
            if let Some(key) = contents.named.get(&id.name).filter(|key| follows(key)) {
                key.handle().destroy();
                contents.named.remove(&id.name);
            }
        }
    }

    /// Forgets every key for good; handles that are still held, or are still to be given out, refuse from now on.
    pub fn close(&self) {
        let mut contents = self.write();
        contents.is_closed = true;
        contents.named.drain().for_each(|(_, key)| key.handle().close());
        contents.versions.clear();
    }

    pub fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Cached versions, hits, misses.
    pub fn counts(&self) -> (usize, u64, u64) {
        let held = self.read().versions.len();
        (held, self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn insert(&mut self, version: Arc<Version>, max_entries: usize) {
        if !self.is_closed {
            self.versions.insert(version.id().clone(), version);
            self.evict(max_entries);
        }
    }

    /// Lets the least recently used versions go. A handle that the application still holds keeps its version:
    /// it is the application's, not the cache's, and is still to be verified.
    fn evict(&mut self, max_entries: usize) {
        while self.versions.len() > max_entries {
            let unused = |id: &KeyId| self.named.get(&id.name).is_none_or(Key::is_unused);
            let oldest =
                self.versions.values().filter(|version| unused(version.id())).min_by_key(|version| version.used());
            let Some(id) = oldest.map(|version| version.id().clone()) else { return };
            self.versions.remove(&id);
            let follows = |key: &Key| key.handle().current().is_none_or(|version| *version.id() == id);
            if self.named.get(&id.name).is_some_and(follows) {
                self.named.remove(&id.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope;
    use crate::error::Code;
    use crate::memory::slot::Slot;
    use std::time::Duration;

    fn version(number: u32) -> Arc<Version> {
        let key = envelope::Key::new(KeyId::new("a", number).unwrap(), Slot::copy_of(&[7; 32]).unwrap());
        Arc::new(Version::new(key, "uid".into(), State::Active, Duration::from_secs(60)))
    }

    #[test]
    fn a_key_that_arrives_after_the_client_was_closed_is_neither_kept_nor_usable() {
        let cache = Cache::new(10);
        let held = cache.insert_named(version(1));
        cache.close();
        let (late, newer) = (version(1), version(2));
        let watched = [Arc::downgrade(&late), Arc::downgrade(&newer)];
        let key = cache.insert_named(late);
        cache.follow(held.handle(), newer);
        cache.insert_version(version(3));
        for key in [&held, &key] {
            assert_eq!(key.encrypt(b"x", b"", &mut [0; 256]).unwrap_err().code(), Code::Closed);
        }
        assert!(watched.iter().all(|version| version.upgrade().is_none()), "it is still in memory");
        assert_eq!(cache.counts().0, 0);
    }

    #[test]
    fn a_version_that_was_fetched_twice_at_once_is_told_of_its_end_and_quiesced_in_both_places() {
        let cache = Cache::new(10);
        let (followed, kept) = (version(1), version(1));
        let key = cache.insert_named(followed.clone());
        cache.insert_version(kept.clone());
        let all = cache.all_versions();
        assert!([followed, kept].iter().all(|version| all.iter().any(|one| Arc::ptr_eq(one, version))));
        cache.learn(&KeyId::new("a", 1).unwrap(), State::Deactivated);
        assert_eq!(key.encrypt(b"x", b"", &mut [0; 256]).unwrap_err().code(), Code::KeyState);
    }
}
