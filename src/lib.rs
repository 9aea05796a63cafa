//! Keystead encrypts data at rest with keys that stay in their owner's KMIP key manager.
//!
//! A [`client::Client`] is one opened configuration: its key servers, key cache, log and audit trail. It
//! hands out keys; a key encrypts and decrypts with the CPU alone. What it writes is a *message*: a
//! COSE_Encrypt object that names its key and version, or for files and pipes of any length a *stream*
//! (`docs/FORMAT.md`).
//!
//! Modules are layers. Each names only those above it in the list below, so data travels down and
//! results travel up. What stands behind the client is for our own tests, benchmarks and tool alone, and needs the feature
//! `internals`: through the rest no program gives or takes the bytes of a key (`docs/decisions/0042-rust-surface.md`).

// What only they use is dead without them.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unused_imports))]

pub mod error;
#[cfg(not(feature = "internals"))]
mod platform;
#[cfg(feature = "internals")]
pub mod platform;

#[cfg(not(feature = "internals"))]
mod memory;
#[cfg(feature = "internals")]
pub mod memory;

pub mod audit;
pub mod config;
pub mod log;

pub mod envelope;
#[cfg(not(feature = "internals"))]
mod kmip;
#[cfg(feature = "internals")]
pub mod kmip;

#[cfg(not(feature = "internals"))]
mod cluster;
#[cfg(feature = "internals")]
pub mod cluster;
#[cfg(not(feature = "internals"))]
mod keys;
#[cfg(feature = "internals")]
pub mod keys;

pub mod client;
#[cfg(not(feature = "internals"))]
mod ffi;
#[cfg(feature = "internals")]
pub mod ffi;

pub use client::Client;
pub use error::{Code, Error, Result};
