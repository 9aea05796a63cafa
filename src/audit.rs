//! The audit trail: one CSV row for every operation and server attempted.
//!
//! Rows are a chain of their own, as the log is (`docs/LOG.md`), and are written at every log level.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use crate::config::{Audit, Durability, Rotation};
use crate::error::Result;
use crate::log::chain::{ChainedFile, Form, Keeping, Link};
use crate::log::layout::{Layout, push_hex};
use crate::log::queue::{Queue, Ticket};
use crate::log::time::{Moment, push_ascii, push_digits, push_numbers};
use crate::log::{self, Record, Severity, text};

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    /// `Create`, `Get`, … as KMIP spells it.
    pub operation: &'a str,
    /// As configured, without the port.
    pub key_server: &'a str,
    /// The peer's address that was used, where one was reached.
    pub ip_address: Option<IpAddr>,
    pub port: u16,
    pub key_name: &'a str,
    pub user: &'a str,
    pub succeeded: bool,
    pub key_version: Option<u32>,
    /// The server's unique identifier of the object.
    pub identifier: &'a str,
    pub state: &'a str,
    pub kmip_version: &'a str,
    pub result_reason: &'a str,
    pub result_message: &'a str,
    pub duration: std::time::Duration,
}

/// An open audit trail. A thread of its own writes.
pub struct AuditTrail {
    queue: Queue,
}

/// A row's place in the audit trail.
#[derive(Clone, Copy)]
#[must_use]
pub struct Written(Ticket);

impl AuditTrail {
    /// Opens or continues the file; creates it with its header row, mode 0600.
    ///
    /// Errors: `FileExposed` where others could exchange or change the file, `System` where it cannot be opened. A full
    /// disk is no error.
    pub fn open(path: &Path) -> Result<AuditTrail> {
        let (rotation, durability) = (Rotation::default(), Durability::default());
        AuditTrail::open_as(&Audit { file: path.to_owned(), rotation, durability, auditor_key: None })
    }

    /// As [`AuditTrail::open`], with rotation, durability and seals as configured.
    pub fn open_as(config: &Audit) -> Result<AuditTrail> {
        let Audit { rotation, durability, auditor_key: auditor, .. } = *config;
        let keeping = Keeping { rotation, durability, auditor };
        let file = ChainedFile::open(&config.file, "the audit trail", keeping, Csv)?;
        Ok(AuditTrail { queue: Queue::start(file, Some(log::patience(config.durability)))? })
    }

    /// Appends a row, dated now in UTC, and waits until it is in the file. A failing disk is counted, told by a later row,
    /// and never fails the caller. In a forked child nothing is written: it opens an audit trail of its own.
    pub fn append(&self, row: &Row<'_>) {
        let written = self.queue(row);
        let _ = self.wait(written);
    }

    /// Puts a row into the queue.
    pub fn queue(&self, row: &Row<'_>) -> Written {
        let mut made = String::with_capacity(96);
        if let Some(address) = row.ip_address {
            push_address(&mut made, address);
        }
        let (numbers_at, duration) = (made.len(), u64::try_from(row.duration.as_micros()).unwrap_or(u64::MAX));
        let port = (row.port != 0).then_some(row.port.into());
        let ends = push_numbers(&mut made, [port, row.key_version.map(u64::from), Some(duration)]);
        let (address, port) = (&made[..numbers_at], &made[numbers_at..ends[0]]);
        let (version, duration) = (&made[ends[0]..ends[1]], &made[ends[1]..]);
        let cells: [&str; CELLS] = [
            row.operation,
            row.key_server,
            address,
            port,
            row.key_name,
            row.user,
            if row.succeeded { "success" } else { "failure" },
            version,
            row.identifier,
            row.state,
            row.kmip_version,
            row.result_reason,
            row.result_message,
            duration,
        ];
        Written(self.queue.push(ROW, Severity::Info, true, cells.iter().map(|cell| ("", *cell))))
    }

    /// Waits until the row is in the file. Returns why it is not.
    pub fn wait(&self, written: Written) -> Option<String> {
        self.queue.wait(written.0)
    }

    /// Waits until all rows are written, and the file is sealed up to them, but not longer than `patience`. Returns
    /// whether they are.
    pub fn flush(&self, patience: std::time::Duration) -> bool {
        self.queue.flush(patience)
    }

    /// How it stands with rows that are to be written.
    pub fn health(&self) -> log::Health {
        self.queue.health()
    }

    /// Why rows cannot be written, while that lasts. Tries again.
    pub fn failure(&self) -> Option<String> {
        self.queue.failure()
    }
}

/// The event of a row of ours; the chain's own notices have others.
const ROW: &str = "";
/// The cells of a row apart from date, time and links.
const CELLS: usize = 14;
/// The date stands behind so many of them.
const BEFORE_DATE: usize = 5;

struct Csv;

impl Form for Csv {
    fn layout(&self) -> Layout {
        Layout::Csv
    }

    /// All of the row is hashed.
    fn record(&self, record: &Record<'_>, moment: Moment, link: &Link, line: &mut String) -> usize {
        let start = line.len();
        if record.event == ROW {
            push_row(record.fields.iter().map(|(_, cell)| cell.as_ref()), moment, line);
        } else {
            let told: Vec<String> = record.fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let mut cells = [""; CELLS];
            let told = told.join(", ");
            let is_usual = matches!(record.severity, Severity::Info | Severity::Notice);
            let result = if is_usual { "success" } else { "failure" };
            (cells[0], cells[6], cells[12], cells[13]) = (record.event, result, &told, "0");
            push_row(cells.into_iter(), moment, line);
        }
        push_hex(line, link.stream);
        line.push(',');
        push_digits(line, link.serial, 1);
        line.push(',');
        line.push_str(link.previous());
        start
    }
}

/// Appends the row up to its links.
fn push_row<'a>(cells: impl Iterator<Item = &'a str>, moment: Moment, line: &mut String) {
    let moment = moment.to_the_second(0);
    for (index, cell) in cells.enumerate() {
        if index == BEFORE_DATE {
            push_ascii(line, &moment[..10]);
            line.push(',');
            push_ascii(line, &moment[11..]);
            line.push(',');
        }
        push_cell(line, cell);
        line.push(',');
    }
}

/// The formatter of the standard library takes as long for an IPv4 address as the rest of a row does.
fn push_address(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                out.push_str(if index > 0 { "." } else { "" });
                push_digits(out, octet.into(), 1);
            }
        }
        IpAddr::V6(address) => _ = write!(out, "{address}"),
    }
}

/// Appends a cell: quoted where RFC 4180 §2 asks for it, on one line, and never a formula to a spreadsheet.
fn push_cell(line: &mut String, cell: &str) {
    let is_formula = matches!(cell.as_bytes().first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'));
    if !is_formula && text::is_all(cell, |b| matches!(b, b' '..=b'~') & !matches!(b, b'"' | b',')) {
        return line.push_str(cell);
    }
    let is_quoted = cell.contains([',', '"', '\n', '\r']);
    if is_quoted {
        line.push('"');
    }
    if is_formula {
        line.push('\'');
    }
    for c in cell.chars() {
        match c {
            '"' => line.push_str("\"\""),
            _ => text::push_visible(line, c),
        }
    }
    if is_quoted {
        line.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut line = String::new();
        push_cell(&mut line, text);
        line
    }

    #[test]
    fn cells_follow_rfc_4180_and_stay_on_one_line() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell(""), "");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(cell("two\r\nlines"), "\"two\\r\\nlines\"");
        assert_eq!(cell("鍵\u{202e}"), "鍵\\u{202e}");
    }

    #[test]
    fn a_cell_is_never_a_formula() {
        for start in ["=", "+", "-", "@", "\t", "\r"] {
            let made = cell(&format!("{start}cmd|'/c calc'!A1"));
            assert!(made.trim_start_matches('"').starts_with('\''), "{made}");
        }
        assert_eq!(cell("kms-1"), "kms-1");
    }
}
