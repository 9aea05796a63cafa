//! Sessions of messages that were decrypted lately, so that the next message of the same session is cheap.
//!
//! One table for all keys bounds the locked memory that it takes. A session enters it only behind a verified tag,
//! so that nobody without the key can fill it. Two sessions that fall on one place evict each other, which costs a derivation.

#![forbid(unsafe_code)]

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use super::derivation::ContentKey;
use super::identity::MAX_ID;
use super::message::{self, SALT_SIZE};

const PLACES: usize = 256;
/// In place, because another allocation would cost a new session as much as a compression of SHA-256.
const MAX_RECIPIENTS: usize = message::recipients_size(MAX_ID);

static TABLE: [ArcSwapOption<Opened>; PLACES] = [const { ArcSwapOption::const_empty() }; PLACES];

/// A session that a message of it has proven to be genuine.
pub(super) struct Opened {
    /// The key handle that derived it: two clients may have different keys of one name.
    owner: u64,
    recipients_size: usize,
    recipients: [u8; MAX_RECIPIENTS],
    key: ContentKey,
}

impl Opened {
    #[inline]
    fn recipients(&self) -> &[u8] {
        &self.recipients[..self.recipients_size]
    }
}

/// A look into one place of the table.
pub(super) struct Place(Guard<Option<Arc<Opened>>>);

impl Place {
    /// The content key kept here, if it is of this owner and this session.
    #[inline]
    pub fn key(&self, owner: u64, recipients: &[u8]) -> Option<&ContentKey> {
        let opened = self.0.as_ref()?;
        (opened.owner == owner && opened.recipients() == recipients).then_some(&opened.key)
    }
}

/// Any byte of the salt will do: it is random already. It stands before the last byte of the recipients.
#[inline]
fn place(recipients: &[u8]) -> &'static ArcSwapOption<Opened> {
    let number = recipients.len().checked_sub(1 + SALT_SIZE).map_or(0, |at| recipients[at]);
    &TABLE[usize::from(number) % PLACES]
}

/// Where the session of these recipients would be. They need not be valid.
#[inline]
pub(super) fn look(recipients: &[u8]) -> Place {
    Place(place(recipients).load())
}

/// Keeps a session whose message was verified.
pub(super) fn keep(owner: u64, recipients: &[u8], key: ContentKey) {
    let mut opened = Opened { owner, recipients_size: recipients.len(), recipients: [0; MAX_RECIPIENTS], key };
    opened.recipients[..recipients.len()].copy_from_slice(recipients);
    place(recipients).store(Some(Arc::new(opened)));
}

/// Lets go of every session of a key that goes away.
pub(super) fn forget(owner: u64) {
    for place in &TABLE {
        let opened = place.load();
        if opened.as_ref().is_some_and(|opened| opened.owner == owner) {
            place.compare_and_swap(&opened, None);
        }
    }
}

/// Lets go of every session.
pub(super) fn forget_all() {
    for place in &TABLE {
        place.store(None);
    }
}
