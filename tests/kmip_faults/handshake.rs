//! Faults before the first request: who is connected to, and whom each side trusts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use keystead::Code;
use keystead::config::{self, Fingerprint, Trust};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::fake_server::{Authority, Certificate, client, reply};
use super::fault_server::{Act, reset};
use super::{Cause, Fault};

const fn connection(name: &'static str, act: fn(TcpStream), code: Code, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Handshake(Act::Socket(act)), code, words }
}

const fn trust(name: &'static str, change: fn(&mut Parties), code: Code, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Parties(change), code, words }
}

pub const FAULTS: &[Fault] = &[
    connection("nothing comes after the connection", wait, Code::Deadline, "complete the TLS handshake"),
    connection("the server's hello stops", |s| say(s, &[22, 3, 3, 0, 122, 2, 0, 0]), Code::Deadline, "TLS handshake"),
    connection("the server's hello comes a byte a second", drip, Code::Deadline, "complete the TLS handshake"),
    connection("the connection is closed at once", drop, Code::ConnectionLost, "during the TLS handshake"),
    connection(
        "the connection is reset in the handshake",
        reset_when_greeted,
        Code::ConnectionLost,
        "during the TLS handshake",
    ),
    connection("the server half-closes before TLS", half_close, Code::ConnectionLost, "during the TLS handshake"),
    connection("TLS is closed in the handshake", farewell, Code::ConnectionLost, "during the TLS handshake"),
    connection("HTTP answers", |s| say(s, b"HTTP/1.1 400 Bad Request\r\n\r\n"), Code::NotTls, "does not speak TLS"),
    connection("KMIP answers without TLS", |s| say(s, &reply(|_| {})), Code::NotTls, "does not speak TLS"),
    connection("zeros come before TLS", |s| say(s, &[0; 64]), Code::NotTls, "does not speak TLS"),
    connection("a greeting comes before TLS", |s| say(s, b"220 ready\r\n"), Code::NotTls, "does not speak TLS"),
    connection("handshake bytes of no version come", |s| say(s, &[22; 64]), Code::NotTls, "does not speak TLS"),
    connection("the server's hello is garbage", |s| say(s, GARBAGE), Code::TlsFailed, "broke the rules of TLS"),
    connection("a handshake message claims 16 MiB", huge, Code::TlsFailed, "broke the rules of TLS"),
    connection("warnings come without end", warn, Code::TlsFailed, "broke the rules of TLS"),
    connection("the server knows older TLS only", |s| alert(s, 2, 70), Code::TlsFailed, "enable TLS 1.2 with ECDHE"),
    connection("no cipher is common", |s| alert(s, 2, 40), Code::TlsFailed, "the alert HandshakeFailure"),
    connection("the server knows no such name", |s| alert(s, 2, 112), Code::TlsFailed, "set server.host"),
    connection("the server has an internal error", |s| alert(s, 2, 80), Code::TlsFailed, "see the server's log"),
    trust(
        "another CA issued the server's certificate",
        |parties| parties.shown = parties.stranger.issue(&Certificate::SERVER),
        Code::ServerUntrusted,
        "issued by \"CN=Stranger CA\"",
    ),
    trust(
        "the server's certificate has expired",
        |parties| parties.shown = parties.ours.issue(&Certificate { expired: true, ..Certificate::SERVER }),
        Code::ServerCertificateExpired,
        "expired on 2021-02-03",
    ),
    trust(
        "the server's certificate is not valid yet",
        |parties| parties.shown = parties.ours.issue(&Certificate { early: true, ..Certificate::SERVER }),
        Code::ServerCertificateExpired,
        "not valid before 2093-04-05",
    ),
    trust(
        "the server's certificate is for another name",
        |parties| parties.shown = parties.ours.issue(&Certificate { name: "kms9.example", ..Certificate::SERVER }),
        Code::ServerNameMismatch,
        "a certificate for kms9.example, which does not cover 127.0.0.1",
    ),
    trust(
        "the server's certificate is one for clients",
        |parties| parties.shown = parties.ours.issue(&Certificate { name: "127.0.0.1", ..Certificate::CLIENT }),
        Code::ServerUntrusted,
        "not meant for servers",
    ),
    trust(
        "the server's certificate is not its own",
        |parties| parties.shown = parties.with_another_key(),
        Code::ServerUntrusted,
        "its certificate is its own",
    ),
    trust(
        "another certificate than the pinned one is shown",
        |parties| parties.trust = pinned(b"another"),
        Code::ServerUntrusted,
        "check that this is your server",
    ),
    trust(
        "the pinned certificate has expired",
        |parties| {
            parties.shown = parties.stranger.issue(&Certificate { expired: true, ..Certificate::SERVER });
            parties.trust = pinned(&parties.shown.cert[0]);
        },
        Code::ServerCertificateExpired,
        "expired on 2021-02-03",
    ),
    trust(
        "the pinned certificate is not the server's own",
        |parties| {
            parties.trust = pinned(&parties.shown.cert[0]);
            parties.shown = parties.with_another_key();
        },
        Code::ServerUntrusted,
        "its certificate is its own",
    ),
    trust(
        "the server does not know the CA of our certificate",
        |parties| parties.identity = parties.stranger.issue(&Certificate::CLIENT),
        Code::ClientCertificateRefused,
        "does not know its CA",
    ),
    trust(
        "our certificate has expired",
        |parties| parties.identity = parties.ours.issue(&Certificate { expired: true, ..Certificate::CLIENT }),
        Code::ClientCertificateRefused,
        "it has expired; renew it",
    ),
    trust(
        "our certificate is one for servers",
        |parties| {
            let purpose = ExtendedKeyUsagePurpose::ServerAuth;
            parties.identity = parties.ours.issue(&Certificate { purpose, ..Certificate::CLIENT });
        },
        Code::ClientCertificateRefused,
        "meant for clientAuth",
    ),
    trust(
        "our certificate was revoked",
        |parties| parties.refusal = Some(CertificateError::Revoked),
        Code::ClientCertificateRefused,
        "it was revoked; issue another",
    ),
    trust(
        "our certificate may not enter",
        |parties| parties.refusal = Some(CertificateError::ApplicationVerificationFailure),
        Code::ClientCertificateRefused,
        "AccessDenied",
    ),
];

fn say(mut socket: TcpStream, bytes: &[u8]) {
    let _ = socket.write_all(bytes);
    wait(socket);
}

/// Keeps the connection until the other side gives it up.
fn wait(mut socket: TcpStream) {
    let _ = socket.read_to_end(&mut Vec::new());
}

fn drip(mut socket: TcpStream) {
    for byte in [22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3].into_iter().chain([7; 100]) {
        if socket.write_all(&[byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn reset_when_greeted(mut socket: TcpStream) {
    let _ = socket.read(&mut [0; 1]);
    reset(&socket);
}

fn half_close(socket: TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    wait(socket);
}

fn alert(socket: TcpStream, level: u8, description: u8) {
    say(socket, &[21, 3, 3, 0, 2, level, description]);
}

fn farewell(mut socket: TcpStream) {
    let _ = socket.write_all(&[21, 3, 3, 0, 2, 1, 0]);
    half_close(socket);
}

/// A handshake message of no type, complete.
const GARBAGE: &[u8] = &[22, 3, 3, 0, 8, 0xAA, 0, 0, 4, 1, 2, 3, 4];

fn huge(mut socket: TcpStream) {
    let start = [&[22, 3, 3, 64, 0, 2, 0xFF, 0xFF, 0xFF][..], &[0; (16 << 10) - 4]].concat();
    let more = [&[22, 3, 3, 64, 0][..], &[0; 16 << 10]].concat();
    let _ = socket.write_all(&start);
    while socket.write_all(&more).is_ok() {}
}

fn warn(mut socket: TcpStream) {
    // user_canceled, which is no reason to stop by itself.
    while socket.write_all(&[21, 3, 3, 0, 2, 1, 90]).is_ok() {}
}

/// Who shows what, and whom each side trusts. At first all is well.
pub struct Parties {
    ours: Authority,
    stranger: Authority,
    /// What the server shows.
    shown: Arc<CertifiedKey>,
    /// What we show.
    identity: Arc<CertifiedKey>,
    /// Whom we trust.
    trust: Trust,
    /// What the server finds wrong with every client.
    refusal: Option<CertificateError>,
}

impl Parties {
    pub fn new() -> Parties {
        let (ours, stranger) = (Authority::new("Keystead test CA"), Authority::new("Stranger CA"));
        let (shown, identity) = (ours.issue(&Certificate::SERVER), ours.issue(&Certificate::CLIENT));
        let trust = Trust::Authorities(config::Authorities::without_lists(ours.roots.clone()));
        Parties { ours, stranger, shown, identity, trust, refusal: None }
    }

    /// The server's side.
    pub fn rules(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let Some(refusal) = &self.refusal else { return self.ours.server_rules(self.shown.clone(), versions) };
        let rules = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(Refusing(refusal.clone())))
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(self.shown.clone())));
        Arc::new(rules)
    }

    /// Our side.
    pub fn client(&self, port: u16) -> config::Server {
        let mut client = client(&self.ours, self.identity.clone(), "127.0.0.1", port);
        Arc::get_mut(&mut client.tls).unwrap().trust = self.trust.clone();
        client
    }

    fn with_another_key(&self) -> Arc<CertifiedKey> {
        let other = self.ours.issue(&Certificate::SERVER);
        Arc::new(CertifiedKey::new(self.shown.cert.clone(), other.key.clone()))
    }
}

fn pinned(certificate: &[u8]) -> Trust {
    Trust::Pins(vec![Fingerprint::of(certificate)].into())
}

/// Finds the same thing wrong with every client.
#[derive(Debug)]
struct Refusing(CertificateError);

impl ClientCertVerifier for Refusing {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Err(self.0.clone().into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("the certificate was refused")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("the certificate was refused")
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
