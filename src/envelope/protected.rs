//! The bytes of a protected DEK: the key of a data space, encrypted by a key manager under a key that stays there.
//!
//! A COSE object in its one accepted encoding, as messages are. Which one it is depends on the rung: on the first the
//! key manager authenticates what it encrypts, on the second one HMAC does for it.

#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

use super::cbor::{self, Reader};
use super::identity::{self, KeyId};
use super::message::{hex, unreadable};
use crate::error::{Code, Error, Result};

/// The size of a data encryption key, in bytes.
pub const DEK_SIZE: usize = 32;
/// What AES makes of it: the key, then 16 bytes of tag or padding.
pub const CIPHERTEXT_SIZE: usize = DEK_SIZE + TAG_SIZE;
pub const TAG_SIZE: usize = 16;
/// The IV of AES-GCM, and that of AES-CBC.
pub const GCM_IV_SIZE: usize = 12;
pub const CBC_IV_SIZE: usize = 16;
/// The size of HMAC-SHA-256.
pub const MAC_SIZE: usize = 32;
/// No protected DEK is longer, in bytes.
pub const MAX_SIZE: usize = 512;

/// How a key manager protects a DEK. It is fixed when the KEK is made, and never lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Rung {
    /// AES-256-GCM by the key manager (KMIP 1.4).
    #[serde(rename = "gcm")]
    Gcm,
    /// AES-256-CBC, then HMAC-SHA-256 under a second key, both by the key manager (KMIP 1.2).
    #[serde(rename = "cbc-hmac")]
    CbcHmac,
}

impl Rung {
    pub fn name(self) -> &'static str {
        match self {
            Rung::Gcm => "gcm",
            Rung::CbcHmac => "cbc-hmac",
        }
    }

    /// {alg: A256GCM (RFC 9053 §4.1) or HMAC 256/256 (RFC 9053 §3.1), …
    fn front(self) -> [u8; 3] {
        match self {
            Rung::Gcm => [0xa3, 0x01, 0x03],
            Rung::CbcHmac => [0xa3, 0x01, 0x05],
        }
    }

    /// The minor version of KMIP that first offers it, as CBOR.
    fn number(self) -> u8 {
        match self {
            Rung::Gcm => 4,
            Rung::CbcHmac => 2,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a protected DEK says of itself, all of it authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub rung: Rung,
    /// Name and version of the DEK, as messages carry them: `space:NAME/V`.
    pub space: KeyId,
    /// Name and version of the KEK.
    pub kek: KeyId,
}

/// … -65538: ["keystead/dek/1", the rung, … The DEK's id and [`MATERIAL`] follow.
const CONTENT: [u8; 21] = *b"\x3a\x00\x01\x00\x01\x85\x6ekeystead/dek/1";
/// … "AES", 256]}: what the DEK is.
const MATERIAL: [u8; 7] = *b"\x63AES\x19\x01\x00";
/// The label of the kid.
const KID: [u8; 1] = [0x04];

impl Header {
    /// The protected header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.rung.front().to_vec();
        out.extend_from_slice(&KID);
        cbor::push(&mut out, self.kek.to_string().as_bytes());
        out.extend_from_slice(&CONTENT);
        out.push(self.rung.number());
        cbor::push(&mut out, self.space.to_string().as_bytes());
        out.extend_from_slice(&MATERIAL);
        out
    }

    /// Reads a protected header of that rung.
    fn decode(rung: Rung, bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader { rest: bytes };
        reader.expect(&rung.front())?;
        reader.expect(&KID)?;
        let kek = key_id(reader.bytes()?)?;
        reader.expect(&CONTENT)?;
        reader.expect(&[rung.number()])?;
        let space = key_id(reader.bytes()?)?;
        reader.expect(&MATERIAL)?;
        let is_valid = reader.rest.is_empty() && kek.space().is_none() && space.space().is_some();
        is_valid.then_some(Header { rung, space, kek })
    }

    /// What AES-GCM authenticates with the DEK: the Enc_structure of the COSE_Encrypt0 (RFC 9052 §5.3).
    pub fn enc_structure(&self) -> Vec<u8> {
        let mut out = b"\x83\x68Encrypt0".to_vec();
        cbor::push(&mut out, &self.encode());
        cbor::push(&mut out, b"");
        out
    }
}

fn key_id(id: &[u8]) -> Option<KeyId> {
    identity::split(id).map(|(name, version)| KeyId { name: name.to_owned(), version })
}

/// A protected DEK, taken apart. Nothing of it is verified: that takes the key manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    pub header: Header,
    pub body: Body,
}

/// What the key manager made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Gcm { iv: [u8; GCM_IV_SIZE], ciphertext: [u8; DEK_SIZE], tag: [u8; TAG_SIZE] },
    CbcHmac { cbc: Cbc, mac: [u8; MAC_SIZE] },
}

/// What AES-CBC made of a DEK, with the padding of PKCS #7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cbc {
    pub iv: [u8; CBC_IV_SIZE],
    pub ciphertext: [u8; CIPHERTEXT_SIZE],
}

/// Tag 16, an array of three: COSE_Encrypt0 (RFC 9052 §5.2).
const ENCRYPT0: [u8; 2] = [0xd0, 0x83];
/// Tag 17, an array of four: COSE_Mac0 (RFC 9052 §6.2).
const MAC0: [u8; 2] = [0xd1, 0x84];
/// Unprotected {IV: 12 bytes}.
const GCM_IV: [u8; 3] = [0xa1, 0x05, 0x4c];
/// A byte string of 48 bytes.
const CIPHERTEXT: [u8; 2] = [0x58, CIPHERTEXT_SIZE as u8];
/// Unprotected {}.
const NOTHING: [u8; 1] = [0xa0];
/// A COSE_Encrypt0 of AES-256-CBC as RFC 9459 §5 has it: no protected header, unprotected {alg: A256CBC, IV: 16 bytes}.
const CBC: [u8; 10] = [0xd0, 0x83, 0x40, 0xa2, 0x01, 0x39, 0xff, 0xf8, 0x05, 0x50];
/// A byte string of 32 bytes.
const MAC: [u8; 2] = [0x58, MAC_SIZE as u8];

impl Cbc {
    /// As the payload of a COSE_Mac0.
    fn encode(&self) -> Vec<u8> {
        [&CBC[..], &self.iv, &CIPHERTEXT, &self.ciphertext].concat()
    }

    fn decode(payload: &[u8]) -> Option<Cbc> {
        let mut reader = Reader { rest: payload };
        reader.expect(&CBC)?;
        let iv = *reader.array()?;
        reader.expect(&CIPHERTEXT)?;
        let ciphertext = *reader.array()?;
        reader.rest.is_empty().then_some(Cbc { iv, ciphertext })
    }

    /// What the HMAC is made of: the MAC_structure of the COSE_Mac0 (RFC 9052 §6.3). It covers header, IV and ciphertext.
    pub fn mac_structure(&self, header: &Header) -> Vec<u8> {
        let mut out = b"\x84\x64MAC0".to_vec();
        cbor::push(&mut out, &header.encode());
        cbor::push(&mut out, b"");
        cbor::push(&mut out, &self.encode());
        out
    }
}

impl Protected {
    /// Takes a protected DEK apart if it is in the one accepted encoding.
    pub fn parse(bytes: &[u8]) -> Result<Protected> {
        parse(bytes).ok_or_else(not_authentic)
    }

    pub fn encode(&self) -> Vec<u8> {
        let header = self.header.encode();
        let mut out = Vec::with_capacity(MAX_SIZE);
        match &self.body {
            Body::Gcm { iv, ciphertext, tag } => {
                out.extend_from_slice(&ENCRYPT0);
                cbor::push(&mut out, &header);
                [&GCM_IV[..], iv, &CIPHERTEXT, ciphertext, tag].iter().for_each(|part| out.extend_from_slice(part));
            }
            Body::CbcHmac { cbc, mac } => {
                out.extend_from_slice(&MAC0);
                cbor::push(&mut out, &header);
                out.extend_from_slice(&NOTHING);
                cbor::push(&mut out, &cbc.encode());
                [&MAC[..], mac].iter().for_each(|part| out.extend_from_slice(part));
            }
        }
        out
    }
}

fn parse(bytes: &[u8]) -> Option<Protected> {
    let mut reader = Reader { rest: bytes };
    let protected = match *reader.array()? {
        ENCRYPT0 => {
            let header = Header::decode(Rung::Gcm, reader.bytes()?)?;
            reader.expect(&GCM_IV)?;
            let iv = *reader.array()?;
            reader.expect(&CIPHERTEXT)?;
            Protected { header, body: Body::Gcm { iv, ciphertext: *reader.array()?, tag: *reader.array()? } }
        }
        MAC0 => {
            let header = Header::decode(Rung::CbcHmac, reader.bytes()?)?;
            reader.expect(&NOTHING)?;
            let cbc = Cbc::decode(reader.bytes()?)?;
            reader.expect(&MAC)?;
            Protected { header, body: Body::CbcHmac { cbc, mac: *reader.array()? } }
        }
        _ => return None,
    };
    reader.rest.is_empty().then_some(protected)
}

/// Whether `start`, the first bytes of something, can only be those of a protected DEK.
pub fn is_protected_dek(start: &[u8]) -> bool {
    let front = |rung: Rung, tag: [u8; 2]| {
        let mut reader = Reader { rest: start };
        reader.expect(&tag).and_then(|()| reader.length()).and_then(|_| reader.expect(&rung.front())).is_some()
    };
    front(Rung::Gcm, ENCRYPT0) || front(Rung::CbcHmac, MAC0)
}

/// One answer for every way in which a protected DEK cannot be unlocked, so that nobody learns from it what was wrong.
#[cold]
pub fn not_authentic() -> Error {
    Error::new(
        Code::NotAuthentic,
        "the data space was not unlocked: its protected DEK was altered or cut, belongs to another key encryption key, or \
         is something else; give the file exactly as it was written when the space was created or rewrapped",
    )
}

/// What a protected DEK says of itself; no key needed.
#[derive(Debug, Serialize)]
pub struct Inspection {
    pub kind: &'static str,
    /// Name and version of the DEK: the key that messages of the space name.
    pub key: String,
    /// Name and version of the KEK.
    pub kek: String,
    pub rung: Rung,
    pub algorithm: &'static str,
    pub size: usize,
    pub iv: String,
    pub authenticator: String,
}

/// Parses the protected DEK strictly and tells what it says. Nothing of it is verified: that takes the key manager.
pub fn inspect(bytes: &[u8]) -> Result<Inspection> {
    let Protected { header, body } = parse(bytes).ok_or_else(|| unreadable("protected DEK"))?;
    let (algorithm, iv, authenticator) = match &body {
        Body::Gcm { iv, tag, .. } => ("A256GCM", hex(iv), hex(tag)),
        Body::CbcHmac { cbc, mac } => ("A256CBC, HMAC 256/256", hex(&cbc.iv), hex(mac)),
    };
    Ok(Inspection {
        kind: "protected DEK",
        key: header.space.to_string(),
        kek: header.kek.to_string(),
        rung: header.rung,
        algorithm,
        size: bytes.len(),
        iv,
        authenticator,
    })
}
