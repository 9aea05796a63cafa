//! The connections to one server: those that are kept warm, and how many there may be.

#![forbid(unsafe_code)]

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::server::lock;
use crate::config::Connections;
use crate::kmip::{Connection, Deadline};

/// Connections kept warm for the next calls.
const WARM_LIMIT: usize = 16;

pub struct Pool {
    limits: Connections,
    idle: Mutex<Vec<Idle>>,
    places: Mutex<Places>,
    freed: Condvar,
}

#[derive(Default)]
struct Places {
    used: usize,
    /// So many calls wait for one.
    awaited: usize,
}

/// A connection without a call.
pub struct Idle {
    pub connection: Connection,
    pub since: Instant,
}

/// The right to use one connection at a time, until it is dropped.
pub struct Place<'a>(&'a Pool);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = lock(&self.0.places);
        places.used -= 1;
        let is_awaited = places.awaited > 0;
        drop(places);
        if is_awaited {
            self.0.freed.notify_one();
        }
    }
}

impl Pool {
    pub fn new(limits: Connections) -> Pool {
        Pool { limits, idle: Mutex::default(), places: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits for a place; `None` if there is none before the deadline.
    pub fn enter(&self, deadline: Deadline) -> Option<Place<'_>> {
        let mut places = lock(&self.places);
        while places.used >= self.limits.most {
            let left = deadline.remaining()?;
            places.awaited += 1;
            places = self.freed.wait_timeout(places, left).unwrap_or_else(PoisonError::into_inner).0;
            places.awaited -= 1;
        }
        places.used += 1;
        Some(Place(self))
    }

    /// A warm connection that stands.
    pub fn warm(&self) -> Option<Idle> {
        // Those that are closed say farewell, for which nobody else should wait.
        loop {
            let mut candidate = lock(&self.idle).pop()?;
            if candidate.since.elapsed() < self.limits.idle && candidate.connection.is_usable() {
                return Some(candidate);
            }
        }
    }

    pub fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < WARM_LIMIT {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes what was idle for too long.
    pub fn tidy(&self) {
        let is_old = |idle: &mut Idle| idle.since.elapsed() >= self.limits.idle;
        let old: Vec<Idle> = lock(&self.idle).extract_if(.., is_old).collect();
        drop(old);
    }

    /// Closes the warm connections.
    pub fn close(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_waits_for_a_place_and_no_longer_than_its_deadline() {
        let pool = Pool::new(Connections { most: 3, ..Connections::default() });
        let mut places: Vec<_> = (0..3).map(|_| pool.enter(Deadline::after(Duration::ZERO)).unwrap()).collect();
        assert!(pool.enter(Deadline::after(Duration::from_millis(5))).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.enter(Deadline::after(Duration::from_secs(60))).is_some());
            places.pop();
            assert!(waiting.join().unwrap());
        });
        places.clear();
        let places = lock(&pool.places);
        assert_eq!((places.used, places.awaited), (0, 0));
    }
}
