//! Reading and changing the attributes of one object.

#![forbid(unsafe_code)]

use super::{Operation, expect_id};
use crate::error::Result;
use crate::kmip::attributes::{self, Attributes, Value};
use crate::kmip::tags;
use crate::kmip::ttlv::{Reader, Writer};
use crate::kmip::values::{Usage, Version};

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

/// Reads which attributes one object has.
pub struct GetAttributeList<'a> {
    /// The unique identifier.
    pub id: &'a str,
}

impl Operation for GetAttributeList<'_> {
    const CODE: u32 = 0x0C;
    const NAME: &'static str = "Get Attribute List";
    type Answer = Vec<String>;

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
    }

    fn read(&self, payload: Reader<'_>) -> Result<Vec<String>> {
        expect_id(payload, self.id)?;
        payload.all(tags::ATTRIBUTE_NAME).map(|name| Ok(name?.text()?.to_owned())).collect()
    }
}

/// Gives an object an attribute, or one more of a kind of which it may have several.
pub struct AddAttribute<'a> {
    /// The unique identifier.
    pub id: &'a str,
    pub name: &'a str,
    pub value: Value<'a>,
}

impl Operation for AddAttribute<'_> {
    const CODE: u32 = 0x0D;
    const NAME: &'static str = "Add Attribute";
    type Answer = ();

    fn since(&self) -> Version {
        attributes::since(self.name)
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        self.value.write(payload, self.name, 0);
    }

    fn read(&self, payload: Reader<'_>) -> Result<()> {
        expect_id(payload, self.id)
    }
}

/// Gives an attribute of an object another value.
pub struct ModifyAttribute<'a> {
    /// The unique identifier.
    pub id: &'a str,
    pub name: &'a str,
    /// Which of several; the first is 0.
    pub index: u32,
    pub value: Value<'a>,
}

impl Operation for ModifyAttribute<'_> {
    const CODE: u32 = 0x0E;
    const NAME: &'static str = "Modify Attribute";
    type Answer = ();

    fn since(&self) -> Version {
        attributes::since(self.name)
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        self.value.write(payload, self.name, self.index);
    }

    fn read(&self, payload: Reader<'_>) -> Result<()> {
        expect_id(payload, self.id)
    }
}

/// Takes an attribute from an object.
pub struct DeleteAttribute<'a> {
    /// The unique identifier.
    pub id: &'a str,
    pub name: &'a str,
    /// Which of several; the first is 0.
    pub index: u32,
}

impl Operation for DeleteAttribute<'_> {
    const CODE: u32 = 0x0F;
    const NAME: &'static str = "Delete Attribute";
    type Answer = ();

    fn since(&self) -> Version {
        attributes::since(self.name)
    }

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.text(tags::ATTRIBUTE_NAME, self.name);
        attributes::write_index(payload, self.index);
    }

    fn read(&self, payload: Reader<'_>) -> Result<()> {
        expect_id(payload, self.id)
    }
}

/// Asks whether a key may be used like this; `false` if the server's policy denies it (KMIP 1.4 §4.10).
pub struct Check<'a> {
    /// The unique identifier.
    pub id: &'a str,
    pub usage: Usage,
}

impl Operation for Check<'_> {
    const CODE: u32 = 0x09;
    const NAME: &'static str = "Check";
    type Answer = bool;

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.integer(tags::CRYPTOGRAPHIC_USAGE_MASK, self.usage.0 as i32);
    }

    /// A denial leaves the identifier out, and repeats what it was denied for.
    fn read(&self, payload: Reader<'_>) -> Result<bool> {
        if payload.find(tags::CRYPTOGRAPHIC_USAGE_MASK)?.is_some() {
            return Ok(false);
        }
        expect_id(payload, self.id).map(|()| true)
    }
}
