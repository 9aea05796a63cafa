//! Records for the application itself.

#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::collector::Outlet;
use super::{Record, Severity};

/// A record as the application is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub severity: Severity,
    /// From the catalogue of events.
    pub event: &'static str,
    /// In the format of the configuration, with serial and hash, without line end.
    pub line: &'a str,
}

/// What the application does with each record, in a thread of the log's own, one after the other.
pub type OnRecord = Box<dyn FnMut(Told<'_>) + Send>;

pub(super) struct Host(pub OnRecord);

impl Outlet for Host {
    const ENDS_WITH_LOG: bool = true;

    fn send(&mut self, record: &Record<'_>, line: &str) -> io::Result<()> {
        let told = Told { severity: record.severity, event: record.event, line };
        // A panic of the application's was told by its own hook. The records after it are for it, too.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.0)(told)));
        Ok(())
    }
}
