//! What is written of every operation and server attempted: a log record and an audit row.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{AuditTrail, Row};
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{Direction, Failure, Observer, ReplyHead, Version, dump};
use crate::log::{self, Level, Log, Record, Severity, Written, catalogue, text};

use super::audited::{Audited, Subject};
use super::server::Server;

/// The log and the audit trail of a client.
#[derive(Clone)]
pub struct Journal {
    pub log: Arc<Log>,
    pub audit: Option<Arc<AuditTrail>>,
}

impl Journal {
    /// Whether work may go on: `LogFailed` while records cannot be written and the configuration refuses unlogged work.
    pub fn check(&self) -> Result<()> {
        self.log.check(|| self.audit.as_ref()?.failure())
    }

    /// Waits until all is written, and files are sealed up to their ends, and tells the application of nothing more, but
    /// waits not longer than `patience`.
    pub fn end(&self, patience: Duration) {
        let start = Instant::now();
        if let Some(audit) = &self.audit {
            audit.flush(patience);
        }
        self.log.end(log::rest(patience, start));
    }

    /// Writes a record of something other than an operation.
    pub fn event(&self, event: &'static str, severity: Severity, fields: &[(&'static str, Cow<'_, str>)]) {
        self.log.write(&Record { event, severity, level: Level::Basic, fields });
    }

    /// What records every message to and from a server, without the values in it. `None` below the level `debug`.
    pub(super) fn observer(&self, server: &str) -> Option<Observer> {
        if !self.log.is_enabled(Level::Debug) {
            return None;
        }
        let (log, server) = (self.log.clone(), server.to_owned());
        Some(Arc::new(move |direction, message| {
            let parts = dump_parts(&dump::lines(message));
            let direction = if direction == Direction::Request { "request" } else { "reply" };
            for (number, part) in (1..).zip(&parts) {
                let fields = [
                    ("key_server", server.as_str().into()),
                    ("direction", direction.into()),
                    ("part", format!("{number}/{}", parts.len()).into()),
                    ("dump", part.into()),
                ];
                let (event, severity) = (catalogue::KMIP_MESSAGE, Severity::Debug);
                log.write(&Record { event, severity, level: Level::Debug, fields: &fields });
            }
        }))
    }

    /// Writes that a key was not used although a server has it: to the log, and as a row of its own to the audit trail.
    pub fn refusal(&self, server: &Server, id: &KeyId, identifier: &str, fault: &Error) {
        let reason = fault.code().name().to_lowercase().replace('_', " ");
        let row = Row {
            operation: "Refuse Key",
            key_server: server.host(),
            port: server.port(),
            key_name: &id.name,
            user: server.user(),
            key_version: Some(id.version),
            identifier,
            result_reason: &reason,
            result_message: fault.message(),
            ..Row::default()
        };
        // The key is refused in any case.
        let _ = self.write(catalogue::KEY_REFUSED, &row, &ReplyHead::default());
    }

    /// Writes one operation as one server answered it, or failed to.
    ///
    /// Errors: `LogFailed` where it could not be written, and the configuration refuses unlogged work.
    pub(super) fn operation<O: Audited>(
        &self,
        server: &Server,
        subject: Subject<'_>,
        operation: &O,
        answer: std::result::Result<&O::Answer, &Failure>,
        reached: Reached<'_>,
    ) -> Result<()> {
        let outcome = Outcome::of::<O>(answer);
        let kmip_version = reached.version.map(|version| version.to_string()).unwrap_or_default();
        let key = answer.ok().and_then(O::key);
        let row = Row {
            operation: O::NAME,
            key_server: server.host(),
            ip_address: reached.address.map(|address| address.ip()),
            port: server.port(),
            key_name: key.as_ref().map_or(subject.name, |key| &key.name),
            user: server.user(),
            succeeded: outcome.succeeded,
            key_version: key.as_ref().map_or(subject.version, |key| Some(key.version)),
            identifier: operation.identifier(answer.ok()),
            state: &outcome.state,
            kmip_version: &kmip_version,
            result_reason: &outcome.reason,
            result_message: &outcome.message,
            duration: reached.duration,
        };
        self.write(O::EVENT, &row, reached.head)
    }

    fn write(&self, event: &'static str, row: &Row<'_>, head: &ReplyHead) -> Result<()> {
        // Both threads write at the same time.
        let kept = self.audit.as_ref().map(|audit| (audit, audit.queue(row)));
        let is_enabled = self.log.is_enabled(Level::Basic);
        let failure = is_enabled.then(|| self.log.wait(self.queue_row(event, row, head))).flatten();
        let audit_failure = kept.and_then(|(audit, row)| audit.wait(row));
        self.log.judge(failure, || audit_failure)
    }

    fn queue_row(&self, event: &'static str, row: &Row<'_>, head: &ReplyHead) -> Written {
        let address = row.ip_address.map(|ip| ip.to_string()).unwrap_or_default();
        let version = row.key_version.map(|version| version.to_string()).unwrap_or_default();
        let fields = [
            ("key_server", row.key_server.into()),
            ("ip_addr", address.into()),
            ("port", row.port.to_string().into()),
            ("key_name", row.key_name.into()),
            ("key_version", version.into()),
            ("identifier", row.identifier.into()),
            ("state", row.state.into()),
            ("user", row.user.into()),
            ("kmip_version", row.kmip_version.into()),
            ("server_time", head.server_time.map(log::utc).unwrap_or_default().into()),
            ("server_correlation", head.server_correlation.as_deref().unwrap_or_default().into()),
            ("result", Cow::from(if row.succeeded { "success" } else { "failure" })),
            ("reason", row.result_reason.into()),
            ("message", row.result_message.into()),
            ("duration_us", row.duration.as_micros().to_string().into()),
        ];
        let told: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let severity = if row.succeeded { Severity::Info } else { Severity::Warning };
        self.log.queue(&Record { event, severity, level: Level::Basic, fields: &told })
    }
}

/// The lines of a dump, as many to a value as fit; dots stand for their indentation.
fn dump_parts(lines: &[String]) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in lines {
        let line = line.replace("  ", ".");
        let last = parts.last_mut().expect("there is always one");
        if last.is_empty() {
            *last = line;
        } else if last.len() + line.len() + 2 <= text::MAX_VALUE {
            last.push_str("; ");
            last.push_str(&line);
        } else {
            parts.push(line);
        }
    }
    parts
}

/// The connection behind an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached<'a> {
    pub address: Option<SocketAddr>,
    pub version: Option<Version>,
    pub head: &'a ReplyHead,
    pub duration: Duration,
}

struct Outcome {
    succeeded: bool,
    state: String,
    reason: String,
    message: String,
}

impl Outcome {
    fn of<O: Audited>(answer: std::result::Result<&O::Answer, &Failure>) -> Outcome {
        let (succeeded, state, reason, message) = match answer {
            // KMIP calls a Locate that finds nothing a success; whoever looks for a missing key does not.
            Ok(answer) if O::is_absent(answer) => (false, String::new(), "not found".to_owned(), String::new()),
            Ok(answer) => (true, O::state(answer), String::new(), String::new()),
            Err(failure) => {
                let reason = match failure.reason {
                    Some(_) if failure.code() == Code::KeyNotFound => "not found".to_owned(),
                    Some(reason) => reason.name().map_or_else(|| reason.to_string(), str::to_owned),
                    None => failure.code().name().to_lowercase().replace('_', " "),
                };
                let message = failure.server_message.clone().unwrap_or_else(|| failure.error.message().to_owned());
                (false, String::new(), reason, message)
            }
        };
        Outcome { succeeded, state, reason, message }
    }
}
