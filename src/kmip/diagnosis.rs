//! From what went wrong on the wire to an error that names the server, the cause and the remedy.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::AlertDescription as Alert;

use super::message::Refusal;
use super::tls::Trouble;
use super::values::Version;
use crate::config::Distrust;
use crate::error::{Code, Error};

/// The other end, as errors name it: what the configuration says, and the address that was reached.
#[derive(Clone)]
pub struct Peer {
    /// `host:port`.
    pub server: Arc<str>,
    pub address: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        if *self.server == *address {
            write!(f, "key server {address}")
        } else {
            write!(f, "key server {} ({address})", self.server)
        }
    }
}

/// How far a connection had come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connecting,
    Handshake,
    /// The first request: TLS 1.3 servers refuse a client certificate only now.
    FirstReply,
    Reply,
}

impl Phase {
    fn waiting_for(self) -> &'static str {
        match self {
            Phase::Connecting => "accept a connection",
            Phase::Handshake => "complete the TLS handshake",
            Phase::FirstReply | Phase::Reply => "complete its reply",
        }
    }
}

/// The error for trouble with a peer.
pub fn explain(peer: &Peer, phase: Phase, trouble: &Trouble) -> Error {
    let (code, why) = match trouble {
        Trouble::Deadline => (
            Code::Deadline,
            format!(
                "did not {} before the deadline; check the network and the server's load, or allow more in \
                 failover.deadline",
                phase.waiting_for()
            ),
        ),
        Trouble::Socket(error) if phase == Phase::Connecting => (Code::Unreachable, unreachable(error)),
        Trouble::Socket(error) => (Code::ConnectionLost, lost(phase, &error.to_string())),
        Trouble::Closed => (Code::ConnectionLost, lost(phase, "closed by the server")),
        Trouble::NotTls => {
            (Code::NotTls, "does not speak TLS on this port; check server.port (KMIP is usually on 5696)".to_owned())
        }
        Trouble::Full => {
            (Code::ReplyMalformed, "sent more than a reply may hold; check that it is a KMIP server".into())
        }
        Trouble::Tls(error) => tls(error),
    };
    Error::new(code, format!("{peer} {why}"))
}

/// Why no connection could be made; reads on from the server's name.
pub fn unreachable(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => "check that it runs and that server.port is right",
        _ => "check server.host, the network and firewalls",
    };
    format!("cannot be reached: {}; {remedy}", lower(&error.to_string()))
}

fn lost(phase: Phase, how: &str) -> String {
    let how = lower(how);
    match phase {
        Phase::Connecting | Phase::Handshake => {
            format!(
                "ended the connection during the TLS handshake ({how}); check that it speaks TLS on this port, and its log"
            )
        }
        Phase::FirstReply => format!(
            "ended the connection before its first reply ({how}); it may be stopping, or refuse our client certificate \
             without saying so: see its log"
        ),
        Phase::Reply => {
            format!("ended the connection before its reply was complete ({how}); try again, and see its log")
        }
    }
}

fn tls(error: &rustls::Error) -> (Code, String) {
    if let Some(distrust) = Distrust::of(error) {
        return (distrust.code, distrust.why.clone());
    }
    match error {
        rustls::Error::AlertReceived(alert) => refused(*alert),
        rustls::Error::InvalidCertificate(error) => (
            Code::ServerUntrusted,
            format!("could not prove that its certificate is its own ({error}); check its certificate and key"),
        ),
        rustls::Error::PeerIncompatible(reason) => (
            Code::TlsFailed,
            format!("speaks no TLS that is acceptable ({reason:?}); enable TLS 1.2 with ECDHE and AES-GCM, or TLS 1.3"),
        ),
        other => (Code::TlsFailed, format!("broke the rules of TLS ({other}); see its log")),
    }
}

/// The peer gave up with an alert (RFC 8446 §6.2).
fn refused(alert: Alert) -> (Code, String) {
    let about_our_certificate = matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::NoCertificate
            | Alert::CertificateRequired
    );
    let alert_name = format!("{alert:?}");
    if about_our_certificate {
        let why = match alert {
            Alert::CertificateExpired => "it has expired; renew it",
            Alert::CertificateRevoked => "it was revoked; issue another",
            Alert::UnknownCA => {
                "the server does not know its CA; register the CA on the server, or use another certificate"
            }
            _ => "check that it is registered on the server, not expired, and meant for clientAuth",
        };
        return (
            Code::ClientCertificateRefused,
            format!("refused our client certificate (TLS alert {alert_name}): {why}; see tls.client_certificate"),
        );
    }
    let remedy = match alert {
        Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
            "enable TLS 1.2 with ECDHE and AES-GCM, or TLS 1.3, with a P-256 certificate, on the server"
        }
        Alert::UnrecognisedName => "set server.host to a name that the server knows",
        _ => "see the server's log",
    };
    (Code::TlsFailed, format!("ended TLS with the alert {alert_name}; {remedy}"))
}

/// A complete answer that says no.
pub fn refusal(peer: &Peer, operation: &str, refusal: &Refusal) -> Error {
    let (code, reason, remedy) = match refusal.reason {
        Some(reason) => (reason.code(), reason.to_string(), reason.remedy()),
        None => (Code::ServerRefused, "no reason given".into(), "see the key server's own log"),
    };
    let words = refusal.message.as_ref().map(|words| format!(", \"{words}\"")).unwrap_or_default();
    Error::new(code, format!("{peer} refused {operation} ({reason}{words}); {remedy}"))
}

/// The same refusal where the configuration chose the protocol version.
pub fn pinned(error: &Error, version: Version) -> Error {
    let message = format!(
        "{}; perhaps it does not speak KMIP {version}, which `kmip_version` asks for: correct that key, or remove it to \
         have the version negotiated",
        error.message()
    );
    Error::new(error.code(), message)
}

/// Why a server is not asked for what its protocol version does not have.
pub fn too_old(peer: &Peer, operation: &str, version: Version, needed: Version, pinned: bool) -> Error {
    let remedy = match pinned {
        true => format!("set `kmip_version` to {needed} or later, or remove it"),
        false => format!("enable KMIP {needed} on the server, or use a server that speaks it"),
    };
    let message = format!(
        "{peer} was not asked for {operation}: that needs KMIP {needed}, and we speak {version} with it; {remedy}"
    );
    Error::new(Code::Unsupported, message)
}

/// An answer that is not KMIP, or not an answer to what was asked.
pub fn answer(peer: &Peer, operation: &str, error: &Error) -> Error {
    let (what, remedy) = match error.code() {
        Code::ReplyMalformed => ("sent a malformed reply to", "check that it is a KMIP server, and its version"),
        Code::AnswerUnexpected | Code::KeySplit => ("gave an unexpected answer to", "check the key on the server"),
        _ => ("answered", "its answer could not be kept"),
    };
    Error::new(error.code(), format!("{peer} {what} {operation}: {}; {remedy}", error.message()))
}

/// The operating system's texts start like sentences.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}
