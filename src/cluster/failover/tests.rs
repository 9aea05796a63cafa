//! The loop against servers that are up and down at set times, on a clock that waits for nobody.

use std::cell::{Cell, RefCell};

use super::super::health::{Health, State};
use super::*;
use crate::config::Reads;
use crate::kmip::ResultReason;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a server does when it is asked.
#[derive(Clone, Copy)]
enum Does {
    Serve,
    /// Refuses connections.
    Refuse,
    /// Accepts them, and says nothing.
    Hang,
    /// Says that there is no such object: with an empty answer, or with a refusal.
    FindNothing,
    NotFound,
    Deny,
    /// Refuses as some servers do where they mean that there is no such object.
    DenyVaguely,
    /// Takes the request and ends the connection.
    Cut,
    /// Speaks a protocol version that does not have the operation.
    Lack,
    /// Has a certificate that we do not trust.
    Deceive,
}
use Does::*;

struct Fake<F> {
    start: Instant,
    now: Cell<Instant>,
    healths: Vec<RefCell<Health>>,
    /// What each server does, at so many seconds from the start.
    does: F,
    /// Whom it asked, and when in milliseconds from the start.
    asked: RefCell<Vec<(usize, u64)>>,
    is_of_known_object: bool,
}

impl<F: Fn(usize, u64) -> Does> Fake<F> {
    fn new(servers: usize, does: F) -> Fake<F> {
        let start = Instant::now();
        let healths = (0..servers).map(|_| RefCell::default()).collect();
        Fake { start, now: Cell::new(start), healths, does, asked: RefCell::default(), is_of_known_object: false }
    }

    /// One call with a delay of 2 s, 3 rounds and a deadline; whom it asked.
    fn call(&self, deadline: Duration, is_repeatable: bool) -> (End<bool>, Vec<(usize, u64)>) {
        let replication_delay = seconds(5);
        let failover = Failover { delay: seconds(2), rounds: 3, deadline, reads: Reads::Ordered, replication_delay };
        let deadline = Deadline::at(self.now.get(), deadline);
        let is_of_known_object = self.is_of_known_object;
        let terms = Terms { failover: &failover, deadline, is_repeatable, is_read: is_repeatable, is_of_known_object };
        let (end, _) = run(&terms, self, self);
        (end, self.asked.take())
    }

    fn read(&self, deadline: Duration) -> (End<bool>, Vec<(usize, u64)>) {
        self.call(deadline, true)
    }
}

impl<F> Clock for Fake<F> {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn sleep(&self, duration: Duration) {
        self.now.set(self.now.get() + duration);
    }
}

impl<F: Fn(usize, u64) -> Does> Servers for Fake<F> {
    /// Whether there is such an object.
    type Answer = bool;

    fn order(&self, now: Instant) -> Vec<usize> {
        order(&[0, 1, 2][..self.healths.len()], None, |server| self.healths[server].borrow().is_resting(now))
    }

    fn is_healthy(&self, server: usize) -> bool {
        self.healths[server].borrow().state == State::Healthy
    }

    fn is_down(&self, server: usize) -> bool {
        self.healths[server].borrow().is_down()
    }

    fn ask(&self, server: usize, turn: Deadline) -> Result<bool, Failure> {
        self.healths[server].borrow_mut().begin(self.now.get());
        let since = self.now.get() - self.start;
        self.asked.borrow_mut().push((server, since.as_millis() as u64));
        let failure = |code, request_sent| {
            Err(Failure { request_sent, ..Failure::new(Error::new(code, format!("server {server}")), None) })
        };
        let outcome = match (self.does)(server, since.as_secs()) {
            Serve => Ok(true),
            FindNothing => Ok(false),
            Refuse => failure(Code::Unreachable, false),
            Hang => {
                self.sleep(turn.remaining_at(self.now.get()).unwrap_or_default());
                failure(Code::Deadline, true)
            }
            NotFound => failure(Code::KeyNotFound, true),
            Deny => failure(Code::PermissionDenied, true),
            DenyVaguely => failure(Code::PermissionDenied, true)
                .map_err(|failure| Failure { reason: Some(ResultReason::GENERAL_FAILURE), ..failure }),
            Cut => failure(Code::ConnectionLost, true),
            Lack => failure(Code::Unsupported, false),
            Deceive => failure(Code::ServerUntrusted, false),
        };
        let mut health = self.healths[server].borrow_mut();
        match &outcome {
            Err(failure) if failure.code().is_transport() => {
                let too_late = failure.code() == Code::Deadline;
                health.fail(failure.error.message(), too_late, self.start + since, self.now.get())
            }
            _ => health.answer(Duration::ZERO, self.now.get()),
        };
        outcome
    }

    fn is_absent(answer: &bool) -> bool {
        !answer
    }
}

#[test]
fn servers_are_tried_in_order_after_the_delay_and_then_the_sequence_again() {
    let servers = Fake::new(3, |_, _| Refuse);
    let (end, asked) = servers.read(seconds(60));
    assert!(matches!(end, End::Unserved("every round failed")));
    let expected: Vec<_> = (0..9).map(|n| (n % 3, n as u64 * 2000)).collect();
    assert_eq!(asked, expected);
}

#[test]
fn the_deadline_ends_the_loop_and_no_delay_outlasts_it() {
    let servers = Fake::new(3, |_, _| Refuse);
    let (end, asked) = servers.read(seconds(5));
    assert!(matches!(end, End::Unserved("the deadline passed")));
    assert_eq!(asked, [(0, 0), (1, 2000), (2, 4000)]);
    assert_eq!(servers.now.get() - servers.start, seconds(5));
}

#[test]
fn a_healthy_server_is_tried_without_delay_and_a_resting_one_is_passed_over() {
    let servers = Fake::new(2, |server, second| if server == 0 && second >= 1 { Refuse } else { Serve });
    servers.healths[1].borrow_mut().answer(Duration::ZERO, servers.start);
    servers.sleep(seconds(1));
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Found(1, true)));
    assert_eq!(asked, [(0, 1000), (1, 1000)]);
    servers.sleep(seconds(3));
    assert_eq!(servers.read(seconds(30)).1, [(1, 4000)]);
}

#[test]
fn the_primary_is_taken_back_when_it_returns() {
    let servers = Fake::new(2, |server, second| if server == 0 && second < 3 { Refuse } else { Serve });
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Found(1, true)));
    assert_eq!(asked, [(0, 0), (1, 2000)]);
    servers.sleep(seconds(2));
    assert_eq!(servers.read(seconds(30)).1, [(1, 4000)], "it rests still");
    servers.sleep(seconds(1));
    assert_eq!(servers.read(seconds(30)).1, [(0, 5000)]);
}

#[test]
fn a_silent_server_leaves_time_for_the_others() {
    let servers = Fake::new(3, |server, _| if server < 2 { Hang } else { Serve });
    let (end, asked) = servers.read(seconds(60));
    assert!(matches!(end, End::Found(2, true)));
    assert_eq!(asked, [(0, 0), (1, 7000), (2, 14000)], "five seconds of patience and two of delay each");
    let servers = Fake::new(3, |_, _| Hang);
    let (_, asked) = servers.read(seconds(12));
    assert_eq!(asked, [(0, 0), (1, 6000), (2, 11_000)], "each has its share of what is left");
    assert_eq!(servers.now.get() - servers.start, seconds(12));
}

#[test]
fn a_silent_server_holds_up_one_call_for_long_and_later_ones_hardly() {
    let servers = Fake::new(3, |server, second| if server < 2 && second < 30 { Hang } else { Serve });
    assert_eq!(servers.read(seconds(60)).1, [(0, 0), (1, 7000), (2, 14_000)]);
    assert_eq!(servers.read(seconds(60)).1, [(0, 14_000), (2, 14_400)], "the first one's rest is over");
    assert_eq!(servers.read(seconds(60)).1, [(2, 14_400)]);
    servers.sleep(seconds(16));
    assert_eq!(servers.read(seconds(60)).1, [(0, 30_400)], "it is back");
}

#[test]
fn a_server_that_answers_others_meanwhile_is_slow_and_not_down() {
    let (start, mut health) = (Instant::now(), Health::default());
    let at = |second| start + seconds(second);
    health.answer(seconds(1), at(2));
    health.fail("too late", true, at(1), at(6));
    assert!(!health.is_down());
    health.fail("refused", false, at(1), at(6));
    assert!(health.is_down(), "only silence can be slowness");
    health.answer(seconds(1), at(7));
    health.fail("too late", true, at(8), at(13));
    assert!(health.is_down(), "nobody was answered since");
}

#[test]
fn a_missing_object_is_not_waited_for_where_a_server_is_down() {
    let servers = Fake::new(2, |server, _| if server == 0 { Hang } else { FindNothing });
    servers.read(seconds(60));
    let start = servers.now.get();
    let (end, _) = servers.read(seconds(60));
    assert!(matches!(end, End::Absent(1, Ok(false))));
    assert_eq!(servers.now.get() - start, PROBE);
}

#[test]
fn where_all_servers_are_down_each_gets_its_time_in_a_later_round() {
    let slow = |_, second| if second < 50 { Hang } else { Serve };
    let servers = Fake::new(2, slow);
    assert!(matches!(servers.read(seconds(40)).0, End::Unserved("the deadline passed")));
    let (end, asked) = servers.read(seconds(60));
    assert!(matches!(end, End::Found(..)), "{asked:?}");
    let waited: Vec<_> = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert_eq!(waited[..3], [2400, 2400, 7000], "{asked:?}: a look at each, and then with patience");
}

#[test]
fn a_refusal_is_not_taken_elsewhere_and_a_missing_object_is_looked_for_everywhere() {
    let servers = Fake::new(3, |server, _| if server == 0 { Deny } else { Serve });
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Refused(error) if error.code() == Code::PermissionDenied));
    assert_eq!(asked.len(), 1);
    let servers = Fake::new(3, |server, _| [NotFound, FindNothing, Serve][server]);
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Found(2, true)));
    assert_eq!(asked, [(0, 0), (1, 0), (2, 0)]);
    let servers = Fake::new(3, |server, _| [NotFound, Refuse, FindNothing][server]);
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Absent(0, Err(error)) if error.message() == "server 0"));
    assert_eq!(asked.len(), 3, "no second round");
}

#[test]
fn a_refusal_that_may_mean_not_found_is_checked_elsewhere_for_a_read_alone() {
    let servers = Fake::new(2, |server, _| if server == 0 { DenyVaguely } else { Serve });
    assert!(matches!(servers.read(seconds(30)).0, End::Found(1, true)));
    assert!(matches!(servers.call(seconds(30), false).0, End::Refused(_)));
    let servers = Fake::new(2, |server, _| if server == 0 { DenyVaguely } else { FindNothing });
    let (end, _) = servers.read(seconds(30));
    assert!(matches!(end, End::Absent(0, Err(error)) if error.code() == Code::PermissionDenied), "it says more");
}

#[test]
fn what_was_seen_is_waited_for_while_a_server_is_away_and_only_then() {
    let lagging = |server, second| match server {
        0 => Refuse,
        _ if second < 4 => FindNothing,
        _ => Serve,
    };
    let servers = Fake { is_of_known_object: true, ..Fake::new(2, lagging) };
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Found(1, true)));
    assert_eq!(asked, [(0, 0), (1, 2000), (1, 4000)]);
    let servers = Fake::new(2, lagging);
    assert!(matches!(servers.read(seconds(30)).0, End::Absent(1, Ok(false))), "nobody has seen it");
    let never = |server, _| if server == 0 { Refuse } else { FindNothing };
    let servers = Fake { is_of_known_object: true, ..Fake::new(2, never) };
    assert!(matches!(servers.read(seconds(30)).0, End::Absent(1, Ok(false))));
    let waited = servers.now.get() - servers.start;
    assert!((seconds(7)..=seconds(11)).contains(&waited), "{waited:?}");
    let servers = Fake { is_of_known_object: true, ..Fake::new(2, |_, _| FindNothing) };
    assert!(matches!(servers.read(seconds(30)).0, End::Absent(0, Ok(false))));
    assert_eq!(servers.now.get(), servers.start, "everybody was asked");
}

#[test]
fn a_write_whose_reply_was_lost_is_not_repeated_and_a_read_is() {
    let cut = |server, _| if server == 0 { Cut } else { Serve };
    let (end, asked) = Fake::new(2, cut).call(seconds(30), false);
    assert!(matches!(end, End::Lost(0, _)));
    assert_eq!(asked.len(), 1);
    assert!(matches!(Fake::new(2, cut).read(seconds(30)).0, End::Found(1, true)));
    let refused = |server, _| if server == 0 { Refuse } else { Serve };
    let (end, _) = Fake::new(2, refused).call(seconds(30), false);
    assert!(matches!(end, End::Found(1, true)), "no byte of it was sent");
}

#[test]
fn a_server_that_is_too_old_is_no_answer_while_another_one_may_be_newer() {
    let servers = Fake::new(2, |server, _| if server == 0 { Lack } else { Serve });
    let (end, asked) = servers.call(seconds(30), false);
    assert!(matches!(end, End::Found(1, true)));
    assert_eq!(asked, [(0, 0), (1, 0)], "it is not waited for");
    let servers = Fake::new(2, |_, _| Lack);
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Refused(error) if error.message() == "server 0"));
    assert_eq!(asked.len(), 2, "no version comes with waiting");
    let servers = Fake::new(2, |server, second| [Lack, if second < 4 { Refuse } else { Serve }][server]);
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Found(1, true)));
    assert_eq!(asked, [(0, 0), (1, 0), (1, 2000), (1, 4000)], "the one that can be of use is waited for");
    let servers = Fake::new(1, |_, second| if second < 2 { Refuse } else { Lack });
    let (end, asked) = servers.read(seconds(30));
    assert!(matches!(end, End::Refused(_)), "what it could not be asked before says nothing of its version");
    assert_eq!(asked, [(0, 0), (0, 2000)]);
}

#[test]
fn certificates_are_not_tried_again() {
    let servers = Fake::new(2, |_, _| Deceive);
    let (end, asked) = servers.read(seconds(60));
    assert!(matches!(end, End::Unserved("none can be trusted, or none trusts us,")));
    assert_eq!(asked.len(), 2);
}
