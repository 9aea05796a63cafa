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
mod place;
mod recover;
mod report;
mod sequence;
mod state;
pub(crate) mod text;
pub(crate) mod time;
mod verify;
mod view;

use std::borrow::Cow;

pub use crate::config::{Format, Level};
use crate::error::Result;
use chain::ChainedFile;
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

/// An open log. Records are written before [`Log::write`] returns.
pub struct Log {
    level: Level,
    sink: Option<ChainedFile<View>>,
}

impl Log {
    /// Opens or continues the chain in the configured file. Writes nothing at level `none`, or without a file. Levels above
    /// `basic` are warned of, in the log and on standard error.
    ///
    /// Errors: `FileExposed` where others could exchange or change the file, `System` where it cannot be opened. A full
    /// disk is no error.
    pub fn open(config: &crate::config::Log, client_name: &str) -> Result<Log> {
        let sink = match &config.target {
            Some(path) if config.level > Level::None => {
                Some(ChainedFile::open(path, "the log", View::new(config.format, client_name))?)
            }
            _ => None,
        };
        let log = Log { level: config.level, sink };
        if log.is_enabled(Level::Verbose) {
            log.warn_of_level();
        }
        Ok(log)
    }

    /// Whether a record of this level would be written: two comparisons.
    pub fn is_enabled(&self, level: Level) -> bool {
        level != Level::None && level <= self.level && self.sink.is_some()
    }

    /// Writes the record, with serial, previous hash and hash. A failing disk is counted, told by a later
    /// record, and never fails the caller. In a forked child nothing is written: it opens a log of its own.
    pub fn write(&self, record: &Record<'_>) {
        if let Some(sink) = &self.sink
            && self.is_enabled(record.level)
        {
            let now = Moment::now();
            sink.append(|view, link, line| view.push(record, now, link, line));
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
