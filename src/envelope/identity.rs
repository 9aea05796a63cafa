//! What names a key: `NAME/V`.

#![forbid(unsafe_code)]

use crate::error::Result;

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
        let _ = (name, version);
        unimplemented!()
    }
    /// Reads `NAME/V`: V is decimal from 1 without leading zeros.
    pub fn parse(text: &str) -> Result<KeyId> {
        let _ = text;
        unimplemented!()
    }
}

/// Whether `name` matches `[A-Za-z0-9._-]{1,128}`.
pub fn is_valid_name(name: &str) -> bool {
    let _ = name;
    unimplemented!()
}

/// The names a caller expects: `customer-42`, `customer-*` or `*`.
#[derive(Clone, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// A name, or a prefix of one followed by `*`.
    pub fn parse(text: &str) -> Result<Pattern> {
        let _ = text;
        unimplemented!()
    }
    pub fn matches(&self, name: &str) -> bool {
        let _ = (name, &self.0);
        unimplemented!()
    }
}
