//! Keystead encrypts data at rest with keys that stay in their owner's KMIP key manager.
//!
//! A [`client::Client`] is one opened configuration: its key servers, key cache, log and audit trail. It
//! hands out keys; a key encrypts and decrypts with the CPU alone. What it writes is a *message*: a
//! COSE_Encrypt object that names its key and version, or for files and pipes of any length a *stream*
//! (`docs/FORMAT.md`).
//!
//! Modules are layers. Each names only those above it in the list below, so data travels down and
//! results travel up.

pub mod error;
pub mod platform;

pub mod memory;

pub mod audit;
pub mod config;
pub mod log;

pub mod envelope;
pub mod kmip;

pub mod cluster;
pub mod keys;

pub mod client;
pub mod ffi;

pub use client::Client;
pub use error::{Code, Error, Result};
