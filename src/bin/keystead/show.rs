//! How results are printed.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use keystead::client::{Check, ServerStatus, Status, Verdict};
use keystead::log::counted;
use keystead::{Client, Error, Result};
use serde::Serialize;

use crate::files;

/// One line of JSON.
pub fn json<T: Serialize>(value: &T) -> Result<()> {
    let line = serde_json::to_string(value).map_err(failed)?;
    let mut escaped = String::with_capacity(line.len() + 1);
    for c in line.chars() {
        match commands_terminal(c) {
            // All of them lie in the Basic Multilingual Plane (RFC 8259 §7).
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => escaped.push(c),
        }
    }
    escaped.push('\n');
    files::print(&escaped)
}

pub fn text(text: &str) -> Result<()> {
    files::print(&printable(text))
}

/// Writes to standard error. If nobody hears it, the exit status tells.
pub fn complaint(text: &str) {
    let _ = std::io::stderr().write_all(printable(text).as_bytes());
}

/// With what would command a terminal made visible: key servers and other people's files choose some of what is printed.
pub fn printable(text: &str) -> String {
    let escape = |c: char| match c != '\n' && commands_terminal(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Control characters of C0 and C1, and those that turn the direction of writing around.
fn commands_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub fn failed(error: serde_json::Error) -> Error {
    Error::new(keystead::Code::Internal, format!("the result could not be printed as JSON: {error}"))
}

/// Rows as columns, each as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column))).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Prints what every key server answered. Exit status 1 if none did.
pub fn status(client: &Client, as_json: bool) -> Result<ExitCode> {
    client.probe_servers()?;
    let status = client.status()?;
    if as_json {
        json(&status)?;
    } else {
        text(&(servers(&status.servers) + &losses(&status)))?;
    }
    let is_served = status.servers.iter().any(|server| server.state == "healthy");
    Ok(if is_served { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const HEADINGS: [&str; 8] =
    ["SERVER", "STATE", "ADDRESS", "KMIP", "VENDOR", "LATENCY", "OUR CERTIFICATE ENDS", "ITS CERTIFICATE ENDS"];

fn servers(servers: &[ServerStatus]) -> String {
    let mut rows = vec![HEADINGS.map(String::from)];
    let dash = || "-".to_owned();
    rows.extend(servers.iter().map(|server| {
        [
            server.server.clone(),
            server.state.to_owned(),
            server.address.clone().unwrap_or_else(dash),
            server.kmip_version.clone().unwrap_or_else(dash),
            server.vendor.clone().unwrap_or_else(dash),
            server.latency_microseconds.map_or_else(dash, |micros| format!("{:.1} ms", micros as f64 / 1000.0)),
            utc(server.client_certificate_ends),
            server.server_certificate_ends.map_or_else(dash, utc),
        ]
    }));
    let failed = servers.iter().filter(|server| server.state != "healthy");
    let reasons = failed.filter_map(|server| Some(format!("\n{}\n", server.last_error.as_ref()?)));
    columns(&rows) + &reasons.collect::<String>()
}

/// What is not recorded, and why.
fn losses(status: &Status) -> String {
    let sinks = [("the log", &status.log), ("the audit trail", &status.audit)];
    let told = sinks.into_iter().filter_map(|(what, health)| {
        let health = health.as_ref()?;
        let failing = match (health.failing_since, &health.reason) {
            (Some(since), Some(reason)) => format!("; it cannot be written since {}: {reason}", utc(since)),
            _ => String::new(),
        };
        let is_told = health.lost > 0 || !failing.is_empty();
        is_told.then(|| format!("\n{what} lost {}{failing}\n", counted(health.lost, "record")))
    });
    told.collect()
}

/// Prints what was looked at, and how it is. Exit status 1 if anything does not work.
pub fn doctor(client: &Client, as_json: bool) -> Result<ExitCode> {
    let checks = client.diagnose()?;
    if as_json {
        json(&checks)?;
    } else {
        text(&self::checks(&checks))?;
    }
    let is_sound = checks.iter().all(|check| check.verdict != Verdict::Fault);
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for each thing that was looked at.
pub fn checks(checks: &[Check]) -> String {
    let row = |check: &Check| [word(check.verdict).to_owned(), check.about.clone(), check.message.clone()];
    columns(&checks.iter().map(row).collect::<Vec<_>>())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Warning => "WARNING",
        Verdict::Fault => "FAULT",
    }
}

/// Prints what is wrong with a chain of records. Exit status 1 if anything is.
pub fn verify(report: &keystead::log::Report, as_json: bool) -> Result<ExitCode> {
    if as_json {
        json(&report.judged())?;
    } else {
        text(&report.to_string())?;
    }
    Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Seconds since 1970 as `2026-11-23 20:15:00Z`.
pub fn utc(seconds: i64) -> String {
    keystead::log::utc(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_calls_its_objects_commands_no_terminal() {
        let name = "key\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\ré\n";
        let shown = printable(name);
        assert_eq!(shown, "key\\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{202e}\\ré\n");
        assert!(!shown.chars().any(|c| c != '\n' && commands_terminal(c)));
    }
}
