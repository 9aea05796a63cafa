//! From one state of an object to the next.

#![forbid(unsafe_code)]

use super::{Operation, expect_id};
use crate::error::Result;
use crate::kmip::tags;
use crate::kmip::ttlv::{Reader, Writer};
use crate::kmip::values::Version;

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
