//! The ordered key servers of a client, and what happens when one fails.
//!
//! A server that cannot be reached is rested and the next one is tried after `delay`; after the last the
//! round starts again, up to `rounds` or the deadline of the call. Any complete KMIP answer is an answer;
//! only "not found" is also asked of the other servers, because replication lags. A server whose protocol version lacks
//! an operation is not asked, so that is no answer while another server may be newer.

#![forbid(unsafe_code)]

mod audited;
mod capabilities;
mod failover;
mod health;
mod journal;
mod pool;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

pub use audited::{Audited, Subject};
pub use health::{Health, State};
pub use journal::Journal;
pub use server::Server;

use crate::config::{self, Config, Failover, Policy, Reads};
use crate::error::{Attempt, Code, Error, Result};
use crate::kmip::{Deadline, DiscoverVersions, Failure, Negotiation};
use crate::log::{Severity, catalogue};
use failover::{End, FAULTS_OF_TRUST, SystemClock, Terms};
use health::Change;
use journal::Reached;

/// The key servers, in the order of the configuration.
pub struct Cluster {
    members: ArcSwap<Members>,
    policy: Policy,
    journal: Journal,
    /// Counts reads that go to one server after the other.
    reads: AtomicUsize,
}

/// What a reload replaces.
struct Members {
    /// Every server that was ever configured, so that a number means the same one for good.
    known: Vec<Arc<Server>>,
    /// Those that are configured now, the primary first.
    order: Vec<usize>,
    failover: Failover,
}

/// An answer and the server that gave it.
#[derive(Debug)]
pub struct Answered<T> {
    pub answer: T,
    /// Its number, for [`Cluster::server`].
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
        let members = Members { known: Vec::new(), order: Vec::new(), failover: config.failover };
        let members = ArcSwap::from_pointee(members.replaced(config, config.policy, &journal)?);
        Ok(Cluster { members, policy: config.policy, journal, reads: AtomicUsize::new(0) })
    }

    /// Takes up the servers and the failover rules of a configuration. Calls under way end as they began; a connection
    /// that was made with what is not in force any more serves no further call.
    pub fn reload(&self, config: &Config) -> Result<()> {
        let members = self.members.load().replaced(config, self.policy, &self.journal)?;
        self.members.store(Arc::new(members));
        Ok(())
    }

    /// The numbers of the configured servers, the primary first. A number means the same server for good.
    pub fn order(&self) -> Vec<usize> {
        self.members.load().order.clone()
    }

    /// The server of a number that came from this cluster.
    pub fn server(&self, index: usize) -> Arc<Server> {
        self.members.load().known[index].clone()
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Until when one server may hold up a call that would like to know the view of all of them; one that is down not
    /// for long.
    pub fn turn(&self, index: usize, deadline: Deadline) -> Deadline {
        let members = self.members.load();
        match members.order.len() {
            0 | 1 => deadline,
            servers => failover::turn(deadline, Instant::now(), servers, members.known[index].is_down()),
        }
    }

    /// Until when servers that are asked at the same time may hold up a call, whatever is known of them.
    pub fn patience(&self, deadline: Deadline) -> Deadline {
        failover::turn(deadline, Instant::now(), 1, false)
    }

    /// Whether the server could not be reached the last time.
    pub fn is_down(&self, index: usize) -> bool {
        self.server(index).is_down()
    }

    /// How long a call may take.
    pub fn longest_call(&self) -> Duration {
        self.members.load().failover.deadline
    }

    /// The deadline of a call that starts now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.longest_call())
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
        let members = self.members.load_full();
        let terms = Terms {
            failover: &members.failover,
            deadline,
            is_repeatable: O::REPEATABLE,
            is_read: O::IS_READ,
            is_of_known_object: operation.is_of_known_object(),
        };
        let call = Call { cluster: self, members: &members, operation, subject, first };
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

    /// Asks one server for several things in one request. One subject for each operation. `LogFailed` where the configuration
    /// refuses unlogged work and what was asked before, or this, could not be recorded.
    pub fn call_all_on<O: Audited>(
        &self,
        index: usize,
        operations: &[O],
        subjects: &[Subject<'_>],
        deadline: Deadline,
    ) -> std::result::Result<Vec<std::result::Result<O::Answer, Failure>>, Failure> {
        let server = self.server(index);
        self.journal.check().map_err(|error| Failure::new(error, None))?;
        let told = |asked: &Negotiation<'_>| {
            let Negotiation { peer, version, head, duration, .. } = *asked;
            let reached = Reached { address: Some(peer), version: Some(version), head, duration };
            self.journal.operation(&server, Subject::default(), &DiscoverVersions, asked.answer, reached)
        };
        let exchange = server.exchange(operations, O::REPEATABLE, deadline, &told);
        self.tell_change(&server, exchange.change);
        let mut recorded = Ok(());
        let (address, version) = (exchange.address, exchange.version);
        let reached = Reached { address, version, head: &exchange.head, duration: exchange.duration };
        for (position, (operation, subject)) in operations.iter().zip(subjects).enumerate() {
            let answer = match &exchange.result {
                Ok(answers) => answers[position].as_ref(),
                Err(failure) => Err(failure),
            };
            recorded = recorded.and(self.journal.operation(&server, *subject, operation, answer, reached));
        }
        match recorded {
            Ok(()) => exchange.result,
            Err(error) => {
                let request_sent = exchange.result.err().is_none_or(|failure| failure.request_sent);
                Err(Failure { request_sent, ..Failure::new(error, exchange.address) })
            }
        }
    }

    /// Asks every server, all at once, whether it answers, and who made it; [`Server::health`] tells what came of it. Blocks.
    ///
    /// A server of version 1.0 refuses the question, which is an answer.
    pub fn probe(&self, deadline: Deadline) {
        std::thread::scope(|scope| {
            for index in self.order() {
                scope.spawn(move || match self.call_on(index, &DiscoverVersions, Subject::default(), deadline) {
                    Err(failure) if failure.code().is_transport() => {}
                    _ => drop(self.capabilities(index, deadline)),
                });
            }
        });
    }

    /// Closes connections that nobody has used for long.
    pub fn tidy(&self) {
        self.members.load().known.iter().for_each(|server| server.tidy());
    }

    /// Closes every warm connection.
    pub fn close(&self) {
        self.members.load().known.iter().for_each(|server| server.close());
    }

    fn attempt(&self, index: usize, failure: Failure) -> Attempt {
        Attempt {
            server: self.server(index).name(),
            address: failure.address.map(|address| address.to_string()),
            code: failure.code().number(),
            reason: failure.error.message().to_owned(),
        }
    }

    fn no_server(&self, operation: &str, subject: Subject<'_>, attempts: Vec<Attempt>, end: &str) -> Unserved {
        let mut reasons: Vec<String> = Vec::new();
        for index in self.order() {
            let name = self.server(index).name();
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
            ("to", self.server(index).name().into()),
        ];
        self.journal.event(catalogue::SERVER_FAILOVER, Severity::Warning, &fields);
    }
}

impl Members {
    /// With the servers of another configuration: a server that is spoken to as before stays as it is, with its
    /// connections.
    fn replaced(&self, config: &Config, policy: Policy, journal: &Journal) -> Result<Members> {
        let made = |server: &config::Server| Server::new(server, policy, journal.observer(&server.name()));
        let mut known = self.known.clone();
        let mut order = Vec::with_capacity(config.servers.len());
        for server in &config.servers {
            let place = (0..known.len()).find(|at| !order.contains(at) && known[*at].config().is_at_place_of(server));
            match place {
                Some(at) if known[at].config().differences(server).is_empty() => order.push(at),
                Some(at) => {
                    known[at] = Arc::new(made(server)?.known_as(&known[at].health()));
                    order.push(at);
                }
                None => {
                    order.push(known.len());
                    known.push(Arc::new(made(server)?));
                }
            }
        }
        Ok(Members { known, order, failover: config.failover })
    }
}

/// One operation on whichever server answers.
struct Call<'a, O> {
    cluster: &'a Cluster,
    members: &'a Members,
    operation: &'a O,
    subject: Subject<'a>,
    first: Option<usize>,
}

impl<O: Audited> failover::Servers for Call<'_, O> {
    type Answer = O::Answer;

    fn order(&self, now: Instant) -> Vec<usize> {
        let mut servers = self.members.order.clone();
        if O::IS_READ && self.members.failover.reads == Reads::RoundRobin {
            let turn = self.cluster.reads.fetch_add(1, Ordering::Relaxed);
            servers.rotate_left(turn % self.members.order.len());
        }
        failover::order(&servers, self.first, |index| self.members.known[index].is_resting(now))
    }

    fn is_healthy(&self, index: usize) -> bool {
        self.members.known[index].is_healthy()
    }

    fn is_down(&self, index: usize) -> bool {
        self.members.known[index].is_down()
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
