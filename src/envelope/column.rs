//! Columns: messages of any number of keys and versions in one call.

#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::collections::HashMap;

use zeroize::Zeroizing;

use super::batch::{Values, all_or_nothing, at, lay_out};
use super::{Key, KeyId, message};
use crate::error::{Error, Result};

/// Writes the plaintext of every message to the front of `out`, one after the other, and returns their size: as
/// [`Key::decrypt_many`], for messages of several keys.
///
/// `keys` is asked once, for all the keys that the messages name, each of them once, and answers in their order.
/// All or nothing. Errors: as [`Key::decrypt_many`], and those of `keys`.
pub fn decrypt_many<'a, K: Borrow<Key>>(
    values: impl Values<'a>,
    keys: impl FnOnce(&[KeyId]) -> Result<Vec<K>>,
    out: &mut [u8],
    offsets: &mut [usize],
) -> Result<usize> {
    let outcome = try_decrypt_many(values, keys, out, offsets);
    all_or_nothing(outcome, out, offsets)
}

fn try_decrypt_many<'a, K: Borrow<Key>>(
    values: impl Values<'a>,
    keys: impl FnOnce(&[KeyId]) -> Result<Vec<K>>,
    out: &mut [u8],
    offsets: &mut [usize],
) -> Result<usize> {
    let mut named = Named::default();
    let size = lay_out(values.clone(), offsets, |message, _| named.note(message))?;
    let keys = keys(&named.ids)?;
    let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
    for (index, (message, aad)) in values.enumerate() {
        let place = &mut out[offsets[index]..offsets[index + 1]];
        let key = keys[named.places[index]].borrow();
        key.try_decrypt(message, aad, place).map_err(|error| at(index, &error))?;
    }
    Ok(size)
}

/// A key that a message names, and the one that it is to be moved to.
pub struct Move<K> {
    pub from: K,
    pub to: K,
}

impl<K: Borrow<Key>> Move<K> {
    /// Never back: a message of a later version than ours was written by somebody who knows more.
    fn is_forward(&self) -> bool {
        self.to.borrow().id().version > self.from.borrow().id().version
    }
}

/// Writes every message anew under the key that it is to be moved to; those that have no older version than that are
/// copied as they are. Otherwise as [`decrypt_many`]. The plaintexts are only in memory that is wiped.
pub fn reencrypt_many<'a, K: Borrow<Key>>(
    values: impl Values<'a>,
    keys: impl FnOnce(&[KeyId]) -> Result<Vec<Move<K>>>,
    out: &mut [u8],
    offsets: &mut [usize],
) -> Result<usize> {
    let outcome = try_reencrypt_many(values, keys, out, offsets);
    all_or_nothing(outcome, out, offsets)
}

fn try_reencrypt_many<'a, K: Borrow<Key>>(
    values: impl Values<'a>,
    keys: impl FnOnce(&[KeyId]) -> Result<Vec<Move<K>>>,
    out: &mut [u8],
    offsets: &mut [usize],
) -> Result<usize> {
    let (mut named, mut longest) = (Named::default(), 0);
    lay_out(values.clone(), offsets, |message, _| {
        let size = named.note(message)?;
        longest = longest.max(size);
        Ok(size)
    })?;
    let keys = keys(&named.ids)?;
    let mut index = 0;
    let size = lay_out(values.clone(), offsets, |message, _| {
        let key = &keys[named.places[index]];
        index += 1;
        let plaintext_size = message::parse(message)?.ciphertext.len();
        Ok(if key.is_forward() { key.to.borrow().size(plaintext_size) } else { message.len() })
    })?;
    let out = out.get_mut(..size).ok_or_else(|| Error::buffer_too_small(size))?;
    let mut plaintext = Zeroizing::new(vec![0; longest]);
    for (index, (message, aad)) in values.enumerate() {
        let place = &mut out[offsets[index]..offsets[index + 1]];
        let key = &keys[named.places[index]];
        if key.is_forward() {
            let from = key.from.borrow();
            let size = from.try_decrypt(message, aad, &mut plaintext).map_err(|error| at(index, &error))?;
            key.to.borrow().encrypt(&plaintext[..size], aad, place)?;
        } else {
            place.copy_from_slice(message);
        }
    }
    Ok(size)
}

/// The keys that messages name.
#[derive(Default)]
struct Named<'a> {
    known: HashMap<&'a [u8], usize>,
    /// Each once, in the order of their first message.
    ids: Vec<KeyId>,
    /// For each message, which of the ids it names.
    places: Vec<usize>,
}

impl<'a> Named<'a> {
    /// Notes the key of the next message, and returns the size of its plaintext.
    fn note(&mut self, message: &'a [u8]) -> Result<usize> {
        let index = self.places.len();
        let parts = message::parse(message).map_err(|error| at(index, &error))?;
        let recipient = parts.recipient().map_err(|error| at(index, &error))?;
        let place = match self.known.get(recipient.id) {
            Some(&place) => place,
            None => {
                self.ids.push(recipient.key_id()?);
                self.known.insert(recipient.id, self.ids.len() - 1);
                self.ids.len() - 1
            }
        };
        self.places.push(place);
        Ok(parts.ciphertext.len())
    }
}
