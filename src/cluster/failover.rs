//! The loop over the servers: whom a call asks, in which order, and when it gives up.
//!
//! What time it is, how to wait and how to ask are handed in, so that the loop is tested without waiting.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::config::Failover;
use crate::error::{Code, Error};
use crate::kmip::{Deadline, Failure};

/// While another server remains to be tried, one that is silent may hold a call no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for one that could not be reached the last time, until it answers.
pub(super) const PROBE: Duration = Duration::from_millis(400);

/// Between two rounds that wait for an object to arrive.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The passing of time.
pub(super) trait Clock {
    fn now(&self) -> Instant;
    fn sleep(&self, duration: Duration);
}

/// Time as it passes.
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The servers, as one call sees them.
pub(super) trait Servers {
    type Answer;

    /// Whom to ask in a round that begins now.
    fn order(&self, now: Instant) -> Vec<usize>;
    /// Whether it served the last time, so that it is tried without delay.
    fn is_healthy(&self, server: usize) -> bool;
    /// Whether it could not be reached the last time, so that little is expected of it.
    fn is_down(&self, server: usize) -> bool;
    fn ask(&self, server: usize, turn: Deadline) -> Result<Self::Answer, Failure>;
    /// Whether the answer says that there is no such object.
    fn is_absent(answer: &Self::Answer) -> bool;
}

/// What one call may do.
pub(super) struct Terms<'a> {
    pub failover: &'a Failover,
    pub deadline: Deadline,
    /// Whether doing it twice is as good as once.
    pub is_repeatable: bool,
    /// Whether it changes nothing, so that a refusal that may mean "not found" is no reason to stop.
    pub is_read: bool,
    /// Whether the object was seen, so that a server that does not know it lags.
    pub is_of_known_object: bool,
}

/// What a round may hope for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More rounds follow.
    First,
    Later,
    Last,
    /// An earlier one has brought the answer that there is no such object.
    Answered,
}

/// How a call ended.
pub(super) enum End<T> {
    Found(usize, T),
    /// Whoever could be asked has said that there is no such object: the first of them, and how it said so.
    Absent(usize, Result<T, Error>),
    /// A complete answer that says no.
    Refused(Error),
    /// The server may have done it although its reply was lost.
    Lost(usize, Error),
    /// Why nobody was tried any more; reads on from "no key server answered;".
    Unserved(&'static str),
}

/// Whom a call could not make use of, and why.
#[derive(Default)]
struct Tried {
    /// They could not be asked; another round may be luckier.
    failed: Vec<(usize, Failure)>,
    /// Their protocol versions lack what is asked.
    incapable: Vec<(usize, Failure)>,
}

impl Tried {
    fn is_incapable(&self, server: usize) -> bool {
        self.incapable.iter().any(|(incapable, _)| *incapable == server)
    }
}

/// The order of one round: `first`, then the servers that are not resting, then the resting ones.
pub(super) fn order(servers: &[usize], first: Option<usize>, is_resting: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut order = servers.to_vec();
    order.sort_by_cached_key(|&server| (Some(server) != first, is_resting(server)));
    order
}

/// Asks one server after the other until the call has its end. Also returns who could not be asked, and why.
pub(super) fn run<S: Servers>(
    terms: &Terms<'_>,
    clock: &impl Clock,
    servers: &S,
) -> (End<S::Answer>, Vec<(usize, Failure)>) {
    let mut tried = Tried::default();
    let end = until_the_end(terms, clock, servers, &mut tried);
    // A call that was served has no use for who could not have served it.
    let incapable = if let End::Found(..) = end { Vec::new() } else { tried.incapable };
    (end, tried.failed.into_iter().chain(incapable).collect())
}

fn until_the_end<S: Servers>(terms: &Terms<'_>, clock: &impl Clock, servers: &S, tried: &mut Tried) -> End<S::Answer> {
    let mut absent = None;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let stage = match absent {
            Some(_) => Stage::Answered,
            None if rounds >= terms.failover.rounds => Stage::Last,
            None if rounds == 1 => Stage::First,
            None => Stage::Later,
        };
        match go_round(terms, clock, servers, stage, tried) {
            Some(End::Absent(server, answer)) => {
                let (_, since, _) = absent.get_or_insert((server, clock.now(), answer));
                if !may_still_arrive(terms, clock.now(), *since, &tried.failed) {
                    break;
                }
                clock.sleep(terms.failover.delay.max(SHORTEST_PAUSE).min(terms.failover.replication_delay));
            }
            Some(end) => return end,
            None if absent.is_some() => break,
            None if servers.order(clock.now()).into_iter().all(|server| tried.is_incapable(server)) => {
                return End::Refused(tried.incapable.remove(0).1.error);
            }
            None if terms.deadline.remaining_at(clock.now()).is_none() => return End::Unserved("the deadline passed"),
            None if tried.failed.iter().all(|(_, failure)| is_fault_of_trust(failure.code())) => {
                return End::Unserved("none can be trusted, or none trusts us,");
            }
            None if rounds >= terms.failover.rounds => return End::Unserved("every round failed"),
            None => ::log::debug!("round {rounds} over all key servers brought no answer"),
        }
    }
    let (server, _, answer) = absent.expect("the loop ends with it");
    End::Absent(server, answer)
}

/// Whether an object that nobody knows who could be asked may be on its way from a server that could not.
fn may_still_arrive(terms: &Terms<'_>, now: Instant, since: Instant, failed: &[(usize, Failure)]) -> bool {
    let is_in_time = now - since < terms.failover.replication_delay && terms.deadline.remaining_at(now).is_some();
    terms.is_of_known_object && !failed.is_empty() && is_in_time
}

/// `None` if no server answered, or the deadline passed.
fn go_round<S: Servers>(
    terms: &Terms<'_>,
    clock: &impl Clock,
    servers: &S,
    stage: Stage,
    tried: &mut Tried,
) -> Option<End<S::Answer>> {
    let mut absent = None;
    let order = servers.order(clock.now());
    for (position, &server) in order.iter().enumerate() {
        if tried.is_incapable(server) {
            continue;
        }
        if !tried.failed.is_empty() && !servers.is_healthy(server) {
            let left = terms.deadline.remaining_at(clock.now()).unwrap_or_default();
            clock.sleep(terms.failover.delay.min(left));
        }
        let now = clock.now();
        if terms.deadline.remaining_at(now).is_none() {
            break;
        }
        let left = order.len() - position;
        // Who has an answer, or another round, need not wait for a server that is down.
        let is_probe = absent.is_some() || matches!(stage, Stage::First | Stage::Answered);
        let is_last_hope = absent.is_none() && stage == Stage::Last && left == 1;
        let turn = match order.len() == 1 || is_last_hope {
            true => terms.deadline,
            false => turn(terms.deadline, now, left, is_probe && servers.is_down(server)),
        };
        match servers.ask(server, turn) {
            Ok(answer) if S::is_absent(&answer) => {
                absent.get_or_insert(End::Absent(server, Ok(answer)));
            }
            Ok(answer) => return Some(End::Found(server, answer)),
            Err(failure) if failure.code() == Code::KeyNotFound || terms.is_read && failure.may_mean_not_found() => {
                absent.get_or_insert(End::Absent(server, Err(failure.error)));
            }
            // We did not ask it: that is no answer of the cluster while another server may be newer.
            Err(failure) if failure.code() == Code::Unsupported && !failure.request_sent => {
                tried.incapable.push((server, failure));
            }
            Err(failure) if !failure.code().is_transport() => return Some(End::Refused(failure.error)),
            Err(failure) if failure.request_sent && !terms.is_repeatable => {
                return Some(End::Lost(server, failure.error));
            }
            Err(failure) => tried.failed.push((server, failure)),
        }
    }
    absent
}

/// Until when one server may hold up a call while `left` servers, itself included, remain in the round.
pub(super) fn turn(deadline: Deadline, now: Instant, left: usize, is_probe: bool) -> Deadline {
    let share = deadline.remaining_at(now).unwrap_or_default() / left.max(1) as u32;
    deadline.min(Deadline::at(now, share.min(if is_probe { PROBE } else { PATIENCE })))
}

/// Certificates do not mend themselves between two rounds.
pub(super) const FAULTS_OF_TRUST: [Code; 7] = [
    Code::ServerUntrusted,
    Code::ServerCertificateExpired,
    Code::ServerNameMismatch,
    Code::ClientCertificateRefused,
    Code::NotTls,
    Code::ServerCertificateRevoked,
    Code::RevocationUnknown,
];

fn is_fault_of_trust(code: Code) -> bool {
    FAULTS_OF_TRUST.contains(&code)
}

#[cfg(test)]
mod tests;
