//! Records on their way to a collector: numbered, hashed, and sent until they are.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::batch::{self, Batch, Field};
use super::chain::{Form, Link};
use super::layout::{Hash, MAX_SERIAL};
use super::queue::{self, Shared, Writer};
use super::state::Position;
use super::time::Moment;
use super::transport::Transport;
use super::view::View;
use super::{Record, parts, recover};
use crate::config::{Format, Target, Tls};
use crate::error::Result;

/// The first and the longest pause before a collector is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A chain of its own towards one collector.
pub(super) struct Collector {
    view: View,
    transport: Transport,
    limit: Option<usize>,
    position: Position,
    line: String,
}

impl Collector {
    /// Waits for no collector.
    ///
    /// Errors: `System` without random numbers, `CertificateInvalid` for certificates that TLS cannot use.
    pub fn new(target: Target, tls: Option<&Tls>, format: Format, client: &str) -> Result<Collector> {
        Ok(Collector {
            limit: Transport::limit(&target, format),
            view: View::new(format, client, matches!(target, Target::Syslog(_))),
            transport: Transport::new(target, tls.map(Tls::rules).transpose()?.map(Arc::new)),
            position: recover::new_chain(0).map_err(|error| queue::cannot_start(&error))?,
            line: String::new(),
        })
    }

    /// Sends one line, again and again until it is sent, the log is closed, or it never will be.
    fn deliver(&mut self, record: &Record<'_>, moment: Moment, shared: &Shared) {
        let Position { stream, serial, head, .. } = self.position;
        let link = Link { stream, serial: serial + 1, previous: head.hex() };
        self.line.clear();
        let start = self.view.record(record, moment, &link, &mut self.line);
        let hash = Hash::of(&self.line.as_bytes()[start..]);
        self.line.push_str(self.view.layout().label());
        hash.push_hex(&mut self.line);
        let mut pause = PAUSES.0;
        loop {
            match self.transport.send(&self.line) {
                Ok(()) => {
                    (self.position.serial, self.position.head) = (link.serial, hash);
                    return shared.set_failure(None);
                }
                Err(error) => {
                    shared.set_failure(Some(error.to_string()));
                    if error.raw_os_error() == Some(libc::EMSGSIZE) || shared.is_over() {
                        return shared.lose(1);
                    }
                    shared.rest(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

impl Writer for Collector {
    fn write(&mut self, batch: &Batch, shared: &Shared) {
        let mut fields = Vec::new();
        for index in 0..batch.len() {
            let (moment, event, severity) = batch.read(index, &mut fields);
            let link = Link { stream: self.position.stream, serial: MAX_SERIAL, previous: [b'0'; 64] };
            let length = |fields: &[Field<'_>]| {
                let mut line = String::new();
                self.view.record(&batch::record(event, severity, fields), moment, &link, &mut line);
                line.len() + self.view.layout().label().len() + 64
            };
            match self.limit {
                Some(limit) if length(&fields) > limit => {
                    for part in parts::split(&fields, limit, length) {
                        self.deliver(&batch::record(event, severity, &part), moment, shared);
                    }
                }
                _ => self.deliver(&batch::record(event, severity, &fields), moment, shared),
            }
        }
    }
}
