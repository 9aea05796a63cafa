//! The one type that ties the layers together.

#![forbid(unsafe_code)]

mod doctor;
mod reload;
mod space;
mod status;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::audit::AuditTrail;
use crate::cluster::{Cluster, Journal};
pub use crate::config::Changes;
use crate::config::{self, Config, Finding, Mask, Shown, Watch};
use crate::envelope::batch::Values;
use crate::envelope::stream;
use crate::envelope::{KeyId, Pattern, mask, message};
use crate::error::{Code, Error, Result};
pub use crate::keys::{Creation, Decryptor, Encryptor, Key, Original, Rewrapped};
use crate::keys::{Found, Keys, Listing, Uses, Withheld};
pub use crate::kmip::Revocation;
use crate::log::{Log, OnRecord, Severity, catalogue};
use crate::memory::slot;
use crate::platform::ProcessStamp;
pub use doctor::{Check, Verdict};
use reload::{Loaded, lock};
pub use space::KekInfo;
pub use status::{CacheStatus, ConfigStatus, ServerStatus, Status};

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
    pub fn open_with(path: &Path, on_record: Option<OnRecord>) -> Result<Client> {
        // Before the load: a certificate that ends in between is told twice rather than never.
        let since = config::now();
        let watch = Watch::default();
        let (config, mut findings) = config::load_watched(path, &watch)?;
        findings.extend(config.check_owner()?);
        let log = Arc::new(Log::open_with(&config.log, &config.client_name, on_record)?);
        let audit = config.audit.as_ref().map(AuditTrail::open_as).transpose()?.map(Arc::new);
        let journal = Journal { log, audit };
        let version_ttl = config.cache.version_ttl;
        let parts = Arc::new(Parts::new(config, watch, since, journal)?);
        let start = [("version", env!("CARGO_PKG_VERSION").into()), ("config", path.to_string_lossy())];
        parts.journal.event(catalogue::CLIENT_START, Severity::Notice, &start);
        parts.tell_loaded();
        parts.record(&findings);
        spawn_refresh(&parts, version_ttl)?;
        Ok(Client { parts, process: ProcessStamp::current() })
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

    /// Makes a Pre-Active version usable. Blocks. Errors: as [`Client::key`], `KeyState` for any other state but Active.
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

    /// Decrypts with the key that the message names, if that name matches `expect` (`customer-42`, `customer-*`, `*`).
    ///
    /// The name is compared before any cache or network access. Blocks unless the key is cached. Errors: as
    /// [`Client::key`], and `NotAuthentic`, `WrongKey`, `BufferTooSmall`.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], expect: &str, out: &mut [u8]) -> Result<usize> {
        let parts = self.logged()?;
        let mut decrypt = || {
            let id = expected("message", expect, || message::key_id(message))?;
            let needed = message::decrypted_size(message)?;
            if out.len() < needed {
                return Err(Error::buffer_too_small(needed));
            }
            parts.keys.decrypt(&id, message, aad, out)
        };
        match &parts.uses {
            None => decrypt(),
            Some(uses) => uses.decrypting(message, None, decrypt),
        }
    }

    /// Writes what `role` sees of the plaintext under the configuration's `[[mask]]` of this name to the front of `out`, and
    /// returns its size; otherwise as [`Client::decrypt`]. What is not shown never leaves the call.
    ///
    /// The role is checked before anything is looked up. The mask is UTF-8. A buffer of [`mask::ROOM`] bytes more than the
    /// plaintext is large enough, and so is one of the message's size. Errors: as [`Client::decrypt`], and `RoleRefused`.
    pub fn decrypt_masked(
        &self,
        message: &[u8],
        aad: &[u8],
        expect: &str,
        view: View<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        let mut decrypt = || self.try_decrypt_masked(message, aad, expect, view, out);
        let outcome = match &self.parts.uses {
            None => decrypt(),
            Some(uses) => uses.decrypting(message, Some((view.mask, view.role)), decrypt),
        };
        if outcome.is_err() {
            out.fill(0);
        }
        outcome
    }

    fn try_decrypt_masked(
        &self,
        message: &[u8],
        aad: &[u8],
        expect: &str,
        view: View<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        let parts = self.logged()?;
        let shown = parts.shown(view)?;
        let id = expected("message", expect, || message::key_id(message))?;
        let size = message::decrypted_size(message)?;
        if out.len() < size + mask::ROOM {
            return Err(Error::buffer_too_small(size + mask::ROOM));
        }
        let mut plaintext = Zeroizing::new(vec![0; size]);
        let size = parts.keys.decrypt(&id, message, aad, &mut plaintext)?;
        Ok(mask::apply(shown, &plaintext[..size], out))
    }

    /// Writes the plaintext of every message to the front of `out`, one after the other, and returns their size, with
    /// the keys that the messages name, if all of these match `expect` as in [`Client::decrypt`]. `offsets` has one place
    /// more than there are messages: plaintext `i` is at `offsets[i]..offsets[i + 1]`.
    ///
    /// All or nothing: on failure `out` and `offsets` are zeroed, and the error says which message was refused. Blocks
    /// unless the keys are cached. Errors: as [`Client::decrypt`], and `InvalidArgument` for more than
    /// [`crate::envelope::batch::MAX_BATCH`] messages or another number of offsets.
    pub fn decrypt_many<'a>(
        &self,
        messages: impl Values<'a>,
        expect: &str,
        out: &mut [u8],
        offsets: &mut [usize],
    ) -> Result<usize> {
        let parts = self.logged()?;
        let pattern = Pattern::parse(expect)?;
        let (keys, check) = (&parts.keys, |ids: &[KeyId]| all_expected(&pattern, ids));
        match &parts.uses {
            None => keys.decrypt_many(messages, check, out, offsets),
            Some(uses) => uses.decrypting_many(messages.clone(), || keys.decrypt_many(messages, check, out, offsets)),
        }
    }

    /// Writes every message anew under the newest active version of the key that it names, as [`Client::decrypt_many`]
    /// decrypts; messages of that version are copied as they are. The plaintexts do not leave the call.
    pub fn reencrypt_many<'a>(
        &self,
        messages: impl Values<'a>,
        expect: &str,
        out: &mut [u8],
        offsets: &mut [usize],
    ) -> Result<usize> {
        let parts = self.logged()?;
        let pattern = Pattern::parse(expect)?;
        let (keys, check) = (&parts.keys, |ids: &[KeyId]| all_expected(&pattern, ids));
        match &parts.uses {
            None => keys.reencrypt_many(messages, check, out, offsets),
            Some(uses) => uses.reencrypting_many(messages.clone(), (out, offsets), |out, offsets| {
                keys.reencrypt_many(messages, check, out, offsets)
            }),
        }
    }

    /// Begins to decrypt the stream that begins with `start` (at least its first [`stream::MAX_HEADER`] bytes, or all of
    /// a shorter one), with the key that it names, if that name matches `expect` as in [`Client::decrypt`].
    ///
    /// What follows the header, whose size [`Decryptor::header_size`] tells, is for [`Decryptor::update`]. The decryptor
    /// keeps its key to the end of the stream, also when this client is closed. Blocks unless the key is cached.
    ///
    /// Errors: as [`Client::key`], and `NotAuthentic`, `WrongKey`.
    pub fn decrypt_stream(&self, start: &[u8], aad: &[u8], expect: &str) -> Result<Decryptor> {
        let parts = self.logged()?;
        let id = expected("stream", expect, || stream::key_id(start))?;
        parts.keys.decrypt_stream(&id, start, aad)
    }

    /// Every version of every key that the key servers know under our naming. Blocks.
    ///
    /// What a server does not describe is left out, unless it describes nothing: see [`Client::survey_keys`].
    pub fn list_keys(&self) -> Result<Vec<KeyInfo>> {
        let parts = self.logged()?;
        let Listing { found, mut refused } = parts.keys.list()?;
        match found.is_empty() && !refused.is_empty() {
            true => Err(refused.swap_remove(0).error),
            false => Ok(parts.key_infos(&found)),
        }
    }

    /// As [`Client::list_keys`], with the objects that a key server located and would not describe. Blocks.
    pub fn survey_keys(&self) -> Result<KeySurvey> {
        let parts = self.logged()?;
        let Listing { found, refused } = parts.keys.list()?;
        let withheld = |refused: Withheld| WithheldObject {
            identifier: refused.identifier,
            server: parts.cluster.server(refused.server).name(),
            reason: refused.error.message().to_owned(),
        };
        Ok(KeySurvey { keys: parts.key_infos(&found), withheld: refused.into_iter().map(withheld).collect() })
    }

    /// Every version of one named key, the oldest first. Blocks.
    pub fn show_key(&self, name: &str) -> Result<Vec<KeyInfo>> {
        let parts = self.logged()?;
        Ok(parts.key_infos(&parts.keys.show(name)?))
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
    fn new(config: Config, watch: Watch, since: i64, journal: Journal) -> Result<Parts> {
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

    fn tell_loaded(&self) {
        let servers = self.cluster.order().into_iter().map(|server| self.cluster.server(server).name());
        let servers = servers.collect::<Vec<_>>().join(", ");
        self.journal.event(catalogue::CONFIG_LOADED, Severity::Notice, &[("key_servers", servers.into())]);
    }

    /// What a role sees under a mask.
    fn shown(&self, view: View<'_>) -> Result<Shown> {
        let View { mask, role } = view;
        if let Some(found) = self.masks.iter().find(|one| one.is_for(mask, role)) {
            return Ok(found.show);
        }
        let fields = [("mask", mask.into()), ("role", role.into())];
        self.journal.event(catalogue::MASK_REFUSED, Severity::Warning, &fields);
        let text = format!(
            "role {role:?} sees nothing under mask {mask:?}; if it is to see something, say so in a [[mask]] of the \
             configuration"
        );
        Err(Error::new(Code::RoleRefused, text))
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

    fn key_infos(&self, found: &[Found]) -> Vec<KeyInfo> {
        // They come by name and version, so that the last one of a name that encrypts is its newest.
        let mut newest: HashMap<&str, u32> = HashMap::new();
        newest.extend(found.iter().filter(|one| one.encrypts()).map(|one| (one.id.name.as_str(), one.id.version)));
        let is_newest = |one: &Found| newest.get(one.id.name.as_str()) == Some(&one.id.version);
        found.iter().map(|found| self.key_info(found, is_newest(found))).collect()
    }

    fn key_info(&self, found: &Found, is_newest: bool) -> KeyInfo {
        KeyInfo {
            name: found.id.name.clone(),
            version: found.id.version,
            state: found.state.to_string(),
            identifier: found.identifier.clone(),
            algorithm: found.algorithm.map(|algorithm| algorithm.to_string()),
            length_bits: found.length_bits,
            created: found.initial_date,
            activated: found.activation_date,
            deactivates: found.deactivation_date,
            rotate_by: self.keys.rotate_by(found.in_use_since()).filter(|_| is_newest),
            needed_by: self.keys.references(&found.id),
            server: self.cluster.server(found.server).name(),
        }
    }
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

/// The key that data names, if it is one that `expect` allows.
fn expected(kind: &str, expect: &str, named: impl FnOnce() -> Result<KeyId>) -> Result<KeyId> {
    let pattern = Pattern::parse(expect)?;
    let id = named()?;
    check_expected(kind, &id, &pattern).map(|()| id)
}

/// Refuses a column of messages one of which names a key that was not expected.
fn all_expected(pattern: &Pattern, ids: &[KeyId]) -> Result<()> {
    ids.iter().try_for_each(|id| check_expected("column has a message that", id, pattern))
}

fn check_expected(kind: &str, id: &KeyId, pattern: &Pattern) -> Result<()> {
    if let Some(space) = id.space() {
        let message = format!(
            "the {kind} belongs to data space {space:?}: unlock the space with its protected DEK, and decrypt with the key \
             that this gives"
        );
        return Err(Error::new(Code::WrongKey, message));
    }
    if pattern.matches(&id.name) {
        return Ok(());
    }
    let message = format!("the {kind} names key {id}, and {:?} was expected; it belongs elsewhere", pattern.as_str());
    Err(Error::new(Code::WrongKey, message))
}

fn forked() -> Error {
    Error::new(Code::Forked, "this client belongs to the parent process; open a client in the child, after the fork")
}

/// As whom a value is looked at, and through what.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The name of a `[[mask]]`.
    pub mask: &'a str,
    /// The role that the application found its user to have.
    pub role: &'a str,
}

/// What the key servers tell of all keys.
#[derive(Clone, Debug)]
pub struct KeySurvey {
    pub keys: Vec<KeyInfo>,
    pub withheld: Vec<WithheldObject>,
}

/// An object that a key server located and would not describe. It may be a key of ours, or somebody else's.
#[derive(Clone, Debug, Serialize)]
pub struct WithheldObject {
    /// The server's unique identifier.
    pub identifier: String,
    /// `host:port`
    pub server: String,
    pub reason: String,
}

/// One version of a key, as a key server described it.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    pub name: String,
    pub version: u32,
    /// `pre-active`, `active`, `deactivated`, `compromised`, `destroyed`, …
    pub state: String,
    /// The server's unique identifier.
    pub identifier: String,
    /// `AES`, …
    pub algorithm: Option<String>,
    pub length_bits: Option<u32>,
    /// Initial Date, in seconds since 1970.
    pub created: Option<i64>,
    /// Activation Date, in seconds since 1970.
    pub activated: Option<i64>,
    /// Deactivation Date, in seconds since 1970: from then on it encrypts no more.
    pub deactivates: Option<i64>,
    /// Of a newest version, when it is to be rotated (`keys.rotate_after`), in seconds since 1970.
    pub rotate_by: Option<i64>,
    /// What is known to need it.
    pub needed_by: Vec<String>,
    /// The server that described it, `host:port`.
    pub server: String,
}
