//! How results are printed.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keystead::client::ServerStatus;
use keystead::{Client, Error, Result};
use serde::Serialize;

use crate::files;

/// One line of JSON.
pub fn json<T: Serialize>(value: &T) -> Result<()> {
    let line = serde_json::to_string(value).map_err(failed)?;
    text(&format!("{line}\n"))
}

pub fn text(text: &str) -> Result<()> {
    files::print(text)
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
        text(&servers(&status.servers))?;
    }
    let is_served = status.servers.iter().any(|server| server.state == "healthy");
    Ok(if is_served { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn servers(servers: &[ServerStatus]) -> String {
    let mut rows = vec![["SERVER", "STATE", "ADDRESS", "KMIP", "LATENCY", "OUR CERTIFICATE ENDS"].map(String::from)];
    let dash = || "-".to_owned();
    rows.extend(servers.iter().map(|server| {
        [
            server.server.clone(),
            server.state.to_owned(),
            server.address.clone().unwrap_or_else(dash),
            server.kmip_version.clone().unwrap_or_else(dash),
            server.latency_microseconds.map_or_else(dash, |micros| format!("{:.1} ms", micros as f64 / 1000.0)),
            utc(server.client_certificate_ends),
        ]
    }));
    let failed = servers.iter().filter(|server| server.state != "healthy");
    let reasons = failed.filter_map(|server| Some(format!("\n{}\n", server.last_error.as_ref()?)));
    columns(&rows) + &reasons.collect::<String>()
}

/// Prints what is wrong with a chain of records. Exit status 1 if anything is.
pub fn verify(files: &[PathBuf], as_json: bool) -> Result<ExitCode> {
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let report = keystead::log::verify(&paths)?;
    if as_json {
        json(&report)?;
    } else {
        text(&report.to_string())?;
    }
    Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Seconds since 1970 as `2026-11-23 20:15:00Z`.
pub fn utc(seconds: i64) -> String {
    keystead::log::utc(seconds)
}
