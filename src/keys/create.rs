//! Making a key without making two.
//!
//! KMIP servers accept two objects of one Name. So a new object stays Pre-Active until its creator has looked
//! for others of the same name on every server that can be reached: one of them wins, by a rule that every
//! creator applies alike, and only the winner is activated. `docs/decisions/0002-creating-a-key.md` tells why.

#![forbid(unsafe_code)]

mod rivals;

use std::time::{Duration, Instant};

use super::lookup::{Found, View, group_of};
use super::space::kek;
use super::{Keys, subject};
use crate::cluster::{Answered, Subject, Unserved};
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{Activate, Deadline, Destroy, Exposure, Locate, State};
use crate::log::{Severity, catalogue};
use rivals::{Made, Rivals, is_contended, is_open, next_version, winner};

/// Longer than the resolution of KMIP's dates, and than a creator takes from its look to its activation.
const PAUSE: Duration = Duration::from_millis(1500);
/// A look that took longer is too old to act on: somebody may have waited out the pause meanwhile.
const FRESH: Duration = Duration::from_millis(750);
/// How often a create whose reply was lost, a version whose server died, or an old look is tried again.
const TRIES: u32 = 3;

/// Whether a key was made or was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    Created,
    Existed,
}

/// The versions that cannot be made any more.
struct Taken {
    highest: u32,
    /// The servers that could not be asked.
    unasked: Vec<usize>,
}

impl Keys {
    /// The newest version of `name`, made now if there is none.
    pub(super) fn create_or_find(&self, name: &str, deadline: Deadline) -> Result<(Found, Creation)> {
        let view = match self.find_group(name, deadline) {
            Ok(versions) if versions.iter().any(|found| found.state != State::PreActive) => {
                return Ok((self.find_newest(name, deadline)?, Creation::Existed));
            }
            // Every server was asked.
            Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => View::default(),
            Ok(_) => self.versions_everywhere(name, deadline),
            Err(error) if error.code() == Code::KeyNotFound => self.versions_everywhere(name, deadline),
            Err(error) => return Err(error),
        };
        match view.found.last() {
            Some(found) if found.state == State::Active => Ok((self.find_newest(name, deadline)?, Creation::Existed)),
            // Somebody made the object and then died, or is just about to activate it.
            Some(found) if found.state == State::PreActive => {
                Ok((self.settle(&found.id, Rivals::OfName, None, deadline)?, Creation::Existed))
            }
            _ => {
                let taken = self.taken(name, &view, deadline);
                let (found, creation) = self.make_above(name, taken, Rivals::OfName, deadline)?;
                if creation == Creation::Created {
                    self.tell(catalogue::KEY_CREATED, &found);
                }
                Ok((found, creation))
            }
        }
    }

    /// A version above all others, which nobody is refused for making at the same time: all get the same one.
    pub(super) fn make_next(&self, name: &str, deadline: Deadline) -> Result<Found> {
        let view = self.versions_everywhere(name, deadline);
        let taken = self.taken(name, &view, deadline);
        let newest = match view.found.last() {
            Some(highest) if highest.state == State::PreActive && highest.id.version == taken.highest => {
                return self.settle(&highest.id, Rivals::OfVersion, None, deadline);
            }
            _ => self.make_above(name, taken, Rivals::OfVersion, deadline)?.0,
        };
        self.tell(catalogue::KEY_ROTATED, &newest);
        Ok(newest)
    }

    /// Every version on every server that can be asked, the highest last; of one version, what is used before what is
    /// Pre-Active comes last.
    fn versions_everywhere(&self, name: &str, deadline: Deadline) -> View {
        let locate = Locate { name: None, group: Some(&group_of(name)), maximum: None };
        let mut view = self.look_around(&locate, Subject { name, version: None }, deadline);
        view.found.sort_by_key(|found| (found.id.version, found.state != State::PreActive));
        view
    }

    /// What is taken, also by what shares its versions with the name.
    fn taken(&self, name: &str, view: &View, deadline: Deadline) -> Taken {
        let highest = |name: &str, view: &View| {
            // A version that was destroyed is not made again: what it encrypted would be taken for the new one's.
            let known = self.ledger.newest(name).map_or(0, |known| known.version);
            view.found.iter().map(|found| found.id.version).max().unwrap_or(0).max(known)
        };
        let mut taken = Taken { highest: highest(name, view), unasked: view.unasked.clone() };
        for other in kek::sharing_versions(name) {
            let view = self.versions_everywhere(&other, deadline);
            taken.highest = taken.highest.max(highest(&other, &view));
            taken.unasked.extend(view.unasked);
        }
        taken
    }

    /// Makes a version above all that are taken. One whose server fell silent before it was decided is given up for a
    /// higher one: a gap in the versions is legal, a second key of one version is not.
    fn make_above(&self, name: &str, taken: Taken, rivals: Rivals, deadline: Deadline) -> Result<(Found, Creation)> {
        let Taken { highest: mut version, mut unasked } = taken;
        let mut tries = TRIES;
        loop {
            version = self.version_above(version, &unasked).ok_or_else(|| no_more_versions(name))?;
            let id = KeyId { name: name.to_owned(), version };
            tries -= 1;
            let (error, server) = match self.make(&id, deadline) {
                Ok(None) => return Ok((self.settle(&id, rivals, None, deadline)?, Creation::Existed)),
                Ok(Some(made)) => match self.settle(&id, rivals, Some(&made), deadline) {
                    Ok(found) if found.identifier == made.identifier => return Ok((found, Creation::Created)),
                    Ok(found) => return Ok((found, Creation::Existed)),
                    Err(error) if error.code().is_transport() => (error, made.server),
                    Err(error) => return Err(error),
                },
                Err(Unserved { error, lost_on: Some(server) }) => {
                    // The others may have heard of it from the server that is silent now.
                    match self.settle(&id, rivals, None, deadline) {
                        Ok(found) => return Ok((found, Creation::Created)),
                        Err(undecided) if is_undecided(&undecided) => (error, server),
                        Err(refused) => return Err(refused),
                    }
                }
                Err(unserved) => return Err(unserved.error),
            };
            if tries == 0 || deadline.is_past() {
                return Err(error);
            }
            unasked = vec![server];
        }
    }

    /// The Active object of this very version, made now if there is none.
    pub(super) fn make_version(&self, id: &KeyId, deadline: Deadline) -> Result<Found> {
        let made = self.make(id, deadline)?;
        self.settle(id, Rivals::OfVersion, made.as_ref(), deadline)
    }

    /// An object above all versions that are seen, with its identifier and server. It has no rivals, as nobody else is to
    /// use it, and stays Pre-Active.
    pub(super) fn make_unshared(&self, name: &str, deadline: Deadline) -> Result<(KeyId, String, usize)> {
        let view = self.versions_everywhere(name, deadline);
        let Taken { highest: mut version, unasked } = self.taken(name, &view, deadline);
        for _ in 0..TRIES {
            version = self.version_above(version, &unasked).ok_or_else(|| no_more_versions(name))?;
            let id = KeyId { name: name.to_owned(), version };
            if let Some(Made { identifier, server }) = self.make(&id, deadline)? {
                return Ok((id, identifier, server));
            }
        }
        let message =
            format!("others make versions of {name:?} at the same time, one after the other; try again later");
        Err(Error::new(Code::ServerRefused, message))
    }

    /// The next version, which nobody else can be making unseen.
    ///
    /// A server that cannot be asked may have made the next one without having told the others yet, so that one is
    /// skipped. It may also go on making versions for clients that reach it alone: sides that do not see each other
    /// take versions of different remainders, each by the first of the servers that it reaches.
    fn version_above(&self, highest: u32, unasked: &[usize]) -> Option<u32> {
        let name = |server| (server, self.cluster.server(server).name());
        let mut names: Vec<_> = self.cluster.order().into_iter().map(name).collect();
        names.sort_by(|a, b| a.1.cmp(&b.1));
        let first = names.iter().position(|(server, _)| !unasked.contains(server)).unwrap_or_default();
        next_version(highest, unasked.len(), first, names.len())
    }

    /// Makes an object, but none where somebody else has just made that version and the server knows no name twice. It
    /// fails with `lost_on` if a server may have made it and cannot be asked whether it did.
    fn make(&self, id: &KeyId, deadline: Deadline) -> std::result::Result<Option<Made>, Unserved> {
        let (name, group) = (id.to_string(), group_of(&id.name));
        let mut create = kek::create(id, &name, &group);
        let locate = Locate { name: Some(&name), group: None, maximum: None };
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let (error, server) = match self.cluster.call(&create, subject(id), None, deadline) {
                Ok(Answered { answer: identifier, server, .. }) => return Ok(Some(Made { identifier, server })),
                Err(Unserved { error, lost_on: Some(server) }) => (error, server),
                Err(unserved) if create.exposure != Exposure::Plain && is_refused(&unserved.error) => {
                    // Not every server knows both attributes that keep a key in it.
                    create.exposure = weaker(create.exposure);
                    tries += 1;
                    continue;
                }
                Err(unserved) if unserved.error.code() == Code::ServerRefused => {
                    return self.find_version(id, deadline).map(|_| None).map_err(|_| unserved);
                }
                Err(unserved) => return Err(unserved),
            };
            // Only the server that may have made it can say whether it did. What it locates need not be of that name.
            match self.look_at(server, &locate, subject(id), self.cluster.turn(server, deadline)) {
                Ok(found) => {
                    if let Some(found) = found.into_iter().find(|found| found.id == *id) {
                        return Ok(Some(Made { identifier: found.identifier, server }));
                    }
                    if tries == 0 {
                        return Err(Unserved { error, lost_on: None });
                    }
                }
                Err(_) => return Err(Unserved { error, lost_on: Some(server) }),
            }
        }
    }

    /// Decides which object is the key, and sees to it that it becomes Active.
    fn settle(&self, id: &KeyId, scope: Rivals, made: Option<&Made>, deadline: Deadline) -> Result<Found> {
        let mut tries = TRIES;
        let winner = loop {
            tries -= 1;
            let winner = self.decide(id, scope, made, deadline)?;
            if winner.state == State::Active {
                break winner;
            }
            // Before another server is asked to, it is decided anew: meanwhile a rival may have waited out the pause.
            match self.activate(&winner, deadline) {
                Err(_) if tries > 0 && !deadline.is_past() => {}
                outcome => break outcome.map(|()| winner)?,
            }
        };
        let settled = self.rivals(id, scope, Some(&winner.identifier), deadline)?;
        self.refuse_twins(&settled, &winner.id)?;
        let shown =
            settled.into_iter().find(|found| found.identifier == winner.identifier).ok_or_else(|| vanished(id))?;
        if shown.state == State::Active {
            return self.check_kind(&shown).map(|()| shown);
        }
        let message = format!(
            "key {} was made as object {:?}, and the key server now shows it in state {}; try again",
            winner.id, winner.identifier, shown.state
        );
        Err(Error::new(Code::AnswerUnexpected, message))
    }

    /// The object that is the key, or is to be. Ours is destroyed if it is another.
    fn decide(&self, id: &KeyId, scope: Rivals, made: Option<&Made>, deadline: Deadline) -> Result<Found> {
        let ours = made.map(|made| made.identifier.as_str());
        let mut rivals = self.rivals(id, scope, ours, deadline)?;
        if is_contended(&rivals) {
            // A creator that saw no rival activates at once; one that sees a rival waits to learn of it.
            std::thread::sleep(PAUSE.min(deadline.remaining().unwrap_or_default()));
            rivals = self.rivals(id, scope, ours, deadline)?;
        }
        let open = made.filter(|made| is_open(made, &rivals));
        let winner = winner(rivals).ok_or_else(|| vanished(id))?;
        if let Some(loser) = open.filter(|made| made.identifier != winner.identifier) {
            self.destroy_loser(id, loser, deadline);
        }
        Ok(winner)
    }

    /// Every object of this name, or name and version, on every server that can be asked. An error if `wanted` is not among
    /// them and a server could not be asked: it may be the one that has it.
    fn rivals(&self, id: &KeyId, scope: Rivals, wanted: Option<&str>, deadline: Deadline) -> Result<Vec<Found>> {
        let (name, group) = (id.to_string(), group_of(&id.name));
        let locate = match scope {
            Rivals::OfName => Locate { name: None, group: Some(&group), maximum: None },
            Rivals::OfVersion => Locate { name: Some(&name), group: None, maximum: None },
        };
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let start = Instant::now();
            let mut view = self.look_around(&locate, subject(id), deadline);
            if start.elapsed() > FRESH && tries > 0 && !deadline.is_past() {
                continue; // Whoever was slow rests now.
            }
            view.found.retain(|found| matches!(scope, Rivals::OfName) || found.id == *id);
            let is_seen = match wanted {
                Some(wanted) => view.found.iter().any(|found| found.identifier == wanted),
                None => !view.found.is_empty(),
            };
            return match view.last_failure {
                Some(error) if !is_seen => Err(error),
                _ => Ok(view.found),
            };
        }
    }

    fn activate(&self, winner: &Found, deadline: Deadline) -> Result<()> {
        let activate = Activate { id: &winner.identifier };
        let turn = self.cluster.turn(winner.server, deadline);
        match self.cluster.call_on(winner.server, &activate, subject(&winner.id), turn) {
            Err(failure) if failure.code().is_transport() => Err(failure.error),
            // A rival, or our own lost request, was first: the look that follows tells.
            _ => Ok(()),
        }
    }

    fn destroy_loser(&self, id: &KeyId, made: &Made, deadline: Deadline) {
        let destroy = Destroy { id: &made.identifier };
        // Left behind it stays Pre-Active, which nothing ever uses.
        let _ = self.cluster.call_on(made.server, &destroy, subject(id), self.cluster.turn(made.server, deadline));
    }

    fn tell(&self, event: &'static str, found: &Found) {
        let fields = [("key_name", found.id.to_string().into()), ("identifier", found.identifier.as_str().into())];
        self.cluster.journal().event(event, Severity::Notice, &fields);
    }
}

/// Whether another version may be taken: nobody can tell what became of this one. Two keys of it, or one that must not be
/// used, are no reason to make a third.
fn is_undecided(error: &Error) -> bool {
    error.code().is_transport() || error.code() == Code::AnswerUnexpected
}

fn is_refused(error: &Error) -> bool {
    matches!(error.code(), Code::ServerRefused | Code::Unsupported)
}

fn weaker(exposure: Exposure) -> Exposure {
    if exposure == Exposure::Never { Exposure::Wrapped } else { Exposure::Plain }
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

    #[test]
    fn two_keys_of_one_version_are_told_and_not_passed_over() {
        let refused = |code| !is_undecided(&Error::new(code, "as servers say"));
        assert!([Code::KeyAmbiguous, Code::AlgorithmRefused, Code::PermissionDenied].into_iter().all(refused));
        assert!(is_undecided(&vanished(&KeyId::new("a", 1).unwrap())));
        assert!([Code::Deadline, Code::ConnectionLost, Code::NoServer].into_iter().all(|code| !refused(code)));
    }
}
