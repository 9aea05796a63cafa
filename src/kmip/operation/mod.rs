//! The KMIP operations of this client. One is added by one implementation of [`Operation`].

#![forbid(unsafe_code)]

mod attribute;
mod cryptography;
mod life_cycle;
mod object;
mod server;
mod wrapping;

use super::tags;
use super::ttlv::{Reader, Writer};
use super::values::{ObjectType, Version};
use crate::error::{Code, Error, Result};

pub use attribute::{AddAttribute, Check, DeleteAttribute, GetAttributeList, GetAttributes, ModifyAttribute};
pub use cryptography::{Cipher, Decrypt, Encrypt, Mac, Padding, RngRetrieve};
pub use life_cycle::{Activate, Destroy, Revocation, Revoke};
pub use object::{Create, Exposure, Get, Locate, ReKey, SymmetricKey};
pub(super) use server::write_version;
pub use server::{Description, DiscoverVersions, Query, Validation};
pub use wrapping::{GetWrapped, Material, Register, WRAPPED};

/// One operation: how its request payload is written and its response payload is read.
pub trait Operation {
    /// The number of the operation (KMIP 1.4 §9.1.3.2.27).
    const CODE: u32;
    /// Its name in errors, logs and the audit trail.
    const NAME: &'static str;
    /// Whether the request or the reply carries a key, so that the stack is scrubbed afterwards.
    const CARRIES_KEY: bool = false;
    /// What a success yields.
    type Answer;

    /// The first protocol version that has the operation as it is asked for here. A server that speaks an
    /// earlier one is not asked.
    fn since(&self) -> Version {
        Version::new(1, 0)
    }

    /// Writes the items of the request payload for a server that speaks `version`.
    fn write(&self, payload: &mut Writer, version: Version);

    /// Reads the response payload and checks that it answers this request.
    fn read(&self, payload: Reader<'_>) -> Result<Self::Answer>;
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
        ObjectType::SPLIT_KEY => {
            Err(Error::new(Code::KeySplit, "the object is a part of a split key, and keys are not put together here"))
        }
        other => unexpected(format!("the object is a {other} instead of a symmetric key")),
    }
}

fn unexpected<T>(why: String) -> Result<T> {
    Err(Error::new(Code::AnswerUnexpected, why))
}
