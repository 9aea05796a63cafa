//! The KMIP operations of this client. One is added by one implementation of [`Operation`].

#![forbid(unsafe_code)]

use super::attributes::{self, Attributes};
use super::tags;
use super::ttlv::{Kind, Reader, Writer};
use super::values::{Algorithm, ObjectType, Version};
use crate::error::{Code, Error, Result};
use crate::memory::slot::Slot;

/// One operation: how its request payload is written and its response payload is read.
pub trait Operation {
    /// The number of the operation (KMIP 1.4 §9.1.3.2.27).
    const CODE: u32;
    /// Its name in errors, logs and the audit trail.
    const NAME: &'static str;
    /// Whether the reply carries a key, so that the stack is scrubbed after it was read.
    const CARRIES_KEY: bool = false;
    /// What a success yields.
    type Answer;

    /// Writes the items of the request payload for a server that speaks `version`.
    fn write(&self, payload: &mut Writer, version: Version);

    /// Reads the response payload and checks that it answers this request.
    fn read(&self, payload: Reader<'_>) -> Result<Self::Answer>;
}

/// Asks which protocol versions the server speaks, preferring ours in our order (KMIP 1.1 §4.26).
pub struct DiscoverVersions;

impl Operation for DiscoverVersions {
    const CODE: u32 = 0x1E;
    const NAME: &'static str = "Discover Versions";
    type Answer = Vec<Version>;

    fn write(&self, payload: &mut Writer, _: Version) {
        for version in Version::SPOKEN {
            write_version(payload, version);
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<Vec<Version>> {
        let mut versions = Vec::new();
        // A server may list versions that nobody has heard of; it need not list thousands.
        for item in payload.all(tags::PROTOCOL_VERSION).take(64) {
            versions.extend(read_version(item?.structure()?)?);
        }
        Ok(versions)
    }
}

pub(super) fn write_version(writer: &mut Writer, version: Version) {
    writer.structure(tags::PROTOCOL_VERSION, |writer| {
        writer.integer(tags::PROTOCOL_VERSION_MAJOR, version.major.into());
        writer.integer(tags::PROTOCOL_VERSION_MINOR, version.minor.into());
    });
}

/// `None` for a version whose numbers cannot be one of ours.
fn read_version(version: Reader<'_>) -> Result<Option<Version>> {
    let major = version.require(tags::PROTOCOL_VERSION_MAJOR)?.integer()?;
    let minor = version.require(tags::PROTOCOL_VERSION_MINOR)?.integer()?;
    Ok(u16::try_from(major).ok().zip(u16::try_from(minor).ok()).map(|(major, minor)| Version { major, minor }))
}

/// Makes an AES-256 key for encryption and decryption, which stays Pre-Active: it has no Activation Date.
/// Answers its unique identifier.
pub struct Create<'a> {
    /// The Name attribute.
    pub name: &'a str,
    /// The Object Group attribute.
    pub group: Option<&'a str>,
}

impl Create<'_> {
    const BITS: i32 = 256;
    /// Encrypt and Decrypt (KMIP 1.4 §9.1.3.3.1).
    const USAGE: i32 = 0x4 | 0x8;
}

impl Operation for Create<'_> {
    const CODE: u32 = 0x01;
    const NAME: &'static str = "Create";
    type Answer = String;

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.enumeration(tags::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
        payload.structure(tags::TEMPLATE_ATTRIBUTE, |template| {
            attributes::write(template, attributes::ALGORITHM, |value, tag| value.enumeration(tag, Algorithm::AES.0));
            attributes::write(template, attributes::LENGTH, |value, tag| value.integer(tag, Self::BITS));
            attributes::write(template, attributes::USAGE_MASK, |value, tag| value.integer(tag, Self::USAGE));
            attributes::write_name(template, self.name);
            if let Some(group) = self.group {
                attributes::write(template, attributes::OBJECT_GROUP, |value, tag| value.text(tag, group));
            }
        });
    }

    fn read(&self, payload: Reader<'_>) -> Result<String> {
        expect_symmetric_key(payload)?;
        Ok(payload.require(tags::UNIQUE_IDENTIFIER)?.text()?.to_owned())
    }
}

/// Fetches a key in the clear.
pub struct Get<'a> {
    /// The unique identifier.
    pub id: &'a str,
}

/// A fetched key. Its material exists in its slot only.
pub struct SymmetricKey {
    /// The unique identifier on the server that answered.
    pub id: String,
    pub algorithm: Algorithm,
    pub length_bits: u32,
    pub material: Slot<[u8; 32]>,
}

impl Operation for Get<'_> {
    const CODE: u32 = 0x0A;
    const NAME: &'static str = "Get";
    const CARRIES_KEY: bool = true;
    type Answer = SymmetricKey;

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
    }

    fn read(&self, payload: Reader<'_>) -> Result<SymmetricKey> {
        expect_id(payload, self.id)?;
        expect_symmetric_key(payload)?;
        let block = payload.require(tags::SYMMETRIC_KEY)?.structure()?.require(tags::KEY_BLOCK)?.structure()?;
        expect_raw(block)?;
        expect_aes_256(block)?;
        let material = block.require(tags::KEY_VALUE)?.structure()?.require(tags::KEY_MATERIAL)?;
        let Ok(bytes) = <&[u8; 32]>::try_from(material.bytes()?) else {
            return unexpected("the key's material is not 32 bytes long".into());
        };
        let material = Slot::copy_of(bytes)?;
        Ok(SymmetricKey { id: self.id.to_owned(), algorithm: Algorithm::AES, length_bits: 256, material })
    }
}

fn expect_aes_256(block: Reader<'_>) -> Result<()> {
    let algorithm = block.find(tags::CRYPTOGRAPHIC_ALGORITHM)?.map(|item| item.enumeration()).transpose()?;
    let bits = block.find(tags::CRYPTOGRAPHIC_LENGTH)?.map(|item| item.integer()).transpose()?;
    match (algorithm.map(Algorithm), bits) {
        (Some(Algorithm::AES), Some(Create::BITS)) => Ok(()),
        (Some(algorithm), Some(bits)) => {
            unexpected(format!("the key is {algorithm} with {bits} bits instead of AES with 256"))
        }
        _ => unexpected("the key comes without its algorithm or length".into()),
    }
}

/// Refuses wrapped, compressed and structured key blocks.
fn expect_raw(block: Reader<'_>) -> Result<()> {
    const RAW: u32 = 1;
    let format = block.require(tags::KEY_FORMAT_TYPE)?.enumeration()?;
    if format != RAW {
        return unexpected(format!("the key's format is {format:#x} instead of raw"));
    }
    if block.find(tags::KEY_WRAPPING_DATA)?.is_some() {
        return unexpected("the key is wrapped, although it was asked for in the clear".into());
    }
    if block.find(tags::KEY_COMPRESSION_TYPE)?.is_some() {
        return unexpected("the key is compressed".into());
    }
    match block.require(tags::KEY_VALUE)?.kind() {
        Kind::Structure => Ok(()),
        _ => unexpected("the key's value is not a structure, as it would be only for a wrapped key".into()),
    }
}

/// Finds objects that carry all the given attributes; answers their unique identifiers. What it answers
/// is a hint: some servers also return objects that do not match.
#[derive(Default)]
pub struct Locate<'a> {
    /// The Name attribute.
    pub name: Option<&'a str>,
    /// The Object Group attribute.
    pub group: Option<&'a str>,
    /// The server returns no more than this.
    pub maximum: Option<u32>,
}

impl Operation for Locate<'_> {
    const CODE: u32 = 0x08;
    const NAME: &'static str = "Locate";
    type Answer = Vec<String>;

    fn write(&self, payload: &mut Writer, _: Version) {
        if let Some(maximum) = self.maximum {
            payload.integer(tags::MAXIMUM_ITEMS, i32::try_from(maximum).unwrap_or(i32::MAX));
        }
        if let Some(name) = self.name {
            attributes::write_name(payload, name);
        }
        if let Some(group) = self.group {
            attributes::write(payload, attributes::OBJECT_GROUP, |value, tag| value.text(tag, group));
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<Vec<String>> {
        let ids = payload.all(tags::UNIQUE_IDENTIFIER).map(|id| Ok(id?.text()?.to_owned()));
        ids.take(self.maximum.map_or(usize::MAX, |maximum| maximum as usize)).collect()
    }
}

/// Reads attributes of one object.
pub struct GetAttributes<'a> {
    /// The unique identifier.
    pub id: &'a str,
    /// Which attributes, by the names in [`attributes`]; empty asks for all.
    pub names: &'a [&'a str],
}

impl Operation for GetAttributes<'_> {
    const CODE: u32 = 0x0B;
    const NAME: &'static str = "Get Attributes";
    type Answer = Attributes;

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        for name in self.names {
            payload.text(tags::ATTRIBUTE_NAME, name);
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<Attributes> {
        expect_id(payload, self.id)?;
        Attributes::read(payload)
    }
}

/// Makes a Pre-Active key Active.
pub struct Activate<'a> {
    /// The unique identifier.
    pub id: &'a str,
}

impl Operation for Activate<'_> {
    const CODE: u32 = 0x12;
    const NAME: &'static str = "Activate";
    type Answer = ();

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
    }

    fn read(&self, payload: Reader<'_>) -> Result<()> {
        expect_id(payload, self.id)
    }
}

/// Why a key is revoked (KMIP 1.4 §9.1.3.2.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It becomes Compromised.
    KeyCompromise = 2,
    /// It becomes Deactivated: another key took its place.
    Superseded = 5,
    /// It becomes Deactivated: its purpose ended.
    CessationOfOperation = 6,
}

/// Ends an Active key's time: it becomes Deactivated, or Compromised.
pub struct Revoke<'a> {
    /// The unique identifier.
    pub id: &'a str,
    pub why: Revocation,
    /// Since when it is feared to be in other hands, in seconds since 1970; only with `KeyCompromise`.
    pub compromised_since: Option<i64>,
}

impl Operation for Revoke<'_> {
    const CODE: u32 = 0x13;
    const NAME: &'static str = "Revoke";
    type Answer = ();

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.structure(tags::REVOCATION_REASON, |reason| {
            reason.enumeration(tags::REVOCATION_REASON_CODE, self.why as u32);
        });
        if let Some(date) = self.compromised_since {
            payload.date_time(tags::COMPROMISE_OCCURRENCE_DATE, date);
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<()> {
        expect_id(payload, self.id)
    }
}

/// Destroys an object's key material.
pub struct Destroy<'a> {
    /// The unique identifier.
    pub id: &'a str,
}

impl Operation for Destroy<'_> {
    const CODE: u32 = 0x14;
    const NAME: &'static str = "Destroy";
    type Answer = ();

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
    }

    fn read(&self, payload: Reader<'_>) -> Result<()> {
        expect_id(payload, self.id)
    }
}

fn expect_id(payload: Reader<'_>, id: &str) -> Result<()> {
    if payload.require(tags::UNIQUE_IDENTIFIER)?.text()? == id {
        return Ok(());
    }
    unexpected(format!("the answer is about another object than {id}"))
}

fn expect_symmetric_key(payload: Reader<'_>) -> Result<()> {
    match ObjectType(payload.require(tags::OBJECT_TYPE)?.enumeration()?) {
        ObjectType::SYMMETRIC_KEY => Ok(()),
        other => unexpected(format!("the object is a {other} instead of a symmetric key")),
    }
}

fn unexpected<T>(why: String) -> Result<T> {
    Err(Error::new(Code::AnswerUnexpected, why))
}
