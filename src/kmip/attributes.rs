//! Attributes of managed objects in the encoding of KMIP 1.x: a name as text, an index, a value.

#![forbid(unsafe_code)]

use super::tags;
use super::ttlv::{Item, Reader, Writer};
use super::values::{Algorithm, ObjectType, State, Usage, Version};
use crate::error::Result;

pub const NAME: &str = "Name";
pub const OBJECT_TYPE: &str = "Object Type";
pub const ALGORITHM: &str = "Cryptographic Algorithm";
pub const LENGTH: &str = "Cryptographic Length";
pub const USAGE_MASK: &str = "Cryptographic Usage Mask";
pub const STATE: &str = "State";
pub const INITIAL_DATE: &str = "Initial Date";
pub const ACTIVATION_DATE: &str = "Activation Date";
pub const DEACTIVATION_DATE: &str = "Deactivation Date";
pub const OBJECT_GROUP: &str = "Object Group";
pub const SENSITIVE: &str = "Sensitive";
pub const EXTRACTABLE: &str = "Extractable";

/// Every attribute that [`Attributes`] holds.
pub const UNDERSTOOD: [&str; 12] = [
    NAME,
    OBJECT_TYPE,
    ALGORITHM,
    LENGTH,
    USAGE_MASK,
    STATE,
    INITIAL_DATE,
    ACTIVATION_DATE,
    DEACTIVATION_DATE,
    OBJECT_GROUP,
    SENSITIVE,
    EXTRACTABLE,
];

/// The first protocol version that has the attribute, of those [`UNDERSTOOD`].
pub(super) fn since(name: &str) -> Version {
    match name {
        SENSITIVE | EXTRACTABLE => Version::new(1, 4),
        _ => Version::new(1, 0),
    }
}

/// What a server says of an object. Dates are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The values of every Name attribute.
    pub names: Vec<String>,
    pub object_type: Option<ObjectType>,
    pub state: Option<State>,
    pub algorithm: Option<Algorithm>,
    pub length_bits: Option<u32>,
    pub usage: Option<Usage>,
    pub initial_date: Option<i64>,
    pub activation_date: Option<i64>,
    pub deactivation_date: Option<i64>,
    /// The values of every Object Group attribute.
    pub object_groups: Vec<String>,
    /// Whether it leaves its server wrapped only.
    pub sensitive: Option<bool>,
    /// Whether it leaves its server at all.
    pub extractable: Option<bool>,
}

impl Attributes {
    /// Reads the attributes among the items; an attribute we do not know is skipped.
    pub(super) fn read(items: Reader<'_>) -> Result<Attributes> {
        let mut attributes = Attributes::default();
        for attribute in items.all(tags::ATTRIBUTE) {
            let attribute = attribute?.structure()?;
            let name = attribute.require(tags::ATTRIBUTE_NAME)?.text()?;
            if let Some(value) = attribute.find(tags::ATTRIBUTE_VALUE)? {
                attributes.take(name, value)?;
            }
        }
        Ok(attributes)
    }

    fn take(&mut self, name: &str, value: Item<'_>) -> Result<()> {
        match name {
            NAME => self.names.push(value.structure()?.require(tags::NAME_VALUE)?.text()?.to_owned()),
            OBJECT_TYPE => self.object_type = Some(ObjectType(value.enumeration()?)),
            ALGORITHM => self.algorithm = Some(Algorithm(value.enumeration()?)),
            LENGTH => self.length_bits = u32::try_from(value.integer()?).ok(),
            USAGE_MASK => self.usage = Some(Usage(value.integer()? as u32)),
            STATE => self.state = Some(State::of(value.enumeration()?)),
            INITIAL_DATE => self.initial_date = Some(value.date_time()?),
            ACTIVATION_DATE => self.activation_date = Some(value.date_time()?),
            DEACTIVATION_DATE => self.deactivation_date = Some(value.date_time()?),
            OBJECT_GROUP => self.object_groups.push(value.text()?.to_owned()),
            SENSITIVE => self.sensitive = Some(value.boolean()?),
            EXTRACTABLE => self.extractable = Some(value.boolean()?),
            _ => {}
        }
        Ok(())
    }
}

/// A value that an attribute can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of the attribute Name.
    Name(&'a str),
    Text(&'a str),
    Integer(i32),
    Enumeration(u32),
    Boolean(bool),
    /// Seconds since 1970.
    Date(i64),
}

impl Value<'_> {
    /// Writes the attribute `name` with this value; `index` tells which of several is meant, the first by 0.
    pub(super) fn write(self, writer: &mut Writer, name: &str, index: u32) {
        writer.structure(tags::ATTRIBUTE, |attribute| {
            attribute.text(tags::ATTRIBUTE_NAME, name);
            write_index(attribute, index);
            match self {
                Value::Name(name) => write_name_value(attribute, name),
                Value::Text(text) => attribute.text(tags::ATTRIBUTE_VALUE, text),
                Value::Integer(number) => attribute.integer(tags::ATTRIBUTE_VALUE, number),
                Value::Enumeration(number) => attribute.enumeration(tags::ATTRIBUTE_VALUE, number),
                Value::Boolean(truth) => attribute.boolean(tags::ATTRIBUTE_VALUE, truth),
                Value::Date(seconds) => attribute.date_time(tags::ATTRIBUTE_VALUE, seconds),
            }
        });
    }
}

/// An absent index means the first (KMIP 1.4 §2.1.1).
pub(super) fn write_index(writer: &mut Writer, index: u32) {
    if index > 0 {
        writer.integer(tags::ATTRIBUTE_INDEX, i32::try_from(index).unwrap_or(i32::MAX));
    }
}

fn write_name_value(writer: &mut Writer, name: &str) {
    const UNINTERPRETED_TEXT: u32 = 1;
    writer.structure(tags::ATTRIBUTE_VALUE, |value| {
        value.text(tags::NAME_VALUE, name);
        value.enumeration(tags::NAME_TYPE, UNINTERPRETED_TEXT);
    });
}
