//! What a failed call to a key server leaves to decide on.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::values::ResultReason;
use crate::error::{Code, Error};

/// Why a call failed, and what is known of how far it came.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Names the server, its address, the cause and the remedy.
    pub error: Error,
    /// The peer, where one was reached or at least resolved.
    pub address: Option<SocketAddr>,
    /// Whether a byte of the request may have reached the server, so that it may have acted on it.
    pub request_sent: bool,
    /// The server's reason, where it answered.
    pub reason: Option<ResultReason>,
    /// The server's own words, where it answered: printable and of bounded length.
    pub server_message: Option<String>,
}

impl Failure {
    /// A failure before any byte of a request was sent.
    pub fn new(error: Error, address: Option<SocketAddr>) -> Failure {
        Failure { error, address, request_sent: false, reason: None, server_message: None }
    }

    pub fn code(&self) -> Code {
        self.error.code()
    }

    /// Whether some servers say this where they mean that the object does not exist. `KeyNotFound` is
    /// certain; a denied permission or a general failure is only possible.
    pub fn may_mean_not_found(&self) -> bool {
        let ambiguous = [ResultReason::PERMISSION_DENIED, ResultReason::NOT_AUTHORISED, ResultReason::GENERAL_FAILURE];
        self.code() == Code::KeyNotFound || self.reason.is_some_and(|reason| ambiguous.contains(&reason))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}

impl ResultReason {
    /// The code of an operation that failed for this reason.
    pub fn code(self) -> Code {
        match self {
            ResultReason::ITEM_NOT_FOUND | ResultReason::OBJECT_NOT_FOUND | ResultReason::OBJECT_DESTROYED => {
                Code::KeyNotFound
            }
            ResultReason::PERMISSION_DENIED
            | ResultReason::NOT_AUTHORISED
            | ResultReason::AUTHENTICATION_NOT_SUCCESSFUL
            | ResultReason::BAD_PASSWORD => Code::PermissionDenied,
            ResultReason::OPERATION_NOT_SUPPORTED
            | ResultReason::FEATURE_NOT_SUPPORTED
            | ResultReason::UNSUPPORTED_PROTOCOL_VERSION => Code::Unsupported,
            _ => Code::ServerRefused,
        }
    }

    /// What an administrator should look at.
    pub fn remedy(self) -> &'static str {
        match self.code() {
            Code::KeyNotFound => "check that the key exists on this server and was not destroyed",
            Code::PermissionDenied => "check the permissions of our client certificate or KMIP user on this server",
            Code::Unsupported => "use a server, or a version of it, that offers this",
            _ => "see the key server's own log",
        }
    }
}
