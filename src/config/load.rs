//! From the parsed document to a configuration: paths, files, and what the policy permits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use zeroize::Zeroizing;

use super::files::{self, Access};
use super::parse::Source;
use super::schema::{Document, FilePath, Host, PasswordSource, ServerSection, TlsSection, rotation};
use super::tls::{self, NamedFile, TlsFiles};
use super::{Config, Finding, Log, Policy, Secret, Server, Tls, findings};
use crate::error::{Code, Error, Result};

pub(super) struct Loader<'a> {
    source: &'a Source<'a>,
    findings: Vec<Finding>,
    /// Servers with the same files share what was read from them.
    loaded: HashMap<[PathBuf; 3], Arc<Tls>>,
}

impl<'a> Loader<'a> {
    pub fn new(source: &'a Source<'a>) -> Loader<'a> {
        Loader { source, findings: Vec::new(), loaded: HashMap::new() }
    }

    /// `now` is in seconds since 1970.
    pub fn load(mut self, document: Document, now: i64) -> Result<(Config, Vec<Finding>)> {
        let policy = document.client.policy;
        let mut servers = Vec::with_capacity(document.server.len());
        for section in document.server {
            servers.push(self.server(section, &document.tls, policy)?);
        }
        let (log, audit) = (document.log, document.audit);
        let config = Config {
            path: self.source.path.to_owned(),
            client_name: document.client.name.0,
            policy,
            servers,
            failover: document.failover.into(),
            cache: self.source.cache(document.cache)?,
            log: Log {
                level: log.level,
                format: log.format,
                target: log.target.map(|target| self.source.resolve_target(target.0)),
                rotation: rotation(log.rotate_size, log.rotate_every, log.rotate_keep),
                on_failure: log.on_failure,
            },
            audit_rotation: rotation(audit.rotate_size, audit.rotate_every, audit.rotate_keep),
            audit: audit.file.map(|file| self.source.resolve(&file.0)),
        };
        self.findings.extend(findings::of(&config, now));
        Ok((config, self.findings))
    }

    fn server(&mut self, section: Spanned<ServerSection>, defaults: &TlsSection, policy: Policy) -> Result<Server> {
        let place = section.span().start;
        let section = section.into_inner();
        self.judge_host(&section.host, policy)?;
        let tls = self.tls(&section, defaults, place)?;
        let host = section.host.into_inner().0;
        if section.password.is_some() && section.user.is_none() {
            let why = format!("key server {host} has a `password` but no `user`, and KMIP sends both; add `user`");
            return Err(self.source.error(Code::ConfigInvalid, place, &why));
        }
        let password = section.password.map(|password| self.password(password, &host)).transpose()?;
        Ok(Server {
            host,
            port: section.port.get(),
            kmip_minor: section.kmip_version.map(|version| version.0),
            tls,
            user: section.user.map(|user| user.0),
            password,
        })
    }

    /// A key server beside the data gives its keys to whoever takes the machine.
    fn judge_host(&mut self, host: &Spanned<Host>, policy: Policy) -> Result<()> {
        let name = host.get_ref();
        if !name.is_this_machine() {
            return Ok(());
        }
        let why = format!("key server {} is on the machine that holds the data", name.0);
        if policy == Policy::Strict {
            let why = format!("{why}; name one on another machine, or say policy = \"relaxed\" for tests");
            return Err(self.source.error(Code::PolicyRefused, host.span().start, &why));
        }
        let message = format!("{why}: who takes it has both. Use a key server on another machine");
        self.findings.push(Finding { id: "loopback-server", message });
        Ok(())
    }

    fn tls(&mut self, server: &ServerSection, defaults: &TlsSection, place: usize) -> Result<Arc<Tls>> {
        let file =
            |key: &str, own: &Option<Spanned<FilePath>>, default: &Option<Spanned<FilePath>>| -> Result<NamedFile> {
                let path = own.as_ref().or(default.as_ref()).ok_or_else(|| {
                    let host = &server.host.get_ref().0;
                    let why = format!("no `{key}` for key server {host}; add it to [tls] or to this [[server]]");
                    self.source.error(Code::ConfigInvalid, place, &why)
                })?;
                Ok(self.named(key, path))
            };
        let files = TlsFiles {
            ca_certificate: file("ca_certificate", &server.ca_certificate, &defaults.ca_certificate)?,
            client_certificate: file("client_certificate", &server.client_certificate, &defaults.client_certificate)?,
            client_key: file("client_key", &server.client_key, &defaults.client_key)?,
        };
        let paths = [&files.ca_certificate, &files.client_certificate, &files.client_key].map(|f| f.path.clone());
        if let Some(tls) = self.loaded.get(&paths) {
            return Ok(tls.clone());
        }
        let tls = Arc::new(tls::load(&files)?);
        self.loaded.insert(paths, tls.clone());
        Ok(tls)
    }

    fn named(&self, key: &str, path: &Spanned<FilePath>) -> NamedFile {
        let line = self.source.line(path.span().start);
        NamedFile {
            path: self.source.resolve(&path.get_ref().0),
            what: format!("the file of `{key}` ({} line {line}),", self.source.path.display()),
        }
    }

    fn password(&mut self, password: Spanned<PasswordSource>, host: &str) -> Result<Secret> {
        let place = password.span().start;
        let secret = match password.into_inner() {
            PasswordSource::Plain(text) => {
                let message = format!(
                    "the password for key server {host} stands in the configuration; keep it in a file of its own \
                     (password = \"file:/path\", mode 0600)"
                );
                self.findings.push(Finding { id: "plain-password", message });
                text
            }
            PasswordSource::Environment(name) => Zeroizing::new(std::env::var(&name).map_err(|_| {
                let why = format!("the environment variable {name} holds no text; set it, or correct its name");
                self.source.error(Code::ConfigInvalid, place, &why)
            })?),
            PasswordSource::File(path) => self.password_file(&self.source.resolve(&path), place)?,
        };
        match secret.is_empty() {
            false => Ok(Secret(secret)),
            true => {
                Err(self.source.error(Code::ConfigInvalid, place, "the password is empty; give one or leave it out"))
            }
        }
    }

    /// The whole file, less one line end after it.
    fn password_file(&self, path: &std::path::Path, place: usize) -> Result<Zeroizing<String>> {
        let what = format!("the file of `password` ({} line {}),", self.source.path.display(), self.source.line(place));
        let bytes = files::read(path, &what, Access::Private)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            let message = format!("{what} {} is not UTF-8 text; write the password as text", path.display());
            Error::new(Code::ConfigInvalid, message).in_file(path)
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }
}
