//! The connections to one server: those that are kept warm, and how many there may be.

#![forbid(unsafe_code)]

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::server::lock;
use crate::kmip::{Connection, Deadline};

/// Servers close idle connections after 30 s to 3 min, often silently.
const IDLE_LIMIT: Duration = Duration::from_secs(25);
/// Connections kept warm for the next calls.
const WARM_LIMIT: usize = 16;
/// Connections in use at once. More calls than that wait for one: a key server serves many applications.
pub const LIMIT: usize = 64;

#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<Idle>>,
    used: Mutex<usize>,
    freed: Condvar,
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
        *lock(&self.0.used) -= 1;
        self.0.freed.notify_one();
    }
}

impl Pool {
    /// Waits for a place; `None` if there is none before the deadline.
    pub fn enter(&self, deadline: Deadline) -> Option<Place<'_>> {
        let mut used = lock(&self.used);
        while *used == LIMIT {
            let waited = self.freed.wait_timeout(used, deadline.remaining()?);
            used = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *used += 1;
        Some(Place(self))
    }

    /// A warm connection that stands.
    pub fn warm(&self) -> Option<Idle> {
        // Those that are closed say farewell, for which nobody else should wait.
        loop {
            let mut candidate = lock(&self.idle).pop()?;
            if candidate.since.elapsed() < IDLE_LIMIT && candidate.connection.is_usable() {
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
        let is_old = |idle: &mut Idle| idle.since.elapsed() >= IDLE_LIMIT;
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
    use super::*;

    #[test]
    fn a_call_waits_for_a_place_and_no_longer_than_its_deadline() {
        let pool = Pool::default();
        let mut places: Vec<_> = (0..LIMIT).map(|_| pool.enter(Deadline::after(Duration::ZERO)).unwrap()).collect();
        assert!(pool.enter(Deadline::after(Duration::from_millis(5))).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.enter(Deadline::after(Duration::from_secs(60))).is_some());
            places.pop();
            assert!(waiting.join().unwrap());
        });
        places.clear();
        assert_eq!(*lock(&pool.used), 0);
    }
}
