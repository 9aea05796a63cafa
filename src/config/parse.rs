//! From text to document, with line, column and advice in every error.
//!
//! Keys are compared with the table of [`super::reference`] first, because it knows what was probably meant; then serde
//! reads the values. Neither repeats the text of the file, which may hold a password.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer};

use super::reference::{self, Absent, KeyDoc, SECTIONS};
use super::schema::{CacheSection, DEFAULT_MAX_STALE, Document};
use super::{Cache, Target, Watch};
use crate::error::{Code, Error, Result};

/// The text of the configuration and where it came from.
pub(super) struct Source<'a> {
    /// Absolute.
    pub path: &'a Path,
    text: &'a str,
    /// What is told of each file that the configuration names before it is read.
    pub watch: &'a Watch,
}

/// A value and the key that it was given to.
type Place = (Range<usize>, &'static KeyDoc);

impl<'a> Source<'a> {
    pub fn new(path: &'a Path, bytes: &'a [u8], watch: &'a Watch) -> Result<Source<'a>> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Source { path, text, watch }),
            Err(error) => {
                let text = std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to here");
                let why = "what follows is not UTF-8 text; save the file as UTF-8";
                Err(Source { path, text, watch }.error(Code::ConfigInvalid, text.len(), why))
            }
        }
    }

    pub fn parse(&self) -> Result<Document> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let why = format!("this is not valid TOML: {}; correct the syntax", error.message());
            self.error(Code::ConfigInvalid, error.span().unwrap_or_default().start, &why)
        })?;
        let places = self.check_sections(table.get_ref())?;
        let document =
            Document::deserialize(Deserializer::from(table)).map_err(|error| self.advise(&error, &places))?;
        match document.server.is_empty() {
            false => Ok(document),
            true => Err(self.missing("there is no key server; add a [[server]] with its `host`")),
        }
    }

    fn check_sections(&self, table: &DeTable<'_>) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for (name, value) in table {
            let section = self.section(name, value)?;
            match value.get_ref() {
                DeValue::Table(keys) if !reference::is_repeated(section) => {
                    self.check_keys(section, keys, &mut places)?;
                }
                DeValue::Array(sections) if reference::is_repeated(section) => {
                    for one in sections {
                        let keys = one.get_ref().as_table().ok_or_else(|| self.bad_header(name, section))?;
                        self.check_keys(section, keys, &mut places)?;
                    }
                }
                _ => return Err(self.bad_header(name, section)),
            }
        }
        for required in ["client", "server"] {
            if !table.keys().any(|name| name.get_ref() == required) {
                let header = reference::header(required);
                let keys = list(reference::keys_of(required).filter(|doc| matches!(doc.absent, Absent::Refused)));
                return Err(self.missing(&format!("there is no section {header}; add it with {keys}")));
            }
        }
        Ok(places)
    }

    fn section(&self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Result<&'static str> {
        let word = name.get_ref().as_ref();
        let mut known = SECTIONS.iter().map(|(section, _)| *section);
        if let Some(section) = known.clone().find(|section| *section == word) {
            return Ok(section);
        }
        let why = match reference::nearest(word, known.clone()) {
            _ if !value.get_ref().is_table() && !value.get_ref().is_array() => {
                let home = reference::KEYS.iter().find(|doc| doc.key == word);
                let home = home.map_or("a section".to_owned(), |doc| reference::header(doc.section));
                format!("`{word}` stands outside of every section; move it into {home}")
            }
            Some(near) => format!("unknown section `{word}`; did you mean {}?", reference::header(near)),
            None => {
                let all: Vec<String> = known.by_ref().map(reference::header).collect();
                format!("unknown section `{word}`; there are {}", all.join(", "))
            }
        };
        Err(self.error(Code::ConfigInvalid, name.span().start, &why))
    }

    fn bad_header(&self, name: &Spanned<DeString<'_>>, section: &str) -> Error {
        let why = format!("`{section}` is a section; write it as {}", reference::header(section));
        self.error(Code::ConfigInvalid, name.span().start, &why)
    }

    fn check_keys(&self, section: &str, keys: &DeTable<'_>, places: &mut Vec<Place>) -> Result<()> {
        for (key, value) in keys {
            let word = key.get_ref().as_ref();
            match reference::keys_of(section).find(|doc| doc.key == word) {
                Some(doc) => places.push((value.span(), doc)),
                None => return Err(self.unknown_key(section, word, key.span().start)),
            }
        }
        Ok(())
    }

    fn unknown_key(&self, section: &str, word: &str, place: usize) -> Error {
        let header = reference::header(section);
        let elsewhere = reference::KEYS.iter().find(|doc| doc.key == word);
        let advice = match (elsewhere, reference::nearest(word, reference::keys_of(section).map(|doc| doc.key))) {
            (Some(doc), _) => format!("it belongs in {}; ", reference::header(doc.section)),
            (None, Some(near)) => format!("did you mean `{near}`? "),
            (None, None) => String::new(),
        };
        let allowed = list(reference::keys_of(section));
        let why = format!("unknown key `{word}` in {header}; {advice}{header} takes {allowed}");
        self.error(Code::ConfigInvalid, place, &why)
    }

    /// What serde found wrong, with what the key takes.
    fn advise(&self, error: &toml::de::Error, places: &[Place]) -> Error {
        let span = error.span().unwrap_or_default();
        let place = places.iter().find(|(value, _)| value.start <= span.start && span.end <= value.end);
        let why = match place {
            // Serde repeats the value that it refuses.
            Some((_, doc)) if doc.key.ends_with("password") => {
                format!("`{}` is not usable; it takes {}", doc.key, doc.takes)
            }
            Some((_, doc)) => {
                // What serde expects is a Rust type; the table says it in words.
                let why = error.message().split(", expected").next().unwrap_or_default();
                let default =
                    if let Absent::Is(value) = doc.absent { format!(" (default {value})") } else { "".into() };
                format!("`{}` is not usable: {why}; it takes {}{default}", doc.key, doc.takes)
            }
            None => format!("{}; add it", error.message()),
        };
        self.error(Code::ConfigInvalid, span.start, &why)
    }

    /// The cache, whose keys are judged against each other.
    pub fn cache(&self, section: CacheSection) -> Result<Cache> {
        let ttl = section.ttl.0;
        let max_stale = match section.max_stale {
            None => ttl.max(DEFAULT_MAX_STALE),
            Some(given) if given.get_ref().0 >= ttl => given.into_inner().0,
            Some(given) => {
                let why = format!(
                    "`max_stale` is shorter than `ttl` ({ttl:?}), so that keys would end before they are verified again; \
                     lengthen `max_stale` or shorten `ttl`"
                );
                return Err(self.error(Code::ConfigInvalid, given.span().start, &why));
            }
        };
        let version_ttl = match section.version_ttl {
            None => ttl,
            Some(given) if given.get_ref().0 <= ttl => given.into_inner().0,
            Some(given) => {
                let why = format!(
                    "`version_ttl` is longer than `ttl` ({ttl:?}), after which keys are asked for their state anyway; \
                     shorten `version_ttl` or lengthen `ttl`"
                );
                return Err(self.error(Code::ConfigInvalid, given.span().start, &why));
            }
        };
        let max_uses = section.max_uses.map(|uses| uses.get().into());
        Ok(Cache { ttl, version_ttl, max_stale, max_uses, max_entries: section.max_entries.get() as usize })
    }

    /// A path of the file; what is relative starts at the file's folder.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(self.path).join(path)
    }

    /// The target with its path resolved, if it has one.
    pub fn resolve_target(&self, target: Target) -> Target {
        match target {
            Target::File(path) => Target::File(self.resolve(&path)),
            Target::Syslog(Some(path)) => Target::Syslog(Some(self.resolve(&path))),
            other => other,
        }
    }

    /// An error about what stands at a byte of the file.
    pub fn error(&self, code: Code, place: usize, why: &str) -> Error {
        let (line, column) = (self.line(place), self.column(place));
        let message = format!("{} line {line}, column {column}: {why}", self.path.display());
        Error::new(code, message).in_file(self.path).at(line, column)
    }

    /// An error about what is not there.
    fn missing(&self, why: &str) -> Error {
        Error::new(Code::ConfigInvalid, format!("{}: {why}", self.path.display())).in_file(self.path)
    }

    /// From 1.
    pub fn line(&self, place: usize) -> usize {
        1 + self.before(place).matches('\n').count()
    }

    /// From 1, in characters.
    fn column(&self, place: usize) -> usize {
        1 + self.before(place).rsplit('\n').next().unwrap_or_default().chars().count()
    }

    fn before(&self, place: usize) -> &str {
        self.text.get(..place).unwrap_or(self.text)
    }
}

fn list(keys: impl Iterator<Item = &'static KeyDoc>) -> String {
    keys.map(|doc| format!("`{}`", doc.key)).collect::<Vec<_>>().join(", ")
}
