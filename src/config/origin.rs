//! Values that the configuration names and does not hold: in files, environment variables and systemd credentials.

use std::borrow::Cow;
use std::env;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::files::{self, Access};
use super::parse::Source;
use crate::error::{Code, Error, Result};

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `file:PATH`
    File(PathBuf),
    /// `env:NAME`
    Environment(String),
    /// `cred:NAME`: a file in the folder that systemd gives to the service.
    Credential(PathBuf),
}

impl Origin {
    /// What `env:`, `file:` or `cred:` refers to; `None` for a text that begins with none of them.
    pub fn parse(text: &str) -> std::result::Result<Option<Origin>, String> {
        match text.split_once(':') {
            Some(("file", file)) => path(file).map(Origin::File).map(Some),
            Some(("env", name)) => match name.is_empty() || name.contains(['=', '\0']) {
                true => Err("`env:` is followed by the name of an environment variable".into()),
                false => Ok(Some(Origin::Environment(name.to_owned()))),
            },
            Some(("cred", name)) => match matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
                true => Err("`cred:` is followed by the name of a systemd credential, without a folder".into()),
                false => Ok(Some(Origin::Credential(name.into()))),
            },
            _ => Ok(None),
        }
    }
}

/// A path that a file can have.
pub(super) fn path(text: &str) -> std::result::Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty".into()),
        _ if text.contains('\0') => Err("the path holds a zero byte".into()),
        _ => Ok(PathBuf::from(text)),
    }
}

/// The value of one key, which is elsewhere. Its errors tell where the configuration names it.
pub(super) struct Item<'a> {
    source: &'a Source<'a>,
    key: &'static str,
    place: usize,
    /// Its path is absolute.
    pub origin: Origin,
}

impl<'a> Item<'a> {
    /// `place` is where the configuration says `origin` for `key`.
    pub fn new(source: &'a Source<'a>, key: &'static str, place: usize, origin: Origin) -> Result<Item<'a>> {
        let origin = match origin {
            Origin::File(path) => Origin::File(source.resolve(&path)),
            Origin::Credential(name) => Origin::Credential(credential(source, place, &name)?),
            variable @ Origin::Environment(_) => variable,
        };
        Ok(Item { source, key, place, origin })
    }

    /// The value. `access` is for a file.
    pub fn read(&self, access: Access) -> Result<Zeroizing<Vec<u8>>> {
        if let Origin::File(path) | Origin::Credential(path) = &self.origin {
            self.source.watch.note(path);
        }
        match &self.origin {
            Origin::File(path) => files::read(path, &self.what(), access),
            Origin::Credential(path) => {
                files::read(path, &self.what(), access.of_credential()).map_err(|error| not_passed(&error, path))
            }
            Origin::Environment(name) => match env::var(name) {
                Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
                Err(_) => {
                    let why = format!("the environment variable {name} holds no text; set it, or correct its name");
                    Err(self.source.error(Code::ConfigInvalid, self.place, &why))
                }
            },
        }
    }

    /// The value as text: the whole of it, less one line end after it.
    pub fn read_text(&self) -> Result<Zeroizing<String>> {
        let bytes = self.read(Access::Private)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| self.error(Code::ConfigInvalid, "is not UTF-8 text; write the password as text"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }

    /// An error about what the value holds.
    pub fn invalid(&self, why: &str) -> Error {
        self.error(Code::CertificateInvalid, why)
    }

    fn error(&self, code: Code, why: &str) -> Error {
        let error = Error::new(code, format!("{} {} {why}", self.what(), self.name()));
        match &self.origin {
            Origin::File(path) | Origin::Credential(path) => error.in_file(path),
            Origin::Environment(_) => error.in_file(self.source.path),
        }
    }

    /// The path of the file, or the name of the variable.
    pub fn name(&self) -> Cow<'_, str> {
        match &self.origin {
            Origin::File(path) | Origin::Credential(path) => path.to_string_lossy(),
            Origin::Environment(name) => name.into(),
        }
    }

    fn what(&self) -> String {
        let kind = match self.origin {
            Origin::File(_) => "file",
            Origin::Credential(_) => "systemd credential",
            Origin::Environment(_) => "environment variable",
        };
        format!("the {kind} of `{}` ({} line {}),", self.key, self.source.path.display(), self.source.line(self.place))
    }
}

/// A credential that is not there was not asked for.
fn not_passed(error: &Error, path: &Path) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let advice = match error.code() {
        Code::ConfigUnreadable => format!("; the service's systemd unit passes it with LoadCredential={name}:/path"),
        _ => String::new(),
    };
    Error::new(error.code(), format!("{}{advice}", error.message())).in_file(path)
}

/// The file of a credential, below the folder that systemd announces (systemd.exec, "Credentials").
fn credential(source: &Source<'_>, place: usize, name: &Path) -> Result<PathBuf> {
    const FOLDER: &str = "CREDENTIALS_DIRECTORY";
    match env::var_os(FOLDER).map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => Ok(folder.join(name)),
        _ => {
            let name = name.display();
            let why = format!(
                "there is no folder of credentials (${FOLDER} is not set) to take {name} from; add \
                 LoadCredential={name}:/path to the service's systemd unit, or use `file:`"
            );
            Err(source.error(Code::ConfigInvalid, place, &why))
        }
    }
}
