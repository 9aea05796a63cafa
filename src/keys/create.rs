//! Making a key without making two.
//!
//! KMIP servers accept two objects of one Name. So a new object stays Pre-Active until its creator has looked
//! for others of the same name on every server that can be reached: one of them wins, by a rule that every
//! creator applies alike, and only the winner is activated. `docs/decisions/0002-creating-a-key.md` tells why.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::lookup::{Found, group_of};
use super::{Keys, subject};
use crate::cluster::{Answered, Unserved};
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{Activate, Create, Deadline, Destroy, Locate, State};
use crate::log::{Severity, catalogue};

/// Longer than the resolution of KMIP's dates, and than a creator takes from its look to its activation.
const TIE_PAUSE: Duration = Duration::from_millis(1500);
/// How often a create whose reply was lost is tried again.
const TRIES: u32 = 3;

/// Whether a key was made or was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    Created,
    Existed,
}

/// An object of our making, still Pre-Active.
struct Made {
    identifier: String,
    server: usize,
}

impl Keys {
    /// The newest version of `name`, made now if there is none.
    pub(super) fn create_or_find(&self, name: &str, deadline: Deadline) -> Result<(Found, Creation)> {
        let abandoned = match self.find_group(name, deadline) {
            Ok(versions) if versions.iter().any(|found| found.state != State::PreActive) => {
                return Ok((self.find_newest(name, deadline)?, Creation::Existed));
            }
            Ok(versions) => versions.into_iter().next_back(),
            Err(error) if error.code() == Code::KeyNotFound => None,
            Err(error) => return Err(error),
        };
        // Somebody made the object and then died, or is just about to activate it.
        if let Some(found) = abandoned {
            return Ok((self.settle(&found.id, None, deadline)?, Creation::Existed));
        }
        let (id, made) = self.make(name, 1, deadline)?;
        let winner = self.settle(&id, made.as_ref(), deadline)?;
        let ours = made.is_some_and(|made| made.identifier == winner.identifier);
        let creation = if ours { Creation::Created } else { Creation::Existed };
        if creation == Creation::Created {
            let fields = [("key_name", id.to_string().into()), ("identifier", winner.identifier.as_str().into())];
            self.cluster.journal().event(catalogue::KEY_CREATED, Severity::Notice, &fields);
        }
        Ok((winner, creation))
    }

    /// A version above all others, which nobody is refused for making at the same time: all get the same one.
    pub(super) fn make_next(&self, name: &str, deadline: Deadline) -> Result<Found> {
        let versions = self.find_group(name, deadline)?;
        let highest = versions.last().expect("a group that is found has a version");
        if highest.state == State::PreActive {
            return self.settle(&highest.id, None, deadline);
        }
        let next = highest.id.version.checked_add(1).ok_or_else(|| no_more_versions(name))?;
        let (id, made) = self.make(name, next, deadline)?;
        let newest = self.settle(&id, made.as_ref(), deadline)?;
        let fields = [("key_name", id.to_string().into()), ("identifier", newest.identifier.as_str().into())];
        self.cluster.journal().event(catalogue::KEY_ROTATED, Severity::Notice, &fields);
        Ok(newest)
    }

    /// Makes an object for the lowest version, from the one given on, whose create was not lost on a server that is
    /// silent since. Makes none where somebody else has just made that version and the server knows no name twice.
    fn make(&self, name: &str, mut version: u32, deadline: Deadline) -> Result<(KeyId, Option<Made>)> {
        let mut last = None;
        for _ in 0..TRIES {
            let id = KeyId::new(name, version)?;
            let text = id.to_string();
            let create = Create { name: &text, group: Some(&group_of(name)) };
            match self.cluster.call(&create, subject(&id), None, deadline) {
                Ok(Answered { answer: identifier, server, .. }) => return Ok((id, Some(Made { identifier, server }))),
                Err(Unserved { error, lost_on: Some(server) }) => {
                    // Only the server that may have made it can say whether it did.
                    let locate = Locate { name: Some(&text), group: None, maximum: None };
                    match self.cluster.call_on(server, &locate, subject(&id), deadline) {
                        Ok(found) => match found.into_iter().next() {
                            Some(identifier) => return Ok((id, Some(Made { identifier, server }))),
                            None => last = Some(error),
                        },
                        Err(_) => {
                            // It cannot say: a gap in the versions is legal, a second key of one version is not.
                            version += 1;
                            last = Some(error);
                        }
                    }
                }
                Err(Unserved { error, .. }) if error.code() == Code::ServerRefused => {
                    return self.find_version(&id, deadline).map(|_| (id, None)).map_err(|_| error);
                }
                Err(unserved) => return Err(unserved.error),
            }
        }
        Err(last.expect("every try that goes on has failed"))
    }

    /// Decides which object of this name and version is the key, and sees to it that it becomes Active.
    fn settle(&self, id: &KeyId, made: Option<&Made>, deadline: Deadline) -> Result<Found> {
        let mut rivals = self.rivals(id, made, deadline)?;
        if rivals.len() > 1 && tied(&rivals) {
            // A creator that saw no rival activates at once; one that sees a tie waits to learn of it.
            std::thread::sleep(TIE_PAUSE.min(deadline.remaining().unwrap_or_default()));
            rivals = self.rivals(id, made, deadline)?;
        }
        let winner = winner(rivals).ok_or_else(|| vanished(id))?;
        if let Some(made) = made
            && made.identifier != winner.identifier
        {
            self.destroy_loser(id, made, deadline);
        }
        if winner.state == State::PreActive {
            self.activate(id, &winner, deadline)?;
        }
        let settled = self.find_version(id, deadline)?;
        if settled.state == State::Active && settled.identifier == winner.identifier {
            return Ok(settled);
        }
        let message = format!(
            "key {id} was made as object {:?}, and the key server now shows object {:?} in state {}; try again",
            winner.identifier, settled.identifier, settled.state
        );
        Err(Error::new(Code::AnswerUnexpected, message))
    }

    /// Every object of this name and version on every server that can be reached.
    fn rivals(&self, id: &KeyId, made: Option<&Made>, deadline: Deadline) -> Result<Vec<Found>> {
        let text = id.to_string();
        let locate = Locate { name: Some(&text), group: None, maximum: None };
        let mut rivals: Vec<Found> = Vec::new();
        let mut last_failure = None;
        for (server, known) in self.cluster.servers().iter().enumerate() {
            let is_maker = made.is_some_and(|made| made.server == server);
            if !is_maker && known.is_resting(std::time::Instant::now()) {
                continue;
            }
            match self.cluster.call_on(server, &locate, subject(id), deadline) {
                Ok(answer) => {
                    let located = Answered { answer, server, unreached: Vec::new() };
                    let found = self.describe(&located, &id.name, deadline)?;
                    rivals.extend(found.into_iter().filter(|found| found.id == *id));
                }
                Err(failure) if is_maker => return Err(failure.error),
                Err(failure) => last_failure = Some(failure.error),
            }
        }
        rivals.sort_by(|a, b| (a.initial_date, &a.identifier).cmp(&(b.initial_date, &b.identifier)));
        rivals.dedup_by(|a, b| a.identifier == b.identifier);
        match (rivals.is_empty(), last_failure) {
            (true, Some(error)) => Err(error),
            _ => Ok(rivals),
        }
    }

    fn activate(&self, id: &KeyId, winner: &Found, deadline: Deadline) -> Result<()> {
        let activate = Activate { id: &winner.identifier };
        match self.cluster.call_on(winner.server, &activate, subject(id), deadline) {
            Ok(_) => Ok(()),
            // A rival, or our own lost request, was first: the look that follows tells.
            Err(failure) if failure.reason.is_some() || failure.request_sent => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    fn destroy_loser(&self, id: &KeyId, made: &Made, deadline: Deadline) {
        let destroy = Destroy { id: &made.identifier };
        // Left behind it stays Pre-Active, which nothing ever uses.
        let _ = self.cluster.call_on(made.server, &destroy, subject(id), deadline);
    }
}

/// An Active object has won already; among the others the earliest, then the lowest identifier.
fn winner(rivals: Vec<Found>) -> Option<Found> {
    let open = |found: &Found| matches!(found.state, State::Active | State::PreActive);
    let order = |found: &Found| (found.state != State::Active, found.initial_date, found.identifier.clone());
    rivals.into_iter().filter(open).min_by_key(order)
}

/// Whether the dates of the two earliest, which have a resolution of a second, leave open which was first.
fn tied(rivals: &[Found]) -> bool {
    let none_active = rivals.iter().all(|found| found.state != State::Active);
    none_active && rivals[0].initial_date == rivals[1].initial_date
}

fn no_more_versions(name: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("key {name:?} has the highest version there is; create another key"))
}

fn vanished(id: &KeyId) -> Error {
    let message = format!("key {id} was made, and then the key server showed no such key; try again");
    Error::new(Code::AnswerUnexpected, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmip::Algorithm;

    fn object(identifier: &str, state: State, initial_date: i64) -> Found {
        Found {
            id: KeyId::new("customer-1", 1).unwrap(),
            identifier: identifier.into(),
            state,
            algorithm: Some(Algorithm::AES),
            length_bits: Some(256),
            initial_date: Some(initial_date),
            activation_date: (state != State::PreActive).then_some(initial_date),
            server: 0,
        }
    }

    #[test]
    fn an_active_object_wins_over_an_earlier_one_that_is_not() {
        let rivals = vec![object("1", State::PreActive, 10), object("2", State::Active, 11)];
        assert_eq!(winner(rivals).unwrap().identifier, "2");
    }

    #[test]
    fn among_pre_active_objects_the_earliest_wins_and_a_tie_goes_to_the_lowest_identifier() {
        let rivals = vec![object("b", State::PreActive, 10), object("a", State::PreActive, 10)];
        assert!(tied(&rivals));
        assert_eq!(winner(rivals).unwrap().identifier, "a");
        let rivals = vec![object("b", State::PreActive, 10), object("a", State::PreActive, 11)];
        assert!(!tied(&rivals));
        assert_eq!(winner(rivals).unwrap().identifier, "b");
    }

    #[test]
    fn a_revoked_object_never_wins() {
        assert!(winner(vec![object("1", State::Compromised, 1), object("2", State::Deactivated, 1)]).is_none());
    }
}
