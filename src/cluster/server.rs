//! One key server of the cluster: its warm connections and its health.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::health::{Change, Health, State};
use super::pool::Pool;
use crate::config::{self, Policy};
use crate::error::{Code, Error, Result};
use crate::kmip::{
    Capabilities, Connection, Connector, Deadline, Failure, Observer, OnNegotiation, Operation, ReplyHead, Version,
};

/// A connection that was silent for so long may have been forgotten by a firewall, which tells nobody.
const DOUBTFUL: Duration = Duration::from_secs(1);
pub struct Server {
    connector: Connector,
    config: config::Server,
    policy: Policy,
    pool: Pool,
    health: Mutex<Health>,
}

/// What one exchange with one server brought.
pub(super) struct Exchange<T> {
    pub result: std::result::Result<T, Failure>,
    pub address: Option<SocketAddr>,
    pub version: Option<Version>,
    /// What the server said of its last reply.
    pub head: ReplyHead,
    pub duration: Duration,
    pub change: Change,
}

impl Server {
    pub fn new(config: &config::Server, policy: Policy, observer: Option<Observer>) -> Result<Server> {
        let connector = Connector::new(config)?;
        Ok(Server {
            connector: match observer {
                Some(observer) => connector.observed_by(observer),
                None => connector,
            },
            config: config.clone(),
            policy,
            pool: Pool::new(config.connections),
            health: Mutex::default(),
        })
    }

    /// The same with what is known already; it is tried again at once, since what it was rested for may have been mended.
    pub(super) fn known_as(self, health: &Health) -> Server {
        *lock(&self.health) = health.rested(Instant::now());
        self
    }

    pub fn config(&self) -> &config::Server {
        &self.config
    }

    /// `host:port`, as in errors and records.
    pub fn name(&self) -> String {
        self.config.name()
    }

    pub fn host(&self) -> &str {
        &self.config.host
    }

    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// The KMIP user, else the common name of our certificate.
    pub fn user(&self) -> &str {
        self.config.user.as_ref().unwrap_or(&self.config.tls.common_name)
    }

    /// When our certificate ends, in seconds since 1970.
    pub fn certificate_ends(&self) -> i64 {
        self.config.tls.not_after
    }

    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// Keeps what the server can do.
    pub(super) fn remember(&self, capabilities: Arc<Capabilities>) {
        lock(&self.health).capabilities = Some(capabilities);
    }

    /// Whether it is to be passed over at `now` while others can serve.
    pub fn is_resting(&self, now: Instant) -> bool {
        lock(&self.health).is_resting(now)
    }

    /// Whether it could not be reached the last time, however long ago.
    pub fn is_down(&self) -> bool {
        lock(&self.health).is_down()
    }

    pub fn is_healthy(&self) -> bool {
        lock(&self.health).state == State::Healthy
    }

    /// Sends the operations as one request over a warm connection, or a new one, and waits for the answers.
    ///
    /// A warm connection that turns out dead is replaced silently where `repeatable` operations allow it.
    /// `told` is told of what a new connection begins with.
    pub(super) fn exchange<O: Operation>(
        &self,
        operations: &[O],
        repeatable: bool,
        deadline: Deadline,
        told: OnNegotiation<'_>,
    ) -> Exchange<Vec<std::result::Result<O::Answer, Failure>>> {
        let start = Instant::now();
        lock(&self.health).begin(start);
        let (mut address, mut version, mut head) = (None, None, ReplyHead::default());
        let place = self.pool.enter(deadline);
        let result = loop {
            if place.is_none() {
                break Err(self.crowded());
            }
            let warm = self.pool.warm();
            let was_warm = warm.is_some();
            let is_doubtful = repeatable && warm.as_ref().is_some_and(|warm| warm.since.elapsed() > DOUBTFUL);
            // Leaves time for a new connection.
            let turn = if is_doubtful { half_way(deadline) } else { deadline };
            let mut connection = match warm.map_or_else(|| self.connect(deadline, told), |warm| Ok(warm.connection)) {
                Ok(connection) => connection,
                Err(failure) => {
                    address = address.or(failure.address);
                    break Err(failure);
                }
            };
            (address, version) = (Some(connection.peer()), Some(connection.version()));
            lock(&self.health).server_certificate_ends = connection.server_certificate_ends();
            let answers = connection.call_all(operations, turn);
            head = connection.head().clone();
            match answers {
                Ok(answers) => {
                    self.pool.keep(connection);
                    break Ok(answers);
                }
                Err(failure) if was_warm && may_repeat(&failure, repeatable, is_doubtful) && !deadline.is_past() => {
                    // What ended this one has ended the others too, most likely.
                    self.pool.close();
                }
                Err(failure) => break Err(failure),
            }
        };
        let duration = start.elapsed();
        let change = self.learn(result.as_ref().err(), address, version, duration);
        Exchange { result, address, version, head, duration, change }
    }

    /// Closes connections that nobody has used for long.
    pub fn tidy(&self) {
        self.pool.tidy();
    }

    /// Closes the warm connections, and forgets what would make new ones easier.
    pub fn close(&self) {
        self.pool.close();
        self.connector.forget_sessions();
    }

    fn connect(&self, deadline: Deadline, told: OnNegotiation<'_>) -> std::result::Result<Connection, Failure> {
        let connection = self.connector.connect_telling(deadline, told)?;
        let peer = connection.peer();
        if !self.policy.permits_peer(peer.ip(), connection.local().ip()) {
            let message = format!(
                "key server {} is this machine ({peer}), and policy \"strict\" wants keys kept away from the data; \
                 name a key server on another machine, or set policy = \"relaxed\" in a test",
                self.name()
            );
            return Err(Failure::new(Error::new(Code::PolicyRefused, message), Some(peer)));
        }
        Ok(connection)
    }

    fn crowded(&self) -> Failure {
        let message = format!(
            "all {} connections to key server {} were in use until the deadline; check the server's load, or allow more \
             in server.max_connections or failover.deadline",
            self.config.connections.most,
            self.name()
        );
        Failure::new(Error::new(Code::Deadline, message), None)
    }

    fn learn(
        &self,
        failure: Option<&Failure>,
        address: Option<SocketAddr>,
        version: Option<Version>,
        duration: Duration,
    ) -> Change {
        let mut health = lock(&self.health);
        health.address = address.or(health.address);
        health.kmip_version = version.or(health.kmip_version);
        let now = Instant::now();
        match failure {
            Some(failure) if failure.code().is_transport() => {
                let too_late = failure.code() == Code::Deadline;
                health.fail(failure.error.message(), too_late, now - duration, now)
            }
            _ => health.answer(duration, now),
        }
    }
}

fn may_repeat(failure: &Failure, repeatable: bool, is_doubtful: bool) -> bool {
    match failure.code() {
        Code::ConnectionLost => repeatable || !failure.request_sent,
        Code::Deadline => is_doubtful,
        _ => false,
    }
}

fn half_way(deadline: Deadline) -> Deadline {
    deadline.min(Deadline::after(deadline.remaining().unwrap_or_default() / 2))
}

/// The state behind these locks is valid between any two statements, so a panic elsewhere is no reason to stop.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
