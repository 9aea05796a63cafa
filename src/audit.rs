//! The audit trail: one CSV row for every operation and server attempted.
//!
//! Rows are a chain of their own, as the log is (`docs/LOG.md`), and are written at every log level.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::Path;

use crate::config::Rotation;
use crate::error::Result;
use crate::log::chain::{ChainedFile, Form, Link, Notice};
use crate::log::layout::Layout;
use crate::log::text;
use crate::log::time::Moment;

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    /// `Create`, `Get`, … as KMIP spells it.
    pub operation: &'a str,
    /// As configured, without the port.
    pub key_server: &'a str,
    /// The peer's address that was used, where one was reached.
    pub ip_address: Option<std::net::IpAddr>,
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

/// An open audit trail.
pub struct AuditTrail {
    file: ChainedFile<Csv>,
}

impl AuditTrail {
    /// Opens or continues the file; creates it with its header row, mode 0600.
    ///
    /// Errors: `FileExposed` where others could exchange or change the file, `System` where it cannot be opened. A full
    /// disk is no error.
    pub fn open(path: &Path) -> Result<AuditTrail> {
        AuditTrail::open_rotating(path, Rotation::default())
    }

    /// As [`AuditTrail::open`], for a file that is rotated.
    pub fn open_rotating(path: &Path, rotation: Rotation) -> Result<AuditTrail> {
        Ok(AuditTrail { file: ChainedFile::open(path, "the audit trail", rotation, Csv)? })
    }

    /// Appends a row, dated now in UTC, before it returns. A failing disk is counted, told by a later row, and never
    /// fails the caller. In a forked child nothing is written: it opens an audit trail of its own.
    pub fn append(&self, row: &Row<'_>) {
        self.file.append(|_, link, line| push_row(row, link, line));
    }

    /// Why rows cannot be written, while that lasts. Tries again.
    pub fn failure(&self) -> Option<String> {
        self.file.failure()
    }
}

struct Csv;

impl Form for Csv {
    fn layout(&self) -> Layout {
        Layout::Csv
    }

    fn notice(&self, notice: &Notice, link: &Link, line: &mut String) -> usize {
        let told = notice.fields().iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
        push_row(&Row { operation: notice.event(), result_message: &told, ..Row::default() }, link, line)
    }
}

/// Appends the row up to its last comma. All of it is hashed.
fn push_row(row: &Row<'_>, link: &Link, line: &mut String) -> usize {
    let start = line.len();
    let now = Moment::now().utc();
    let cells = |line: &mut String, cells: &[&str]| {
        for cell in cells {
            push_cell(line, cell);
            line.push(',');
        }
    };
    cells(line, &[row.operation, row.key_server]);
    let _ = match row.ip_address {
        Some(address) => write!(line, "{address},"),
        None => write!(line, ","),
    };
    let _ = if row.port == 0 { write!(line, ",") } else { write!(line, "{},", row.port) };
    cells(line, &[row.key_name]);
    now.push_date(line);
    line.push(',');
    now.push_time(line);
    line.push(',');
    cells(line, &[row.user, if row.succeeded { "success" } else { "failure" }]);
    let _ = match row.key_version {
        Some(version) => write!(line, "{version},"),
        None => write!(line, ","),
    };
    cells(line, &[row.identifier, row.state, row.kmip_version, row.result_reason, row.result_message]);
    let _ = write!(line, "{},{:016x},{},{}", row.duration.as_micros(), link.stream, link.serial, link.previous());
    start
}

/// Appends a cell: quoted where RFC 4180 §2 asks for it, on one line, and never a formula to a spreadsheet.
fn push_cell(line: &mut String, cell: &str) {
    let (kept, cut) = text::split(cell);
    let is_quoted = cut > 0 || kept.contains([',', '"', '\n', '\r']);
    if is_quoted {
        line.push('"');
    }
    if kept.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        line.push('\'');
    }
    for c in kept.chars() {
        match c {
            '"' => line.push_str("\"\""),
            _ => text::push_visible(line, c),
        }
    }
    text::push_marker(line, cut);
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
