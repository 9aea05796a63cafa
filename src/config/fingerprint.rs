//! Fingerprints of certificates.

use std::fmt;

use ring::digest::{SHA256, digest};

/// The SHA-256 digest of a certificate in DER form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// How it begins where it is written.
    pub(super) const PREFIX: &str = "sha256:";

    /// Of this certificate.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Fingerprint(bytes)
    }

    /// From 64 hexadecimal digits, or pairs of them with colons between, as `openssl x509 -fingerprint` prints them.
    pub(super) fn parse(hex: &str) -> Option<Fingerprint> {
        let mut bytes = [0; 32];
        let pairs: Vec<&[u8]> = match hex.contains(':') {
            true => hex.as_bytes().split(|byte| *byte == b':').collect(),
            false => hex.as_bytes().chunks(2).collect(),
        };
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = <[u8; 2]>::try_from(pair).ok()?.map(|digit| char::from(digit).to_digit(16));
            *byte = (high? << 4 | low?) as u8;
        }
        Some(Fingerprint(bytes))
    }
}

/// As the configuration takes it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Fingerprint::PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
