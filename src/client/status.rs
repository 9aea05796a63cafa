//! What a client tells of itself.

use std::path::Path;

use serde::Serialize;

use crate::cluster::{Server, State};
use crate::keys::Counts;
use crate::log::Health;

/// What the client knows of itself and its servers.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub client: String,
    /// The library's version.
    pub version: &'static str,
    /// The protection of the memory that keys are in, `memfd_secret` or `mlock`; absent before the first key.
    pub memory_tier: Option<String>,
    pub config: ConfigStatus,
    pub cache: CacheStatus,
    /// The cached keys that are to be rotated, by name.
    pub rotation_due: Vec<String>,
    /// How it stands with records on their way to the log's target; absent without one.
    pub log: Option<Health>,
    /// With those on their way to the application; absent where it takes none.
    pub on_record: Option<Health>,
    /// With rows of the audit trail; absent without one.
    pub audit: Option<Health>,
    pub servers: Vec<ServerStatus>,
}

/// Which configuration is in force.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigStatus {
    pub file: String,
    /// When it was read last with success, in seconds since 1970.
    pub loaded: i64,
    /// Why what stands there now was not taken up: the configuration in force is the one before.
    pub reload_error: Option<String>,
}

impl ConfigStatus {
    pub(super) fn new(file: &Path, loaded: i64) -> ConfigStatus {
        ConfigStatus { file: file.to_string_lossy().into_owned(), loaded, reload_error: None }
    }
}

/// How the key cache has served.
#[derive(Clone, Debug, Serialize)]
pub struct CacheStatus {
    /// Versions in the cache.
    pub keys: usize,
    /// What was asked for and was there, verified.
    pub hits: u64,
    pub misses: u64,
    /// Verifications that a server answered.
    pub refreshes: u64,
    /// Verifications that no server answered, so that a key went on unverified.
    pub stale: u64,
    /// Keys that went to make room, in the cache or in locked memory.
    pub evicted: u64,
}

impl CacheStatus {
    pub(super) fn of(counts: Counts) -> CacheStatus {
        let Counts { keys, hits, misses, refreshes, stale, evicted } = counts;
        CacheStatus { keys, hits, misses, refreshes, stale, evicted }
    }
}

/// What is known of one server from the last time it was tried.
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// `host:port`
    pub server: String,
    /// `untried`, `healthy` or `resting`.
    pub state: &'static str,
    pub address: Option<String>,
    pub kmip_version: Option<String>,
    /// Who made it, as it says itself once it was asked: [`Client::probe_servers`](super::Client::probe_servers) does.
    pub vendor: Option<String>,
    pub last_error: Option<String>,
    pub latency_microseconds: Option<u64>,
    /// When the certificate that we show it ends, in seconds since 1970.
    pub client_certificate_ends: i64,
    /// When the certificate that it shows ends, in seconds since 1970.
    pub server_certificate_ends: Option<i64>,
}

impl ServerStatus {
    pub(super) fn of(server: &Server) -> ServerStatus {
        let health = server.health();
        let vendor = health.capabilities.as_ref().and_then(|known| known.description.as_ref()?.vendor.clone());
        let state = match health.state {
            State::Untried => "untried",
            State::Healthy => "healthy",
            State::Resting(_) => "resting",
        };
        ServerStatus {
            server: server.name(),
            state,
            address: health.address.map(|address| address.to_string()),
            kmip_version: health.kmip_version.map(|version| version.to_string()),
            vendor,
            last_error: health.last_error,
            latency_microseconds: health.latency.map(|latency| latency.as_micros() as u64),
            client_certificate_ends: server.certificate_ends(),
            server_certificate_ends: health.server_certificate_ends,
        }
    }
}
