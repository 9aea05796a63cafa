//! Protecting a DEK, and recovering it: the key manager does both with a KEK that never leaves it.

#![forbid(unsafe_code)]

use subtle::ConstantTimeEq;

use super::kek::{Kek, subject_of};
use crate::cluster::{Audited, Unserved};
use crate::envelope::KeyId;
use crate::envelope::protected::{Body, CIPHERTEXT_SIZE, Cbc, DEK_SIZE, Header, Protected, Rung, not_authentic};
use crate::error::{Code, Error, Result};
use crate::keys::Keys;
use crate::keys::lookup::Found;
use crate::kmip::{Cipher, Deadline, Decrypt, Encrypt, Mac, Padding};
use crate::memory::slot::Slot;
use crate::platform;

impl Keys {
    /// Has the key manager encrypt a DEK, and authenticate it as that of this space and no other.
    pub(super) fn protect_dek(
        &self,
        dek: &[u8; DEK_SIZE],
        space: &KeyId,
        kek: &Kek,
        deadline: Deadline,
    ) -> Result<Protected> {
        let header = Header { rung: kek.rung, space: space.clone(), kek: kek.id.clone() };
        let body = match &kek.mac {
            None => {
                let (iv, aad) = (random()?, header.enc_structure());
                let cipher = Cipher::Gcm { iv: &iv, aad: &aad };
                let sealed = self.encrypt_dek(dek, cipher, kek, deadline)?;
                let (ciphertext, tag) = sealed.split_at(DEK_SIZE);
                Body::Gcm {
                    iv,
                    ciphertext: ciphertext.try_into().expect("split there"),
                    tag: tag.try_into().expect("the rest of 48 bytes"),
                }
            }
            Some(mac_key) => {
                let iv = random()?;
                let cipher = Cipher::Cbc { iv: &iv, padding: Padding::Pkcs5 };
                let cbc = Cbc { iv, ciphertext: self.encrypt_dek(dek, cipher, kek, deadline)? };
                Body::CbcHmac { cbc, mac: self.mac_of(&cbc.mac_structure(&header), mac_key, deadline)? }
            }
        };
        Ok(Protected { header, body })
    }

    /// Has the key manager decrypt a DEK that it protected, into a slot. What was altered is refused: on the rung whose
    /// cipher does not authenticate, before the key manager is asked to decrypt anything.
    pub(super) fn recover_dek(
        &self,
        protected: &Protected,
        kek: &Kek,
        deadline: Deadline,
    ) -> Result<Slot<[u8; DEK_SIZE]>> {
        let header = &protected.header;
        match (&protected.body, &kek.mac) {
            (Body::Gcm { iv, ciphertext, tag }, None) => {
                let aad = header.enc_structure();
                let sealed = [&ciphertext[..], tag].concat();
                self.decrypt_dek(&sealed, Cipher::Gcm { iv, aad: &aad }, kek, deadline)
            }
            (Body::CbcHmac { cbc, mac }, Some(mac_key)) => {
                let computed = refused_as_altered(self.mac_of(&cbc.mac_structure(header), mac_key, deadline))?;
                if !bool::from(computed.ct_eq(mac)) {
                    return Err(not_authentic());
                }
                let cipher = Cipher::Cbc { iv: &cbc.iv, padding: Padding::Pkcs5 };
                self.decrypt_dek(&cbc.ciphertext, cipher, kek, deadline)
            }
            // The parser gives each header the body of its rung, and the look-up each rung its keys.
            _ => Err(not_authentic()),
        }
    }

    fn encrypt_dek(
        &self,
        dek: &[u8; DEK_SIZE],
        cipher: Cipher<'_>,
        kek: &Kek,
        deadline: Deadline,
    ) -> Result<[u8; CIPHERTEXT_SIZE]> {
        let encrypt = Encrypt { id: &kek.found.identifier, cipher, key: dek };
        let sealed = self.with_kek(&encrypt, &kek.found, deadline)?;
        let odd = |_| Error::new(Code::AnswerUnexpected, "the encrypted DEK is not 48 bytes long; nothing was written");
        sealed.try_into().map_err(odd)
    }

    fn decrypt_dek(
        &self,
        sealed: &[u8],
        cipher: Cipher<'_>,
        kek: &Kek,
        deadline: Deadline,
    ) -> Result<Slot<[u8; DEK_SIZE]>> {
        let decrypt = Decrypt::new(&kek.found.identifier, cipher, sealed).map_err(|_| not_authentic())?;
        refused_as_altered(self.with_kek(&decrypt, &kek.found, deadline))
    }

    fn mac_of(&self, data: &[u8], key: &Found, deadline: Deadline) -> Result<[u8; 32]> {
        self.with_kek(&Mac { id: &key.identifier, data }, key, deadline)
    }

    /// Asks the server that has the key, and if that one went away another.
    fn with_kek<O: Audited>(&self, operation: &O, found: &Found, deadline: Deadline) -> Result<O::Answer> {
        let answered = self.cluster.call(operation, subject_of(found), Some(found.server), deadline);
        answered.map(|answered| answered.answer).map_err(|Unserved { error, .. }| error)
    }
}

/// Servers have many words for "this is not what I encrypted", and some tell what was wrong with it.
fn refused_as_altered<T>(outcome: Result<T>) -> Result<T> {
    outcome.map_err(|error| match error.code() {
        Code::ServerRefused | Code::AnswerUnexpected => not_authentic(),
        _ => error,
    })
}

/// What a rung is called in records.
pub(super) fn rung_name(rung: Rung) -> &'static str {
    rung.name()
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    platform::fill_random(&mut bytes)
        .map_err(|error| Error::new(Code::System, format!("no random bytes for an initialization vector: {error}")))?;
    Ok(bytes)
}
