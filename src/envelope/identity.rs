//! What names a key: `NAME/V`.

#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};

/// The longest name, in bytes.
pub(super) const MAX_NAME: usize = 128;

/// Name and version of a key. Data carries it as `NAME/V`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    pub name: String,
    pub version: u32,
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl KeyId {
    /// Checks the name (`[A-Za-z0-9._-]{1,128}`) and the version (from 1).
    pub fn new(name: &str, version: u32) -> Result<KeyId> {
        if !is_valid_name(name) {
            return Err(refusal("a key name", name, "use 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-'"));
        }
        if version == 0 {
            return Err(refusal("a key version", "0", "versions count from 1"));
        }
        Ok(KeyId { name: name.to_owned(), version })
    }

    /// Reads `NAME/V`: V is decimal from 1 without leading zeros.
    pub fn parse(text: &str) -> Result<KeyId> {
        match split(text.as_bytes()) {
            Some((name, version)) => Ok(KeyId { name: name.to_owned(), version }),
            None => Err(refusal("a key with its version", text, "write NAME/VERSION, for example customer-42/1")),
        }
    }
}

/// The name and version in the bytes of `NAME/V`, if they are exactly that.
pub(super) fn split(id: &[u8]) -> Option<(&str, u32)> {
    let (name, version) = std::str::from_utf8(id).ok()?.split_once('/')?;
    let is_decimal = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    match version.parse() {
        Ok(version) if is_decimal && is_valid_name(name) => Some((name, version)),
        _ => None,
    }
}

/// Whether `name` matches `[A-Za-z0-9._-]{1,128}`.
pub fn is_valid_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && has_name_characters(name)
}

fn has_name_characters(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The names a caller expects: `customer-42`, `customer-*` or `*`.
#[derive(Clone, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// A name, or a prefix of one followed by `*`.
    pub fn parse(text: &str) -> Result<Pattern> {
        let is_valid = match text.strip_suffix('*') {
            Some(prefix) => prefix.len() <= MAX_NAME && has_name_characters(prefix),
            None => is_valid_name(text),
        };
        match is_valid {
            true => Ok(Pattern(text.to_owned())),
            false => Err(refusal("the expected key name", text, "give a name, a prefix ending in '*', or '*'")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.0,
        }
    }
}

fn refusal(what: &str, text: &str, advice: &str) -> Error {
    // Escaped and cut, because the text may be anything and ends up on a terminal or in a log.
    let shown: String = text.escape_debug().take(64).collect();
    Error::new(Code::InvalidArgument, format!("\"{shown}\" is not valid as {what}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_dots_underscores_and_dashes() {
        for name in ["a", "customer-42", "A.b_c-9", &"x".repeat(128)] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in ["", "a b", "a/b", "a:b", "ä", "a*", "a\n", &"x".repeat(129)] {
            assert!(!is_valid_name(name), "{name}");
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for text in ["a/1", "customer-42/7", "x/4294967295"] {
            assert_eq!(KeyId::parse(text).unwrap().to_string(), text);
        }
        for text in ["a", "a/", "/1", "a/0", "a/01", "a/+1", "a/-1", "a/1/1", "a/1 ", "a/4294967296", "space:a/1"] {
            assert_eq!(KeyId::parse(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
        assert!(KeyId::new("a", 0).is_err());
        assert!(KeyId::new("a b", 1).is_err());
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix_with_a_star() {
        let matches = |pattern: &str, name: &str| Pattern::parse(pattern).unwrap().matches(name);
        assert!(matches("customer-42", "customer-42"));
        assert!(!matches("customer-42", "customer-421"));
        assert!(matches("customer-*", "customer-42"));
        assert!(!matches("customer-*", "supplier-42"));
        assert!(matches("*", "anything"));
        for text in ["", "a*b", "**", "a?", "a/1", "*a"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
