//! Certificates and the private key: from PEM to what a TLS connection needs.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::name::Name;
use zeroize::Zeroizing;

use super::files::Access;
use super::origin::Item;
use super::{Authorities, Fingerprint, Secret, Tls, Trust, protected};
use crate::error::{Error, Result};

/// What a server's connection is made from.
pub(super) struct TlsItems<'a> {
    pub trust: TrustItem<'a>,
    /// Lists of revoked certificates.
    pub revoked: Option<Item<'a>>,
    pub client_certificate: Item<'a>,
    pub client_key: Item<'a>,
}

/// What the server's certificate is judged by.
pub(super) enum TrustItem<'a> {
    Authorities(Item<'a>),
    Pins(Vec<Fingerprint>),
}

/// Reads and checks all of them.
pub(super) fn load(items: &TlsItems<'_>, password: Option<&Secret>) -> Result<Tls> {
    let trust = match &items.trust {
        TrustItem::Authorities(item) => {
            let (revoked, revoked_until) = items.revoked.as_ref().map(revoked).transpose()?.unwrap_or_default();
            Trust::Authorities(Authorities { roots: Arc::new(roots(item)?), revoked: revoked.into(), revoked_until })
        }
        TrustItem::Pins(pins) => Trust::Pins(pins.as_slice().into()),
    };
    let chain = certificates(&items.client_certificate)?;
    let leaf = Leaf::read(&items.client_certificate, &chain[0])?;
    let identity = Arc::new(identity(items, chain, password)?);
    Ok(Tls { trust, identity, common_name: leaf.common_name, not_after: leaf.not_after })
}

fn roots(item: &Item<'_>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for (i, certificate) in certificates(item)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            item.invalid(&format!("holds, as number {}, no usable CA certificate ({error}); replace it", i + 1))
        })?;
    }
    Ok(store)
}

/// Lists of revoked certificates, at least one, and when the first of them ends.
fn revoked(item: &Item<'_>) -> Result<(Vec<CertificateRevocationListDer<'static>>, Option<i64>)> {
    let pem = item.read(Access::Public)?;
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| bad_pem(item, &error, "certificate revocation list"))?;
    if lists.is_empty() {
        return Err(bad_pem(item, &PemError::NoItemsFound, "certificate revocation list"));
    }
    let mut first_end = None;
    for list in &lists {
        let list = CertificateList::from_der(list).map_err(|error| {
            item.invalid(&format!("holds something that is no certificate revocation list ({error}); fetch it anew"))
        })?;
        let end = list.tbs_cert_list.next_update.map(|end| end.to_unix_duration().as_secs() as i64);
        first_end = [first_end, end].into_iter().flatten().min();
    }
    Ok((lists, first_end))
}

/// At least one.
fn certificates(item: &Item<'_>) -> Result<Vec<CertificateDer<'static>>> {
    let pem = item.read(Access::Public)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| bad_pem(item, &error, "certificate"))?;
    match certificates.is_empty() {
        false => Ok(certificates),
        true => Err(bad_pem(item, &PemError::NoItemsFound, "certificate")),
    }
}

fn identity(
    items: &TlsItems<'_>,
    chain: Vec<CertificateDer<'static>>,
    password: Option<&Secret>,
) -> Result<CertifiedKey> {
    let item = &items.client_key;
    let key = private_key(item, password)?;
    let key = any_supported_type(&key).map_err(|_| {
        item.invalid(
            "holds a private key of a kind or size that TLS here does not use; make one with P-256, P-384, \
                      Ed25519 or RSA of 2048 to 4096 bits",
        )
    })?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(item.invalid(&format!(
            "is not the key of the certificate in {}; name the certificate and the key that were made together, \
             our own certificate first in its file",
            items.client_certificate.name()
        ))),
        Err(error) => Err(items.client_certificate.invalid(&format!(
            "begins with a certificate that TLS cannot use ({error}); have an X.509 version 3 certificate issued"
        ))),
    }
}

fn private_key(item: &Item<'_>, password: Option<&Secret>) -> Result<Zeroizing<PrivateKeyDer<'static>>> {
    let pem = item.read(Access::Private)?;
    if protected::is_protected(&pem) {
        return protected::open(item, &pem, password);
    }
    PrivateKeyDer::from_pem_slice(&pem).map(Zeroizing::new).map_err(|error| bad_pem(item, &error, "private key"))
}

pub(super) fn holds(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}

/// Without the parser's own words, which may repeat a line of the file.
pub(super) fn bad_pem(item: &Item<'_>, error: &PemError, expected: &str) -> Error {
    match error {
        PemError::NoItemsFound => item.invalid(&format!(
            "holds no {expected} in PEM form; it should hold a block that begins with \"-----BEGIN\" and names a {expected}"
        )),
        PemError::MissingSectionEnd { .. } => {
            item.invalid("is cut short: a PEM block has no \"-----END\" line; copy the whole file")
        }
        _ => item.invalid(&format!("holds a damaged {expected}: it is not base64 inside; copy the file anew")),
    }
}

/// What we tell of our own certificate.
struct Leaf {
    common_name: String,
    not_after: i64,
}

impl Leaf {
    fn read(item: &Item<'_>, certificate: &CertificateDer<'_>) -> Result<Leaf> {
        let certificate = x509_cert::Certificate::from_der(certificate)
            .map_err(|error| item.invalid(&format!("begins with something that is no X.509 certificate ({error})")))?;
        let fields = &certificate.tbs_certificate;
        Ok(Leaf {
            common_name: common_name(&fields.subject).unwrap_or_else(|| fields.subject.to_string()),
            not_after: fields.validity.not_after.to_unix_duration().as_secs() as i64,
        })
    }
}

/// X.520 §6.2.2.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

fn common_name(subject: &Name) -> Option<String> {
    let mut attributes = subject.0.iter().flat_map(|relative| relative.0.iter());
    let attribute = attributes.find(|attribute| attribute.oid == COMMON_NAME)?;
    // UTF8String, PrintableString and IA5String alike.
    Some(String::from_utf8_lossy(attribute.value.value()).into_owned())
}
