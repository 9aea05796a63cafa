//! Certificates and the private key: PEM files to what a TLS connection needs.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::name::Name;
use zeroize::Zeroizing;

use super::Tls;
use super::files::{self, Access};
use crate::error::{Code, Error, Result};

/// The three files that a server's connection is made from.
pub(super) struct TlsFiles {
    pub ca_certificate: NamedFile,
    pub client_certificate: NamedFile,
    pub client_key: NamedFile,
}

/// A file and how errors call it, which tells where the configuration names it.
pub(super) struct NamedFile {
    pub path: PathBuf,
    pub what: String,
}

/// Reads and checks all three.
pub(super) fn load(files: &TlsFiles) -> Result<Tls> {
    let roots = Arc::new(roots(&files.ca_certificate)?);
    let chain = certificates(&files.client_certificate)?;
    let leaf = Leaf::read(&files.client_certificate, &chain[0])?;
    let identity = Arc::new(identity(files, chain)?);
    Ok(Tls { roots, identity, common_name: leaf.common_name, not_after: leaf.not_after })
}

fn roots(file: &NamedFile) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for (i, certificate) in certificates(file)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            file.invalid(&format!("holds, as number {}, no usable CA certificate ({error}); replace it", i + 1))
        })?;
    }
    Ok(store)
}

/// At least one.
fn certificates(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>> {
    let pem = files::read(&file.path, &file.what, Access::Public)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| file.bad_pem(&error, "certificate"))?;
    match certificates.is_empty() {
        false => Ok(certificates),
        true => Err(file.bad_pem(&PemError::NoItemsFound, "certificate")),
    }
}

fn identity(files: &TlsFiles, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey> {
    let file = &files.client_key;
    let key = private_key(file)?;
    let key = any_supported_type(&key).map_err(|_| {
        file.invalid(
            "holds a private key of a kind or size that TLS here does not use; make one with P-256, P-384, \
                      Ed25519 or RSA of 2048 to 4096 bits",
        )
    })?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(file.invalid(&format!(
            "is not the key of the certificate in {}; name the certificate and the key that were made together, \
             our own certificate first in its file",
            files.client_certificate.path.display()
        ))),
        Err(error) => Err(files.client_certificate.invalid(&format!(
            "begins with a certificate that TLS cannot use ({error}); have an X.509 version 3 certificate issued"
        ))),
    }
}

fn private_key(file: &NamedFile) -> Result<Zeroizing<PrivateKeyDer<'static>>> {
    let pem = files::read(&file.path, &file.what, Access::Private)?;
    if holds(&pem, b"BEGIN ENCRYPTED PRIVATE KEY") || holds(&pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(file.invalid(&format!(
            "holds a password-protected private key, which is not supported yet; write it without password, to a file \
             of mode 0600: (umask 077; openssl pkey -in {} -out NEW.key)",
            file.path.display()
        )));
    }
    PrivateKeyDer::from_pem_slice(&pem).map(Zeroizing::new).map_err(|error| file.bad_pem(&error, "private key"))
}

fn holds(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

impl NamedFile {
    fn invalid(&self, why: &str) -> Error {
        let message = format!("{} {} {why}", self.what, self.path.display());
        Error::new(Code::CertificateInvalid, message).in_file(&self.path)
    }

    /// Without the parser's own words, which may repeat a line of the file.
    fn bad_pem(&self, error: &PemError, item: &str) -> Error {
        match error {
            PemError::NoItemsFound => self.invalid(&format!(
                "holds no {item} in PEM form; it should hold a block that begins with \"-----BEGIN\" and names a {item}"
            )),
            PemError::MissingSectionEnd { .. } => {
                self.invalid("is cut short: a PEM block has no \"-----END\" line; copy the whole file")
            }
            _ => self.invalid(&format!("holds a damaged {item}: it is not base64 inside; copy the file anew")),
        }
    }
}

/// What we tell of our own certificate.
struct Leaf {
    common_name: String,
    not_after: i64,
}

impl Leaf {
    fn read(file: &NamedFile, certificate: &CertificateDer<'_>) -> Result<Leaf> {
        let certificate = x509_cert::Certificate::from_der(certificate)
            .map_err(|error| file.invalid(&format!("begins with something that is no X.509 certificate ({error})")))?;
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
