//! Reading and changing the attributes of one object.

#![forbid(unsafe_code)]

use super::{Operation, expect_id};
use crate::error::Result;
use crate::kmip::attributes::{self, Attributes};
use crate::kmip::tags;
use crate::kmip::ttlv::{Reader, Writer};
use crate::kmip::values::Version;

/// Reads attributes of one object.
pub struct GetAttributes<'a> {
    /// The unique identifier.
    pub id: &'a str,
    /// Which attributes, by the names in [`attributes`](crate::kmip::attributes); empty asks for all.
    pub names: &'a [&'a str],
}

impl Operation for GetAttributes<'_> {
    const CODE: u32 = 0x0B;
    const NAME: &'static str = "Get Attributes";
    type Answer = Attributes;

    fn write(&self, payload: &mut Writer, version: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        for name in self.names.iter().filter(|name| attributes::since(name) <= version) {
            payload.text(tags::ATTRIBUTE_NAME, name);
        }
    }

    fn read(&self, payload: Reader<'_>) -> Result<Attributes> {
        expect_id(payload, self.id)?;
        Attributes::read(payload)
    }
}
