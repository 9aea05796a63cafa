//! The audit trail: one CSV row for every operation and server attempted.

#![forbid(unsafe_code)]

use std::path::Path;

use crate::error::Result;

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
pub struct AuditTrail;

impl AuditTrail {
    /// Opens or continues the file; creates it with its header row, mode 0600.
    pub fn open(path: &Path) -> Result<AuditTrail> {
        let _ = path;
        unimplemented!()
    }

    /// Appends a row, dated now in UTC, before it returns.
    pub fn append(&self, row: &Row<'_>) {
        let _ = row;
        unimplemented!()
    }
}
