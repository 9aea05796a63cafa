//! Tickets by which a server knows us again, so that a new connection costs half a handshake.
//!
//! TLS 1.3 only (RFC 8446 §2.2): a ticket is used once and with a fresh key exchange, so that its secret opens nothing
//! that was ever sent. A session of TLS 1.2 would keep the very secret that keys have travelled under.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// Tickets that are kept; the oldest make room.
const KEPT: usize = 8;
/// A server that is known again shows no certificate, so its end or revocation is noticed so much later at most.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The tickets of one server.
#[derive(Default)]
pub struct Tickets(Mutex<Known>);

#[derive(Default)]
struct Known {
    tickets: VecDeque<(Instant, Tls13ClientSessionValue)>,
    group: Option<NamedGroup>,
}

impl Tickets {
    /// Wipes them.
    pub fn clear(&self) {
        self.known().tickets.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({})", self.known().tickets.len())
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.known().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.known().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut known = self.known();
        known.tickets.retain(|(since, _)| since.elapsed() < LIFETIME);
        if known.tickets.len() == KEPT {
            known.tickets.pop_front();
        }
        known.tickets.push_back((Instant::now(), ticket));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut known = self.known();
        known.tickets.retain(|(since, _)| since.elapsed() < LIFETIME);
        known.tickets.pop_back().map(|(_, ticket)| ticket)
    }
}
