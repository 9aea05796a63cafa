//! Keys on their way from one server to another: given to a server, and fetched wrapped.
//!
//! A key is wrapped under another key of the server (RFC 3394). It is not unwrapped here: the key that does it would
//! have to leave its server first.

#![forbid(unsafe_code)]

use super::object::{BITS, write_essentials};
use super::{Operation, expect_id, expect_symmetric_key, unexpected};
use crate::error::Result;
use crate::kmip::tags;
use crate::kmip::ttlv::{Kind, Reader, Writer};
use crate::kmip::values::{Algorithm, ObjectType, Usage, Version};

/// The length of a wrapped AES-256 key, in bytes (RFC 3394 §2.2.1).
pub const WRAPPED: usize = 40;

/// Key Format Type: the key's bytes (KMIP 1.4 §9.1.3.2.3).
const RAW: u32 = 1;
/// Wrapping Method (KMIP 1.4 §9.1.3.2.4).
const ENCRYPT: u32 = 1;
/// Encoding Option: what is wrapped is the key alone, and not its encoding as a Key Value (KMIP 1.4 §9.1.3.2.32).
const NO_ENCODING: u32 = 1;

/// Gives an AES-256 key to the server. It stays Pre-Active. Answers its unique identifier.
///
/// For keys that are moved between servers: no application's key bytes come here.
pub struct Register<'a> {
    /// The Name attribute.
    pub name: &'a str,
    /// The Object Group attribute.
    pub group: Option<&'a str>,
    pub usage: Usage,
    pub material: Material<'a>,
}

/// The bytes of a key that is given to a server.
#[derive(Clone, Copy)]
pub enum Material<'a> {
    Plain(&'a [u8; 32]),
    /// Wrapped under the key with the unique identifier `under`.
    Wrapped {
        bytes: &'a [u8; WRAPPED],
        under: &'a str,
    },
}

impl Operation for Register<'_> {
    const CODE: u32 = 0x03;
    const NAME: &'static str = "Register";
    const CARRIES_KEY: bool = true;
    type Answer = String;

    /// The encoding option is there since 1.1.
    fn since(&self) -> Version {
        match self.material {
            Material::Plain(_) => Version::new(1, 0),
            Material::Wrapped { .. } => Version::new(1, 1),
        }
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.enumeration(tags::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
        payload.structure(tags::TEMPLATE_ATTRIBUTE, |template| {
            write_essentials(template, self.name, self.group, self.usage);
        });
        payload.structure(tags::SYMMETRIC_KEY, |key| {
            key.structure(tags::KEY_BLOCK, |block| {
                block.enumeration(tags::KEY_FORMAT_TYPE, RAW);
                match self.material {
                    Material::Plain(bytes) => {
                        block.structure(tags::KEY_VALUE, |value| value.bytes(tags::KEY_MATERIAL, bytes));
                    }
                    Material::Wrapped { bytes, .. } => block.bytes(tags::KEY_VALUE, bytes),
                }
                block.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, Algorithm::AES.0);
                block.integer(tags::CRYPTOGRAPHIC_LENGTH, BITS);
                if let Material::Wrapped { under, .. } = self.material {
                    block.structure(tags::KEY_WRAPPING_DATA, |wrapping| write_wrapping(wrapping, under));
                }
            });
        });
    }

    fn read(&self, payload: Reader<'_>) -> Result<String> {
        Ok(payload.require(tags::UNIQUE_IDENTIFIER)?.text()?.to_owned())
    }
}

/// Fetches a key wrapped under another. Answers the wrapped bytes.
pub struct GetWrapped<'a> {
    /// The unique identifier of the key to fetch.
    pub id: &'a str,
    /// The unique identifier of the key to wrap it under, whose usage must allow Wrap Key.
    pub under: &'a str,
}

impl Operation for GetWrapped<'_> {
    const CODE: u32 = 0x0A;
    const NAME: &'static str = "Get (wrapped)";
    /// A server that does not know the specification may answer in the clear.
    const CARRIES_KEY: bool = true;
    type Answer = [u8; WRAPPED];

    fn since(&self) -> Version {
        Version::new(1, 1)
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.structure(tags::KEY_WRAPPING_SPECIFICATION, |specification| write_wrapping(specification, self.under));
    }

    /// The specification has Key Value a byte string; some servers keep the structure and have Key Material wrapped.
    fn read(&self, payload: Reader<'_>) -> Result<[u8; WRAPPED]> {
        expect_id(payload, self.id)?;
        expect_symmetric_key(payload)?;
        let block = payload.require(tags::SYMMETRIC_KEY)?.structure()?.require(tags::KEY_BLOCK)?.structure()?;
        let Some(wrapping) = block.find(tags::KEY_WRAPPING_DATA)? else {
            return unexpected("the key came in the clear, although it was asked for wrapped".into());
        };
        expect_wrapped_under(self.under, wrapping.structure()?)?;
        let value = block.require(tags::KEY_VALUE)?;
        let wrapped = match value.kind() {
            Kind::Structure => value.structure()?.require(tags::KEY_MATERIAL)?.bytes()?,
            _ => value.bytes()?,
        };
        let length = wrapped.len();
        wrapped.try_into().or_else(|_| unexpected(format!("the wrapped key has {length} bytes instead of {WRAPPED}")))
    }
}

/// What Key Wrapping Data and Key Wrapping Specification have in common (KMIP 1.4 §2.1.5, §2.1.6).
fn write_wrapping(writer: &mut Writer, under: &str) {
    const NIST_KEY_WRAP: u32 = 0xD;
    writer.enumeration(tags::WRAPPING_METHOD, ENCRYPT);
    writer.structure(tags::ENCRYPTION_KEY_INFORMATION, |information| {
        information.text(tags::UNIQUE_IDENTIFIER, under);
        information.structure(tags::CRYPTOGRAPHIC_PARAMETERS, |parameters| {
            parameters.enumeration(tags::BLOCK_CIPHER_MODE, NIST_KEY_WRAP);
        });
    });
    writer.enumeration(tags::ENCODING_OPTION, NO_ENCODING);
}

fn expect_wrapped_under(under: &str, wrapping: Reader<'_>) -> Result<()> {
    let information = wrapping.require(tags::ENCRYPTION_KEY_INFORMATION)?.structure()?;
    match information.require(tags::UNIQUE_IDENTIFIER)?.text()? {
        id if id == under => Ok(()),
        _ => unexpected(format!("the key is wrapped under another key than {under}")),
    }
}
