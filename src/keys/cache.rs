//! Which keys are in memory.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::handle::{End, Handle, Key};
use super::now;
use super::uses::Uses;
use super::version::Version;
use crate::envelope::KeyId;
use crate::kmip::State;

/// Handles by name, and versions by name and version, some of them with a handle that is pinned to them. A version that a
/// handle follows is in both.
pub struct Cache {
    max_entries: usize,
    contents: RwLock<Contents>,
    /// Of handles.
    uses: Option<Uses>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    refreshes: AtomicU64,
    stale: AtomicU64,
    evicted: AtomicU64,
}

/// What a cache did so far.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Versions that are in it.
    pub keys: usize,
    /// What was asked for and was there, verified.
    pub hits: u64,
    pub misses: u64,
    /// Verifications that a server answered.
    pub refreshes: u64,
    /// Verifications that no server answered, so that a key went on unverified.
    pub stale: u64,
    /// Keys that went to make room, in the cache or in locked memory.
    pub evicted: u64,
}

#[derive(Default)]
struct Contents {
    /// Its client was closed: what is still on its way from a key server is not kept.
    is_closed: bool,
    named: HashMap<String, Followed, foldhash::quality::RandomState>,
    pinned: HashMap<KeyId, Key>,
    versions: HashMap<KeyId, Arc<Version>>,
}

/// A handle, and the version that it follows.
struct Followed {
    key: Key,
    version: Arc<Version>,
}

impl Cache {
    pub fn new(max_entries: usize, uses: Option<Uses>) -> Cache {
        Cache { max_entries, contents: RwLock::default(), uses, tally: Tally::default() }
    }

    pub fn named(&self, name: &str) -> Option<Key> {
        let contents = self.read();
        let followed = contents.named.get(name)?;
        followed.version.touch(now());
        Some(followed.key.clone())
    }

    /// The handle of a name whose version is good enough: the whole of a hit, so it looks at the clock and at the version
    /// once.
    #[inline]
    pub fn hit(&self, name: &str, is_good: impl FnOnce(&Version, u64) -> bool) -> Option<Key> {
        let contents = self.read();
        let followed = contents.named.get(name)?;
        let now = now();
        followed.version.touch(now);
        if !is_good(&followed.version, now) {
            return None;
        }
        self.tally.hits.fetch_add(1, Ordering::Relaxed);
        Some(followed.key.clone())
    }

    /// The handle that is pinned to a version.
    pub fn pinned(&self, id: &KeyId) -> Option<Key> {
        let key = self.read().pinned.get(id)?.clone();
        if let Some(version) = key.handle().current() {
            version.touch(now());
        }
        Some(key)
    }

    /// Whether a handle follows this very version, or is pinned to it.
    ///
    /// Of a version that was fetched twice at once it follows one, and only that one is kept verified with it.
    pub fn is_followed(&self, version: &Arc<Version>) -> bool {
        let (contents, id) = (self.read(), version.id());
        let is_named = contents.named.get(&id.name).is_some_and(|followed| Arc::ptr_eq(&followed.version, version));
        let pinned = || contents.pinned.get(id).and_then(|key| key.handle().current());
        is_named || pinned().is_some_and(|current| Arc::ptr_eq(&current, version))
    }

    pub fn all_named(&self) -> Vec<Key> {
        self.read().named.values().map(|followed| followed.key.clone()).collect()
    }

    pub fn all_pinned(&self) -> Vec<Key> {
        self.read().pinned.values().cloned().collect()
    }

    pub fn version(&self, id: &KeyId) -> Option<Arc<Version>> {
        let version = self.read().versions.get(id)?.clone();
        version.touch(now());
        Some(version)
    }

    /// Every version that is in use. Two threads may have fetched one at the same time: then the handle follows another
    /// object than the one kept by name and version.
    pub fn all_versions(&self) -> Vec<Arc<Version>> {
        let contents = self.read();
        let is_apart = |one: &Arc<Version>| contents.versions.get(one.id()).is_none_or(|kept| !Arc::ptr_eq(kept, one));
        let followed = contents.named.values().map(|followed| followed.version.clone());
        let pinned = contents.pinned.values().filter_map(|key| key.handle().current());
        contents.versions.values().cloned().chain(followed.chain(pinned).filter(is_apart)).collect()
    }

    /// Keeps the version, and makes a handle that follows its name. A handle that is there already stays, and goes on with a
    /// newer version.
    pub fn insert_named(&self, version: Arc<Version>) -> Key {
        let mut contents = self.write();
        if contents.is_closed {
            let key = Key::new(version, self.uses.clone());
            key.handle().end(End::Closed);
            return key;
        }
        let id = version.id().clone();
        contents.overtake(&id);
        contents.versions.insert(id.clone(), version.clone());
        let follow = || Followed { key: Key::new(version.clone(), self.uses.clone()), version: version.clone() };
        let followed = contents.named.entry(id.name).or_insert_with(follow);
        if followed.version.id().version < version.id().version {
            followed.version = version.clone();
            followed.key.handle().follow(version);
        }
        let key = followed.key.clone();
        self.tally.evicted.fetch_add(contents.evict(self.max_entries), Ordering::Relaxed);
        key
    }

    /// Keeps the version, and makes a handle that is pinned to it. A handle that is there already stays. It may have been
    /// the newest when a server was asked, and the name have been rotated since.
    pub fn insert_pinned(&self, version: Arc<Version>, is_newest: bool) -> Key {
        let mut contents = self.write();
        let is_newest = is_newest && !contents.is_overtaken(version.id());
        let make = || Key::pinned(version.clone(), is_newest, self.uses.clone());
        if contents.is_closed {
            let key = make();
            key.handle().end(End::Closed);
            return key;
        }
        let key = contents.pinned.entry(version.id().clone()).or_insert_with(make).clone();
        let evicted = contents.insert(version, self.max_entries);
        self.tally.evicted.fetch_add(evicted, Ordering::Relaxed);
        key
    }

    /// Tells the handle that is pinned to a version whether a server showed that as the newest.
    pub fn set_newest(&self, id: &KeyId, is_newest: bool) {
        let contents = self.read();
        if let Some(key) = contents.pinned.get(id) {
            key.handle().set_newest(is_newest && !contents.is_overtaken(id));
        }
    }

    pub fn insert_version(&self, version: Arc<Version>) -> Arc<Version> {
        let evicted = self.write().insert(version.clone(), self.max_entries);
        self.tally.evicted.fetch_add(evicted, Ordering::Relaxed);
        version
    }

    /// Lets a handle go on with a newer version, unless it was ended or went on with a still newer one meanwhile.
    pub fn follow(&self, handle: &Handle, newer: Arc<Version>) {
        let mut contents = self.write();
        let followed = contents.named.get_mut(handle.name());
        let Some(followed) = followed.filter(|followed| std::ptr::eq(followed.key.handle(), handle)) else { return };
        if newer.id().version <= followed.version.id().version {
            return;
        }
        followed.version = newer.clone();
        handle.follow(newer.clone());
        contents.overtake(newer.id());
        let evicted = contents.insert(newer, self.max_entries);
        self.tally.evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Lets the least recently used version go that no application holds, so that its memory serves another key.
    pub fn evict_for_room(&self) -> Option<KeyId> {
        let id = self.write().evict_oldest()?;
        self.tally.evicted.fetch_add(1, Ordering::Relaxed);
        Some(id)
    }

    /// Forgets the versions of a name, or of all; handles that are still held refuse from now on. Returns how many.
    pub fn purge(&self, name: Option<&str>) -> usize {
        let mut contents = self.write();
        let held = contents.versions.len();
        let is_meant = |known: &str| name.is_none_or(|name| name == known);
        contents.named.retain(|name, followed| {
            if is_meant(name) {
                followed.key.handle().end(End::Purged);
            }
            !is_meant(name)
        });
        contents.end_pinned(|id| is_meant(&id.name), End::Purged);
        contents.versions.retain(|id, _| !is_meant(&id.name));
        held - contents.versions.len()
    }

    /// Forgets every version of a handle whose key was destroyed; the handle refuses from now on.
    pub fn remove(&self, handle: &Handle) {
        let mut contents = self.write();
        contents.named.remove(handle.name());
        contents.end_pinned(|id| id.name == handle.name(), End::Destroyed);
        contents.versions.retain(|id, _| id.name != handle.name());
        handle.end(End::Destroyed);
    }

    /// Takes over the state that a version was just brought to or seen in. A destroyed one is wiped at once.
    pub fn learn(&self, id: &KeyId, state: State) {
        let mut contents = self.write();
        if let Some(version) = contents.versions.get(id) {
            version.verify(state.into());
        }
        let followed = contents.named.get(&id.name).filter(|followed| followed.version.id() == id);
        if let Some(followed) = followed {
            followed.version.verify(state.into());
        }
        if let Some(version) = contents.pinned.get(id).and_then(|key| key.handle().current()) {
            version.verify(state.into());
        }
        if state.is_destroyed() {
            if let Some(followed) = followed {
                followed.key.handle().end(End::Destroyed);
                contents.named.remove(&id.name);
            }
            contents.end_pinned(|pinned| pinned == id, End::Destroyed);
            contents.versions.remove(id);
        }
    }

    /// Forgets every key for good; handles that are still held, or are still to be given out, refuse from now on.
    pub fn close(&self) {
        let mut contents = self.write();
        contents.is_closed = true;
        contents.named.drain().for_each(|(_, followed)| followed.key.handle().end(End::Closed));
        contents.end_pinned(|_| true, End::Closed);
        contents.versions.clear();
    }

    pub fn count_hit(&self) {
        self.tally.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_miss(&self) {
        self.tally.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_refresh(&self) {
        self.tally.refreshes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_stale(&self) {
        self.tally.stale.fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally { hits, misses, refreshes, stale, evicted } = &self.tally;
        Counts {
            keys: self.read().versions.len(),
            hits: count(hits),
            misses: count(misses),
            refreshes: count(refreshes),
            stale: count(stale),
            evicted: count(evicted),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Returns how many others went.
    fn insert(&mut self, version: Arc<Version>, max_entries: usize) -> u64 {
        if self.is_closed {
            return 0;
        }
        self.versions.insert(version.id().clone(), version);
        self.evict(max_entries)
    }

    /// Whether the handle of its name encrypts with a newer one.
    fn is_overtaken(&self, id: &KeyId) -> bool {
        let is_newer = |version: &Version| version.id().version > id.version && version.may_encrypt(now()).is_ok();
        self.named.get(&id.name).is_some_and(|followed| is_newer(&followed.version))
    }

    /// Handles that are pinned to older versions of its name encrypt no more.
    fn overtake(&mut self, newer: &KeyId) {
        let is_older = |id: &KeyId| id.name == newer.name && id.version < newer.version;
        let older = self.pinned.iter().filter(|(id, _)| is_older(id));
        older.for_each(|(_, key)| key.handle().set_newest(false));
    }

    /// Forgets handles that are pinned, which refuse from now on.
    fn end_pinned(&mut self, is_meant: impl Fn(&KeyId) -> bool, why: End) {
        let ended = self.pinned.extract_if(|id, _| is_meant(id));
        ended.for_each(|(_, key)| key.handle().end(why));
    }

    fn evict(&mut self, max_entries: usize) -> u64 {
        let mut evicted = 0;
        while self.versions.len() > max_entries && self.evict_oldest().is_some() {
            evicted += 1;
        }
        evicted
    }

    /// Lets the least recently used version go. A handle that the application still holds keeps its version:
    /// it is the application's, not the cache's, and is still to be verified.
    fn evict_oldest(&mut self) -> Option<KeyId> {
        let follower = |id: &KeyId| self.named.get(&id.name).filter(|followed| followed.version.id() == id);
        let is_held = |id: &KeyId| {
            let mut keys = follower(id).map(|followed| &followed.key).into_iter().chain(self.pinned.get(id));
            keys.any(|key| !key.is_unused())
        };
        let free = self.versions.values().filter(|version| !is_held(version.id()));
        let id = free.min_by_key(|version| version.used())?.id().clone();
        if follower(&id).is_some() {
            self.named.remove(&id.name);
        }
        self.pinned.remove(&id);
        self.versions.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::keys::version::tests::version_of;

    fn version(number: u32) -> Arc<Version> {
        Arc::new(version_of(&format!("a/{number}")))
    }

    #[test]
    fn a_key_that_arrives_after_the_client_was_closed_is_neither_kept_nor_usable() {
        let cache = Cache::new(10, None);
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
        assert_eq!(cache.counts().keys, 0);
    }

    #[test]
    fn a_version_that_was_fetched_twice_at_once_is_told_of_its_end_and_quiesced_in_both_places() {
        let cache = Cache::new(10, None);
        let (followed, kept) = (version(1), version(1));
        let key = cache.insert_named(followed.clone());
        cache.insert_version(kept.clone());
        assert!(cache.is_followed(&followed) && !cache.is_followed(&kept), "the other one is verified on its own");
        let all = cache.all_versions();
        assert!([followed, kept].iter().all(|version| all.iter().any(|one| Arc::ptr_eq(one, version))));
        cache.learn(&KeyId::new("a", 1).unwrap(), State::Deactivated);
        assert_eq!(key.encrypt(b"x", b"", &mut [0; 256]).unwrap_err().code(), Code::KeyState);
    }

    #[test]
    fn a_handle_that_was_made_while_its_key_was_rotated_goes_on_with_the_new_version() {
        let cache = Cache::new(10, None);
        let late = cache.insert_named(version(1));
        let rotated = cache.insert_named(version(2));
        assert_eq!([late, rotated].map(|key| key.id().unwrap().to_string()), ["a/2", "a/2"]);
    }

    #[test]
    fn a_handle_never_goes_back_to_an_older_version() {
        let cache = Cache::new(10, None);
        let key = cache.insert_named(version(1));
        cache.follow(key.handle(), version(3));
        cache.learn(&KeyId::new("a", 2).unwrap(), State::Compromised);
        cache.follow(key.handle(), version(2));
        assert_eq!(key.id().unwrap().to_string(), "a/3");
    }

    #[test]
    fn the_least_recently_used_version_goes_first_and_one_that_is_held_never() {
        let cache = Cache::new(3, None);
        let held = cache.insert_named(Arc::new(version_of("held/1")));
        cache.insert_named(Arc::new(version_of("old/1")));
        for number in [1, 2, 3] {
            // The coarse clock ticks every few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            cache.insert_version(Arc::new(version_of(&format!("free/{number}"))));
        }
        assert_eq!((cache.counts().keys, cache.counts().evicted), (3, 2));
        assert!(cache.version(&KeyId::new("free", 1).unwrap()).is_none() && cache.named("old").is_none());
        assert_eq!(cache.evict_for_room().unwrap().to_string(), "free/2");
        assert_eq!(cache.evict_for_room().unwrap().to_string(), "free/3");
        assert_eq!(cache.evict_for_room(), None, "the application holds it");
        held.encrypt(b"x", b"", &mut [0; 256]).unwrap();
        drop(held);
        assert_eq!(cache.evict_for_room().unwrap().to_string(), "held/1");
        assert_eq!(cache.counts().keys, 0);
    }

    #[test]
    fn a_handle_of_one_version_keeps_it_while_it_is_held_and_ends_with_it() {
        let cache = Cache::new(10, None);
        let id = |number| KeyId::new("a", number).unwrap();
        let held = cache.insert_pinned(version(1), true);
        drop(cache.insert_pinned(version(3), true));
        assert_eq!(cache.evict_for_room(), Some(id(3)));
        assert!(cache.pinned(&id(3)).is_none() && cache.evict_for_room().is_none(), "the application holds a/1");
        assert!(cache.is_followed(&held.handle().current().unwrap()));

        let encrypt = |key: &Key| key.encrypt(b"x", b"", &mut [0; 256]).map_err(|error| error.code());
        encrypt(&held).unwrap();
        let named = cache.insert_named(version(2));
        // A server was asked before the name went on.
        cache.set_newest(&id(1), true);
        assert_eq!(encrypt(&held), Err(Code::KeyState));
        encrypt(&named).expect("the newest version encrypts");
        cache.learn(&id(2), State::Deactivated);
        cache.set_newest(&id(1), true);
        encrypt(&held).unwrap();
        let late = cache.insert_named(Arc::new(version_of("b/2")));
        assert_eq!(encrypt(&cache.insert_pinned(Arc::new(version_of("b/1")), true)), Err(Code::KeyState));
        encrypt(&late).unwrap();
        cache.purge(Some("b"));
        cache.learn(&id(1), State::Destroyed);
        assert!(encrypt(&held) == Err(Code::KeyState) && held.id().is_err() && cache.version(&id(1)).is_none());

        let (one, two) = (cache.insert_pinned(version(1), true), cache.insert_pinned(version(2), true));
        cache.learn(&id(1), State::DestroyedCompromised);
        assert_eq!((encrypt(&one), encrypt(&two).is_ok()), (Err(Code::KeyState), true));
        cache.purge(Some("a"));
        assert_eq!((encrypt(&two), encrypt(&named)), (Err(Code::KeyStale), Err(Code::KeyStale)));
        let last = cache.insert_pinned(version(4), true);
        cache.close();
        let late = cache.insert_pinned(version(5), true);
        assert_eq!((encrypt(&last), encrypt(&late)), (Err(Code::Closed), Err(Code::Closed)));
        assert_eq!(cache.counts().keys, 0);
    }

    #[test]
    fn what_is_purged_is_wiped_also_behind_handles_and_nothing_else_is() {
        let cache = Cache::new(10, None);
        let (one, other) = (Arc::new(version_of("one/1")), Arc::new(version_of("other/1")));
        let watched = Arc::downgrade(&one);
        let keys = [cache.insert_named(one), cache.insert_named(other)];
        cache.insert_version(Arc::new(version_of("one/2")));
        assert_eq!(cache.purge(Some("one")), 2);
        assert!(watched.upgrade().is_none(), "it is still in memory");
        let error = keys[0].encrypt(b"x", b"", &mut [0; 256]).unwrap_err();
        assert!(error.code() == Code::KeyStale && error.message().contains("purged"), "{error}");
        keys[1].encrypt(b"x", b"", &mut [0; 256]).unwrap();
        assert_eq!(cache.purge(None), 1);
        assert!(keys[1].encrypt(b"x", b"", &mut [0; 256]).is_err());
    }
}
