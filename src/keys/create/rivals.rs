//! The rules that every creator applies alike, so that all of them end with the same key.

#![forbid(unsafe_code)]

use crate::keys::lookup::Found;
use crate::kmip::State;

/// Which objects cannot all be the key that is wanted.
#[derive(Clone, Copy)]
pub(super) enum Rivals {
    /// Those of any version: the first key of a name is made once, also where its creators chose different versions.
    OfName,
    /// Those of one version.
    OfVersion,
}

/// An object of our making, still Pre-Active.
pub(super) struct Made {
    pub identifier: String,
    pub server: usize,
}

/// The version above `highest`; where servers are `unasked`, one that skips a version and is `side` modulo `sides`.
pub(super) fn next_version(highest: u32, unasked: usize, side: usize, sides: usize) -> Option<u32> {
    if unasked == 0 {
        return highest.checked_add(1);
    }
    let lowest = highest.checked_add(2)?;
    let (side, sides) = (side as u32, sides as u32);
    lowest.checked_add((side + sides - lowest % sides) % sides)
}

/// An Active object has won already, of several versions the highest; among the others the earliest, then the lowest identifier.
pub(super) fn winner(rivals: Vec<Found>) -> Option<Found> {
    let open = |found: &Found| matches!(found.state, State::Active | State::PreActive);
    // The shorter of two numbers is the lower one, as many servers count their objects.
    let identifier = |found: &Found| (found.identifier.len(), found.identifier.clone());
    let newest = |found: &Found| if found.state == State::Active { u32::MAX - found.id.version } else { u32::MAX };
    let order = |found: &Found| (found.state != State::Active, newest(found), found.initial_date, identifier(found));
    rivals.into_iter().filter(open).min_by_key(order)
}

/// Whether our object was seen among the rivals, and as one that nobody can have used.
pub(super) fn is_open(made: &Made, rivals: &[Found]) -> bool {
    rivals.iter().any(|found| found.identifier == made.identifier && found.state == State::PreActive)
}

/// Whether it is open which of several objects is the key. Their dates alone do not decide it: they have a resolution of
/// a second, and are those of clocks that differ.
pub(super) fn is_contended(rivals: &[Found]) -> bool {
    rivals.len() > 1 && rivals.iter().all(|found| found.state != State::Active)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::lookup::tests::found;

    fn object(identifier: &str, state: State, initial_date: i64) -> Found {
        Found {
            identifier: identifier.into(),
            initial_date: Some(initial_date),
            activation_date: (state != State::PreActive).then_some(initial_date),
            ..found("customer-1/1", state)
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
        assert!(is_contended(&rivals));
        assert_eq!(winner(rivals).unwrap().identifier, "a");
        let rivals = vec![object("b", State::PreActive, 10), object("a", State::PreActive, 11)];
        assert_eq!(winner(rivals).unwrap().identifier, "b");
        let rivals = vec![object("10", State::PreActive, 10), object("9", State::PreActive, 10)];
        assert_eq!(winner(rivals).unwrap().identifier, "9");
    }

    #[test]
    fn sides_that_do_not_see_each_other_take_different_versions() {
        assert_eq!(next_version(3, 0, 0, 2), Some(4));
        for highest in [0, 1, 2, 7, 100] {
            for sides in 2..5 {
                let taken: Vec<_> = (0..sides).map(|side| next_version(highest, 1, side, sides).unwrap()).collect();
                assert!(taken.iter().all(|&version| version > highest + 1), "{taken:?} above {highest}");
                let mut remainders: Vec<_> = taken.iter().map(|version| version % sides as u32).collect();
                remainders.sort_unstable();
                assert_eq!(remainders, (0..sides as u32).collect::<Vec<_>>());
            }
        }
        assert_eq!(next_version(u32::MAX, 0, 0, 1), None);
        assert_eq!(next_version(u32::MAX - 1, 1, 0, 2), None);
    }

    #[test]
    fn only_what_was_seen_to_be_ours_and_unused_may_be_destroyed_as_the_loser() {
        let rivals = [object("active", State::Active, 1), object("open", State::PreActive, 1)];
        let is_open = |identifier: &str| is_open(&Made { identifier: identifier.into(), server: 0 }, &rivals);
        assert!(is_open("open"));
        assert!(!is_open("active"), "somebody has adopted it");
        assert!(!is_open("stranger"), "a server located what does not match");
    }

    #[test]
    fn a_revoked_object_never_wins() {
        assert!(winner(vec![object("1", State::Compromised, 1), object("2", State::Deactivated, 1)]).is_none());
    }
}
