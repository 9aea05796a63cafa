//! How the key of a user, customer or document is named: by a template, and where wanted by a pseudonym.
//!
//! Names of keys are not secret: key servers, logs and every message hold them in clear. So they had better tell
//! nothing of people.

#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use super::lookup::Found;
use super::{Creation, Key, Keys, check_name};
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::State;
use crate::log::{Severity, catalogue};

/// So many digits in a row are hardly a counter: a telephone, a card, a social security number.
const MANY_DIGITS: usize = 9;

/// Which version of the key of pseudonyms makes them: found once, the same for ever.
#[derive(Default)]
pub struct Pseudonyms(Mutex<Option<KeyId>>);

impl Keys {
    /// The name of the key of the user, customer or document that `id` tells apart. Blocks where names are pseudonyms
    /// and their key is not cached.
    pub fn name_for(&self, id: &str) -> Result<String> {
        if id.is_empty() {
            return Err(unusable(id));
        }
        let Some(template) = &self.settings.template else {
            let message = "the keys of users have no names: add [keys] with `template`, for example \"customer-{id}\"";
            return Err(Error::new(Code::InvalidArgument, message));
        };
        let filled = match &self.settings.pseudonym_key {
            Some(key) => self.pseudonym(key, id)?,
            None => id.to_owned(),
        };
        let name = format!("{}{filled}{}", template.before, template.after);
        match check_name(&name) {
            Ok(()) => Ok(name),
            Err(_) => Err(unusable(id)),
        }
    }

    /// The key of the user that `id` tells apart, made now if there is none. Blocks.
    pub fn register(&self, id: &str) -> Result<(Key, Creation)> {
        self.create(&self.name_for(id)?)
    }

    /// Warns of a name that looks like personal data.
    pub(super) fn warn_of_name(&self, name: &str) {
        if let Some(what) = looks_personal(name) {
            let message =
                format!("the name holds what looks like {what}; names are not secret: see keys.pseudonym_key");
            let fields = [("key_name", name.into()), ("message", message.into())];
            self.cluster.journal().event(catalogue::KEY_NAME_PERSONAL, Severity::Warning, &fields);
        }
    }

    fn pseudonym(&self, key: &str, id: &str) -> Result<String> {
        let maker = self.version(&self.pseudonym_version(key)?)?;
        maker.pseudonym(id)
    }

    /// The key's lowest version that was ever in use: which one that is no rotation changes.
    fn pseudonym_version(&self, name: &str) -> Result<KeyId> {
        let mut known = self.pseudonyms.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = &*known {
            return Ok(id.clone());
        }
        let versions = self.show(name)?;
        let in_use = |found: &&Found| found.state != State::PreActive;
        match versions.iter().find(in_use) {
            Some(first) => Ok(known.insert(first.id.clone()).clone()),
            None => {
                let message = format!("key {name:?}, which makes pseudonyms, has no version in use; activate it");
                Err(Error::new(Code::KeyState, message))
            }
        }
    }
}

fn unusable(id: &str) -> Error {
    // What tells people apart stays out of errors, too.
    let message = format!(
        "an identifier of {} bytes makes no key name with keys.template: names hold letters, digits, dot, underscore and \
         hyphen, 128 at most; set keys.pseudonym_key for identifiers of any kind, or give another one",
        id.len()
    );
    Error::new(Code::InvalidArgument, message)
}

/// What personal data a name seems to hold.
fn looks_personal(name: &str) -> Option<&'static str> {
    let words: Vec<&str> = name.split(['-', '_', '.']).collect();
    let is_separated_at = |pair: &[&str]| pair[0].eq_ignore_ascii_case("at") && !pair[1].is_empty();
    let is_address = words.len() > 2 && words[1..].windows(2).any(is_separated_at) && name.contains('.');
    if is_address {
        return Some("an e-mail address");
    }
    // Groups of digits are one number: 0043-660-1234567.
    let mut digits = 0;
    for word in words {
        if is_pseudonym(word) {
            digits = 0;
            continue;
        }
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        digits = if is_number { digits + word.len() } else { trailing_digits(word) };
        if digits >= MANY_DIGITS || longest_digits(word) >= MANY_DIGITS {
            return Some("a telephone, card or social security number");
        }
    }
    None
}

/// As [`crate::envelope::Key::pseudonym`] makes them; many a one holds nine decimal digits in a row.
fn is_pseudonym(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn trailing_digits(word: &str) -> usize {
    word.bytes().rev().take_while(u8::is_ascii_digit).count()
}

fn longest_digits(word: &str) -> usize {
    word.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell_of_people_are_noticed_and_ordinary_ones_are_not() {
        for name in ["customer-ada.lovelace-at-example.com", "user_ada_at_example.org", "ada.at.example.com"] {
            assert_eq!(looks_personal(name), Some("an e-mail address"), "{name}");
        }
        for name in ["customer-00436601234567", "tel-0043-660-1234567", "ssn078051120", "card-4111.1111.1111.1111"] {
            assert!(looks_personal(name).is_some_and(|what| what.contains("number")), "{name}");
        }
        for name in
            ["customer-42", "orders", "invoice-2026-0017", "at-home", "look-at-this", "tenant.12345678", "a.b-c"]
        {
            assert_eq!(looks_personal(name), None, "{name}");
        }
        for name in ["user-0123456789abcdef0123456789abcdef", "user-01234567890123456789012345678901"] {
            assert_eq!(looks_personal(name), None, "{name} is a pseudonym");
        }
    }
}
