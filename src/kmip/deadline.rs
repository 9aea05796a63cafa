//! The point in time at which a whole operation must be over.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// When an operation must be over, whatever it consists of: a peer that sends one byte a second cannot
/// stretch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline that is `duration` from now.
    pub fn after(duration: Duration) -> Deadline {
        Deadline::at(Instant::now(), duration)
    }

    /// The deadline that is `duration` from a moment.
    pub fn at(now: Instant, duration: Duration) -> Deadline {
        // Beyond the clock's range a century is as good as never.
        Deadline(now.checked_add(duration).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400)))
    }

    /// What is left; never zero. `None` once the deadline has passed.
    pub fn remaining(self) -> Option<Duration> {
        self.remaining_at(Instant::now())
    }

    /// What is left at a moment; never zero. `None` once the deadline has passed.
    pub fn remaining_at(self, now: Instant) -> Option<Duration> {
        self.0.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// The deadline of the first of so many attempts, which leaves as much time to each of the others.
    pub fn share(self, attempts: usize) -> Deadline {
        match attempts {
            0 | 1 => self,
            _ => self.min(Deadline::after(self.remaining().unwrap_or_default() / attempts as u32)),
        }
    }

    pub fn is_past(self) -> bool {
        self.remaining().is_none()
    }

    /// The earlier of two deadlines.
    pub fn min(self, other: Deadline) -> Deadline {
        std::cmp::min(self, other)
    }
}
