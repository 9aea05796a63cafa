//! The log: records, the formats they are written in, the hash chain, and its verifier.
//!
//! `docs/LOG.md` specifies what is written, `docs/EVENTS.md` lists the events.

#![forbid(unsafe_code)]

pub mod catalogue;
mod cef;
pub(crate) mod chain;
mod header;
mod key_value;
pub(crate) mod layout;
mod leef;
mod parts;
mod place;
mod queue;
mod recover;
mod report;
mod rotation;
mod sequence;
mod state;
pub(crate) mod text;
pub(crate) mod time;
mod transport;
mod verify;
mod view;

use std::borrow::Cow;

pub use crate::config::{Format, Level};
use crate::config::{OnFailure, Target};
use crate::error::{Code, Error, Result};
use chain::ChainedFile;
use queue::Queue;
pub use report::{Finding, Kind, Report, Stream};
use time::Moment;
pub use time::utc;
pub use verify::verify;
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

/// An open log. Records for a file are written before [`Log::write`] returns, others by a thread of the log.
pub struct Log {
    level: Level,
    on_failure: OnFailure,
    sink: Option<Sink>,
}

enum Sink {
    File(Box<ChainedFile<View>>),
    Queue(Queue),
}

impl Log {
    /// Opens the log: continues the chain in the configured file, or starts one towards another target, for which it does
    /// not wait. Writes nothing at level `none`, or without a target. Levels above `basic` are warned of, in the log
    /// and on standard error.
    ///
    /// Errors: `FileExposed` where others could exchange or change the file, `System` where it cannot be opened or no
    /// thread be started. A full disk is no error, and neither is a collector that is away.
    pub fn open(config: &crate::config::Log, client_name: &str) -> Result<Log> {
        let sink = match &config.target {
            Some(Target::File(path)) if config.level > Level::None => {
                let view = View::new(config.format, client_name, false);
                Some(Sink::File(Box::new(ChainedFile::open(path, "the log", config.rotation, view)?)))
            }
            Some(target) if config.level > Level::None => {
                Some(Sink::Queue(Queue::open(target.clone(), config.format, client_name)?))
            }
            _ => None,
        };
        let log = Log { level: config.level, on_failure: config.on_failure, sink };
        if log.is_enabled(Level::Verbose) {
            log.warn_of_level();
        }
        Ok(log)
    }

    /// Whether a record of this level would be written: two comparisons.
    pub fn is_enabled(&self, level: Level) -> bool {
        level != Level::None && level <= self.level && self.sink.is_some()
    }

    /// Writes the record, with serial, previous hash and hash, or puts it into the queue. What a failing disk or a
    /// collector does not take is counted, told by a later record, and never fails the caller. In a forked child nothing
    /// is written: it opens a log of its own.
    pub fn write(&self, record: &Record<'_>) {
        if !self.is_enabled(record.level) {
            return;
        }
        match &self.sink {
            Some(Sink::File(file)) => {
                let now = Moment::now();
                file.append(|view, link, line| view.push(record, now, link, line));
            }
            Some(Sink::Queue(queue)) => queue.push(record),
            None => {}
        }
    }

    /// Whether work may go on: with `on_failure = "refuse"` only while records and rows of the audit trail are written. A
    /// file that could not be written is tried again. `audit_failure` is asked only then.
    ///
    /// Errors: `LogFailed`.
    pub fn check(&self, audit_failure: impl FnOnce() -> Option<String>) -> Result<()> {
        if self.on_failure == OnFailure::Continue {
            return Ok(());
        }
        let failure = match &self.sink {
            Some(Sink::File(file)) => file.failure(),
            Some(Sink::Queue(queue)) => queue.failure(),
            None => None,
        };
        let refused = match failure {
            Some(why) => Some(refusal("log", &why)),
            None => audit_failure().map(|why| refusal("audit trail", &why)),
        };
        refused.map_or(Ok(()), Err)
    }

    /// Waits until a collector has all records, but not longer than `patience`. Returns whether it has.
    pub fn flush(&self, patience: std::time::Duration) -> bool {
        match &self.sink {
            Some(Sink::Queue(queue)) => queue.flush(patience),
            _ => true,
        }
    }

    fn warn_of_level(&self) {
        let level = if self.level == Level::Debug { "debug" } else { "verbose" };
        let message = format!(
            "the log level {level:?} shows details of the application and fills disks; set \"basic\" when you are done"
        );
        eprintln!("keystead: {message}");
        let fields = [("level", level.into()), ("message", message.into())];
        let event = catalogue::LOG_LEVEL_WARNING;
        self.write(&Record { event, severity: Severity::Warning, level: Level::Basic, fields: &fields });
    }
}

/// Why work is refused while records are not written.
fn refusal(what: &str, why: &str) -> Error {
    let message = format!(
        "the {what} cannot be written ({why}), and [log] on_failure = \"refuse\" forbids to work without it; see to its target"
    );
    Error::new(Code::LogFailed, message)
}
