//! Private keys under a password: PKCS #8 `EncryptedPrivateKeyInfo` with PBES2 (RFC 5958 §3, RFC 8018 §6.2).

use pkcs8::pkcs5::Error as Pkcs5Error;
use pkcs8::{EncryptedPrivateKeyInfo, SecretDocument};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem};
use zeroize::Zeroizing;

use super::Secret;
use super::origin::Item;
use super::tls::{bad_pem, holds};
use crate::error::Result;
use crate::memory::scrub;

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// What OpenSSL wrote before PKCS #8: one round of MD5 between the password and the key.
const LEGACY: &str = "Proc-Type: 4,ENCRYPTED";
const CONVERSION: &str = "(umask 077; openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.key -out NEW.key), and name its \
                          password in `client_key_password`";

/// Whether the text holds a key under a password.
pub(super) fn is_protected(text: &[u8]) -> bool {
    holds(text, BEGIN) || holds(text, LEGACY)
}

/// The key in `text`, which is what `item` holds.
pub(super) fn open(
    item: &Item<'_>,
    text: &[u8],
    password: Option<&Secret>,
) -> Result<Zeroizing<PrivateKeyDer<'static>>> {
    if holds(text, LEGACY) {
        return Err(item.invalid(&format!(
            "holds a password-protected private key in OpenSSL's older form, which hardly protects it and is not \
             supported; convert it: {CONVERSION}"
        )));
    }
    let document = document(item, text)?;
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| unknown_protection(item))?;
    let Some(password) = password else {
        return Err(item.invalid(
            "holds a password-protected private key; add `client_key_password`, for example \"file:/path\" or \
             \"cred:NAME\"",
        ));
    };
    let opened = info.decrypt(password.expose()).map(|key| Zeroizing::new(key.as_bytes().to_vec()));
    scrub::stack();
    scrub::registers();
    match opened {
        Ok(mut key) => Ok(Zeroizing::new(PrivatePkcs8KeyDer::from(std::mem::take(&mut *key)).into())),
        Err(pkcs8::Error::EncryptedPrivateKey(
            Pkcs5Error::UnsupportedAlgorithm { .. } | Pkcs5Error::AlgorithmParametersInvalid { .. },
        )) => Err(unknown_protection(item)),
        // A wrong password shows as padding or, one time in 256, as contents that make no sense.
        Err(_) => Err(item.invalid(
            "holds a private key that `client_key_password` does not open; correct that password, or name the key that it \
             belongs to",
        )),
    }
}

fn document(item: &Item<'_>, text: &[u8]) -> Result<SecretDocument> {
    let damaged = || {
        item.invalid(
            "holds a damaged private key: it is not base64 in lines of 64 characters inside; copy the file anew",
        )
    };
    let text = std::str::from_utf8(text).map_err(|_| damaged())?;
    let text = &text[text.find(BEGIN).unwrap_or_default()..];
    let Some(end) = text.find(END) else {
        let cut = pem::Error::MissingSectionEnd { end_marker: END.into() };
        return Err(bad_pem(item, &cut, "private key"));
    };
    SecretDocument::from_pem(&text[..end + END.len()]).map(|(_, document)| document).map_err(|_| damaged())
}

fn unknown_protection(item: &Item<'_>) -> crate::error::Error {
    item.invalid(&format!(
        "holds a private key that is protected in a way which is not supported (PBES2 is, with AES in CBC mode and \
         PBKDF2 with SHA-2 or scrypt); convert it: {CONVERSION}"
    ))
}
