//! The rules of TLS connections: whether a server's certificate is to be trusted, and, if not, why in words that help.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Fingerprint, Tls, Trust};
use crate::error::{Code, Error};

/// Judges by the configured authorities (chain, dates, purpose, name) or fingerprints (and dates). Its refusals
/// are [`Distrust`].
#[derive(Debug)]
struct Verifier {
    judge: Judge,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Judge {
    Authorities(Arc<WebPkiServerVerifier>),
    Pins(Arc<[Fingerprint]>),
}

/// Why a certificate was not accepted: said while the certificate is at hand.
#[derive(Debug)]
pub struct Distrust {
    pub code: Code,
    /// Reads on from "server X ".
    pub why: String,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Distrust {}

impl Distrust {
    /// The one inside a refused handshake, if it was refused by us for the certificate.
    pub fn of(error: &rustls::Error) -> Option<&Distrust> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
            _ => None,
        }
    }
}

impl Tls {
    /// The rules of every connection to one server: TLS 1.2 or 1.3, the configured CAs or fingerprints, our certificate.
    /// Sessions are not resumed, unless the caller says where their secrets are kept.
    pub fn rules(&self) -> crate::error::Result<ClientConfig> {
        let unusable = |error: &dyn fmt::Display| {
            let message =
                format!("the configured CA certificates cannot be used for TLS: {error}; check tls.ca_certificate");
            Error::new(Code::CertificateInvalid, message)
        };
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = Verifier::new(&self.trust, &provider).map_err(|error| unusable(&error))?;
        let mut rules = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.identity.clone())));
        rules.resumption = Resumption::disabled();
        Ok(rules)
    }
}

impl Verifier {
    fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Verifier, VerifierBuilderError> {
        let judge = match trust {
            // The whole chain is looked up in the lists, where there are any.
            Trust::Authorities(authorities) => Judge::Authorities(
                WebPkiServerVerifier::builder_with_provider(authorities.roots.clone(), provider.clone())
                    .with_crls(authorities.revoked.iter().cloned())
                    .enforce_revocation_expiration()
                    .build()?,
            ),
            Trust::Pins(pins) => Judge::Pins(pins.clone()),
        };
        Ok(Verifier { judge, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let distrust = match &self.judge {
            Judge::Authorities(authorities) => {
                match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Err(rustls::Error::InvalidCertificate(error)) => explain(&error, end_entity, server_name),
                    verdict => return verdict,
                }
            }
            Judge::Pins(pins) => {
                match compare(pins, end_entity).and_then(|()| check_dates(end_entity, server_name, now)) {
                    Err(distrust) => distrust,
                    Ok(()) => return Ok(ServerCertVerified::assertion()),
                }
            }
        };
        Err(CertificateError::Other(OtherError(Arc::new(distrust))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// When a certificate ends, in seconds since 1970.
pub fn end_of(der: &CertificateDer<'_>) -> Option<i64> {
    let validity = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate.validity;
    Some(validity.not_after.to_unix_duration().as_secs() as i64)
}

fn compare(pins: &[Fingerprint], der: &CertificateDer<'_>) -> Result<(), Distrust> {
    let shown = Fingerprint::of(der);
    if pins.contains(&shown) {
        return Ok(());
    }
    let pinned: Vec<String> = pins.iter().map(Fingerprint::to_string).collect();
    let why = format!(
        "has a certificate for {} with the fingerprint {shown}, not {}; check that this is your server and, if its \
         certificate was renewed, take the new fingerprint on the server itself and put it into tls.ca_certificate",
        Facts::read(der).subject,
        pinned.join(" or "),
    );
    Err(Distrust { code: Code::ServerUntrusted, why })
}

/// A fingerprint does not end, its certificate does.
fn check_dates(der: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Distrust> {
    let refused = |error| Err(explain(&error, der, name));
    let Ok(certificate) = x509_cert::Certificate::from_der(der) else {
        return refused(CertificateError::BadEncoding);
    };
    let validity = certificate.tbs_certificate.validity;
    match now.as_secs() {
        now if now < validity.not_before.to_unix_duration().as_secs() => refused(CertificateError::NotValidYet),
        now if now > validity.not_after.to_unix_duration().as_secs() => refused(CertificateError::Expired),
        _ => Ok(()),
    }
}

fn explain(error: &CertificateError, der: &CertificateDer<'_>, name: &ServerName<'_>) -> Distrust {
    use CertificateError::*;
    let facts = Facts::read(der);
    let (code, why) = match error {
        Expired | ExpiredContext { .. } => (
            Code::ServerCertificateExpired,
            format!("has a certificate that expired on {}; renew it on the server", facts.not_after),
        ),
        NotValidYet | NotValidYetContext { .. } => (
            Code::ServerCertificateExpired,
            format!(
                "has a certificate that is not valid before {}; check the clocks of both machines",
                facts.not_before
            ),
        ),
        NotValidForName | NotValidForNameContext { .. } => (Code::ServerNameMismatch, misnamed(&facts.names, name)),
        UnknownIssuer | BadSignature => (
            Code::ServerUntrusted,
            format!(
                "has a certificate for {} that was issued by {}, not by a configured CA; check tls.ca_certificate, and \
                 that this is your server",
                facts.subject, facts.issuer
            ),
        ),
        Revoked => (
            Code::ServerCertificateRevoked,
            format!(
                "has a certificate for {} that {} revoked; find out why before you trust this server, and have another issued",
                facts.subject, facts.issuer
            ),
        ),
        ExpiredRevocationList | ExpiredRevocationListContext { .. } => (
            Code::RevocationUnknown,
            format!(
                "has a certificate for {} of which nobody can tell whether it was revoked: the list of {} in `crl` has ended; \
                 put the current one into that file",
                facts.subject, facts.issuer
            ),
        ),
        UnknownRevocationStatus => (
            Code::RevocationUnknown,
            format!(
                "has a certificate for {} of which nobody can tell whether it was revoked: `crl` holds no list of {}, or of \
                 an authority above; add it to that file",
                facts.subject, facts.issuer
            ),
        ),
        InvalidPurpose | InvalidPurposeContext { .. } => (
            Code::ServerUntrusted,
            format!("has a certificate for {} that is not meant for servers; issue one with serverAuth", facts.subject),
        ),
        other => (
            Code::ServerUntrusted,
            format!("has a certificate for {} that cannot be accepted ({other}); issue another", facts.subject),
        ),
    };
    Distrust { code, why }
}

fn misnamed(names: &[String], expected: &ServerName<'_>) -> String {
    let expected = expected.to_str();
    let names = match names {
        [] => "no name in its subjectAltName".into(),
        names => printable(&names.join(", ")),
    };
    format!(
        "has a certificate for {names}, which does not cover {expected}; set server.host to one of its names, or issue a \
         certificate whose subjectAltName holds {expected}"
    )
}

/// What a refused certificate says of itself.
struct Facts {
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    /// Of subjectAltName.
    names: Vec<String>,
}

impl Facts {
    fn read(der: &CertificateDer<'_>) -> Facts {
        let Ok(certificate) = x509_cert::Certificate::from_der(der) else {
            let [subject, issuer, not_before, not_after] = [(); 4].map(|()| String::from("(unreadable)"));
            return Facts { subject, issuer, not_before, not_after, names: Vec::new() };
        };
        let certificate = certificate.tbs_certificate;
        let names = match certificate.get::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        Facts {
            subject: quoted(&certificate.subject.to_string()),
            issuer: quoted(&certificate.issuer.to_string()),
            not_before: certificate.validity.not_before.to_string(),
            not_after: certificate.validity.not_after.to_string(),
            names,
        }
    }
}

/// A name that TLS could compare.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", printable(name))
}

/// What a stranger wrote, fit for a line of a log.
fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}
