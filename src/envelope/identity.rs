//! What names a key: `NAME/V`, and for the key of a data space `space:NAME/V`.

#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};

/// The longest name, in bytes.
pub(super) const MAX_NAME: usize = 128;
/// What the name of a data space's key begins with. No named key has a colon in its name.
pub(crate) const SPACE: &str = "space:";
/// The longest id as data carries it, in bytes.
pub(super) const MAX_ID: usize = SPACE.len() + MAX_NAME + "/4294967295".len();

/// Name and version of a key. Data carries it as `NAME/V`; the name of a data space's key begins with `space:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// The key of data space `name`; the same rules for both.
    pub fn of_space(name: &str, version: u32) -> Result<KeyId> {
        let KeyId { name, version } = KeyId::new(name, version)?;
        Ok(KeyId { name: format!("{SPACE}{name}"), version })
    }

    /// The data space whose key this is; `None` for a named key.
    pub fn space(&self) -> Option<&str> {
        self.name.strip_prefix(SPACE)
    }

    /// Reads `NAME/V` of a named key: V is decimal from 1 without leading zeros.
    pub fn parse(text: &str) -> Result<KeyId> {
        match split(text.as_bytes()) {
            Some((name, version)) if is_valid_name(name) => Ok(KeyId { name: name.to_owned(), version }),
            _ => Err(refusal("a key with its version", text, "write NAME/VERSION, for example customer-42/1")),
        }
    }
}

/// The name and version in the bytes of `NAME/V` or `space:NAME/V`, if they are exactly that.
pub(super) fn split(id: &[u8]) -> Option<(&str, u32)> {
    let (name, version) = std::str::from_utf8(id).ok()?.split_once('/')?;
    let is_decimal = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    let bare = name.strip_prefix(SPACE).unwrap_or(name);
    match version.parse() {
        Ok(version) if is_decimal && is_valid_name(bare) => Some((name, version)),
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
    fn the_key_of_a_data_space_is_told_from_a_named_key() {
        let id = KeyId::of_space("a", 7).unwrap();
        assert_eq!((id.to_string().as_str(), id.space()), ("space:a/7", Some("a")));
        assert_eq!(split(b"space:a/7"), Some(("space:a", 7)));
        assert_eq!(KeyId::new("a", 7).unwrap().space(), None);
        for id in [&b"space:/7"[..], b"space:space:a/7", b"space:a/07", b"dek:a/7"] {
            assert_eq!(split(id), None);
        }
        assert!(KeyId::of_space("space:a", 1).is_err() && KeyId::of_space("a", 0).is_err());
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
