//! What the library has to say of itself through the crate `log`, for applications that asked for records.
//!
//! In a Rust program the crate `log` is the application's, and so is its logger: nothing is installed there. The C
//! library has a copy of its own that no application can reach, and installs this once a host gave it a function.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::time::Duration;

use super::Severity;
use super::catalogue;
use super::queue::Queue;

static HOSTS: Mutex<Vec<Weak<Queue>>> = Mutex::new(Vec::new());

/// A logger that hands warnings and errors to the functions of all open clients.
pub struct Diagnostics;

impl Diagnostics {
    /// For the logger of a process, or of a library that has one for itself.
    pub fn install() {
        // Another one that was there before stays.
        if ::log::set_logger(&Diagnostics).is_ok() {
            ::log::set_max_level(::log::LevelFilter::Warn);
        }
    }
}

impl ::log::Log for Diagnostics {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        metadata.level() <= ::log::Level::Warn
    }

    fn log(&self, record: &::log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let severity = if record.level() == ::log::Level::Error { Severity::Error } else { Severity::Warning };
        let message = record.args().to_string();
        for host in hosts(|hosts| hosts.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()).unwrap_or_default() {
            if patiently(|| host.is_free().then_some(())).is_some() {
                let fields = [("message", message.as_str())];
                let _ = host.push(catalogue::LIBRARY_DIAGNOSTIC, severity, true, fields.into_iter());
            }
        }
    }

    fn flush(&self) {}
}

/// Hands what is told from now on to this one, too, as long as it is there.
pub(super) fn add(host: &Arc<Queue>) {
    let host = Arc::downgrade(host);
    hosts(|hosts| {
        hosts.retain(|host| host.strong_count() > 0);
        hosts.push(host);
    });
}

fn hosts<R>(work: impl FnOnce(&mut Vec<Weak<Queue>>) -> R) -> Option<R> {
    patiently(|| match HOSTS.try_lock() {
        Ok(hosts) => Some(hosts),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    })
    .map(|mut hosts| work(&mut hosts))
}

/// Not for ever: a thread that tells of its own panic may hold what it asks for, and so may one that a fork left behind.
fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    const TRIES: u32 = 20;
    (0..TRIES).find_map(|_| {
        let got = ask();
        if got.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        got
    })
}
