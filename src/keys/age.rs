//! When a key is to be rotated.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::Keys;
use super::lookup::Found;
use crate::config;
use crate::envelope::KeyId;
use crate::log::{self, Severity, catalogue};

/// Of which versions it was told that they are due. At most so many: then it starts anew.
#[derive(Default)]
pub struct Told(Mutex<HashSet<KeyId>>);

const MAX_TOLD: usize = 10_000;

impl Told {
    /// Whether it was not told before.
    fn is_news(&self, id: &KeyId) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        told.insert(id.clone())
    }
}

impl Keys {
    /// When a version that came into use then is to be rotated, both in seconds since 1970.
    pub fn rotate_by(&self, in_use_since: Option<i64>) -> Option<i64> {
        let age = i64::try_from(self.settings.rotate_after?.as_secs()).ok()?;
        Some(in_use_since?.saturating_add(age))
    }

    /// The names of cached keys whose newest version is to be rotated.
    pub fn due(&self) -> Vec<String> {
        let is_due = |since: Option<i64>| self.rotate_by(since).is_some_and(|by| by <= config::now());
        let mut due: Vec<String> = self
            .cache
            .all_named()
            .iter()
            .filter(|key| key.handle().current().is_some_and(|version| is_due(version.in_use_since())))
            .map(|key| key.name().to_owned())
            .collect();
        due.sort();
        due
    }

    /// Records once that the newest version of a key is to be rotated.
    pub(super) fn warn_of_age(&self, newest: &Found) {
        let Some(by) = self.rotate_by(newest.in_use_since()).filter(|by| *by <= config::now()) else { return };
        if self.told.is_news(&newest.id) {
            let message = format!("it was to be rotated by {}: keystead key rotate {}", log::utc(by), newest.id.name);
            let fields = [("key_name", newest.id.to_string().into()), ("message", message.into())];
            self.cluster.journal().event(catalogue::KEY_ROTATION_DUE, Severity::Warning, &fields);
        }
    }
}
