//! What a key server says of itself.

#![forbid(unsafe_code)]

use super::Operation;
use crate::error::Result;
use crate::kmip::message::printable;
use crate::kmip::tags;
use crate::kmip::ttlv::{Kind, Reader, Writer};
use crate::kmip::values::{ObjectType, Version};

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

pub(in crate::kmip) fn write_version(writer: &mut Writer, version: Version) {
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

/// Asks what the server can do and who made it (KMIP 1.4 §4.25).
pub struct Query;

/// How a server describes itself. What it leaves out is not known; it need not be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The numbers of the operations it offers.
    pub operations: Vec<u32>,
    pub objects: Vec<ObjectType>,
    /// Who made it, often with product and version.
    pub vendor: Option<String>,
    /// The texts in Server Information, which each vendor fills differently.
    pub details: Vec<String>,
    /// Certifications of its cryptography, told since 1.3.
    pub validations: Vec<Validation>,
}

/// One certification (KMIP 1.4 §2.1.22).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Validation Authority Type, for example 2 for NIST CMVP and 3 for Common Criteria.
    pub authority: u32,
    pub level: Option<i32>,
    /// The number of the certificate.
    pub certificate: Option<String>,
}

impl Query {
    const OPERATIONS: u32 = 1;
    const OBJECTS: u32 = 2;
    const SERVER_INFORMATION: u32 = 3;
    const VALIDATIONS: u32 = 9;
}

impl Operation for Query {
    const CODE: u32 = 0x18;
    const NAME: &'static str = "Query";
    type Answer = Description;

    fn write(&self, payload: &mut Writer, version: Version) {
        for function in [Query::OPERATIONS, Query::OBJECTS, Query::SERVER_INFORMATION] {
            payload.enumeration(tags::QUERY_FUNCTION, function);
        }
        if version >= Version::new(1, 3) {
            payload.enumeration(tags::QUERY_FUNCTION, Query::VALIDATIONS);
        }
    }

    fn read(&self, mut payload: Reader<'_>) -> Result<Description> {
        let mut description = Description::default();
        while let Some(item) = payload.next()? {
            match item.tag() {
                tags::OPERATION => description.operations.push(item.enumeration()?),
                tags::OBJECT_TYPE => description.objects.push(ObjectType(item.enumeration()?)),
                tags::VENDOR_IDENTIFICATION => description.vendor = Some(printable(item.text()?)),
                tags::SERVER_INFORMATION => description.details = read_texts(item.structure()?)?,
                tags::VALIDATION_INFORMATION => description.validations.push(read_validation(item.structure()?)?),
                _ => {}
            }
        }
        Ok(description)
    }
}

fn read_texts(mut information: Reader<'_>) -> Result<Vec<String>> {
    /// Enough for what a person would read.
    const MOST: usize = 16;
    let mut texts = Vec::new();
    while let Some(item) = information.next()? {
        if item.kind() == Kind::TextString && texts.len() < MOST {
            texts.push(printable(item.text()?));
        }
    }
    Ok(texts)
}

fn read_validation(validation: Reader<'_>) -> Result<Validation> {
    let level = validation.find(tags::VALIDATION_LEVEL)?.map(|level| level.integer()).transpose()?;
    let certificate = validation.find(tags::VALIDATION_CERTIFICATE_IDENTIFIER)?.map(|text| text.text()).transpose()?;
    Ok(Validation {
        authority: validation.require(tags::VALIDATION_AUTHORITY_TYPE)?.enumeration()?,
        level,
        certificate: certificate.map(printable),
    })
}
