//! The C surface: convert in, call one method, convert out.
//!
//! `include/keystead.h` is generated from this folder: the comment of an exported item is its manual page
//! there, and the header's first page is in `cbindgen.toml`. cbindgen reads source text, so every exported
//! function and constant is written out.
//!
//! An entry point is one expression: [`entry`] checks its arguments, contains panics and writes the outcome.

// What a caller owes every function is said once, on the header's first page.
#![allow(clippy::missing_safety_doc)]
#![allow(non_camel_case_types)]

mod arguments;
mod entry;
mod handle;

pub mod batch;
pub mod bytes;
pub mod client;
pub mod error;
pub mod kek;
pub mod key;
pub mod lifecycle;
pub mod message;
pub mod record;
pub mod space;
pub mod status;
pub mod stream;
#[cfg(feature = "auditor")]
pub mod verify;

#[cfg(test)]
mod tests;
