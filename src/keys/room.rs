//! Room in locked memory: the least recently used keys go when it is full.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::Cache;
use super::now;
use crate::cluster::Journal;
use crate::error::{Code, Result};
use crate::log::{Severity, catalogue};

/// It is told no more often than this, in nanoseconds: who is short of memory evicts a key for each that comes.
const TOLD_EVERY: u64 = 60_000_000_000;

pub struct Room {
    cache: Arc<Cache>,
    journal: Journal,
    told: AtomicU64,
}

impl Room {
    pub fn new(cache: Arc<Cache>, journal: Journal) -> Room {
        Room { cache, journal, told: AtomicU64::new(0) }
    }

    /// Runs `make` again while no locked memory is left and an unused key can be given up for it.
    pub fn with<T>(&self, mut make: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match make() {
                Err(error) if error.code() == Code::MemoryExhausted && self.make() => {}
                outcome => return outcome,
            }
        }
    }

    /// Whether a key could be given up.
    pub fn make(&self) -> bool {
        let Some(id) = self.cache.evict_for_room() else { return false };
        let (now, told) = (now(), self.told.load(Ordering::Relaxed));
        let is_due = told == 0 || now.saturating_sub(told) > TOLD_EVERY;
        if is_due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let fields = [
                ("key_name", id.to_string().into()),
                ("evicted", self.cache.counts().evicted.to_string().into()),
                ("message", "locked memory is full; raise RLIMIT_MEMLOCK or lower cache.max_entries".into()),
            ];
            self.journal.event(catalogue::CACHE_EVICTED, Severity::Warning, &fields);
        }
        true
    }
}
