//! What is known of a server from the last time it was tried, and when it is rested.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failover::PROBE;
use crate::kmip::{Capabilities, Version};

/// How long a server that could not be reached is passed over while another one serves.
const REST: Duration = Duration::from_secs(5);

/// What is known of a server from the last time it was tried.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub state: State,
    pub address: Option<SocketAddr>,
    pub kmip_version: Option<Version>,
    /// What it can do, once it was asked; forgotten when it fails, as another one may come back in its place.
    pub capabilities: Option<Arc<Capabilities>>,
    /// In seconds since 1970.
    pub server_certificate_ends: Option<i64>,
    pub last_error: Option<String>,
    /// Of the last answered exchange.
    pub latency: Option<Duration>,
    /// When that was.
    pub answered: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Untried,
    Healthy,
    /// It could not be reached; it is passed over until then.
    Resting(Instant),
}

/// How an exchange changed what is known of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Failed,
    Recovered,
}

impl Health {
    /// Whether the server is to be passed over at `now` while others can serve.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        matches!(self.state, State::Resting(until) if now < until)
    }

    /// Whether it could not be reached the last time, however long ago.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Resting(_))
    }

    /// One call finds out whether a rested server is back, before the others wait for it, too.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.is_down() && !self.is_resting(now) {
            self.state = State::Resting(now + PROBE);
        }
    }

    /// The same without the rest of its rest.
    pub(super) fn rested(&self, now: Instant) -> Health {
        let state = if let State::Resting(_) = self.state { State::Resting(now) } else { self.state };
        Health { state, ..self.clone() }
    }

    /// It could not be reached or used. One that was only `too_late` and answered somebody else `since` then is slow and
    /// not down.
    pub(super) fn fail(&mut self, why: &str, too_late: bool, since: Instant, now: Instant) -> Change {
        let was_up = !matches!(self.state, State::Resting(_));
        self.last_error = Some(why.to_owned());
        if too_late && was_up && self.answered.is_some_and(|answered| answered > since) {
            return Change::None;
        }
        self.state = State::Resting(now + REST);
        self.capabilities = None;
        if was_up { Change::Failed } else { Change::None }
    }

    /// It gave a complete answer.
    pub(super) fn answer(&mut self, latency: Duration, now: Instant) -> Change {
        let was_resting = matches!(self.state, State::Resting(_));
        self.answered = Some(now);
        self.state = State::Healthy;
        self.latency = Some(latency);
        if was_resting { Change::Recovered } else { Change::None }
    }
}
