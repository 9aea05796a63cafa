//! Making, finding and fetching keys.

#![forbid(unsafe_code)]

use super::{Operation, expect_id, expect_symmetric_key, unexpected};
use crate::error::Result;
use crate::kmip::attributes::{self, Value};
use crate::kmip::tags;
use crate::kmip::ttlv::{Kind, Reader, Writer};
use crate::kmip::values::{Algorithm, ObjectType, Usage, Version};
use crate::memory::slot::Slot;

/// Makes an AES-256 key, which stays Pre-Active: it has no Activation Date. Answers its unique identifier.
pub struct Create<'a> {
    /// The Name attribute.
    pub name: &'a str,
    /// The Object Group attribute.
    pub group: Option<&'a str>,
    /// Servers compute HMAC under an AES key too, if its usage allows it.
    pub usage: Usage,
    pub exposure: Exposure,
}

/// In which form a key may leave its server. Below KMIP 1.4 that is for the server's own policy to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// In the clear, for whoever may fetch it.
    Plain,
    /// Wrapped under another key only (KMIP 1.4 §3.48, Sensitive).
    Wrapped,
    /// In no form (KMIP 1.4 §3.50, Extractable). Some servers know Sensitive alone and refuse this.
    Never,
}

/// The length of every key.
pub(super) const BITS: i32 = 256;

impl<'a> Create<'a> {
    /// A key that is fetched, to encrypt and decrypt data with.
    pub fn new(name: &'a str, group: Option<&'a str>) -> Create<'a> {
        Create { name, group, usage: Usage::ENCRYPT | Usage::DECRYPT, exposure: Exposure::Plain }
    }
}

impl Operation for Create<'_> {
    const CODE: u32 = 0x01;
    const NAME: &'static str = "Create";
    type Answer = String;

    fn write(&self, payload: &mut Writer, version: Version) {
        payload.enumeration(tags::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
        payload.structure(tags::TEMPLATE_ATTRIBUTE, |template| {
            write_essentials(template, self.name, self.group, self.usage);
            if version >= Version::new(1, 4) && self.exposure != Exposure::Plain {
                Value::Boolean(true).write(template, attributes::SENSITIVE, 0);
            }
            if version >= Version::new(1, 4) && self.exposure == Exposure::Never {
                Value::Boolean(false).write(template, attributes::EXTRACTABLE, 0);
            }
        });
    }

    fn read(&self, payload: Reader<'_>) -> Result<String> {
        expect_symmetric_key(payload)?;
        Ok(payload.require(tags::UNIQUE_IDENTIFIER)?.text()?.to_owned())
    }
}

/// What is said of every new AES-256 key.
pub(super) fn write_essentials(template: &mut Writer, name: &str, group: Option<&str>, usage: Usage) {
    Value::Enumeration(Algorithm::AES.0).write(template, attributes::ALGORITHM, 0);
    Value::Integer(BITS).write(template, attributes::LENGTH, 0);
    Value::Integer(usage.0 as i32).write(template, attributes::USAGE_MASK, 0);
    Value::Name(name).write(template, attributes::NAME, 0);
    if let Some(group) = group {
        Value::Text(group).write(template, attributes::OBJECT_GROUP, 0);
    }
}

/// Has the server replace a key by a new one, to which the old one's Name goes (KMIP 1.4 §4.4). Answers the new
/// one's unique identifier. Not every server has it, and some let the old key keep the Name.
pub struct ReKey<'a> {
    /// The unique identifier of the old key.
    pub id: &'a str,
}

impl Operation for ReKey<'_> {
    const CODE: u32 = 0x04;
    const NAME: &'static str = "Re-key";
    type Answer = String;

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
    }

    fn read(&self, payload: Reader<'_>) -> Result<String> {
        match payload.require(tags::UNIQUE_IDENTIFIER)?.text()? {
            id if id == self.id => unexpected("the new key has the identifier of the old one".into()),
            id => Ok(id.to_owned()),
        }
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
        (Some(Algorithm::AES), Some(BITS)) => Ok(()),
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
            Value::Name(name).write(payload, attributes::NAME, 0);
        }
        if let Some(group) = self.group {
            Value::Text(group).write(payload, attributes::OBJECT_GROUP, 0);
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<Vec<String>> {
        let ids = payload.all(tags::UNIQUE_IDENTIFIER).map(|id| Ok(id?.text()?.to_owned()));
        ids.take(self.maximum.map_or(usize::MAX, |maximum| maximum as usize)).collect()
    }
}
