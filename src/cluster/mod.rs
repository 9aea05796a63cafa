//! The ordered key servers of a client, and what happens when one fails.
//!
//! A server that cannot be reached is rested and the next one is tried after `delay`; after the last the
//! round starts again, up to `rounds` or the deadline of the call. Any complete KMIP answer is an answer;
//! only "not found" is also asked of the other servers, because replication lags.

#![forbid(unsafe_code)]

mod capabilities;
mod failover;
mod health;
mod journal;
mod server;

use std::time::{Duration, Instant};

pub use health::{Health, State};
pub use journal::{Audited, Journal, Subject};
pub use server::Server;

use crate::config::{Config, Failover};
use crate::error::{Attempt, Code, Error, Result};
use crate::kmip::{Deadline, DiscoverVersions, Failure};
use crate::log::{Severity, catalogue};
use failover::{End, FAULTS_OF_TRUST, SystemClock, Terms};
use health::Change;
use journal::Reached;

/// How long a resting server may hold up a call that would like to know its view too.
const PROBE: Duration = Duration::from_millis(400);

/// The key servers, in the order of the configuration.
pub struct Cluster {
    servers: Vec<Server>,
    failover: Failover,
    journal: Journal,
}

/// An answer and the server that gave it.
#[derive(Debug)]
pub struct Answered<T> {
    pub answer: T,
    /// Index into [`Cluster::servers`].
    pub server: usize,
    /// The servers that could not be asked. Where the answer is "there is none", one of them may know better.
    pub unreached: Vec<Attempt>,
}

/// Why no server served a call.
#[derive(Debug)]
pub struct Unserved {
    pub error: Error,
    /// The server that may have done a write although its reply was lost.
    pub lost_on: Option<usize>,
}

impl From<Unserved> for Error {
    fn from(unserved: Unserved) -> Error {
        unserved.error
    }
}

impl Cluster {
    /// Does not connect: an application starts while its key servers are down.
    pub fn new(config: &Config, journal: Journal) -> Result<Cluster> {
        let servers = config.servers.iter().map(|server| Server::new(server, config.policy)).collect::<Result<_>>()?;
        Ok(Cluster { servers, failover: config.failover, journal })
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Until when one server may hold up a call that others can serve as well.
    pub fn turn(&self, index: usize, deadline: Deadline) -> Deadline {
        let now = Instant::now();
        let turn = failover::turn(deadline, now, self.servers.len());
        let is_resting = self.servers.len() > 1 && self.servers[index].is_resting(now);
        if is_resting { turn.min(Deadline::after(PROBE)) } else { turn }
    }

    /// How long a call may take.
    pub fn longest_call(&self) -> Duration {
        self.failover.deadline
    }

    /// The deadline of a call that starts now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.failover.deadline)
    }

    /// Asks the servers in order until one answers. With `first`, that server is asked before the others.
    ///
    /// An operation that is not repeatable ends with [`Unserved::lost_on`] when its request may have arrived.
    pub fn call<O: Audited>(
        &self,
        operation: &O,
        subject: Subject<'_>,
        first: Option<usize>,
        deadline: Deadline,
    ) -> std::result::Result<Answered<O::Answer>, Unserved> {
        let terms = Terms { failover: &self.failover, deadline, is_repeatable: O::REPEATABLE };
        let call = Call { cluster: self, operation, subject, first };
        let (end, failed) = failover::run(&terms, &SystemClock, &call);
        let attempts: Vec<_> = failed.into_iter().map(|(index, failure)| self.attempt(index, failure)).collect();
        match end {
            End::Found(server, answer) | End::Absent(server, Ok(answer)) => {
                self.tell_failover(O::NAME, &attempts, server);
                Ok(Answered { answer, server, unreached: attempts })
            }
            End::Absent(_, Err(error)) => Err(Unserved { error: error.after(attempts), lost_on: None }),
            End::Refused(error) => Err(Unserved { error, lost_on: None }),
            End::Lost(server, error) => Err(Unserved { error, lost_on: Some(server) }),
            End::Unserved(end) => Err(self.no_server(O::NAME, subject, attempts, end)),
        }
    }

    /// Asks one server, once.
    pub fn call_on<O: Audited>(
        &self,
        index: usize,
        operation: &O,
        subject: Subject<'_>,
        deadline: Deadline,
    ) -> std::result::Result<O::Answer, Failure> {
        let answers = self.call_all_on(index, std::slice::from_ref(operation), &[subject], deadline)?;
        answers.into_iter().next().expect("one answer for one operation")
    }

    /// Asks one server for several things in one request. One subject for each operation.
    pub fn call_all_on<O: Audited>(
        &self,
        index: usize,
        operations: &[O],
        subjects: &[Subject<'_>],
        deadline: Deadline,
    ) -> std::result::Result<Vec<std::result::Result<O::Answer, Failure>>, Failure> {
        let server = &self.servers[index];
        let exchange = server.exchange(operations, O::REPEATABLE, deadline);
        self.tell_change(server, exchange.change);
        let reached = Reached { address: exchange.address, version: exchange.version, duration: exchange.duration };
        for (position, (operation, subject)) in operations.iter().zip(subjects).enumerate() {
            let answer = match &exchange.result {
                Ok(answers) => answers[position].as_ref(),
                Err(failure) => Err(failure),
            };
            self.journal.operation(server, *subject, operation, answer, reached);
        }
        exchange.result
    }

    /// Asks every server, all at once, whether it answers; [`Server::health`] tells what came of it. Blocks.
    ///
    /// A server of version 1.0 refuses the question, which is an answer.
    pub fn probe(&self, deadline: Deadline) {
        std::thread::scope(|scope| {
            for index in 0..self.servers.len() {
                scope.spawn(move || self.call_on(index, &DiscoverVersions, Subject::default(), deadline));
            }
        });
    }

    /// Closes every warm connection.
    pub fn close(&self) {
        self.servers.iter().for_each(Server::close);
    }

    fn attempt(&self, index: usize, failure: Failure) -> Attempt {
        Attempt {
            server: self.servers[index].name(),
            address: failure.address.map(|address| address.to_string()),
            code: failure.code().number(),
            reason: failure.error.message().to_owned(),
        }
    }

    fn no_server(&self, operation: &str, subject: Subject<'_>, attempts: Vec<Attempt>, end: &str) -> Unserved {
        let mut reasons: Vec<String> = Vec::new();
        for server in &self.servers {
            let name = server.name();
            // The rounds repeat themselves; people want each server's last word.
            if let Some(last) = attempts.iter().rev().find(|attempt| attempt.server == name) {
                let address = last.address.as_ref().map(|address| format!(" ({address})")).unwrap_or_default();
                reasons.push(format!("{name}{address}: {}", last.reason));
            }
        }
        let about = if subject.name.is_empty() { String::new() } else { format!(" for key {:?}", subject.name) };
        let message = format!(
            "no key server answered {operation}{about}; {end} after {} attempts: {}; check that the servers run and \
             can be reached from here",
            attempts.len(),
            reasons.join("; "),
        );
        let code = common_fault(&attempts).unwrap_or(Code::NoServer);
        Unserved { error: Error::new(code, message).after(attempts), lost_on: None }
    }

    fn tell_change(&self, server: &Server, change: Change) {
        let (event, severity) = match change {
            Change::None => return,
            Change::Failed => (catalogue::SERVER_FAILED, Severity::Warning),
            Change::Recovered => (catalogue::SERVER_RECOVERED, Severity::Notice),
        };
        let reason = server.health().last_error.unwrap_or_default();
        self.journal.event(event, severity, &[("key_server", server.name().into()), ("reason", reason.into())]);
    }

    fn tell_failover(&self, operation: &str, attempts: &[Attempt], index: usize) {
        let Some(failed) = attempts.last() else { return };
        let fields = [
            ("operation", operation.into()),
            ("from", failed.server.as_str().into()),
            ("to", self.servers[index].name().into()),
        ];
        self.journal.event(catalogue::SERVER_FAILOVER, Severity::Warning, &fields);
    }
}

/// One operation on whichever server answers.
struct Call<'a, O> {
    cluster: &'a Cluster,
    operation: &'a O,
    subject: Subject<'a>,
    first: Option<usize>,
}

impl<O: Audited> failover::Servers for Call<'_, O> {
    type Answer = O::Answer;

    fn order(&self, now: Instant) -> Vec<usize> {
        let servers = &self.cluster.servers;
        failover::order(servers.len(), self.first, |index| servers[index].is_resting(now))
    }

    fn is_healthy(&self, index: usize) -> bool {
        self.cluster.servers[index].is_healthy()
    }

    fn ask(&self, index: usize, turn: Deadline) -> std::result::Result<O::Answer, Failure> {
        self.cluster.call_on(index, self.operation, self.subject, turn)
    }

    fn is_absent(answer: &O::Answer) -> bool {
        O::is_absent(answer)
    }
}

/// The fault of trust that all servers share: it says more than "no server".
fn common_fault(attempts: &[Attempt]) -> Option<Code> {
    let first = attempts.first()?.code;
    let shared = attempts.iter().all(|attempt| attempt.code == first);
    FAULTS_OF_TRUST.into_iter().find(|code| shared && code.number() == first)
}
