//! What a key server computes with a key that does not leave it (KMIP 1.2 and later).
//!
//! What is encrypted and decrypted there is always one AES-256 key: data is encrypted here.

#![forbid(unsafe_code)]

use super::{Operation, expect_id, unexpected};
use crate::error::{Code, Error, Result};
use crate::kmip::tags;
use crate::kmip::ttlv::{Reader, Writer};
use crate::kmip::values::{Algorithm, Version};
use crate::memory::slot::Slot;

const KEY: usize = 32;
const GCM_TAG: usize = 16;
const BLOCK: usize = 16;

/// How a key is encrypted under another.
#[derive(Clone, Copy)]
pub enum Cipher<'a> {
    /// AES-GCM with a tag of 16 bytes, which stands behind the ciphertext. The fields for it are there since 1.4.
    Gcm { iv: &'a [u8; 12], aad: &'a [u8] },
    /// AES-CBC. It hides the key and does not protect it: see [`Mac`].
    Cbc { iv: &'a [u8; 16], padding: Padding },
}

/// What AES-CBC adds to the key, whose length is a multiple of the block's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Not every server has it.
    None,
    /// PKCS #5: a whole block.
    Pkcs5,
}

impl Cipher<'_> {
    /// The length of an encrypted key, in bytes.
    pub fn sealed_size(&self) -> usize {
        match self {
            Cipher::Gcm { .. } => KEY + GCM_TAG,
            Cipher::Cbc { padding: Padding::None, .. } => KEY,
            Cipher::Cbc { padding: Padding::Pkcs5, .. } => KEY + BLOCK,
        }
    }

    fn since(&self) -> Version {
        match self {
            Cipher::Gcm { .. } => Version::new(1, 4),
            Cipher::Cbc { .. } => Version::new(1, 2),
        }
    }

    /// Cryptographic Parameters (KMIP 1.4 §3.6). Tag Length counts bytes.
    fn write_parameters(&self, payload: &mut Writer) {
        const CBC: u32 = 1;
        const GCM: u32 = 9;
        const NO_PADDING: u32 = 1;
        const PKCS5: u32 = 3;
        payload.structure(tags::CRYPTOGRAPHIC_PARAMETERS, |parameters| match self {
            Cipher::Gcm { .. } => {
                parameters.enumeration(tags::BLOCK_CIPHER_MODE, GCM);
                parameters.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, Algorithm::AES.0);
                parameters.integer(tags::TAG_LENGTH, GCM_TAG as i32);
            }
            Cipher::Cbc { padding, .. } => {
                parameters.enumeration(tags::BLOCK_CIPHER_MODE, CBC);
                let method = if *padding == Padding::None { NO_PADDING } else { PKCS5 };
                parameters.enumeration(tags::PADDING_METHOD, method);
                parameters.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, Algorithm::AES.0);
            }
        });
    }

    fn iv(&self) -> &[u8] {
        match self {
            Cipher::Gcm { iv, .. } => *iv,
            Cipher::Cbc { iv, .. } => *iv,
        }
    }

    fn write_aad(&self, payload: &mut Writer) {
        if let Cipher::Gcm { aad, .. } = self {
            payload.bytes(tags::AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA, aad);
        }
    }
}

/// Encrypts a key under another. Answers the ciphertext, with GCM followed by the tag.
pub struct Encrypt<'a> {
    /// The unique identifier of the key to encrypt under.
    pub id: &'a str,
    pub cipher: Cipher<'a>,
    /// The key to encrypt.
    pub key: &'a [u8; KEY],
}

impl Operation for Encrypt<'_> {
    const CODE: u32 = 0x1F;
    const NAME: &'static str = "Encrypt";
    const CARRIES_KEY: bool = true;
    type Answer = Vec<u8>;

    fn since(&self) -> Version {
        self.cipher.since()
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        self.cipher.write_parameters(payload);
        payload.bytes(tags::DATA, self.key);
        payload.bytes(tags::IV_COUNTER_NONCE, self.cipher.iv());
        self.cipher.write_aad(payload);
    }

    fn read(&self, payload: Reader<'_>) -> Result<Vec<u8>> {
        expect_id(payload, self.id)?;
        let mut sealed = payload.require(tags::DATA)?.bytes()?.to_vec();
        if let Some(iv) = payload.find(tags::IV_COUNTER_NONCE)?
            && iv.bytes()? != self.cipher.iv()
        {
            return unexpected("the server used another initialization vector than ours".into());
        }
        if let Cipher::Gcm { .. } = self.cipher {
            let tag = payload.require(tags::AUTHENTICATED_ENCRYPTION_TAG)?.bytes()?;
            if tag.len() != GCM_TAG {
                return unexpected(format!("the tag has {} bytes instead of {GCM_TAG}", tag.len()));
            }
            sealed.extend_from_slice(tag);
        }
        match sealed.len() {
            length if length == self.cipher.sealed_size() => Ok(sealed),
            length => {
                unexpected(format!("the encrypted key has {length} bytes instead of {}", self.cipher.sealed_size()))
            }
        }
    }
}

/// Decrypts a key that was encrypted under another. Answers it in its slot.
pub struct Decrypt<'a> {
    /// The unique identifier of the key to decrypt under.
    pub id: &'a str,
    cipher: Cipher<'a>,
    sealed: &'a [u8],
}

impl<'a> Decrypt<'a> {
    /// `id` is the unique identifier of the key to decrypt under, `sealed` what [`Encrypt`] answered. Fails with
    /// `NotAuthentic` if that has another length than an encrypted key: some servers accept a tag of four bytes.
    pub fn new(id: &'a str, cipher: Cipher<'a>, sealed: &'a [u8]) -> Result<Decrypt<'a>> {
        if sealed.len() != cipher.sealed_size() {
            let message = format!(
                "an encrypted key has {} bytes, and this has {}: it was cut or altered; restore it from a backup",
                cipher.sealed_size(),
                sealed.len()
            );
            return Err(Error::new(Code::NotAuthentic, message));
        }
        Ok(Decrypt { id, cipher, sealed })
    }
}

impl Operation for Decrypt<'_> {
    const CODE: u32 = 0x20;
    const NAME: &'static str = "Decrypt";
    const CARRIES_KEY: bool = true;
    type Answer = Slot<[u8; KEY]>;

    fn since(&self) -> Version {
        self.cipher.since()
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        let tag = if let Cipher::Gcm { .. } = self.cipher { GCM_TAG } else { 0 };
        let (ciphertext, tag) = self.sealed.split_at(self.sealed.len() - tag);
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        self.cipher.write_parameters(payload);
        payload.bytes(tags::DATA, ciphertext);
        payload.bytes(tags::IV_COUNTER_NONCE, self.cipher.iv());
        self.cipher.write_aad(payload);
        if !tag.is_empty() {
            payload.bytes(tags::AUTHENTICATED_ENCRYPTION_TAG, tag);
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<Slot<[u8; KEY]>> {
        expect_id(payload, self.id)?;
        read_key(payload)
    }
}

/// The 32 bytes of Data, copied once into a slot.
fn read_key(payload: Reader<'_>) -> Result<Slot<[u8; KEY]>> {
    match payload.require(tags::DATA)?.bytes()?.try_into() {
        Ok(bytes) => Slot::copy_of(bytes),
        Err(_) => unexpected(format!("the data is not {KEY} bytes long")),
    }
}

/// Fetches 32 random bytes (KMIP 1.4 §4.36). Answers them in a slot, fit to become a key.
pub struct RngRetrieve;

impl Operation for RngRetrieve {
    const CODE: u32 = 0x25;
    const NAME: &'static str = "RNG Retrieve";
    const CARRIES_KEY: bool = true;
    type Answer = Slot<[u8; KEY]>;

    fn since(&self) -> Version {
        Version::new(1, 2)
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.integer(tags::DATA_LENGTH, KEY as i32);
    }

    fn read(&self, payload: Reader<'_>) -> Result<Slot<[u8; KEY]>> {
        read_key(payload)
    }
}

/// Computes HMAC-SHA-256 (KMIP 1.4 §4.34). It takes no Deactivated key on most servers.
pub struct Mac<'a> {
    /// The unique identifier of the key.
    pub id: &'a str,
    pub data: &'a [u8],
}

impl Operation for Mac<'_> {
    const CODE: u32 = 0x23;
    const NAME: &'static str = "MAC";
    type Answer = [u8; 32];

    fn since(&self) -> Version {
        Version::new(1, 2)
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.structure(tags::CRYPTOGRAPHIC_PARAMETERS, |parameters| {
            parameters.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, Algorithm::HMAC_SHA256.0);
        });
        payload.bytes(tags::DATA, self.data);
    }

    fn read(&self, payload: Reader<'_>) -> Result<[u8; 32]> {
        expect_id(payload, self.id)?;
        let mac = payload.require(tags::MAC_DATA)?.bytes()?;
        mac.try_into().or_else(|_| unexpected(format!("the MAC has {} bytes instead of 32", mac.len())))
    }
}
