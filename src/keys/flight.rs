//! Single flight: a thousand threads that want one missing thing cause one request.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Code, Error, Result};

/// What is being fetched right now.
pub struct Flights<K, T> {
    running: Mutex<HashMap<K, Arc<Flight<T>>>>,
}

struct Flight<T> {
    landed: Mutex<Option<Result<T>>>,
    changed: Condvar,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Flights<K, T> {
        Flights { running: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    /// Runs `fetch` unless another thread does so for the same `wanted`; then waits for that one's result.
    pub fn once(&self, wanted: K, fetch: impl FnOnce() -> Result<T>) -> Result<T> {
        let (flight, is_ours) = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match running.get(&wanted) {
                Some(flight) => (flight.clone(), false),
                None => {
                    let flight = Arc::new(Flight { landed: Mutex::new(None), changed: Condvar::new() });
                    running.insert(wanted.clone(), flight.clone());
                    (flight, true)
                }
            }
        };
        if !is_ours {
            return flight.wait();
        }
        // Lands the flight even when `fetch` panics, or the waiting threads would wait for ever.
        let landing = Landing { flights: self, wanted, flight };
        let result = fetch();
        landing.flight.land(result.clone());
        result
    }
}

struct Landing<'a, K: Eq + Hash, T> {
    flights: &'a Flights<K, T>,
    wanted: K,
    flight: Arc<Flight<T>>,
}

impl<K: Eq + Hash, T> Drop for Landing<'_, K, T> {
    fn drop(&mut self) {
        self.flights.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.wanted);
        let fault = Error::new(Code::Internal, "the thread that fetched this key panicked; please report it");
        let mut landed = self.flight.landed.lock().unwrap_or_else(PoisonError::into_inner);
        landed.get_or_insert(Err(fault));
        self.flight.changed.notify_all();
    }
}

impl<T: Clone> Flight<T> {
    fn land(&self, result: Result<T>) {
        *self.landed.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    fn wait(&self) -> Result<T> {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        let landed = self.changed.wait_while(landed, |landed| landed.is_none()).unwrap_or_else(PoisonError::into_inner);
        landed.as_ref().expect("waited until it is there").clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_thousand_threads_cause_one_fetch() {
        let flights = Flights::<String, u32>::default();
        let fetches = AtomicUsize::new(0);
        let barrier = Barrier::new(1000);
        std::thread::scope(|scope| {
            for _ in 0..1000 {
                scope.spawn(|| {
                    barrier.wait();
                    let result = flights.once("key".into(), || {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        // Long enough for every thread to arrive.
                        std::thread::sleep(std::time::Duration::from_millis(500));
                        Ok(7)
                    });
                    assert_eq!(result.unwrap(), 7);
                });
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }

    #[test]
    fn a_panicking_fetch_strands_nobody_and_the_next_one_runs() {
        let flights = Flights::<u8, u32>::default();
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| {
                flights.once(1, || {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    panic!("as intended")
                })
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            let follower = scope.spawn(|| flights.once(1, || Ok(2)));
            assert!(leader.join().is_err());
            let _ = follower.join().unwrap();
        });
        assert_eq!(flights.once(1, || Ok(3)).unwrap(), 3);
    }
}
