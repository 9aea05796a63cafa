//! One connection to one key server.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::deadline::Deadline;
use super::failure::Failure;
use super::operation::Operation;
use super::values::Version;
use crate::config;
use crate::error::Result;

/// Opens connections to one configured server, and remembers the protocol version they agreed on.
pub struct Connector {}

impl Connector {
    /// Prepares TLS. Does not block. Fails with `ConfigInvalid` for a host that is neither a name nor an
    /// address, and with `CertificateInvalid` for an identity that TLS cannot use.
    pub fn new(server: &config::Server) -> Result<Connector> {
        let _ = server;
        unimplemented!()
    }

    /// `host:port` as configured.
    pub fn server(&self) -> &str {
        unimplemented!()
    }

    /// Resolves the name, tries each of its addresses, shakes hands and, the first time, agrees on a
    /// protocol version. Blocks until the deadline at most.
    pub fn connect(&self, deadline: Deadline) -> std::result::Result<Connection, Failure> {
        let _ = deadline;
        unimplemented!()
    }
}

/// An open connection. After a failure of transport it is of no use any more: see `is_usable`.
pub struct Connection {}

impl Connection {
    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        unimplemented!()
    }

    /// The protocol version that was agreed on.
    pub fn version(&self) -> Version {
        unimplemented!()
    }

    /// Whether the connection still stands, as far as can be told without asking the server: servers close
    /// idle connections silently. Does not block.
    pub fn is_usable(&mut self) -> bool {
        unimplemented!()
    }

    /// Carries out one operation. Blocks until the deadline at most.
    pub fn call<O: Operation>(&mut self, operation: &O, deadline: Deadline) -> std::result::Result<O::Answer, Failure> {
        let _ = (operation, deadline);
        unimplemented!()
    }

    /// Carries out several operations in one request. A server goes on after one of them failed, or stops:
    /// what it did not carry out is a failure of its own. Blocks until the deadline at most.
    pub fn call_all<O: Operation>(
        &mut self,
        operations: &[O],
        deadline: Deadline,
    ) -> std::result::Result<Vec<std::result::Result<O::Answer, Failure>>, Failure> {
        let _ = (operations, deadline);
        unimplemented!()
    }
}
