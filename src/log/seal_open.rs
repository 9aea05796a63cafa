//! The auditor's side of a seal: the private key, and what it opens.

#![forbid(unsafe_code)]

use std::path::Path;

use p256::SecretKey;
use p256::ecdh::diffie_hellman;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use ring::aead::{Aad, Nonce};
use zeroize::Zeroizing;

use super::seal::{self, Opened, SealKey};
use crate::config::AuditorKey;
use crate::error::{Code, Error, Result};
use crate::memory::scrub;
use crate::platform;

/// The auditor's private key of P-256. It cannot be printed, and is wiped when dropped.
pub struct AuditorPrivateKey {
    secret: SecretKey,
    public: AuditorKey,
}

impl AuditorPrivateKey {
    /// Makes a new one.
    ///
    /// Errors: `System` if the system gives no random numbers.
    pub fn generate() -> Result<AuditorPrivateKey> {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            platform::fill_random(&mut *bytes)
                .map_err(|error| Error::new(Code::System, format!("the system gives no random numbers: {error}")))?;
            // All but one of four thousand million are keys.
            if let Ok(secret) = SecretKey::from_slice(&*bytes) {
                return Ok(AuditorPrivateKey::of(secret));
            }
        }
    }

    /// Reads a PEM file of PKCS #8.
    ///
    /// Errors: `System` if it cannot be read, `InvalidArgument` if it holds no private key of P-256.
    pub fn read(path: &Path) -> Result<AuditorPrivateKey> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
            let message = format!(
                "the auditor's private key {shown} cannot be read: {error}; correct the path, or run as its owner"
            );
            Error::new(Code::System, message).in_file(path)
        })?;
        let secret = SecretKey::from_pkcs8_pem(&text);
        scrub::stack();
        secret.map(AuditorPrivateKey::of).map_err(|_| {
            let message = format!(
                "{shown} holds no private key of P-256 in PKCS #8 (\"BEGIN PRIVATE KEY\"); name what `keystead log keygen` made, or convert a \
                 key of OpenSSL with `openssl pkcs8 -topk8 -nocrypt`"
            );
            Error::new(Code::InvalidArgument, message).in_file(path)
        })
    }

    fn of(secret: SecretKey) -> AuditorPrivateKey {
        let point = secret.public_key().to_encoded_point(false);
        let public = AuditorKey::of_point(point.as_bytes().try_into().expect("an uncompressed point has 65 bytes"));
        AuditorPrivateKey { secret, public }
    }

    /// As a PEM file of PKCS #8, for nobody but the auditor.
    pub fn to_pem(&self) -> Result<Zeroizing<String>> {
        self.secret.to_pkcs8_pem(LineEnding::LF).map_err(|error| internal(&error))
    }

    /// The public key as a PEM file, for `log.auditor_key`.
    pub fn to_public_pem(&self) -> Result<String> {
        self.secret.public_key().to_public_key_pem(LineEnding::LF).map_err(|error| internal(&error))
    }

    /// The public key.
    pub fn public(&self) -> AuditorKey {
        self.public
    }

    pub(super) fn open(&self, sealed: &[u8], stream: u64) -> Opened {
        let Some(parts) = Sealed::parse(sealed) else { return Opened::Refused };
        if *parts.recipient != self.public.id() {
            return Opened::ForOthers;
        }
        let key = self.try_open(&parts, stream);
        scrub::stack();
        scrub::registers();
        key.map_or(Opened::Refused, Opened::Key)
    }

    fn try_open(&self, parts: &Sealed<'_>, stream: u64) -> Option<SealKey> {
        let point = [&[4], &parts.x[..], &parts.y[..]].concat();
        let theirs = p256::PublicKey::from_sec1_bytes(&point).ok()?;
        let shared = diffie_hellman(self.secret.to_nonzero_scalar(), theirs.as_affine());
        let content_key = seal::content_key(shared.raw_secret_bytes())?;
        let mut ciphertext = Zeroizing::new(parts.ciphertext.to_vec());
        let (nonce, aad) = (Nonce::assume_unique_for_key(*parts.iv), Aad::from(seal::associated_data(stream)));
        let key = content_key.open_in_place(nonce, aad, &mut ciphertext).ok()?;
        Some(SealKey::from_bytes((&*key).try_into().ok()?))
    }
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("a key of P-256 could not be written as PEM: {error}"))
}

/// A sealed key, taken apart in its one accepted encoding.
struct Sealed<'a> {
    iv: &'a [u8; 12],
    ciphertext: &'a [u8; 48],
    recipient: &'a [u8; 8],
    x: &'a [u8; 32],
    y: &'a [u8; 32],
}

impl<'a> Sealed<'a> {
    fn parse(sealed: &'a [u8]) -> Option<Sealed<'a>> {
        let (iv, rest) = sealed.strip_prefix(seal::FRONT)?.split_first_chunk()?;
        let (ciphertext, rest) = rest.strip_prefix(seal::CIPHERTEXT)?.split_first_chunk()?;
        let (recipient, rest) = rest.strip_prefix(seal::RECIPIENT)?.split_first_chunk()?;
        let (x, rest) = rest.strip_prefix(seal::EPHEMERAL_X)?.split_first_chunk()?;
        let (y, rest) = rest.strip_prefix(seal::EPHEMERAL_Y)?.split_first_chunk()?;
        (rest == seal::NO_CIPHERTEXT).then_some(Sealed { iv, ciphertext, recipient, x, y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sealed with one implementation of P-256, opened with another.
    #[test]
    fn only_the_auditor_opens_a_sealed_key_and_no_byte_of_it_may_change() {
        let (auditor, other) = (AuditorPrivateKey::generate().unwrap(), AuditorPrivateKey::generate().unwrap());
        assert_eq!(AuditorKey::from_pem(auditor.to_public_pem().unwrap().as_bytes()), Some(auditor.public()));
        let key = SealKey::random().unwrap();
        let sealed = seal::seal_to(&auditor.public(), 7, &key).unwrap();
        assert_eq!(sealed.len(), 167);
        assert!(matches!(auditor.open(&sealed, 7), Opened::Key(opened) if opened.expose() == key.expose()));
        assert!(matches!(auditor.open(&sealed, 8), Opened::Refused), "the seal of another chain");
        assert!(matches!(other.open(&sealed, 7), Opened::ForOthers));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(!matches!(auditor.open(&altered, 7), Opened::Key(_)), "byte {at}");
        }
        assert!(matches!(auditor.open(&sealed[1..], 7), Opened::Refused));
    }
}
