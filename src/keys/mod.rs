//! Named keys: made on and fetched from the cluster, cached, verified.
//!
//! On the server each version of a key has the Name `NAME/V` and the Object Group `keystead:NAME`. What a
//! server answers is checked (name, algorithm, length, state), never assumed.

#![forbid(unsafe_code)]

mod age;
mod cache;
mod column;
mod create;
mod flight;
mod handle;
mod ledger;
mod lifecycle;
mod lookup;
mod naming;
mod pinned;
mod prohibited;
mod room;
mod space;
mod tenants;
mod uses;
mod verify;
mod version;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

pub use create::Creation;
pub use handle::Key;

use crate::cluster::{Cluster, Subject};
use crate::config::{self, Config, Policy};
use crate::envelope::{KeyId, is_valid_name};
use crate::error::{Code, Error, Result};
use crate::log::{Severity, catalogue};
use crate::platform;
use cache::Cache;
pub use cache::Counts;
use flight::Flights;
use ledger::Ledger;
pub use lookup::{Found, Listing, Withheld};
use naming::Pseudonyms;
use room::Room;
use space::Spaces;
pub use space::{Kek, Original, Rewrapped};
use tenants::Possession;
pub use tenants::Tenancy;
pub use uses::{Decryptor, Encryptor, Uses};
use verify::is_outage;
use version::{Rules, Version};

/// The keys of a client.
pub struct Keys {
    cluster: Arc<Cluster>,
    limits: config::Cache,
    settings: config::Keys,
    rules: Rules,
    policy: Policy,
    cache: Arc<Cache>,
    room: Arc<Room>,
    ledger: Ledger,
    /// The objects on key servers that are used.
    tenancy: Tenancy,
    /// The client certificates of the configuration in force. `None` once closed.
    certificates: Mutex<Option<Tenancy>>,
    pseudonyms: Pseudonyms,
    told: age::Told,
    newest_flights: Flights<String, Key>,
    version_flights: Flights<KeyId, Arc<Version>>,
    create_flights: Flights<String, (Key, Creation)>,
    spaces: Spaces,
    /// Until when, in coarse nanoseconds, it is left to the background refresh to find out whether a server answers again.
    outage_until: AtomicU64,
}

impl Keys {
    /// Errors: `FileExposed`, `System` for the file of `keys.state`; `CertificateShared`.
    pub fn new(cluster: Arc<Cluster>, config: &Config) -> Result<Keys> {
        let cache = Arc::new(Cache::new(config.cache.max_entries, Uses::of(&cluster.journal().log)));
        let room = Arc::new(Room::new(cache.clone(), cluster.journal().clone()));
        let keys = Keys {
            cluster,
            limits: config.cache,
            settings: config.keys.clone(),
            rules: Rules::new(&config.cache, &config.keys),
            policy: config.policy,
            cache,
            room,
            ledger: Ledger::open(config.keys.state.as_deref())?,
            tenancy: Tenancy::new(&config.client_name),
            certificates: Mutex::new(Some(Tenancy::new(&config.client_name))),
            pseudonyms: Pseudonyms::default(),
            told: age::Told::default(),
            newest_flights: Flights::default(),
            version_flights: Flights::default(),
            create_flights: Flights::default(),
            spaces: Spaces::default(),
            outage_until: AtomicU64::new(0),
        };
        keys.keep_certificates(keys.take_certificates(config)?);
        keys.tell_damage();
        Ok(keys)
    }

    /// The handle that follows `name`, or of `NAME/V` the one that is pinned to that version. Blocks on the network unless the key is cached and verified within `ttl`, or
    /// within `max_stale` while no server answers.
    pub fn named(&self, name: &str) -> Result<Key> {
        match self.hit(name) {
            Some(key) => Ok(key),
            None => self.miss(name),
        }
    }

    #[cold]
    fn miss(&self, name: &str) -> Result<Key> {
        if name.contains('/') {
            return self.pinned(&KeyId::parse(name)?);
        }
        check_name(name)?;
        self.cache.count_miss();
        self.newest_flights.once(name.to_owned(), || match self.cache.named(name) {
            Some(key) if self.is_good(&key) => Ok(key),
            Some(key) => self.refresh(&key, self.cluster.deadline()).map(|()| key),
            None => self.fetch_newest(name),
        })
    }

    /// Makes the first version of `name`, or returns the key where there is one. Blocks.
    pub fn create(&self, name: &str) -> Result<(Key, Creation)> {
        check_name(name)?;
        // Rivals within one process need not meet on the key server.
        self.create_flights.once(name.to_owned(), || {
            let deadline = self.cluster.deadline();
            let (mut found, creation) = self.create_or_find(name, deadline)?;
            if creation == Creation::Created {
                self.warn_of_name(name);
            }
            if let Some(key) = self.cache.named(name) {
                return Ok((key, creation));
            }
            let version = self.fetch(&found, deadline).or_else(|error| {
                // Its server went away before the others had heard of it.
                if !is_outage(&error) || deadline.is_past() {
                    return Err(error);
                }
                found = self.create_or_find(name, deadline)?.0;
                self.fetch(&found, deadline)
            })?;
            Ok((self.cache.insert_named(version), creation))
        })
    }

    /// Decrypts with the key that the message names. Blocks unless that key is cached.
    pub fn decrypt(&self, id: &KeyId, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        self.version(id)?.decrypt(message, aad, out)
    }

    /// Begins to decrypt a stream with the key that it names. Blocks unless that key is cached.
    pub fn decrypt_stream(&self, id: &KeyId, start: &[u8], aad: &[u8]) -> Result<Decryptor> {
        let uses = Uses::of(&self.cluster.journal().log);
        let begun = self.version(id).and_then(|version| version.decrypt_stream(start, aad));
        Uses::stream(uses.as_ref(), catalogue::STREAM_DECRYPTED, Some(id.clone()), begun)
    }

    /// Every version of every key that the servers know under our naming. Blocks.
    pub fn list(&self) -> Result<Listing> {
        self.find_all(self.cluster.deadline())
    }

    /// Every version of one key. Blocks.
    pub fn show(&self, name: &str) -> Result<Vec<Found>> {
        check_name(name)?;
        self.find_group(name, self.cluster.deadline())
    }

    /// Ends every session, so that what is encrypted after a snapshot shares no subkey with what came before.
    pub fn quiesce(&self) {
        self.quiesce_spaces();
        self.cache.all_versions().iter().for_each(|version| version.quiesce());
    }

    /// Wipes every key, also those behind handles that are still held.
    pub fn close(&self) {
        self.cache.close();
        self.close_spaces();
        // A thread that works in the background may hold on to us a little longer.
        self.tenancy.give_up();
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Wipes the versions of a name, or of all, from memory, also behind handles that are still held.
    pub fn purge(&self, name: Option<&str>) {
        let purged = self.cache.purge(name);
        let fields = [("key_name", name.unwrap_or("*").into()), ("count", purged.to_string().into())];
        self.cluster.journal().event(catalogue::CACHE_PURGED, Severity::Notice, &fields);
    }

    pub fn counts(&self) -> Counts {
        self.cache.counts()
    }

    /// Two tenants of one process do not share a client certificate: to the key server they would be one. Whoever does not
    /// keep what was taken drops it, for others to take.
    ///
    /// Errors: `CertificateShared`, under the policy `strict`; `relaxed` only records it.
    pub fn take_certificates(&self, config: &Config) -> Result<Tenancy> {
        let taken = Tenancy::new(&config.client_name);
        for server in &config.servers {
            let certificate = server.tls.identity.cert.first().map_or(&[][..], |certificate| certificate.as_ref());
            let Err(other) = taken.take(Possession::certificate(certificate)) else { continue };
            let message = format!(
                "the client certificate of {} is also that of the client {other:?} of this process; give each tenant a \
                 certificate of its own",
                server.tls.common_name
            );
            if self.policy == Policy::Strict {
                return Err(Error::new(Code::CertificateShared, message));
            }
            let fields = [("finding", "shared-certificate".into()), ("message", message.into())];
            self.cluster.journal().event(catalogue::CONFIG_FINDING, Severity::Warning, &fields);
        }
        Ok(taken)
    }

    /// From now on these certificates are used, and those of the configuration before are given up.
    pub fn keep_certificates(&self, taken: Tenancy) {
        if let Some(held) = &mut *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) {
            *held = taken;
        }
    }

    fn tell_damage(&self) {
        if let Some(path) = self.ledger.was_damaged() {
            let fields = [("file", path.to_string_lossy())];
            self.cluster.journal().event(catalogue::KEY_STATE_DAMAGED, Severity::Warning, &fields);
        }
    }

    fn version(&self, id: &KeyId) -> Result<Arc<Version>> {
        if let Some(version) = self.cache.version(id)
            && (self.is_fresh(&version, self.limits.ttl, now())
                || self.cache.is_followed(&version) && !version.is_worn())
        {
            self.cache.count_hit();
            return Ok(version);
        }
        self.cache.count_miss();
        self.version_flights.once(id.clone(), || self.verify_version(id, self.cache.version(id)))
    }
}

/// What the journal says an operation on this version is about.
fn subject(id: &KeyId) -> Subject<'_> {
    Subject { name: &id.name, version: Some(id.version) }
}

fn check_name(name: &str) -> Result<()> {
    if is_valid_name(name) {
        return Ok(());
    }
    let message = format!(
        "{name:?} is no key name: 1 to 128 of the letters A-Z and a-z, digits, dot, underscore and hyphen are allowed"
    );
    Err(Error::new(Code::InvalidArgument, message))
}

/// Now, in coarse nanoseconds since boot.
fn now() -> u64 {
    platform::coarse_now()
}
