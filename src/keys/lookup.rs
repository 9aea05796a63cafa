//! Finding a key's versions on the servers, and believing only what was checked.

#![forbid(unsafe_code)]

mod found;

use std::thread::ScopedJoinHandle;

use super::{Keys, subject};
use crate::cluster::Subject;
use crate::envelope::KeyId;
use crate::error::{Attempt, Code, Error, Result};
use crate::kmip::{Deadline, Failure, GetAttributes, Locate, State, attributes};
use crate::log::{Severity, catalogue};
#[cfg(test)]
pub(super) use found::tests;
pub use found::{Found, Standing};
use found::{furthest, recognise, without_losers};

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
