//! The life of a key after its creation: rotated, activated, revoked, destroyed.

#![forbid(unsafe_code)]

use super::lookup::Found;
use super::{Key, Keys, check_name, subject};
use crate::cluster::Audited;
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{Activate, Deadline, Destroy, Revocation, Revoke, State};

/// The states from which a version is destroyed.
const DESTRUCTIBLE: [State; 3] = [State::PreActive, State::Deactivated, State::Compromised];

impl Keys {
    /// Makes a new version of `name`; what is encrypted from now on uses it. Blocks.
    ///
    /// Older versions stay active and decrypt what they encrypted. Handles of this client follow at once, those of other
    /// processes with their next verification, within `ttl`.
    pub fn rotate(&self, name: &str) -> Result<Key> {
        check_name(name)?;
        let deadline = self.cluster.deadline();
        self.find_group(name, deadline)?;
        let found = self.make_next(name, deadline)?;
        let version = self.fetch(&found, deadline)?;
        match self.cache.named(name) {
            Some(key) => {
                self.cache.follow(key.handle(), version);
                Ok(key)
            }
            None => Ok(self.cache.insert_named(version)),
        }
    }

    /// Makes a Pre-Active version usable. Handles follow as after a rotation. Blocks.
    pub fn activate_version(&self, id: &KeyId) -> Result<()> {
        let deadline = self.cluster.deadline();
        let Some(found) = self.to_change(id, State::Active, &[State::PreActive], deadline)? else { return Ok(()) };
        self.carry_out(&Activate { id: &found.identifier }, &found, State::Active, deadline)?;
        // It is active, whether or not that is seen already: what fails here is made good by the next verification.
        if let Some(key) = self.cache.named(&id.name) {
            let _ = self.refresh(&key, deadline);
        }
        for key in self.cache.all_pinned().into_iter().filter(|key| key.name() == id.name) {
            let _ = self.verify_pinned(&key, deadline);
        }
        Ok(())
    }

    /// Ends a version's time: it decrypts what it encrypted, or, once it is compromised, nothing. Blocks.
    pub fn revoke(&self, id: &KeyId, why: Revocation) -> Result<()> {
        self.revoke_within(id, why, self.cluster.deadline())
    }

    pub(super) fn revoke_within(&self, id: &KeyId, why: Revocation, deadline: Deadline) -> Result<()> {
        let (target, from) = match why {
            Revocation::KeyCompromise => {
                (State::Compromised, &[State::PreActive, State::Active, State::Deactivated][..])
            }
            Revocation::Superseded | Revocation::CessationOfOperation => (State::Deactivated, &[State::Active][..]),
        };
        // Nobody knows since when; that it is so now is certain.
        let compromised_since = (target == State::Compromised).then(seconds_since_1970);
        match self.to_change(id, target, from, deadline)? {
            Some(found) => {
                let revoke = Revoke { id: &found.identifier, why, compromised_since };
                self.carry_out(&revoke, &found, target, deadline)
            }
            None => Ok(()),
        }
    }

    /// Destroys a version for good: what it encrypted can never be read again. Blocks.
    ///
    /// Refused while it is active, so that it takes two steps, and while anything is known to need it.
    pub fn destroy(&self, id: &KeyId) -> Result<()> {
        let deadline = self.cluster.deadline();
        let _nobody_notes_a_need = self.ledger.hold(deadline)?;
        let needed = self.ledger.references(id);
        if !needed.is_empty() {
            return Err(referenced(id, &needed));
        }
        self.destroy_unneeded(id, deadline)
    }

    /// Destroys a version that nothing needs, while the ledger is held.
    pub(super) fn destroy_unneeded(&self, id: &KeyId, deadline: Deadline) -> Result<()> {
        match self.to_change(id, State::Destroyed, &DESTRUCTIBLE, deadline)? {
            Some(found) => self.carry_out(&Destroy { id: &found.identifier }, &found, State::Destroyed, deadline),
            None => Ok(()),
        }
    }

    /// Fails for a version in a state that does not let it be destroyed.
    pub(super) fn check_destructible(&self, id: &KeyId, deadline: Deadline) -> Result<()> {
        self.to_change(id, State::Destroyed, &DESTRUCTIBLE, deadline).map(drop)
    }

    /// What is known to need a version.
    pub fn references(&self, id: &KeyId) -> Vec<String> {
        self.ledger.references(id)
    }

    /// Remembers that `what` needs a version, which is then not destroyed.
    pub fn add_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        self.ledger.refer(id, what, self.cluster.deadline())
    }

    /// Whether references outlive this client.
    pub fn keeps_references(&self) -> bool {
        self.settings.state.is_some()
    }

    /// Whether the file of `keys.state` can be read and written, and holds nothing but what belongs there. `None` without one.
    pub fn check_state(&self) -> Result<Option<bool>> {
        self.ledger.check()
    }

    /// Forgets that `what` needs a version.
    pub fn remove_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        self.ledger.release(id, what)
    }

    /// The object behind a version that is in one of the states `from`; `None` if it has come to state `target` already.
    fn to_change(&self, id: &KeyId, target: State, from: &[State], deadline: Deadline) -> Result<Option<Found>> {
        let found = self.find_version(id, deadline)?;
        match found.state {
            state if has_come(state, target) => Ok(None),
            state if from.contains(&state) => Ok(Some(found)),
            state => Err(refused(id, state, target)),
        }
    }

    /// Does it, and lets the cache know.
    fn carry_out<O: Audited>(&self, operation: &O, found: &Found, target: State, deadline: Deadline) -> Result<()> {
        if let Err(unserved) = self.cluster.call(operation, subject(&found.id), Some(found.server), deadline) {
            // A lost reply, or a rival that was first: what counts is the state it is in now.
            match self.find_version(&found.id, deadline) {
                Ok(now) if has_come(now.state, target) => {}
                Err(error) if target == State::Destroyed && error.code() == Code::KeyNotFound => {
                    // Who cannot be asked may have it still: the others may just not have heard of it.
                    if !error.attempts().is_empty() {
                        return Err(undecided(&found.id, &error));
                    }
                }
                _ => return Err(unserved.error),
            }
        }
        self.cache.learn(&found.id, target);
        Ok(())
    }
}

/// A compromised version that is destroyed is that, too, and says so for ever (KMIP 1.4 §3.22).
fn has_come(state: State, target: State) -> bool {
    state == target || target == State::Destroyed && state.is_destroyed()
}

fn seconds_since_1970() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64)
}

fn undecided(id: &KeyId, error: &Error) -> Error {
    let mut servers: Vec<_> = error.attempts().iter().map(|attempt| attempt.server.as_str()).collect();
    servers.dedup();
    let message = format!(
        "whether key {id} is destroyed is not certain: {} cannot be asked, and the other key servers do not have the \
         key; destroy it again once every key server answers",
        servers.join(", ")
    );
    Error::new(Code::NoServer, message).after(error.attempts().to_vec())
}

fn referenced(id: &KeyId, needed: &[String]) -> Error {
    let message = format!(
        "key {id} is not destroyed, because it is needed by: {}; move what it protects to another version, then remove \
         the reference",
        needed.join("; ")
    );
    Error::new(Code::KeyReferenced, message)
}

fn refused(id: &KeyId, state: State, target: State) -> Error {
    let remedy = match (state, target) {
        (State::Active, State::Destroyed) => "revoke it first, once no data needs it any more",
        _ => "see `keystead key show` for the states of its versions",
    };
    Error::new(Code::KeyState, format!("key {id} is {state} and cannot become {target}; {remedy}"))
}
