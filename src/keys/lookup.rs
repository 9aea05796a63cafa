//! Finding a key's versions on the servers, and believing only what was checked.

#![forbid(unsafe_code)]

use std::thread::ScopedJoinHandle;

use super::space::kek::object_id;
use super::{Keys, subject};
use crate::cluster::Subject;
use crate::config;
use crate::envelope::KeyId;
use crate::error::{Attempt, Code, Error, Result};
use crate::kmip::attributes::{self, Attributes};
use crate::kmip::{Algorithm, Deadline, Failure, GetAttributes, Locate, ObjectType, State};
use crate::log::{Severity, catalogue};

/// What is asked of every object before it is believed to be a key.
const WANTED: &[&str] = &[
    attributes::NAME,
    attributes::OBJECT_TYPE,
    attributes::STATE,
    attributes::ALGORITHM,
    attributes::LENGTH,
    attributes::INITIAL_DATE,
    attributes::ACTIVATION_DATE,
    attributes::DEACTIVATION_DATE,
];
/// Objects described in one request: some servers parse long requests slowly.
const BATCH: usize = 32;

/// A version of a key as a server described it.
#[derive(Clone, Debug)]
pub struct Found {
    pub id: KeyId,
    /// The server's unique identifier.
    pub identifier: String,
    pub state: State,
    pub object_type: Option<ObjectType>,
    pub algorithm: Option<Algorithm>,
    pub length_bits: Option<u32>,
    /// Seconds since 1970.
    pub initial_date: Option<i64>,
    /// Seconds since 1970; absent where it was never activated.
    pub activation_date: Option<i64>,
    /// Seconds since 1970; from then on it encrypts no more.
    pub deactivation_date: Option<i64>,
    /// Index of the server that described it.
    pub server: usize,
}

/// What a server tells of a version that changes in its life. Dates are seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub state: State,
    pub activation_date: Option<i64>,
    pub deactivation_date: Option<i64>,
}

impl From<State> for Standing {
    fn from(state: State) -> Standing {
        Standing { state, activation_date: None, deactivation_date: None }
    }
}

impl Standing {
    pub(super) fn activates(&self) -> i64 {
        self.activation_date.unwrap_or(i64::MIN)
    }

    pub(super) fn deactivates(&self) -> i64 {
        self.deactivation_date.unwrap_or(i64::MAX)
    }

    /// How long its dates let it encrypt from now on, in nanoseconds.
    pub(super) fn left(&self) -> u64 {
        let now = config::now();
        match now < self.activates() {
            true => 0,
            false => u64::try_from(self.deactivates().saturating_sub(now)).unwrap_or(0).saturating_mul(1_000_000_000),
        }
    }
}

impl Found {
    pub(super) fn standing(&self) -> Standing {
        let Found { state, activation_date, deactivation_date, .. } = *self;
        Standing { state, activation_date, deactivation_date }
    }

    /// Whether it may encrypt now.
    pub fn encrypts(&self) -> bool {
        self.state == State::Active && self.standing().left() > 0
    }

    /// When it came into use, in seconds since 1970.
    pub fn in_use_since(&self) -> Option<i64> {
        self.activation_date.or(self.initial_date)
    }
}

/// What all servers together show.
#[derive(Default)]
pub(super) struct View {
    /// Each object once, as the server knows it that saw most of its life.
    pub found: Vec<Found>,
    /// The servers that could not be asked.
    pub unasked: Vec<usize>,
    pub last_failure: Option<Error>,
}

/// What one server shows.
type Look = std::result::Result<Vec<Found>, Failure>;

/// Everything under our naming that a server shows, and what it does not.
pub struct Listing {
    /// By name and version.
    pub found: Vec<Found>,
    pub refused: Vec<Withheld>,
}

/// An object that a server located and did not describe: it may be anybody's, and may be a key of ours.
#[derive(Debug)]
pub struct Withheld {
    /// The server's unique identifier.
    pub identifier: String,
    pub error: Error,
    /// Index of the server.
    pub server: usize,
}

/// The Object Group that every version of a key belongs to.
pub(super) fn group_of(name: &str) -> String {
    format!("keystead:{name}")
}

impl Keys {
    /// The highest version of `name` that encrypts, and never a lower one than was seen before.
    pub(super) fn find_newest(&self, name: &str, deadline: Deadline) -> Result<Found> {
        let known = self.ledger.newest(name).filter(|known| !known.has_ended).map_or(0, |known| known.version);
        let mut found = self.find_group(name, deadline)?;
        let is_behind = |found: &[Found]| known > 0 && found.iter().all(|found| found.id.version < known);
        if found.iter().all(|found| found.state == State::PreActive) || is_behind(&found) {
            // Made a moment ago, and this replica has not heard of it yet.
            let locate = Locate { name: None, group: Some(&group_of(name)), maximum: None };
            let view = self.look_around(&locate, Subject { name, version: None }, deadline);
            if is_behind(&view.found) {
                return Err(self.undercut(name, known, view));
            }
            found = if view.found.is_empty() { found } else { view.found };
        }
        let newest = found.iter().filter(|found| found.encrypts()).max_by_key(|found| found.id.version);
        match newest {
            Some(newest) => {
                self.refuse_twins(&found, &newest.id)?;
                self.check_kind(newest)?;
                self.warn_of_age(newest);
                Ok(newest.clone())
            }
            None => Err(no_active_version(name, &found)),
        }
    }

    /// The servers show older versions only than `known`, which encrypted before. Who cannot be asked may have it; a
    /// primary that lacks it has lost it.
    fn undercut(&self, name: &str, known: u32, view: View) -> Error {
        let shown = view.found.last().map_or(0, |highest| highest.id.version);
        let message = format!(
            "version {known} of key {name:?} was seen before, and the key servers show no version above {shown}; nothing \
             is encrypted with an older one: compare the servers of the cluster, or rotate the key"
        );
        let primary = self.cluster.order()[0];
        if view.unasked.contains(&primary) {
            let reason = view.last_failure.map_or(String::new(), |error| error.message().to_owned());
            let primary = self.cluster.server(primary);
            let attempt = Attempt { server: primary.name(), address: None, code: Code::NoServer.number(), reason };
            return Error::new(Code::KeyNotFound, message).after(vec![attempt]);
        }
        let fields = [("key_name", name.into()), ("message", message.as_str().into())];
        self.cluster.journal().event(catalogue::KEY_VERSION_LOST, Severity::Alert, &fields);
        Error::new(Code::KeyVersionLost, message)
    }

    /// One version, in whatever state it is.
    pub(super) fn find_version(&self, id: &KeyId, deadline: Deadline) -> Result<Found> {
        let locate = Locate { name: Some(&id.to_string()), group: None, maximum: None };
        let (Listing { mut found, .. }, unreached) = self.look_up(&locate, subject(id), deadline)?;
        found.retain(|found| found.id == *id);
        self.refuse_twins(&found, id)?;
        // An abandoned twin is Pre-Active and never encrypted anything.
        found.sort_by_key(|found| (found.state == State::PreActive, found.initial_date));
        let first = found
            .into_iter()
            .next()
            .ok_or_else(|| not_found(&id.to_string(), "check whether it was destroyed", unreached))?;
        self.check_kind(&first).map(|()| first)
    }

    /// Every version of `name`; an error if there is none.
    pub(super) fn find_group(&self, name: &str, deadline: Deadline) -> Result<Vec<Found>> {
        let locate = Locate { name: None, group: Some(&group_of(name)), maximum: None };
        let (Listing { mut found, .. }, unreached) =
            self.look_up(&locate, Subject { name, version: None }, deadline)?;
        if found.is_empty() {
            return Err(not_found(name, &format!("create it with `keystead key create {name}`"), unreached));
        }
        found.sort_by_key(|found| found.id.version);
        Ok(found)
    }

    /// Every version of every key under our naming.
    pub(super) fn find_all(&self, deadline: Deadline) -> Result<Listing> {
        let (mut listing, _) = self.look_up(&Locate::default(), Subject::default(), deadline)?;
        listing.found.sort_by(|a, b| (&a.id.name, a.id.version).cmp(&(&b.id.name, b.id.version)));
        Ok(listing)
    }

    /// Locates objects and describes them, and tells the servers that could not be asked.
    fn look_up(&self, locate: &Locate<'_>, about: Subject<'_>, deadline: Deadline) -> Result<(Listing, Vec<Attempt>)> {
        let mut tries = 2 * self.cluster.order().len();
        loop {
            let located = self.cluster.call(locate, about, None, deadline)?;
            let turn = || self.cluster.turn(located.server, deadline);
            match self.describe(located.server, &located.answer, about.name, turn) {
                Ok(listing) => {
                    self.ledger.note(&listing.found);
                    return Ok((listing, located.unreached));
                }
                // It located them and then went away: it rests now, so the next one is asked for both.
                Err(failure) if failure.code().is_transport() && !deadline.is_past() && tries > 0 => tries -= 1,
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// Locates and describes objects on every server: replicas lag, and each one knows only its own newest changes.
    pub(super) fn look_around(&self, locate: &Locate<'_>, about: Subject<'_>, deadline: Deadline) -> View {
        let order = self.cluster.order();
        let mut looks = self.look_at_each(&order, locate, about, |server| self.cluster.turn(server, deadline));
        if order.len() > 1 && !deadline.is_past() && looks.iter().all(|look| look.is_err()) {
            // They may be slow rather than down.
            looks = self.look_at_each(&order, locate, about, |_| self.cluster.patience(deadline));
        }
        let mut view = View::default();
        for (server, look) in order.into_iter().zip(looks) {
            match look {
                Ok(found) => view.found.extend(found),
                Err(failure) => {
                    view.unasked.push(server);
                    view.last_failure = Some(failure.error);
                }
            }
        }
        view.found = without_losers(furthest(view.found));
        self.ledger.note(&view.found);
        view
    }

    /// Looks at the servers in turn, but for those that are down: they are waited for at the same time, by threads.
    fn look_at_each(
        &self,
        servers: &[usize],
        locate: &Locate<'_>,
        about: Subject<'_>,
        turn: impl Fn(usize) -> Deadline + Sync,
    ) -> Vec<Look> {
        let look = |server| self.look_at(server, locate, about, turn(server));
        std::thread::scope(|scope| {
            let look = &look;
            let is_slow = |server| servers.len() > 1 && self.cluster.is_down(server);
            let thread = || std::thread::Builder::new().name("keystead-look".into());
            let wait = |server| thread().spawn_scoped(scope, move || look(server)).ok();
            let start = |&server: &usize| if is_slow(server) { wait(server) } else { None };
            let waits: Vec<_> = servers.iter().map(start).collect();
            let end = |(&server, wait): (&usize, Option<ScopedJoinHandle<'_, Look>>)| match wait {
                Some(wait) => wait.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => look(server),
            };
            servers.iter().zip(waits).map(end).collect()
        })
    }

    /// Locates and describes objects on one server.
    pub(super) fn look_at(&self, server: usize, locate: &Locate<'_>, about: Subject<'_>, turn: Deadline) -> Look {
        let identifiers = self.cluster.call_on(server, locate, about, turn)?;
        self.describe(server, &identifiers, about.name, || turn).map(|listing| listing.found)
    }

    /// Asks the server that located the objects what they are, and keeps those that carry `name` (any if empty).
    fn describe(
        &self,
        server: usize,
        identifiers: &[String],
        name: &str,
        turn: impl Fn() -> Deadline,
    ) -> std::result::Result<Listing, Failure> {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for identifiers in identifiers.chunks(BATCH) {
            let asked: Vec<_> = identifiers.iter().map(|id| GetAttributes { id, names: WANTED }).collect();
            let subjects = vec![Subject { name, version: None }; asked.len()];
            let answers = self.cluster.call_all_on(server, &asked, &subjects, turn())?;
            for (identifier, answer) in identifiers.iter().zip(answers) {
                match answer {
                    Ok(attributes) => found.extend(recognise(identifier, &attributes, name, server)),
                    // Destroyed between the two requests.
                    Err(failure) if failure.code() == Code::KeyNotFound => {}
                    // Another's object must not hide all of ours from a list; one of the name that is looked for may be
                    // its newest version.
                    Err(failure) if name.is_empty() && !failure.code().is_transport() => {
                        refused.push(Withheld { identifier: identifier.clone(), error: failure.error, server });
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(Listing { found: without_losers(found), refused })
    }

    /// Two active objects of one name and version: nobody can tell which one others use.
    pub(super) fn refuse_twins(&self, found: &[Found], id: &KeyId) -> Result<()> {
        let is_active = |found: &&Found| found.id == *id && found.state == State::Active;
        let twins: Vec<&str> = found.iter().filter(is_active).map(|found| found.identifier.as_str()).collect();
        if twins.len() < 2 {
            return Ok(());
        }
        let message = format!(
            "the key server holds {} active keys named {id} ({}); revoke all but the one that your data uses",
            twins.len(),
            twins.join(", ")
        );
        self.cluster.journal().event(catalogue::KEY_AMBIGUOUS, Severity::Alert, &[("message", message.clone().into())]);
        Err(Error::new(Code::KeyAmbiguous, message))
    }
}

/// The version that an object is, if one of its Names is `NAME/V` with the name we look for.
///
/// Some servers answer Locate with objects that do not match.
fn recognise(identifier: &str, attributes: &Attributes, name: &str, server: usize) -> Option<Found> {
    let ids = attributes.names.iter().filter_map(|text| object_id(text));
    let id = ids.into_iter().find(|id| name.is_empty() || id.name == name)?;
    Some(Found {
        id,
        identifier: identifier.to_owned(),
        state: attributes.state.unwrap_or(State::Other(0)),
        object_type: attributes.object_type,
        algorithm: attributes.algorithm,
        length_bits: attributes.length_bits,
        initial_date: attributes.initial_date,
        activation_date: attributes.activation_date,
        deactivation_date: attributes.deactivation_date,
        server,
    })
}

/// Keeps each object once. States only advance (KMIP 1.4 §3.22), so the most advanced one is the newest.
fn furthest(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| (&a.identifier, b.state.number()).cmp(&(&b.identifier, a.state.number())));
    found.dedup_by(|a, b| a.identifier == b.identifier);
    found
}

/// Leaves out what lost the race to be created: servers may go on showing an object after its key was destroyed. An
/// object that was ever active is no loser, and stands for its version also when it is destroyed.
fn without_losers(found: Vec<Found>) -> Vec<Found> {
    let lost = |one: &Found| one.state == State::Destroyed && one.activation_date.is_none();
    let kept = |one: &Found| {
        !lost(one)
            || !found.iter().any(|other| other.id == one.id && other.identifier != one.identifier && !lost(other))
    };
    let keep: Vec<bool> = found.iter().map(kept).collect();
    found.into_iter().zip(keep).filter_map(|(one, keep)| keep.then_some(one)).collect()
}

fn not_found(name: &str, remedy: &str, unreached: Vec<Attempt>) -> Error {
    let doubt = match unreached.len() {
        0 => String::new(),
        _ => {
            let mut servers: Vec<_> = unreached.iter().map(|attempt| attempt.server.as_str()).collect();
            servers.dedup();
            format!(" (not asked, because unreachable: {})", servers.join(", "))
        }
    };
    let message = format!("no key server has a key named {name:?}{doubt}; {remedy}");
    Error::new(Code::KeyNotFound, message).after(unreached)
}

fn no_active_version(name: &str, found: &[Found]) -> Error {
    let states: Vec<_> = found.iter().map(|found| format!("{} is {}", found.id, found.state)).collect();
    let message = format!(
        "key {name:?} has no active version, so nothing can be encrypted with it: {}; activate or rotate it",
        states.join(", ")
    );
    Error::new(Code::KeyState, message)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A version of an ordinary key, on the primary.
    pub fn found(id: &str, state: State) -> Found {
        Found {
            id: KeyId::parse(id).unwrap(),
            identifier: "1".into(),
            state,
            object_type: Some(ObjectType::SYMMETRIC_KEY),
            algorithm: Some(Algorithm::AES),
            length_bits: Some(256),
            initial_date: Some(1),
            activation_date: None,
            deactivation_date: None,
            server: 0,
        }
    }

    fn object(identifier: &str, version: u32, state: State, activation_date: Option<i64>) -> Found {
        Found { identifier: identifier.into(), activation_date, ..found(&format!("customer-1/{version}"), state) }
    }

    #[test]
    fn what_lost_the_race_is_not_shown_and_what_was_ever_active_is() {
        let found = without_losers(vec![
            object("lost", 1, State::Destroyed, None),
            object("won", 1, State::PreActive, None),
            object("used", 2, State::Destroyed, Some(2)),
            object("abandoned", 2, State::PreActive, None),
            object("alone", 3, State::Destroyed, None),
        ]);
        let shown: Vec<_> = found.iter().map(|found| found.identifier.as_str()).collect();
        assert_eq!(shown, ["won", "used", "abandoned", "alone"]);
    }
}
