//! The schema: what may stand in the file, and what holds when it does not.
//!
//! A value is judged where it is read, so that the parser can say at which line and column it stands. No message
//! here repeats a value that could be a password.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::ServerName;
use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use super::fingerprint::Fingerprint;
use super::origin::{Origin, path};
use super::{Durability, Failover, Format, Level, OnFailure, Policy, Reads, Rotation, Shown, Target, Template};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub client: ClientSection,
    #[serde(default)]
    pub tls: TlsSection,
    pub server: Vec<Spanned<ServerSection>>,
    #[serde(default)]
    pub failover: FailoverSection,
    #[serde(default)]
    pub cache: CacheSection,
    #[serde(default)]
    pub keys: KeysSection,
    #[serde(default)]
    pub log: LogSection,
    #[serde(default)]
    pub audit: AuditSection,
    #[serde(default)]
    pub mask: Vec<Spanned<MaskSection>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientSection {
    pub name: ClientName,
    #[serde(default = "strict")]
    pub policy: Policy,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    pub ca_certificate: Option<Spanned<TrustSource>>,
    pub crl: Option<Spanned<PemSource>>,
    pub client_certificate: Option<Spanned<PemSource>>,
    pub client_key: Option<Spanned<PemSource>>,
    pub client_key_password: Option<Spanned<PasswordSource>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSection {
    pub host: Spanned<Host>,
    #[serde(default = "kmip_port")]
    pub port: NonZeroU16,
    pub kmip_version: Option<KmipVersion>,
    pub user: Option<User>,
    pub password: Option<Spanned<PasswordSource>>,
    pub ca_certificate: Option<Spanned<TrustSource>>,
    pub crl: Option<Spanned<PemSource>>,
    pub client_certificate: Option<Spanned<PemSource>>,
    pub client_key: Option<Spanned<PemSource>>,
    pub client_key_password: Option<Spanned<PasswordSource>>,
    pub max_connections: Option<NonZeroU16>,
    pub max_idle: Option<PositivePeriod>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FailoverSection {
    pub delay: Period,
    pub rounds: NonZeroU32,
    pub deadline: PositivePeriod,
    pub reads: Reads,
    pub replication_delay: Period,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CacheSection {
    pub ttl: PositivePeriod,
    pub version_ttl: Option<Spanned<PositivePeriod>>,
    pub max_stale: Option<Spanned<PositivePeriod>>,
    pub max_uses: Option<NonZeroU32>,
    pub max_entries: NonZeroU32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeysSection {
    pub algorithm: Option<Spanned<String>>,
    pub template: Option<KeyTemplate>,
    pub pseudonym_key: Option<KeyName>,
    pub rotate_after: Option<PositivePeriod>,
    pub state: Option<FilePath>,
    pub allow_compromised: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    pub level: Level,
    pub format: Format,
    pub target: Option<Spanned<LogTarget>>,
    pub ca_certificate: Option<Spanned<TrustSource>>,
    pub crl: Option<Spanned<PemSource>>,
    pub client_certificate: Option<Spanned<PemSource>>,
    pub client_key: Option<Spanned<PemSource>>,
    pub client_key_password: Option<Spanned<PasswordSource>>,
    pub rotate_size: Option<Size>,
    pub rotate_every: Option<PositivePeriod>,
    pub rotate_keep: Option<NonZeroU32>,
    pub durability: Durability,
    pub auditor_key: Option<Spanned<PemSource>>,
    pub on_failure: OnFailure,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditSection {
    pub file: Option<FilePath>,
    pub rotate_size: Option<Size>,
    pub rotate_every: Option<PositivePeriod>,
    pub rotate_keep: Option<NonZeroU32>,
    pub durability: Durability,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaskSection {
    pub name: Label,
    pub show: Shown,
    pub roles: Roles,
}

fn strict() -> Policy {
    Policy::Strict
}

/// The port that IANA registered for KMIP.
fn kmip_port() -> NonZeroU16 {
    NonZeroU16::new(5696).expect("not zero")
}

impl Default for FailoverSection {
    fn default() -> Self {
        FailoverSection {
            delay: Period(Duration::from_secs(2)),
            rounds: NonZeroU32::new(3).expect("not zero"),
            deadline: PositivePeriod(Duration::from_secs(30)),
            reads: Reads::Ordered,
            replication_delay: Period(Duration::from_secs(5)),
        }
    }
}

impl Default for CacheSection {
    fn default() -> Self {
        CacheSection {
            ttl: PositivePeriod(Duration::from_secs(10 * 60)),
            version_ttl: None,
            max_stale: None,
            max_uses: None,
            max_entries: NonZeroU32::new(1000).expect("not zero"),
        }
    }
}

/// Of `cache.max_stale`, unless `cache.ttl` is longer.
pub(super) const DEFAULT_MAX_STALE: Duration = Duration::from_secs(60 * 60);

impl Default for LogSection {
    fn default() -> Self {
        LogSection {
            level: Level::Basic,
            format: Format::Syslog,
            target: None,
            ca_certificate: None,
            crl: None,
            client_certificate: None,
            client_key: None,
            client_key_password: None,
            rotate_size: None,
            rotate_every: None,
            rotate_keep: None,
            durability: Durability::default(),
            auditor_key: None,
            on_failure: OnFailure::Continue,
        }
    }
}

impl From<FailoverSection> for Failover {
    fn from(section: FailoverSection) -> Failover {
        Failover {
            delay: section.delay.0,
            rounds: section.rounds.get(),
            deadline: section.deadline.0,
            reads: section.reads,
            replication_delay: section.replication_delay.0,
        }
    }
}

/// As three keys of a section say it.
pub(super) fn rotation(size: Option<Size>, every: Option<PositivePeriod>, keep: Option<NonZeroU32>) -> Rotation {
    Rotation { size: size.map(|size| size.0), every: every.map(|every| every.0), keep: keep.map(NonZeroU32::get) }
}

type Parsed<T> = std::result::Result<T, String>;

/// What is printed in every record: no control characters, and short.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ClientName(pub String);

impl TryFrom<String> for ClientName {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        short_line(text).map(ClientName)
    }
}

/// A protocol version, by the minor number after `1.`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KmipVersion(pub u16);

impl TryFrom<String> for KmipVersion {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        let spoken = ["1.0", "1.1", "1.2", "1.3", "1.4"];
        let minor = spoken.into_iter().zip(0..).find(|(version, _)| *version == text);
        minor.map(|(_, minor)| KmipVersion(minor)).ok_or_else(|| format!("KMIP {text:?} is not spoken here"))
    }
}

/// The name of a key.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KeyName(pub String);

impl TryFrom<String> for KeyName {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        let is_name = (1..=128).contains(&text.len()) && has_name_characters(&text);
        if is_name { Ok(KeyName(text)) } else { Err(format!("{text:?} is no key name")) }
    }
}

/// The name of a user's key, with a place for what tells users apart.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KeyTemplate(pub Template);

impl TryFrom<String> for KeyTemplate {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        match text.split_once(Template::PLACE) {
            // Room for a pseudonym, and for most other identifiers.
            Some(_) if text.len() > 96 => Err(format!("{text:?} leaves no room for what it is to hold")),
            Some((before, after)) if has_name_characters(before) && has_name_characters(after) => {
                Ok(KeyTemplate(Template { before: before.to_owned(), after: after.to_owned() }))
            }
            Some(_) => Err(format!("{text:?} holds what no key name may hold")),
            None => Err(format!("{text:?} does not say where the identifier goes")),
        }
    }
}

/// What an application calls a mask or a role.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Label(pub String);

impl TryFrom<String> for Label {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        short_line(text).map(Label)
    }
}

/// At least one role.
#[derive(Deserialize)]
#[serde(try_from = "Vec<Label>")]
pub(super) struct Roles(pub Vec<String>);

impl TryFrom<Vec<Label>> for Roles {
    type Error = String;
    fn try_from(labels: Vec<Label>) -> Parsed<Self> {
        match labels.is_empty() {
            true => Err("the list is empty".into()),
            false => Ok(Roles(labels.into_iter().map(|label| label.0).collect())),
        }
    }
}

fn has_name_characters(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A KMIP user name.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct User(pub String);

impl TryFrom<String> for User {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        short_line(text).map(User)
    }
}

fn short_line(text: String) -> Parsed<String> {
    match text.chars().count() {
        0 => Err("it is empty".into()),
        65.. => Err("it is longer than 64 characters".into()),
        _ if text.chars().any(char::is_control) => Err("it holds a control character".into()),
        _ => Ok(text),
    }
}

/// A DNS name or an IP address without brackets or port.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Host(pub String);

impl TryFrom<String> for Host {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        if ServerName::try_from(text.as_str()).is_ok() {
            return Ok(Host(text));
        }
        let bare = text.trim_start_matches('[').split(']').next().unwrap_or(&text);
        if text.starts_with('[') && bare.parse::<IpAddr>().is_ok() {
            return Err(format!("{text:?} has brackets; write {bare:?}, and the port in `port`"));
        }
        match text.split_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => {
                Err(format!("{text:?} holds a port; write host = {name:?} and port = {port}"))
            }
            _ => Err(format!("{text:?} is neither a DNS name nor an IP address")),
        }
    }
}

impl Host {
    /// Whether the name or address itself says so; what a name resolves to is judged when it is connected.
    pub fn is_this_machine(&self) -> bool {
        if let Ok(address) = self.0.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback() || address.is_unspecified();
        }
        let name = self.0.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost" || name.ends_with(".localhost")
    }
}

/// The path of a file; what is relative starts at the configuration's folder.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct FilePath(pub PathBuf);

impl TryFrom<String> for FilePath {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        match ["env:", "file:", "cred:"].iter().find(|reference| text.starts_with(**reference)) {
            Some(reference) => Err(format!("a reference with `{reference}` does not belong here; write a path")),
            None => path(&text).map(FilePath),
        }
    }
}

/// Where PEM text comes from: a reference, or the path of a file.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PemSource(pub Origin);

impl TryFrom<String> for PemSource {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        if text.starts_with(Fingerprint::PREFIX) {
            return Err("a fingerprint belongs in `ca_certificate` only".into());
        }
        match Origin::parse(&text)? {
            Some(origin) => Ok(PemSource(origin)),
            None => path(&text).map(Origin::File).map(PemSource),
        }
    }
}

/// Whom a server has to be vouched for by.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(try_from = "OneOrMany")]
pub(super) enum TrustSource {
    Authorities(Origin),
    /// At least one.
    Pins(Vec<Fingerprint>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "it is neither text nor a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<OneOrMany> for TrustSource {
    type Error = String;
    fn try_from(texts: OneOrMany) -> Parsed<Self> {
        match texts {
            OneOrMany::One(text) if text.starts_with(Fingerprint::PREFIX) => Ok(TrustSource::Pins(vec![pin(&text)?])),
            OneOrMany::One(text) => PemSource::try_from(text).map(|source| TrustSource::Authorities(source.0)),
            OneOrMany::Many(texts) if texts.is_empty() => Err("the list is empty".into()),
            OneOrMany::Many(texts) => texts.iter().map(|text| pin(text)).collect::<Parsed<_>>().map(TrustSource::Pins),
        }
    }
}

fn pin(text: &str) -> Parsed<Fingerprint> {
    let hex = text.strip_prefix(Fingerprint::PREFIX).ok_or("a list holds fingerprints only")?;
    Fingerprint::parse(hex).ok_or_else(|| {
        "`sha256:` is followed by the 64 hexadecimal digits of a SHA-256 fingerprint, which `openssl x509 -noout \
         -fingerprint -sha256` prints"
            .into()
    })
}

/// Where a password comes from.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(super) enum PasswordSource {
    Plain(Zeroizing<String>),
    Elsewhere(Origin),
}

impl TryFrom<String> for PasswordSource {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        let text = Zeroizing::new(text);
        Ok(Origin::parse(&text)?.map_or_else(|| PasswordSource::Plain(text), PasswordSource::Elsewhere))
    }
}

/// A duration as a number and a unit: `500ms`, `2s`, `10m`, `1h`, `7d`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Period(pub Duration);

impl TryFrom<String> for Period {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        let bad = || format!("{text:?} is not a duration");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        match number.checked_mul(milliseconds) {
            Some(total) if total <= MAX_PERIOD_MS => Ok(Period(Duration::from_millis(total))),
            _ => Err(format!("{text:?} is longer than a year")),
        }
    }
}

/// A year: longer ones are slips, and sums of shorter ones never overflow.
const MAX_PERIOD_MS: u64 = 366 * 24 * 60 * 60 * 1000;

/// A [`Period`] that is not zero.
#[derive(Deserialize)]
#[serde(try_from = "Period")]
pub(super) struct PositivePeriod(pub Duration);

impl TryFrom<Period> for PositivePeriod {
    type Error = String;
    fn try_from(period: Period) -> Parsed<Self> {
        if period.0.is_zero() { Err("it is zero".into()) } else { Ok(PositivePeriod(period.0)) }
    }
}

/// A size as a number and a unit: `512KiB`, `100MiB`, `1GiB`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        let bad = || format!("{text:?} is not a size");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(bad()),
        };
        let number: u32 = number.parse().map_err(|_| bad())?;
        if number == 0 { Err("it is zero".into()) } else { Ok(Size(u64::from(number) << shift)) }
    }
}

/// Where log lines go.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct LogTarget(pub Target);

impl TryFrom<String> for LogTarget {
    type Error = String;
    fn try_from(text: String) -> Parsed<Self> {
        let target = match text.split_once(':') {
            None if text == "stderr" => Target::Stderr,
            None if text == "syslog" => Target::Syslog(None),
            Some(("file", file)) => Target::File(path(file)?),
            Some(("syslog", socket)) => Target::Syslog(Some(path(socket)?)),
            Some(("udp", collector)) => collector_of(collector, 514).map(|(host, port)| Target::Udp(host, port))?,
            Some(("tcp", collector)) => collector_of(collector, 601).map(|(host, port)| Target::Tcp(host, port))?,
            Some(("tls", collector)) => collector_of(collector, 6514).map(|(host, port)| Target::Tls(host, port))?,
            _ => return Err(format!("there is no target {text:?}")),
        };
        Ok(LogTarget(target))
    }
}

/// `//HOST`, `//HOST:PORT`, `//[ADDRESS]:PORT`
fn collector_of(text: &str, default_port: u16) -> Parsed<(String, u16)> {
    let bad = || format!("{text:?} is not \"//HOST:PORT\", or \"//[ADDRESS]:PORT\" with an address of IPv6");
    let place = text.strip_prefix("//").ok_or_else(bad)?;
    let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(bad)).transpose()? {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').ok_or_else(bad)?)),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse::<NonZeroU16>().map_err(|_| bad())?.get(),
        None => default_port,
    };
    match ServerName::try_from(host) {
        Ok(_) => Ok((host.to_owned(), port)),
        Err(_) => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    /// The fields that serde names when it refuses one that does not exist.
    fn fields<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = toml::from_str::<T>("no_such_key = 1").err().expect("unknown keys are refused");
        let message = error.message().split_once("expected").expect("the known keys").1.to_owned();
        message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_of_the_schema_is_documented_and_every_documented_key_is_in_the_schema() {
        let documented: Vec<&str> = reference::SECTIONS.iter().map(|(section, _)| *section).collect();
        assert_eq!(fields::<Document>(), documented);
        let sections = [
            ("client", fields::<ClientSection>()),
            ("tls", fields::<TlsSection>()),
            ("server", fields::<ServerSection>()),
            ("failover", fields::<FailoverSection>()),
            ("cache", fields::<CacheSection>()),
            ("keys", fields::<KeysSection>()),
            ("log", fields::<LogSection>()),
            ("audit", fields::<AuditSection>()),
            ("mask", fields::<MaskSection>()),
        ];
        assert_eq!(sections.len(), documented.len());
        for (section, fields) in sections {
            let documented: Vec<&str> = reference::keys_of(section).map(|doc| doc.key).collect();
            assert_eq!(fields, documented, "[{section}]");
        }
    }
}
