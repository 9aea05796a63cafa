//! The configuration file: schema, parser, and checks of owners and modes.
//!
//! [`load`] reads the file and everything it refers to, and returns what it permits as [`Finding`]s: there
//! is no log yet to write them to.

#![forbid(unsafe_code)]

mod auditor;
mod changes;
pub mod files;
mod findings;
mod fingerprint;
mod keeping;
mod load;
mod masks;
mod origin;
mod parse;
mod protected;
pub mod reference;
mod schema;
mod tls;
mod verifier;
mod watch;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Code, Error, Result};
pub use auditor::AuditorKey;
pub use changes::Changes;
use files::Access;
pub use findings::ExpiryWatch;
pub use fingerprint::Fingerprint;
pub use masks::{Mask, Shown};
use parse::Source;
use rustls_pki_types::CertificateRevocationListDer;
pub use verifier::{Distrust, end_of};
pub use watch::Watch;
use zeroize::Zeroizing;

/// A checked configuration. Everything it refers to was read and checked when it was loaded.
#[derive(Debug)]
pub struct Config {
    /// The file it came from, absolute.
    pub path: PathBuf,
    /// `client.name`: in every record.
    pub client_name: String,
    pub policy: Policy,
    /// At least one; the first is the primary.
    pub servers: Vec<Server>,
    pub failover: Failover,
    pub cache: Cache,
    pub keys: Keys,
    pub log: Log,
    /// Who sees how much of a value. No two have a name and a role in common.
    pub masks: Vec<Mask>,
    /// The CSV audit trail, where configured.
    pub audit: Option<Audit>,
}

/// Whether the prohibitions on how keys are kept are enforced or only warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    Strict,
    Relaxed,
}

/// One key server.
#[derive(Clone, Debug)]
pub struct Server {
    /// A name or an address, as configured.
    pub host: String,
    pub port: u16,
    /// The minor number of the KMIP 1.x that is spoken; negotiated where it is not configured.
    pub kmip_minor: Option<u16>,
    pub tls: Arc<Tls>,
    /// KMIP user name, where configured.
    pub user: Option<String>,
    /// KMIP password, where configured.
    pub password: Option<Arc<Secret>>,
    pub connections: Connections,
}

/// The connections to a key server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// In use at once. More calls than that wait for one: a key server serves many applications.
    pub most: usize,
    /// How long one is kept that nobody uses. Servers close idle connections after 30 s to 3 min, often silently.
    pub idle: Duration,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections { most: 64, idle: Duration::from_secs(25) }
    }
}

/// Whom we trust and who we are, towards a server.
pub struct Tls {
    pub trust: Trust,
    /// Our certificate chain with its key; they belong together.
    pub identity: Arc<rustls::sign::CertifiedKey>,
    /// The common name of our certificate: the `user` of the audit trail unless `Server::user` is set.
    pub common_name: String,
    /// When our certificate ends, in seconds since 1970.
    pub not_after: i64,
}

/// What a server's certificate is judged by.
#[derive(Clone, Debug)]
pub enum Trust {
    /// One of these authorities issued it, and it is for the server's name.
    Authorities(Authorities),
    /// It is one of these, whoever issued it and for whatever name. At least one.
    Pins(Arc<[Fingerprint]>),
}

/// Who may have issued a server's certificate, and what they took back.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub roots: Arc<rustls::RootCertStore>,
    /// Certificate revocation lists. Where there is none, nothing is known to be revoked.
    pub revoked: Arc<[CertificateRevocationListDer<'static>]>,
    /// When the first of the lists ends, in seconds since 1970.
    pub revoked_until: Option<i64>,
}

impl Authorities {
    /// Authorities that tell of no revoked certificate.
    pub fn without_lists(roots: Arc<rustls::RootCertStore>) -> Authorities {
        Authorities { roots, revoked: Arc::default(), revoked_until: None }
    }
}

/// A password: cannot be printed or cloned; wiped on drop.
#[derive(PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// The failover loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Between a failed server and the next one.
    pub delay: Duration,
    /// How often the whole list is tried.
    pub rounds: u32,
    /// For a whole call, over all servers.
    pub deadline: Duration,
    pub reads: Reads,
    /// What one server has, the others have after so long.
    pub replication_delay: Duration,
}

/// Which server is asked first for what changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// The first that serves, in the order of the file.
    Ordered,
    /// One after the other.
    RoundRobin,
}

/// The key cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// After this a key's state is verified again.
    pub ttl: Duration,
    /// After this a key is asked for its newest version. Never longer than `ttl`.
    pub version_ttl: Duration,
    /// How long a key stays usable while no server answers, since its state was last verified.
    pub max_stale: Duration,
    /// After so many times that the cache gave a key out, its state is verified again.
    pub max_uses: Option<u64>,
    /// How many keys are kept at most.
    pub max_entries: usize,
}

/// Named keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// How the key of a user is named.
    pub template: Option<Template>,
    /// The key that makes pseudonyms of what tells users apart.
    pub pseudonym_key: Option<String>,
    /// The age at which a version is to be rotated.
    pub rotate_after: Option<Duration>,
    /// Where is kept what must outlast the process.
    pub state: Option<PathBuf>,
    /// Whether a compromised version decrypts.
    pub allow_compromised: bool,
}

/// What stands before and after the identifier in the name of a user's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub before: String,
    pub after: String,
}

impl Template {
    /// Where the identifier goes.
    pub const PLACE: &str = "{id}";
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: Level,
    pub format: Format,
    pub target: Option<Target>,
    /// Towards a collector over TLS.
    pub tls: Option<Arc<Tls>>,
    /// Of a file.
    pub rotation: Rotation,
    /// Of a file.
    pub durability: Durability,
    /// To whom a file is sealed.
    pub auditor_key: Option<AuditorKey>,
    pub on_failure: OnFailure,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            level: Level::Basic,
            format: Format::Syslog,
            target: None,
            tls: None,
            rotation: Rotation::default(),
            durability: Durability::default(),
            auditor_key: None,
            on_failure: OnFailure::Continue,
        }
    }
}

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub file: PathBuf,
    pub rotation: Rotation,
    pub durability: Durability,
    /// To whom the file is sealed: that of the log.
    pub auditor_key: Option<AuditorKey>,
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The system has it: it survives the application.
    #[default]
    Flush,
    /// The disk has it: it survives a power failure.
    Fsync,
}

/// When a file is put aside and a new one begun. Never, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before the first record that finds it so long, in bytes.
    pub size: Option<u64>,
    /// Before the first record of a new period; periods are counted from 1970 (UTC).
    pub every: Option<Duration>,
    /// So many are kept; all, where nothing is said.
    pub keep: Option<u32>,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    File(PathBuf),
    Stderr,
    /// The syslog socket of this machine, or one at this path.
    Syslog(Option<PathBuf>),
    /// Host and port.
    Udp(String, u16),
    /// Host and port; octet counting (RFC 6587).
    Tcp(String, u16),
    /// Host and port; octet counting over TLS (RFC 5425).
    Tls(String, u16),
}

/// What is done while records cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The application works on.
    Continue,
    /// Calls on the client are refused.
    Refuse,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    None,
    Basic,
    Verbose,
    Debug,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// RFC 3164, with key=value pairs.
    Syslog,
    /// RFC 5424, with key=value pairs.
    #[serde(rename = "syslog-5424")]
    Syslog5424,
    /// Common Event Format 0.
    Cef,
    /// Log Event Extended Format 2.0.
    Leef,
}

/// Something the configuration permits that its owner should know of. `client` records it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A stable word, for example `single-server`.
    pub id: &'static str,
    /// What was found and what to do.
    pub message: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("common_name", &self.common_name).field("not_after", &self.not_after).finish()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// The one place where a password is read: when it is written into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Policy {
    /// Whether a key server may answer from `peer` to us at `local`, the two ends of one connection.
    ///
    /// `strict` keeps keys away from the machine that holds the data: no loopback address, and no
    /// connection whose ends have the same address.
    pub fn permits_peer(self, peer: IpAddr, local: IpAddr) -> bool {
        let (peer, local) = (peer.to_canonical(), local.to_canonical());
        self == Policy::Relaxed || !(peer.is_loopback() || peer.is_unspecified() || peer == local)
    }
}

/// Reads and checks the file and everything it refers to. Blocks on the file system only.
///
/// [`Code::ConfigInvalid`] names line and column; [`Code::FileExposed`], [`Code::ConfigUnreadable`] and
/// [`Code::CertificateInvalid`] name the file; all of them under every policy. [`Code::PolicyRefused`] is what
/// [`Policy::Relaxed`] would permit.
pub fn load(path: &Path) -> Result<(Config, Vec<Finding>)> {
    load_watched(path, &Watch::default()).map_err(|refused| refused.error)
}

/// A configuration that cannot be used.
pub struct Refused {
    pub error: Error,
    /// Its `client.name`, and the log that it names, where so much of it could be read.
    pub log: Option<(String, Box<Log>)>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { error, log: None }
    }
}

/// As [`load`]; `watch` learns which files were read, also where it fails.
pub fn load_watched(path: &Path, watch: &Watch) -> std::result::Result<(Config, Vec<Finding>), Refused> {
    let absolute = std::path::absolute(path).map_err(|error| {
        Error::new(Code::ConfigUnreadable, format!("no absolute path of {}: {error}", path.display()))
    })?;
    watch.note(&absolute);
    let bytes = files::read(path, "the configuration", Access::Private)?;
    let source = Source::new(&absolute, &bytes, watch)?;
    let mut document = source.parse()?;
    let mut loader = load::Loader::new(&source);
    // First, for what follows to be told there.
    let log = loader.log(std::mem::take(&mut document.log), &document.tls)?;
    let (name, known) = (document.client.name.0.clone(), Box::new(log.clone()));
    let loaded = loader.load(document, log, now()).and_then(|(config, mut findings)| {
        findings.extend(keeping::check_media(config.policy, watch.files().iter().map(PathBuf::as_path))?);
        Ok((config, findings))
    });
    loaded.map_err(|error| Refused { error, log: Some((name, known)) })
}

/// In seconds since 1970, as certificates count them.
pub fn now() -> i64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64)
}
