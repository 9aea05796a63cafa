//! What is written of every operation and server attempted: a log record and an audit row.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::{AuditTrail, Row};
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{
    Activate, Create, Decrypt, Destroy, DiscoverVersions, Encrypt, Failure, Get, GetAttributes, Locate, Mac, Operation,
    Query, Revoke, Version,
};
use crate::log::{Level, Log, Record, Severity, Written, catalogue};

use super::server::Server;

/// The key that an operation is about, as far as the caller knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The name without its version; empty where an operation is about no single key.
    pub name: &'a str,
    pub version: Option<u32>,
}

/// What the journal and the failover loop need to know of an operation.
pub trait Audited: Operation {
    /// Its event in the log's catalogue.
    const EVENT: &'static str;
    /// Whether doing it twice is as good as once, so that a lost reply is no reason to stop.
    const REPEATABLE: bool;
    /// Whether it changes nothing, so that any server may be asked, and another one where the first only seems not to know
    /// the object.
    const IS_READ: bool = false;

    /// The server's unique identifier of the object, asked for or answered.
    fn identifier<'a>(&'a self, answer: Option<&'a Self::Answer>) -> &'a str;

    /// The object's state, where the answer tells it.
    fn state(_answer: &Self::Answer) -> String {
        String::new()
    }

    /// Which key the object is, where the answer tells it.
    fn key(_answer: &Self::Answer) -> Option<KeyId> {
        None
    }

    /// Whether it names one object that somebody has seen, so that a server that does not know it lags.
    fn is_of_known_object(&self) -> bool {
        false
    }

    /// Whether a successful answer means that there is no such object.
    fn is_absent(_answer: &Self::Answer) -> bool {
        false
    }
}

impl Audited for DiscoverVersions {
    const EVENT: &'static str = catalogue::KMIP_DISCOVER_VERSIONS;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        ""
    }
}

impl Audited for Create<'_> {
    const EVENT: &'static str = catalogue::KMIP_CREATE;
    const REPEATABLE: bool = false;
    fn identifier<'a>(&'a self, answer: Option<&'a Self::Answer>) -> &'a str {
        answer.map_or("", |id| id)
    }
}

impl Audited for Get<'_> {
    const EVENT: &'static str = catalogue::KMIP_GET;
    const REPEATABLE: bool = true;
    const IS_READ: bool = true;
    fn is_of_known_object(&self) -> bool {
        true
    }
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
}

impl Audited for Locate<'_> {
    const EVENT: &'static str = catalogue::KMIP_LOCATE;
    const REPEATABLE: bool = true;
    const IS_READ: bool = true;
    fn is_of_known_object(&self) -> bool {
        self.name.is_some()
    }
    fn identifier<'a>(&'a self, answer: Option<&'a Self::Answer>) -> &'a str {
        answer.and_then(|ids| ids.first()).map_or("", |id| id)
    }
    fn is_absent(answer: &Self::Answer) -> bool {
        answer.is_empty()
    }
}

impl Audited for GetAttributes<'_> {
    const EVENT: &'static str = catalogue::KMIP_GET_ATTRIBUTES;
    const REPEATABLE: bool = true;
    const IS_READ: bool = true;
    fn is_of_known_object(&self) -> bool {
        true
    }
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
    fn state(answer: &Self::Answer) -> String {
        answer.state.map(|state| state.to_string()).unwrap_or_default()
    }
    fn key(answer: &Self::Answer) -> Option<KeyId> {
        answer.names.iter().find_map(|name| KeyId::parse(name).ok())
    }
}

impl Audited for Activate<'_> {
    const EVENT: &'static str = catalogue::KMIP_ACTIVATE;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
}

impl Audited for Revoke<'_> {
    const EVENT: &'static str = catalogue::KMIP_REVOKE;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
}

impl Audited for Destroy<'_> {
    const EVENT: &'static str = catalogue::KMIP_DESTROY;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
}

impl Audited for Query {
    const EVENT: &'static str = catalogue::KMIP_QUERY;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        ""
    }
}

impl Audited for Encrypt<'_> {
    const EVENT: &'static str = catalogue::KMIP_ENCRYPT;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
}

impl Audited for Decrypt<'_> {
    const EVENT: &'static str = catalogue::KMIP_DECRYPT;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id()
    }
}

impl Audited for Mac<'_> {
    const EVENT: &'static str = catalogue::KMIP_MAC;
    const REPEATABLE: bool = true;
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
}

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

    /// Waits until all is written, and files are sealed up to their ends, but for the log and the audit trail not longer
    /// than `patience` each.
    pub fn flush(&self, patience: Duration) {
        self.log.flush(patience);
        if let Some(audit) = &self.audit {
            audit.flush(patience);
        }
    }

    /// Writes a record of something other than an operation.
    pub fn event(&self, event: &'static str, severity: Severity, fields: &[(&'static str, Cow<'_, str>)]) {
        self.log.write(&Record { event, severity, level: Level::Basic, fields });
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
        self.write(catalogue::KEY_REFUSED, &row);
    }

    /// Writes one operation as one server answered it, or failed to.
    pub(super) fn operation<O: Audited>(
        &self,
        server: &Server,
        subject: Subject<'_>,
        operation: &O,
        answer: std::result::Result<&O::Answer, &Failure>,
        reached: Reached,
    ) {
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
        self.write(O::EVENT, &row);
    }

    fn write(&self, event: &'static str, row: &Row<'_>) {
        // Both threads write at the same time.
        let kept = self.audit.as_ref().map(|audit| (audit, audit.queue(row)));
        if self.log.is_enabled(Level::Basic) {
            self.log.wait(self.queue_row(event, row));
        }
        if let Some((audit, row)) = kept {
            audit.wait(row);
        }
    }

    fn queue_row(&self, event: &'static str, row: &Row<'_>) -> Written {
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

/// The connection behind an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    pub address: Option<SocketAddr>,
    pub version: Option<Version>,
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
                    Some(reason) => reason.to_string(),
                    None => failure.code().name().to_lowercase().replace('_', " "),
                };
                let message = failure.server_message.clone().unwrap_or_else(|| failure.error.message().to_owned());
                (false, String::new(), reason, message)
            }
        };
        Outcome { succeeded, state, reason, message }
    }
}
