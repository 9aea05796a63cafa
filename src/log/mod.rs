//! The log: records, the formats they are written in, the hash chain, and its verifier.
//!
//! `docs/LOG.md` specifies what is written, `docs/EVENTS.md` lists the events.

#![forbid(unsafe_code)]

mod anchor;
pub(crate) mod batch;
pub mod catalogue;
mod cef;
pub(crate) mod chain;
mod collector;
pub mod diagnostics;
mod header;
mod host;
mod key_value;
pub(crate) mod layout;
mod leef;
mod lines;
mod live;
mod losses;
mod own;
mod parts;
pub(crate) mod place;
pub(crate) mod queue;
mod recover;
mod report;
mod rotation;
mod seal;
mod seal_check;
mod seal_file;
#[cfg(feature = "auditor")]
mod seal_open;
mod sequence;
mod source;
mod state;
mod strangers;
pub(crate) mod text;
pub(crate) mod time;
mod transport;
mod verify;
mod view;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Durability, OnFailure, Target, Tls};
pub use crate::config::{Format, Level};
use crate::error::{Code, Error, Result};
use crate::platform;
pub use anchor::Anchor;
use chain::{ChainedFile, Keeping};
use collector::Collector;
use host::Host;
pub use host::{OnRecord, Told};
pub use layout::Of;
pub use queue::Health;
use queue::{Flush, Queue, Ticket};
pub use report::{Finding, Kind, Report, Stream, counted};
#[cfg(feature = "auditor")]
pub use seal_open::AuditorPrivateKey;
pub use source::read_lines;
pub use time::{seconds_of, utc};
use transport::Transport;
pub use verify::{Options, verify, verify_with};
use view::View;

/// One thing that happened. Formats are views of it.
pub struct Record<'a> {
    /// From the catalogue of events, for example `kmip.get` or `client.start`.
    pub event: &'static str,
    pub severity: Severity,
    /// The lowest level at which it is written.
    pub level: Level,
    /// In the order they are written; names are stable, values are escaped by the format.
    pub fields: &'a [(&'static str, Cow<'a, str>)],
}

/// Syslog severities that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Alert = 1,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

impl Severity {
    pub const ALL: [Severity; 6] =
        [Severity::Alert, Severity::Error, Severity::Warning, Severity::Notice, Severity::Info, Severity::Debug];

    /// As records spell it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Alert => "alert",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
            Severity::Info => "info",
            Severity::Debug => "debug",
        }
    }
}

/// So long a caller waits for a file that takes nothing.
pub(crate) const fn patience(durability: Durability) -> Duration {
    match durability {
        Durability::Flush => Duration::from_secs(1),
        // A busy disk may need that long, and a record is not acknowledged before it is kept.
        Durability::Fsync => Duration::from_secs(30),
    }
}

/// So long a caller waits for a collector without which no work may be done.
const PATIENCE_WITH_COLLECTORS: Duration = Duration::from_secs(1);

/// An open log. Threads of its own write; callers wait for what is kept in a file.
pub struct Log {
    /// `None` where nobody would be told.
    level: Level,
    on_failure: OnFailure,
    /// To the target of the configuration.
    queue: Option<Queue>,
    /// To the application itself.
    host: Option<Arc<Queue>>,
}

/// A record's place in the log.
#[derive(Clone, Copy)]
#[must_use]
pub struct Written(Option<Ticket>);

impl Log {
    /// Opens the log: continues the chain in the configured file, or starts one towards another target, for which it does
    /// not wait unless work is refused without it. Writes nothing at level `none`, or without a target. Levels above `basic` are warned of, in the log
    /// and, where it takes that without waiting, on standard error.
    ///
    /// Errors: `FileExposed` where others could exchange or change the file, `System` where it cannot be opened or no
    /// thread be started. A full disk is no error, and neither is a collector that is away.
    pub fn open(config: &crate::config::Log, client_name: &str) -> Result<Log> {
        Log::open_with(config, client_name, None)
    }

    /// As [`Log::open`]; `on_record` is handed every record, in a chain of its own, instead of the warning on standard
    /// error. It may take its time: what finds the queue full is counted and told later.
    pub fn open_with(config: &crate::config::Log, client_name: &str, on_record: Option<OnRecord>) -> Result<Log> {
        let is_wanted = config.level > Level::None;
        let queue = match &config.target {
            Some(target) if is_wanted => Some(open_queue(config, target, client_name)?),
            _ => None,
        };
        let host = match on_record {
            Some(on_record) if is_wanted => Some(Arc::new(open_host(config, on_record, client_name)?)),
            _ => None,
        };
        let level = if queue.is_some() || host.is_some() { config.level } else { Level::None };
        let log = Log { level, on_failure: config.on_failure, queue, host };
        if let Some(host) = &log.host {
            diagnostics::add(host);
        }
        if log.is_enabled(Level::Verbose) {
            log.warn_of_level(config.target == Some(Target::Stderr));
        }
        Ok(log)
    }

    /// Whether a record of this level would be written: two comparisons.
    #[inline]
    pub fn is_enabled(&self, level: Level) -> bool {
        level <= self.level && level != Level::None
    }

    /// Writes the record, with serial, previous hash and hash. One of level `basic` is in its file before this returns, or with
    /// the collector where no work may be done without; all others are queued. What a failing disk or a collector does not
    /// take is counted, told by a later record, and never fails the caller. In a forked child nothing is written: it opens a
    /// log of its own.
    pub fn write(&self, record: &Record<'_>) {
        let written = self.queue(record);
        let _ = self.wait(written);
    }

    /// Puts the record into the queue.
    #[inline]
    pub fn queue(&self, record: &Record<'_>) -> Written {
        if !self.is_enabled(record.level) {
            return Written(None);
        }
        let is_basic = record.level == Level::Basic;
        let push = |queue: &Queue| {
            let fields = record.fields.iter().map(|(name, value)| (*name, value.as_ref()));
            queue.push(record.event, record.severity, is_basic, fields)
        };
        if let Some(host) = &self.host {
            let _ = push(host);
        }
        Written(self.queue.as_ref().map(push).filter(|_| is_basic))
    }

    /// Waits until a record of level `basic` is written, as [`Log::write`] does. Returns why it is not.
    pub fn wait(&self, written: Written) -> Option<String> {
        self.queue.as_ref()?.wait(written.0?)
    }

    /// Whether work may go on: with `on_failure = "refuse"` only while records and rows of the audit trail are written. A
    /// file that could not be written is tried again. `audit_failure` is asked only then.
    ///
    /// Errors: `LogFailed`.
    pub fn check(&self, audit_failure: impl FnOnce() -> Option<String>) -> Result<()> {
        match self.on_failure {
            OnFailure::Continue => Ok(()),
            OnFailure::Refuse => self.judge(self.queues().find_map(Queue::failure), audit_failure),
        }
    }

    /// Whether what was done may be made use of: with `on_failure = "refuse"` only where its record and its row of the audit
    /// trail are written. Given is why they are not.
    ///
    /// Errors: `LogFailed`.
    pub fn judge(&self, failure: Option<String>, audit_failure: impl FnOnce() -> Option<String>) -> Result<()> {
        if self.on_failure == OnFailure::Continue {
            return Ok(());
        }
        let refused = match failure {
            Some(why) => Some(refusal("log", &why)),
            None => audit_failure().map(|why| refusal("audit trail", &why)),
        };
        refused.map_or(Ok(()), Err)
    }

    /// Waits until all records are written, and a file is sealed up to them, but not longer than `patience`. Returns whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        let start = Instant::now();
        // All begin at once, so that one that hangs takes no time from another.
        let flushes: Vec<_> = self.queues().map(Queue::begin_flush).collect();
        let is_written = |flush: Option<Flush<'_>>| flush.is_some_and(|flush| flush.wait(rest(patience, start)));
        flushes.into_iter().map(is_written).filter(|is_written| !is_written).count() == 0
    }

    /// As [`Log::flush`]; then the application is told of nothing more. A call of it that has begun is waited for, but
    /// all that not longer than `patience`.
    pub fn end(&self, patience: Duration) {
        let start = Instant::now();
        self.flush(patience);
        if let Some(host) = &self.host {
            host.end(rest(patience, start));
        }
    }

    /// The application is told what waits, for a moment, and of nothing more. Does not wait.
    pub fn close_host(&self) {
        if let Some(host) = &self.host {
            host.close();
        }
    }

    /// How it stands with records on their way to the target of the configuration. `None` without one.
    pub fn health(&self) -> Option<Health> {
        self.queue.as_ref().map(Queue::health)
    }

    /// As [`Log::health`], on their way to the application.
    pub fn health_of_host(&self) -> Option<Health> {
        self.host.as_ref().map(|host| host.health())
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queue.iter().chain(self.host.as_deref())
    }

    /// Where the log itself is on standard error, nothing but records is.
    fn warn_of_level(&self, is_on_stderr: bool) {
        let level = if self.level == Level::Debug { "debug" } else { "verbose" };
        let message = format!(
            "the log level {level:?} shows details of the application and fills disks; set \"basic\" when you are done"
        );
        if self.host.is_none() && !is_on_stderr {
            warn_on_stderr(&message);
        }
        let fields = [("level", level.into()), ("message", message.into())];
        let event = catalogue::LOG_LEVEL_WARNING;
        self.write(&Record { event, severity: Severity::Warning, level: Level::Basic, fields: &fields });
    }
}

fn open_queue(config: &crate::config::Log, target: &Target, client_name: &str) -> Result<Queue> {
    let Target::File(path) = target else {
        let view = View::new(config.format, client_name, matches!(target, Target::Syslog(_)));
        let rules = config.tls.as_deref().map(Tls::rules).transpose()?.map(Arc::new);
        let (transport, limit) = (Transport::new(target.clone(), rules), Transport::limit(target, config.format));
        let patience = (config.on_failure == OnFailure::Refuse).then_some(PATIENCE_WITH_COLLECTORS);
        return Queue::start(Collector::new(transport, limit, view, config.auditor_key.as_ref())?, patience);
    };
    let keeping = Keeping { rotation: config.rotation, durability: config.durability, auditor: config.auditor_key };
    let view = View::new(config.format, client_name, false);
    let file = ChainedFile::open(path, "the log", keeping, view)?;
    Queue::start(file, Some(patience(config.durability)))
}

fn open_host(config: &crate::config::Log, on_record: OnRecord, client_name: &str) -> Result<Queue> {
    let view = View::new(config.format, client_name, false);
    Queue::start(Collector::new(Host(on_record), None, view, config.auditor_key.as_ref())?, None)
}

/// Tells whoever started the application, as well as may be: it is neither held nor ended for that.
fn warn_on_stderr(message: &str) {
    if platform::is_stderr_writable() {
        let _ = io::stderr().write_all(format!("keystead: {message}\n").as_bytes());
    }
}

/// What is left of `patience`.
pub(crate) fn rest(patience: Duration, start: Instant) -> Duration {
    patience.saturating_sub(start.elapsed())
}

/// Why work is refused while records are not written.
fn refusal(what: &str, why: &str) -> Error {
    let message = format!(
        "the {what} cannot be written ({why}), and [log] on_failure = \"refuse\" forbids to work without it; see to its target"
    );
    Error::new(Code::LogFailed, message)
}
