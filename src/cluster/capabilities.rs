//! What each server of the cluster can do.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Cluster, Subject};
use crate::kmip::{Capabilities, Deadline, Failure, Query};

impl Cluster {
    /// What one server can do: as it said since it last failed, else as it says now. Blocks in that case.
    ///
    /// A server that refuses Query is known by its protocol version alone.
    pub fn capabilities(&self, index: usize, deadline: Deadline) -> std::result::Result<Arc<Capabilities>, Failure> {
        let server = self.server(index);
        let known = server.health();
        if let Some(capabilities) = known.capabilities
            && known.kmip_version == Some(capabilities.version)
        {
            return Ok(capabilities);
        }
        let description = match self.call_on(index, &Query, Subject::default(), deadline) {
            Ok(description) => Some(description),
            Err(failure) if failure.reason.is_some() => None,
            Err(failure) => return Err(failure),
        };
        let version = server.health().kmip_version.expect("it has just answered in one");
        let capabilities = Arc::new(Capabilities { version, description });
        server.remember(capabilities.clone());
        Ok(capabilities)
    }
}
