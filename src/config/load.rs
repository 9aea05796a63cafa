//! From the parsed document to a configuration: paths, files, and what the policy permits.

use std::sync::Arc;

use toml::Spanned;

use super::origin::{Item, Origin};
use super::parse::Source;
use super::schema::{
    Document, Host, LogSection, MaskSection, PasswordSource, PemSource, ServerSection, TlsSection, TrustSource,
    rotation,
};
use super::tls::{self, TlsItems, TrustItem};
use super::{
    Audit, Config, Connections, Finding, Keys, Log, Mask, Policy, Secret, Server, Target, Tls, auditor, findings,
};
use crate::error::{Code, Result};

pub(super) struct Loader<'a> {
    source: &'a Source<'a>,
    findings: Vec<Finding>,
    /// Servers with the same sources share what was read from them.
    loaded: Vec<(Sources, Arc<Tls>)>,
}

impl<'a> Loader<'a> {
    pub fn new(source: &'a Source<'a>) -> Loader<'a> {
        Loader { source, findings: Vec::new(), loaded: Vec::new() }
    }

    /// Where to tell of what is wrong with the rest. `defaults` are those of `[tls]`.
    pub fn log(&mut self, log: LogSection, defaults: &TlsSection) -> Result<Log> {
        let tls = self.collector_tls(&log, defaults)?;
        let auditor_key = log.auditor_key.map(|source| {
            let place = source.span().start;
            auditor::load(&self.item("auditor_key", place, source.into_inner().0)?)
        });
        Ok(Log {
            level: log.level,
            format: log.format,
            target: log.target.map(|target| self.source.resolve_target(target.into_inner().0)),
            tls,
            rotation: rotation(log.rotate_size, log.rotate_every, log.rotate_keep),
            durability: log.durability,
            auditor_key: auditor_key.transpose()?,
            on_failure: log.on_failure,
        })
    }

    /// All but the log, which is `log`. `now` is in seconds since 1970.
    pub fn load(mut self, document: Document, log: Log, now: i64) -> Result<(Config, Vec<Finding>)> {
        let policy = document.client.policy;
        let mut servers = Vec::with_capacity(document.server.len());
        for section in document.server {
            servers.push(self.server(section, &document.tls, policy)?);
        }
        let masks = self.masks(document.mask)?;
        let (keys, audit, auditor_key) = (document.keys, document.audit, log.auditor_key);
        if let Some(algorithm) = &keys.algorithm {
            self.judge_algorithm(algorithm)?;
        }
        let config = Config {
            path: self.source.path.to_owned(),
            client_name: document.client.name.0,
            policy,
            servers,
            failover: document.failover.into(),
            cache: self.source.cache(document.cache)?,
            keys: Keys {
                template: keys.template.map(|template| template.0),
                pseudonym_key: keys.pseudonym_key.map(|name| name.0),
                rotate_after: keys.rotate_after.map(|age| age.0),
                state: keys.state.map(|file| self.source.resolve(&file.0)),
                allow_compromised: keys.allow_compromised,
            },
            log,
            masks,
            audit: audit.file.map(|file| Audit {
                file: self.source.resolve(&file.0),
                rotation: rotation(audit.rotate_size, audit.rotate_every, audit.rotate_keep),
                durability: audit.durability,
                auditor_key,
            }),
        };
        self.findings.extend(findings::of(&config, now));
        Ok((config, self.findings))
    }

    fn masks(&self, sections: Vec<Spanned<MaskSection>>) -> Result<Vec<Mask>> {
        let mut masks: Vec<Mask> = Vec::with_capacity(sections.len());
        for section in sections {
            let place = section.span().start;
            let MaskSection { name, show, roles } = section.into_inner();
            let mask = Mask { name: name.0, roles: roles.0, show };
            for (index, role) in mask.roles.iter().enumerate() {
                if mask.roles[..index].contains(role) || masks.iter().any(|other| other.is_for(&mask.name, role)) {
                    let why = format!("role {role:?} has mask {:?} twice; say once what it sees", mask.name);
                    return Err(self.source.error(Code::ConfigInvalid, place, &why));
                }
            }
            masks.push(mask);
        }
        Ok(masks)
    }

    fn server(&mut self, section: Spanned<ServerSection>, defaults: &TlsSection, policy: Policy) -> Result<Server> {
        let place = section.span().start;
        let section = section.into_inner();
        self.judge_host(&section.host, policy)?;
        let own = Own {
            peer: &format!("key server {}", section.host.get_ref().0),
            header: "this [[server]]",
            place,
            trust: &section.ca_certificate,
            crl: &section.crl,
            inherits_crl: true,
            certificate: &section.client_certificate,
            key: &section.client_key,
            password: &section.client_key_password,
        };
        let tls = self.tls(&own, defaults)?;
        let host = section.host.into_inner().0;
        if section.password.is_some() && section.user.is_none() {
            let why = format!("key server {host} has a `password` but no `user`, and KMIP sends both; add `user`");
            return Err(self.source.error(Code::ConfigInvalid, place, &why));
        }
        let usual = Connections::default();
        let password = section.password;
        let password = password.map(|password| self.password("password", password, &format!("for key server {host}")));

        Ok(Server {
            host,
            port: section.port.get(),
            kmip_minor: section.kmip_version.map(|version| version.0),
            tls,
            user: section.user.map(|user| user.0),
            password: password.transpose()?.map(Arc::new),
            connections: Connections {
                most: section.max_connections.map_or(usual.most, |most| most.get().into()),
                idle: section.max_idle.map_or(usual.idle, |idle| idle.0),
            },
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

    /// There is one algorithm. Whoever names another one is told why not.
    fn judge_algorithm(&self, algorithm: &Spanned<String>) -> Result<()> {
        const ADVISED_AGAINST: [(&str, &[&str]); 5] = [
            ("3DES", &["3DES", "TDES", "TRIPLEDES", "DESEDE", "DESEDE3"]),
            ("GOST", &["GOST", "GHOST", "MAGMA", "KUZNYECHIK"]),
            ("Twofish", &["TWOFISH"]),
            ("Blowfish", &["BLOWFISH"]),
            ("homomorphic encryption", &["HOMOMORPHIC", "HOMOMORPHICENCRYPTION", "FHE"]),
        ];
        let word: String = algorithm.get_ref().chars().filter(char::is_ascii_alphanumeric).collect();
        let word = word.to_ascii_uppercase();
        let named = ADVISED_AGAINST.iter().find(|(_, names)| names.contains(&word.as_str()));
        let why = match (word.as_str(), named) {
            ("AES256" | "AES256GCM", _) => return Ok(()),
            ("AES128" | "AES192", _) => {
                "shorter keys of AES are not made or used, and no setting allows them".to_owned()
            }
            (_, Some((name, _))) => format!("{name} is advised against for data at rest"),
            _ => format!("{:?} is not an algorithm that is used here", algorithm.get_ref()),
        };
        let why = format!("{why}; say \"AES-256\", or leave `algorithm` out");
        Err(self.source.error(Code::AlgorithmRefused, algorithm.span().start, &why))
    }

    /// What a collector is reached with, where it is reached over TLS.
    fn collector_tls(&mut self, log: &LogSection, defaults: &TlsSection) -> Result<Option<Arc<Tls>>> {
        let Some(target) = &log.target else { return Ok(None) };
        let Target::Tls(host, _) = &target.get_ref().0 else { return Ok(None) };
        let own = Own {
            peer: &format!("the collector {host}"),
            header: "[log]",
            place: target.span().start,
            trust: &log.ca_certificate,
            crl: &log.crl,
            // The lists of [tls] are of the authorities of key servers.
            inherits_crl: log.ca_certificate.is_none(),
            certificate: &log.client_certificate,
            key: &log.client_key,
            password: &log.client_key_password,
        };
        self.tls(&own, defaults).map(Some)
    }

    fn tls(&mut self, own: &Own<'_>, defaults: &TlsSection) -> Result<Arc<Tls>> {
        let missing = |key: &str| {
            let why = format!("no `{key}` for {}; add it to [tls] or to {}", own.peer, own.header);
            self.source.error(Code::ConfigInvalid, own.place, &why)
        };
        let pem = |key, own: &Option<Spanned<PemSource>>, default: &Option<Spanned<PemSource>>| -> Result<Item<'a>> {
            let value = own.as_ref().or(default.as_ref()).ok_or_else(|| missing(key))?;
            self.item(key, value.span().start, value.get_ref().0.clone())
        };
        let trust = own.trust.as_ref().or(defaults.ca_certificate.as_ref());
        let trust = trust.ok_or_else(|| missing("ca_certificate"))?;
        let items = TlsItems {
            revoked: self.revoked(own, defaults)?,
            trust: match trust.get_ref() {
                TrustSource::Authorities(origin) => {
                    TrustItem::Authorities(self.item("ca_certificate", trust.span().start, origin.clone())?)
                }
                TrustSource::Pins(pins) => TrustItem::Pins(pins.clone()),
            },
            client_certificate: pem("client_certificate", own.certificate, &defaults.client_certificate)?,
            client_key: pem("client_key", own.key, &defaults.client_key)?,
        };
        let password = own.password.as_ref().or(defaults.client_key_password.as_ref());
        let sources = Sources::of(&items, password.map(|password| password.get_ref().clone()));
        if let Some((_, tls)) = self.loaded.iter().find(|(known, _)| *known == sources) {
            return Ok(tls.clone());
        }
        let password =
            password.map(|password| self.password("client_key_password", password.clone(), "of the client key"));
        let tls = Arc::new(tls::load(&items, password.transpose()?.as_ref())?);
        self.loaded.push((sources, tls.clone()));
        Ok(tls)
    }

    /// The list of revoked certificates. Fingerprints stand for certificates, whatever their authority says of them.
    fn revoked(&self, own: &Own<'_>, defaults: &TlsSection) -> Result<Option<Item<'a>>> {
        let is_pinned = |trust: &Option<Spanned<TrustSource>>| {
            trust.as_ref().is_some_and(|trust| matches!(trust.get_ref(), TrustSource::Pins(_)))
        };
        for section in [(own.crl, own.trust), (&defaults.crl, &defaults.ca_certificate)] {
            if let (Some(crl), trust) = section
                && is_pinned(trust)
            {
                let why = "`crl` says which certificates an authority revoked, and `ca_certificate` names fingerprints \
                           instead of authorities; leave one of them out";
                return Err(self.source.error(Code::ConfigInvalid, crl.span().start, why));
            }
        }
        let trust = if own.trust.is_some() { own.trust } else { &defaults.ca_certificate };
        let inherited = if own.inherits_crl { defaults.crl.as_ref() } else { None };
        match own.crl.as_ref().or(inherited) {
            Some(crl) if !is_pinned(trust) => self.item("crl", crl.span().start, crl.get_ref().0.clone()).map(Some),
            _ => Ok(None),
        }
    }

    fn item(&self, key: &'static str, place: usize, origin: Origin) -> Result<Item<'a>> {
        Item::new(self.source, key, place, origin)
    }

    /// `whose` reads on from "the password ".
    fn password(&mut self, key: &'static str, password: Spanned<PasswordSource>, whose: &str) -> Result<Secret> {
        let place = password.span().start;
        let secret = match password.into_inner() {
            PasswordSource::Plain(text) => {
                let message = format!(
                    "the password {whose} stands in the configuration; keep it in a file of its own ({key} = \
                     \"file:/path\", mode 0600)"
                );
                self.findings.push(Finding { id: "plain-password", message });
                text
            }
            PasswordSource::Elsewhere(origin) => self.item(key, place, origin)?.read_text()?,
        };
        match secret.is_empty() {
            false => Ok(Secret(secret)),
            true => {
                Err(self.source.error(Code::ConfigInvalid, place, "the password is empty; give one or leave it out"))
            }
        }
    }
}

/// What a section says of a connection; what it leaves out stands in `[tls]`.
struct Own<'s> {
    /// Whom it leads to, and where to add what is missing: for errors.
    peer: &'s str,
    header: &'s str,
    place: usize,
    trust: &'s Option<Spanned<TrustSource>>,
    crl: &'s Option<Spanned<PemSource>>,
    inherits_crl: bool,
    certificate: &'s Option<Spanned<PemSource>>,
    key: &'s Option<Spanned<PemSource>>,
    password: &'s Option<Spanned<PasswordSource>>,
}

/// Where a connection's certificates and key come from.
#[derive(PartialEq, Eq)]
struct Sources {
    trust: TrustSource,
    certificate: Origin,
    key: Origin,
    password: Option<PasswordSource>,
    revoked: Option<Origin>,
}

impl Sources {
    fn of(items: &TlsItems<'_>, password: Option<PasswordSource>) -> Sources {
        Sources {
            trust: match &items.trust {
                TrustItem::Authorities(item) => TrustSource::Authorities(item.origin.clone()),
                TrustItem::Pins(pins) => TrustSource::Pins(pins.clone()),
            },
            certificate: items.client_certificate.origin.clone(),
            key: items.client_key.origin.clone(),
            password,
            revoked: items.revoked.as_ref().map(|item| item.origin.clone()),
        }
    }
}
