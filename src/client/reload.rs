//! Taking up a changed configuration, and renewed certificates, while the client runs.
//!
//! The background refresh looks whether one of the files is not what it was. What cannot be read or used changes
//! nothing: the client goes on with what it has, and says so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Parts;
use super::status::ConfigStatus;
use crate::config::{self, Changes, Config, ExpiryWatch, Watch};
use crate::error::{Error, Result};
use crate::log::{Severity, catalogue};

/// The configuration in force, and the files that it came from.
pub(super) struct Loaded {
    config: Config,
    watch: Watch,
    expiry: ExpiryWatch,
}

impl Loaded {
    /// For a configuration that was loaded at `since`, in seconds since 1970.
    pub fn new(config: Config, watch: Watch, since: i64) -> Loaded {
        Loaded { expiry: ExpiryWatch::new(&config, since), config, watch }
    }
}

impl Parts {
    /// Takes up what changed in the files of the configuration, and tells of certificates that near their end.
    pub(super) fn look_after_configuration(&self) {
        if lock(&self.loaded).watch.has_changed() {
            // A failure was recorded.
            let _ = self.reload();
        }
        let news = lock(&self.loaded).expiry.news(config::now());
        self.record(&news);
    }

    /// Reads the configuration and everything that it refers to again, and takes up what may change.
    pub(super) fn reload(&self) -> Result<Changes> {
        let mut loaded = lock(&self.loaded);
        let since = config::now();
        let (before, watch) = (loaded.watch.renewed(), Watch::default());
        let read = config::load_watched(&loaded.config.path, &watch);
        let read = read.map_err(|refused| refused.error);
        match read.and_then(|read| self.take_up(&read.0).map(|()| read)) {
            Ok((config, findings)) => {
                let changes = Changes::between(&loaded.config, &config);
                loaded.config.servers = config.servers;
                loaded.config.failover = config.failover;
                loaded.expiry = ExpiryWatch::new(&loaded.config, since);
                loaded.watch = watch;
                *lock(&self.config_status) = ConfigStatus::new(&loaded.config.path, since);
                self.tell_reloaded(&loaded.config, &changes);
                self.record(&findings);
                Ok(changes)
            }
            Err(error) => {
                // It is tried again when one of the files that were read until then changes, or one that was not reached.
                loaded.watch = watch.with(before);
                lock(&self.config_status).reload_error = Some(error.message().to_owned());
                self.tell_reload_failed(&loaded.config, &error);
                Err(error)
            }
        }
    }

    fn take_up(&self, config: &Config) -> Result<()> {
        let certificates = self.keys.take_certificates(config)?;
        self.cluster.reload(config)?;
        self.keys.keep_certificates(certificates);
        Ok(())
    }

    fn tell_reloaded(&self, config: &Config, changes: &Changes) {
        let changed = match changes.taken_up.is_empty() {
            true => "nothing".to_owned(),
            false => changes.taken_up.join(", "),
        };
        let mut fields = vec![("config", config.path.to_string_lossy()), ("changed", changed.into())];
        if !changes.left.is_empty() {
            fields.push(("not_taken_up", changes.left.join(", ").into()));
        }
        self.journal.event(catalogue::CONFIG_RELOADED, Severity::Notice, &fields);
    }

    fn tell_reload_failed(&self, config: &Config, error: &Error) {
        let fields = [("config", config.path.to_string_lossy()), ("message", error.message().into())];
        self.journal.event(catalogue::CONFIG_RELOAD_FAILED, Severity::Error, &fields);
    }
}

/// What is behind these locks is valid between any two statements, so a panic elsewhere is no reason to stop.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
