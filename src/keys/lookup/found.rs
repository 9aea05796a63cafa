//! What a server described: a version of a key, and which of several objects stands for it.

#![forbid(unsafe_code)]

use crate::config;
use crate::envelope::KeyId;
use crate::keys::space::kek::object_id;
use crate::kmip::attributes::Attributes;
use crate::kmip::{Algorithm, ObjectType, State};

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
    pub fn activates(&self) -> i64 {
        self.activation_date.unwrap_or(i64::MIN)
    }

    pub fn deactivates(&self) -> i64 {
        self.deactivation_date.unwrap_or(i64::MAX)
    }

    /// How long its dates let it encrypt from now on, in nanoseconds.
    pub fn left(&self) -> u64 {
        let now = config::now();
        match now < self.activates() {
            true => 0,
            false => u64::try_from(self.deactivates().saturating_sub(now)).unwrap_or(0).saturating_mul(1_000_000_000),
        }
    }
}

impl Found {
    pub fn standing(&self) -> Standing {
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

/// The version that an object is, if one of its Names is `NAME/V` with the name we look for.
///
/// Some servers answer Locate with objects that do not match.
pub(super) fn recognise(identifier: &str, attributes: &Attributes, name: &str, server: usize) -> Option<Found> {
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
pub(super) fn furthest(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| (&a.identifier, b.state.number()).cmp(&(&b.identifier, a.state.number())));
    found.dedup_by(|a, b| a.identifier == b.identifier);
    found
}

/// Leaves out what lost the race to be created: servers may go on showing an object after its key was destroyed. An
/// object that was ever active is no loser, and stands for its version also when it is destroyed.
pub(super) fn without_losers(found: Vec<Found>) -> Vec<Found> {
    let lost = |one: &Found| one.state == State::Destroyed && one.activation_date.is_none();
    let kept = |one: &Found| {
        !lost(one)
            || !found.iter().any(|other| other.id == one.id && other.identifier != one.identifier && !lost(other))
    };
    let keep: Vec<bool> = found.iter().map(kept).collect();
    found.into_iter().zip(keep).filter_map(|(one, keep)| keep.then_some(one)).collect()
}

#[cfg(test)]
pub(in crate::keys) mod tests {
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
