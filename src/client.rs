//! The one type that ties the layers together.

#![forbid(unsafe_code)]

mod data;
mod doctor;
mod reload;
mod space;
mod status;
mod survey;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::AuditTrail;
use crate::cluster::{Cluster, Journal};
pub use crate::config::Changes;
use crate::config::{self, Config, Finding, Mask, Watch};
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
pub use crate::keys::{Creation, Decryptor, Encryptor, Key, Original, Rewrapped};
use crate::keys::{Keys, Uses};
pub use crate::kmip::Revocation;
use crate::log::{Level, Log, OnRecord, Record, Severity, catalogue};
use crate::memory::slot;
use crate::platform::ProcessStamp;
pub use data::View;
pub use doctor::{Check, Verdict};
use reload::{Loaded, lock};
pub use space::KekInfo;
pub use status::{CacheStatus, ConfigStatus, ServerStatus, Status};
pub use survey::{KeyInfo, KeySurvey, WithheldObject};

/// The background refresh looks this often for keys that are due, or at an eighth of `version_ttl` if that is less.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);
/// So long closing waits for collectors and the application to take the last records.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One opened configuration: its key servers, key cache, log and audit trail.
///
/// Any number of threads may use it at once. After a fork the child opens a client of its own.
pub struct Client {
    parts: Arc<Parts>,
    process: ProcessStamp,
}

struct Parts {
    name: String,
    keys: Keys,
    masks: Vec<Mask>,
    cluster: Arc<Cluster>,
    journal: Journal,
    /// Where each use of a key is recorded. `None` at the level `basic`.
    uses: Option<Uses>,
    loaded: Mutex<Loaded>,
    config_status: Mutex<ConfigStatus>,
    closed: AtomicBool,
    /// Held by the background refresh while it waits; notified on close.
    waiting: Mutex<()>,
    woken: Condvar,
}

impl Client {
    /// Reads and checks the configuration, opens the log and the audit trail. Never waits for a key server.
    ///
    /// Errors: `ConfigInvalid`, `ConfigUnreadable`, `FileExposed`, `CertificateInvalid`, `AlgorithmRefused`, `PolicyRefused`,
    /// `MountRefused`, `OwnerSignsOn`, `CertificateShared`, `System`.
    pub fn open(path: &Path) -> Result<Client> {
        Client::open_with(path, None)
    }

    /// As [`Client::open`]; `on_record` is handed every record at the level and in the format of the configuration, beside
    /// its target, in a chain of its own. It is called by a thread of the log, one record after the other. While it takes
    /// its time the application works on; what finds no room to wait is counted and told later.
    ///
    /// It may use this client. What it does there is recorded in turn.
    pub fn open_with(path: &Path, mut on_record: Option<OnRecord>) -> Result<Client> {
        // Before the load: a certificate that ends in between is told twice rather than never.
        let since = config::now();
        let watch = Watch::default();
        let (config, mut findings) = config::load_watched(path, &watch).map_err(|refused| {
            let log = refused.log.and_then(|(name, log)| Log::open_with(&log, &name, on_record.take()).ok());
            log.inspect(|log| record_refusal(log, path, &refused.error));
            refused.error
        })?;
        let log = Arc::new(Log::open_with(&config.log, &config.client_name, on_record.take())?);
        let (owner, version_ttl) = (config.check_owner(), config.cache.version_ttl);
        let opened = owner.and_then(|finding| {
            findings.extend(finding);
            let parts = Arc::new(Parts::new(config, watch, since, log.clone())?);
            parts.tell_start(path, &findings);
            spawn_refresh(&parts, version_ttl)?;
            Ok(Client { parts, process: ProcessStamp::current() })
        });
        opened.inspect_err(|error| record_refusal(&log, path, error))
    }

    /// The handle that follows a named key's newest active version. Blocks on the network unless cached.
    ///
    /// For `NAME/V` a handle that stays with that version: it decrypts as the version's state allows, and encrypts only
    /// while that is the newest that does. It says `KeyState` from when a newer one is known: at once where this client
    /// rotates the key, elsewhere within `version_ttl`.
    ///
    /// Errors: `InvalidArgument`, `KeyNotFound`, `KeyState`, `KeyAmbiguous`, `KeyWeak`, `AlgorithmRefused`, `NoServer`,
    /// those of a server's answer (4xx), `MemoryExhausted`, `Closed`, `Forked`.
    pub fn key(&self, name: &str) -> Result<Key> {
        self.logged()?.keys.named(name)
    }

    /// Makes the first version of a named key on the key server, or returns the key where the name has one. Blocks.
    ///
    /// Errors: as [`Client::key`], without `KeyNotFound`.
    pub fn create_key(&self, name: &str) -> Result<(Key, Creation)> {
        self.logged()?.keys.create(name)
    }

    /// The name of the key of the user, customer or document that `id` tells apart: what `keys.template` makes of it, or of
    /// its pseudonym. Blocks where names are pseudonyms and their key is not cached.
    ///
    /// It is also what [`Client::decrypt`] is to expect for that user's data. Errors: `InvalidArgument`; as
    /// [`Client::key`] for the key of pseudonyms.
    pub fn key_name(&self, id: &str) -> Result<String> {
        self.logged()?.keys.name_for(id)
    }

    /// The key of the user that `id` tells apart. Blocks unless cached. Errors: as [`Client::key_name`] and [`Client::key`].
    pub fn key_for(&self, id: &str) -> Result<Key> {
        let parts = self.logged()?;
        parts.keys.named(&parts.keys.name_for(id)?)
    }

    /// Makes the key of the user that `id` tells apart, or returns the one there is. Blocks.
    ///
    /// Errors: as [`Client::key_name`] and [`Client::create_key`].
    pub fn register(&self, id: &str) -> Result<(Key, Creation)> {
        self.logged()?.keys.register(id)
    }

    /// Makes a new version of a named key and returns its handle; other handles of the name follow. Blocks.
    ///
    /// What is encrypted from now on uses the new version; what older versions encrypted stays readable. Other processes
    /// follow within `ttl`. Errors: as [`Client::key`].
    pub fn rotate_key(&self, name: &str) -> Result<Key> {
        self.logged()?.keys.rotate(name)
    }

    /// Makes a Pre-Active version usable. Blocks. If it is the newest, it is used as after [`Client::rotate_key`]. Errors: as
    /// [`Client::key`], `KeyState` for any other state but Active.
    pub fn activate_key(&self, id: &KeyId) -> Result<()> {
        self.logged()?.keys.activate_version(id)
    }

    /// Ends a version's time on the key server. Blocks.
    ///
    /// It encrypts no more, and goes on decrypting unless it is compromised. Other processes follow within `ttl`. Errors:
    /// as [`Client::key`], `KeyState` where its state does not allow it.
    pub fn revoke_key(&self, id: &KeyId, why: Revocation) -> Result<()> {
        self.logged()?.keys.revoke(id, why)
    }

    /// Destroys a version on the key server. What it encrypted can never be read again. Blocks.
    ///
    /// Errors: as [`Client::key`], `KeyState` while it is active: it takes a revocation before. `KeyReferenced` while
    /// anything is known to need it.
    pub fn destroy_key(&self, id: &KeyId) -> Result<()> {
        self.logged()?.keys.destroy(id)
    }

    /// Remembers that `what` (a table, an archive, a protected key) needs a version, which is then not destroyed. Kept in
    /// the file of `keys.state`, without which it ends with this client. Blocks on files, and while somebody ends a version,
    /// until that is over: so a need that was noted is one that no end overlooked.
    ///
    /// Errors: `InvalidArgument` unless `what` is one line of 1 to 256 bytes, `Deadline` where that took too long, `System`.
    pub fn add_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        self.logged()?.keys.add_reference(id, what)
    }

    /// Whether references are kept in the file of `keys.state`, and so longer than by this client.
    pub fn keeps_references(&self) -> Result<bool> {
        Ok(self.logged()?.keys.keeps_references())
    }

    /// Forgets that `what` needs a version. Blocks on files only. Errors: as [`Client::add_reference`], without `Deadline`.
    pub fn remove_reference(&self, id: &KeyId, what: &str) -> Result<()> {
        self.logged()?.keys.remove_reference(id, what)
    }

    /// What is known to need a version.
    pub fn references(&self, id: &KeyId) -> Result<Vec<String>> {
        Ok(self.logged()?.keys.references(id))
    }

    /// Wipes every key from memory. Keys that are held say `KeyStale` from now on; [`Client::key`] fetches anew.
    pub fn purge(&self) -> Result<()> {
        self.logged()?.keys.purge(None);
        Ok(())
    }

    /// Wipes every version of one key from memory, as [`Client::purge`] does with all.
    pub fn purge_key(&self, name: &str) -> Result<()> {
        self.logged()?.keys.purge(Some(name));
        Ok(())
    }

    /// Ends every session of every key, before a planned snapshot of the machine. Does not block.
    pub fn quiesce(&self) -> Result<()> {
        self.live()?.keys.quiesce();
        Ok(())
    }

    /// Reads the configuration and everything it refers to again, and takes up what changed: the key servers, with
    /// their certificates, users and passwords, and the rules of failover. [`Changes`] tells what was taken up, and what
    /// waits until a client is opened. A changed file is taken up within seconds without this call, too.
    ///
    /// Blocks on files only. Errors: those of [`Client::open`]; the client then goes on as it was.
    pub fn reload(&self) -> Result<Changes> {
        self.live()?.reload()
    }

    /// Asks every key server whether it answers, for [`Client::status`]. Blocks until the slowest has, or the deadline.
    pub fn probe_servers(&self) -> Result<()> {
        let parts = self.live()?;
        parts.cluster.probe(parts.cluster.deadline());
        Ok(())
    }

    /// What the client knows of itself and its servers. Does not block.
    pub fn status(&self) -> Result<Status> {
        let parts = self.live()?;
        Ok(Status {
            client: parts.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            memory_tier: slot::tier().map(|tier| tier.to_string()),
            config: lock(&parts.config_status).clone(),
            cache: CacheStatus::of(parts.keys.counts()),
            rotation_due: parts.keys.due(),
            log: parts.journal.log.health(),
            on_record: parts.journal.log.health_of_host(),
            audit: parts.journal.audit.as_ref().map(|audit| audit.health()),
            servers: parts
                .cluster
                .order()
                .into_iter()
                .map(|server| ServerStatus::of(&parts.cluster.server(server)))
                .collect(),
        })
    }

    /// Wipes every key, closes the connections and writes the last record, for which a slow collector, or the application's
    /// function, is given a second. Every later call on the client or a key of it says `Closed`; closing twice is no error.
    ///
    /// Errors: `Forked`; `LogFailed` if records could not be written and the configuration refuses unlogged work. The
    /// client is closed all the same.
    pub fn close(&self) -> Result<()> {
        if !self.process.is_current() {
            return Err(forked());
        }
        if self.parts.release() {
            self.parts.journal.event(catalogue::CLIENT_STOP, Severity::Notice, &[]);
            self.parts.journal.end(LAST_WORDS);
            return self.parts.journal.check();
        }
        Ok(())
    }

    /// As [`Client::live`], and `LogFailed` while records cannot be written and the configuration refuses unlogged work.
    fn logged(&self) -> Result<&Parts> {
        let parts = self.live()?;
        parts.journal.check()?;
        Ok(parts)
    }

    fn live(&self) -> Result<&Parts> {
        if !self.process.is_current() {
            return Err(forked());
        }
        if self.parts.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::Closed, "this client was closed; open another one"));
        }
        Ok(&self.parts)
    }
}

impl Drop for Client {
    /// Lets go of everything without waiting and without a record: whoever wants the record calls [`Client::close`].
    fn drop(&mut self) {
        if self.process.is_current() {
            self.parts.release();
            // A key or stream may hold the log for longer.
            self.parts.journal.log.close_host();
        }
    }
}

impl Parts {
    fn new(config: Config, watch: Watch, since: i64, log: Arc<Log>) -> Result<Parts> {
        let audit = config.audit.as_ref().map(AuditTrail::open_as).transpose()?.map(Arc::new);
        let journal = Journal { log, audit };
        let cluster = Arc::new(Cluster::new(&config, journal.clone())?);
        Ok(Parts {
            name: config.client_name.clone(),
            keys: Keys::new(cluster.clone(), &config)?,
            masks: config.masks.clone(),
            cluster,
            uses: Uses::of(&journal.log),
            journal,
            config_status: Mutex::new(ConfigStatus::new(&config.path, since)),
            loaded: Mutex::new(Loaded::new(config, watch, since)),
            closed: AtomicBool::new(false),
            waiting: Mutex::new(()),
            woken: Condvar::new(),
        })
    }

    /// Whether this call was the one that did it.
    fn release(&self) -> bool {
        if self.closed.swap(true, Ordering::AcqRel) {
            return false;
        }
        drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_all();
        self.keys.close();
        self.cluster.close();
        true
    }

    fn tell_start(&self, path: &Path, findings: &[Finding]) {
        let start = [("version", env!("CARGO_PKG_VERSION").into()), ("config", path.to_string_lossy())];
        self.journal.event(catalogue::CLIENT_START, Severity::Notice, &start);
        let servers = self.cluster.order().into_iter().map(|server| self.cluster.server(server).name());
        let servers = servers.collect::<Vec<_>>().join(", ");
        self.journal.event(catalogue::CONFIG_LOADED, Severity::Notice, &[("key_servers", servers.into())]);
        self.record(findings);
    }

    fn record(&self, findings: &[Finding]) {
        for finding in findings {
            let fields = [("finding", finding.id.into()), ("message", finding.message.as_str().into())];
            self.journal.event(catalogue::CONFIG_FINDING, Severity::Warning, &fields);
        }
    }

    /// Verifies what is due and looks after the configuration, again and again, until the client is closed.
    fn refresh(&self, pause: Duration) {
        while !self.closed.load(Ordering::Acquire) {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let still_open = |_: &mut ()| !self.closed.load(Ordering::Acquire);
            drop(self.woken.wait_timeout_while(waiting, pause, still_open));
            if !self.closed.load(Ordering::Acquire) {
                let _ = catch_unwind(AssertUnwindSafe(|| self.look_after_configuration()));
                self.cluster.tidy();
                // A fault with one key must not let all others go stale. The panic hook has told of it.
                let _ = catch_unwind(AssertUnwindSafe(|| self.keys.refresh_due()));
            }
        }
    }
}

/// No client is opened, and the log says why.
fn record_refusal(log: &Log, path: &Path, error: &Error) {
    let fields =
        [("config", path.to_string_lossy()), ("code", error.code().name().into()), ("message", error.message().into())];
    let (event, severity) = (catalogue::CLIENT_REFUSED, Severity::Error);
    log.write(&Record { event, severity, level: Level::Basic, fields: &fields });
    log.end(LAST_WORDS);
}

/// Starts the thread that keeps cached keys verified. It ends when the client is closed, which dropping it does.
fn spawn_refresh(parts: &Arc<Parts>, ttl: Duration) -> Result<()> {
    let parts = parts.clone();
    let pause = REFRESH_PAUSE.min(ttl / 8).max(Duration::from_millis(10));
    let thread = std::thread::Builder::new().name("keystead-refresh".into()).spawn(move || parts.refresh(pause));
    thread.map(drop).map_err(|error| {
        let message =
            format!("the thread that keeps keys verified could not start: {error}; raise the limit on threads");
        Error::new(Code::System, message)
    })
}

fn forked() -> Error {
    Error::new(Code::Forked, "this client belongs to the parent process; open a client in the child, after the fork")
}
