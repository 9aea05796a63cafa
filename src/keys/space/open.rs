//! The spaces that are unlocked. The key of one follows the state of its KEK: `docs/decisions/0020-data-spaces.md`.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Kek;
use super::creation::Wanted;
use super::kek::kek_object;
use crate::envelope::KeyId;
use crate::envelope::protected::{DEK_SIZE, Protected};
use crate::error::Code;
use crate::keys::Keys;
use crate::keys::create::Creation;
use crate::keys::flight::Flights;
use crate::keys::handle::{End, Handle, Key};
use crate::keys::lookup::Found;
use crate::keys::uses::Uses;
use crate::keys::verify::is_outage;
use crate::keys::version::Version;
use crate::kmip::State;
use crate::log::{Severity, catalogue};
use crate::memory::slot::Slot;

/// The spaces of a client that are unlocked, and those that are being created.
#[derive(Default)]
pub(in crate::keys) struct Spaces {
    unlocked: Mutex<Contents>,
    pub(super) creations: Flights<Wanted, (Key, Creation)>,
}

#[derive(Default)]
struct Contents {
    /// Its client was closed: what is still on its way from a key server is not kept.
    is_closed: bool,
    open: Vec<Open>,
}

#[derive(Clone)]
struct Open {
    handle: Weak<Handle>,
    space: KeyId,
    /// The KEK as the key servers name it.
    kek: KeyId,
}

impl Spaces {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.unlocked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the key in sight, or ends it if the client is closed by now.
    fn add(&self, key: &Key, open: Open) {
        let mut contents = self.lock();
        match contents.is_closed {
            true => key.handle().end(End::Closed),
            false => contents.open.push(open),
        }
    }

    /// What applications still hold, and apart from it what they have given up, which is forgotten. What has ended is
    /// forgotten, too.
    fn sort(&self) -> (Vec<(Arc<Handle>, Open)>, Vec<Open>) {
        let (mut held, mut gone) = (Vec::new(), Vec::new());
        let mut contents = self.lock();
        for open in contents.open.drain(..) {
            match open.handle.upgrade() {
                Some(handle) if handle.current().is_some() => held.push((handle, open)),
                Some(_) => {}
                None => gone.push(open),
            }
        }
        contents.open = held.iter().map(|(_, open)| open.clone()).collect();
        (held, gone)
    }
}

impl Keys {
    /// The key of a space that was just unlocked.
    pub(super) fn opened(&self, protected: &Protected, kek: &Kek, material: Slot<[u8; DEK_SIZE]>) -> Key {
        let header = &protected.header;
        let key = self.ready(header.space.clone(), material);
        let version = Version::new(key, &standing(&kek.found), self.rules);
        let key = Key::new(Arc::new(version), Uses::of(&self.cluster.journal().log));
        let open = Open { handle: key.watch(), space: header.space.clone(), kek: kek_object(&header.kek, header.rung) };
        self.spaces.add(&key, open);
        key
    }

    /// Verifies the KEKs of unlocked spaces that are due, and tells which spaces were given up. Blocks.
    pub(in crate::keys) fn refresh_spaces(&self) {
        let (held, gone) = self.spaces.sort();
        gone.iter().for_each(|open| self.tell_locked(open));
        for (handle, open) in held {
            let Some(version) = handle.current() else { continue };
            let is_due = !version.is_verified_within(self.limits.version_ttl / 4 * 3);
            if is_due && self.is_destroyed(&version, &open) {
                handle.end(End::Destroyed);
                // It is told once the key is gone.
                drop(version);
                self.tell_locked(&open);
            }
        }
    }

    /// Verifies a space's key by its KEK. Whether that was destroyed.
    fn is_destroyed(&self, version: &Version, open: &Open) -> bool {
        match self.find_version(&open.kek, self.cluster.deadline()) {
            Ok(found) if found.identifier != version.identifier() => {
                let _recorded = self.alarm_other_key(version, &found);
            }
            Ok(found) if found.state.is_destroyed() => return true,
            Ok(found) => version.verify(standing(&found).standing()),
            Err(error) if is_outage(&error) => self.tell_stale(&open.kek, &error),
            Err(error) if error.code() == Code::KeyNotFound => return true,
            // Recorded where it happened; the key goes on until `max_stale`.
            Err(_) => {}
        }
        false
    }

    pub(in crate::keys) fn quiesce_spaces(&self) {
        let handles = self.spaces.lock().open.iter().filter_map(|open| open.handle.upgrade()).collect::<Vec<_>>();
        handles.iter().filter_map(|handle| handle.current()).for_each(|version| version.quiesce());
    }

    /// Wipes the DEK of every space.
    pub(in crate::keys) fn close_spaces(&self) {
        self.spaces.lock().is_closed = true;
        let (held, gone) = self.spaces.sort();
        for (handle, open) in held {
            handle.end(End::Closed);
            self.tell_locked(&open);
        }
        gone.iter().for_each(|open| self.tell_locked(open));
    }

    fn tell_locked(&self, open: &Open) {
        let fields = [("space", open.space.to_string().into())];
        self.cluster.journal().event(catalogue::SPACE_LOCKED, Severity::Notice, &fields);
    }
}

/// What a KEK means for a space that is unlocked. A deactivated one protects no further DEK, and what it has protected is
/// as good as before; so its dates are nothing to the space.
fn standing(kek: &Found) -> Found {
    let state = if kek.state == State::Deactivated { State::Active } else { kek.state };
    Found { state, activation_date: None, deactivation_date: None, ..kek.clone() }
}
