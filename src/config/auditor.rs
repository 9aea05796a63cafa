//! The auditor's public key, to which the log and the audit trail seal what only the auditor can verify.

use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::digest;
use ring::rand::SystemRandom;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::files::Access;
use super::origin::Item;
use crate::error::Result;

/// What precedes the point in a SubjectPublicKeyInfo of P-256 (RFC 5480 §2).
const PREFIX: &[u8; 26] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// A public key of P-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditorKey {
    /// Uncompressed, with its first byte 04 (SEC 1 §2.3.3).
    point: [u8; 65],
    id: [u8; 8],
}

impl AuditorKey {
    /// From the text of a PEM file. `None` if it holds no public key of P-256.
    pub fn from_pem(pem: &[u8]) -> Option<AuditorKey> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        let point = der.as_ref().strip_prefix(PREFIX)?.try_into().ok()?;
        let key = AuditorKey::of_point(point);
        key.is_on_the_curve().then_some(key)
    }

    /// From an uncompressed point.
    pub fn of_point(point: [u8; 65]) -> AuditorKey {
        let hash = digest::digest(&digest::SHA256, &[&PREFIX[..], &point].concat());
        AuditorKey { point, id: hash.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes") }
    }

    pub fn point(&self) -> &[u8; 65] {
        &self.point
    }

    /// The first bytes of the SHA-256 of the key's SubjectPublicKeyInfo.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    fn is_on_the_curve(&self) -> bool {
        let ours = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
        let theirs = UnparsedPublicKey::new(&ECDH_P256, self.point);
        ours.is_ok_and(|ours| agreement::agree_ephemeral(ours, &theirs, |_| ()).is_ok())
    }
}

impl std::fmt::Debug for AuditorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditorKey({:016x})", u64::from_be_bytes(self.id))
    }
}

pub(super) fn load(item: &Item<'_>) -> Result<AuditorKey> {
    let pem = item.read(Access::Public)?;
    AuditorKey::from_pem(&pem).ok_or_else(|| {
        let advice = "make a pair with `keystead log keygen`, keep the private key elsewhere, and name the public one";
        let what = match pem.windows(11).any(|window| window == b"PRIVATE KEY") {
            true => "holds a private key, which must not be on this machine",
            false => "holds no public key of P-256 in PEM",
        };
        item.invalid(&format!("{what}; {advice}"))
    })
}
