//! KMIP 1.0 to 1.4 over mutual TLS: our own encoding, the operations, one connection.
//!
//! A [`Connector`] belongs to one configured server and opens a [`Connection`]; a connection carries out an
//! [`Operation`] at a time within a [`Deadline`] for the whole of it. What fails is a [`Failure`]: an error
//! for people and the facts that decide whether another server, or the same request again, may help.
//!
//! Replies are hostile until checked. A key in a reply is copied once, from a wiped buffer into its slot.

#![forbid(unsafe_code)]

pub mod attributes;
mod buffer;
pub mod capability;
pub mod connection;
pub mod deadline;
mod diagnosis;
mod dial;
pub mod dump;
pub mod failure;
pub mod message;
pub mod operation;
mod resumption;
pub mod tags;
mod tls;
pub mod ttlv;
pub mod values;

pub use attributes::Attributes;
pub use capability::{Capabilities, Rung};
pub use connection::{Connection, Connector, Direction, Negotiation, Observer, OnNegotiation};
pub use deadline::Deadline;
pub use failure::Failure;
pub use message::ReplyHead;
pub use operation::{
    Activate, AddAttribute, Check, Cipher, Create, Decrypt, DeleteAttribute, Description, Destroy, DiscoverVersions,
    Encrypt, Exposure, Get, GetAttributeList, GetAttributes, GetWrapped, Locate, Mac, Material, ModifyAttribute,
    Operation, Padding, Query, ReKey, Register, Revocation, Revoke, RngRetrieve, SymmetricKey, Validation,
};
pub use values::{Algorithm, ObjectType, ResultReason, State, Usage, Version};
