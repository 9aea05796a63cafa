//! `keystead encrypt`, `decrypt` and `inspect`

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;
use keystead::envelope::message;
use keystead::{Client, Code, Error, Result};
use zeroize::Zeroizing;

use crate::{files, show};

#[derive(Args)]
pub struct Encrypt {
    /// The key's name; it must exist
    #[arg(long, value_name = "NAME")]
    key: String,
    /// Associated data: not stored, and needed again to decrypt
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// Read from this file instead of standard input
    #[arg(short, value_name = "IN")]
    input: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Decrypt {
    /// Refuse messages of other keys: a name, or a prefix followed by `*`
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    key: String,
    /// The associated data given when the message was made
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// Read from this file instead of standard input
    #[arg(short, value_name = "IN")]
    input: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Inspect {
    /// The message; standard input if absent
    file: Option<PathBuf>,
}

pub fn encrypt(command: &Encrypt, client: &Client) -> Result<()> {
    let plaintext = files::read(command.input.as_deref())?;
    let key = client.key(&command.key)?;
    let too_large = || {
        let message = format!("the input has {} bytes, more than one message holds; split it", plaintext.len());
        Error::new(Code::InvalidArgument, message)
    };
    let mut out = vec![0; key.encrypted_size(plaintext.len()).ok_or_else(too_large)?];
    let size = key.encrypt(&plaintext, command.aad.as_bytes(), &mut out)?;
    files::write(command.output.as_deref(), &out[..size])
}

pub fn decrypt(command: &Decrypt, client: &Client) -> Result<()> {
    let message = files::read(command.input.as_deref())?;
    let size = message::decrypted_size(&message)?;
    let mut out = Zeroizing::new(vec![0; size]);
    let size = client.decrypt(&message, command.aad.as_bytes(), &command.key, &mut out)?;
    files::write(command.output.as_deref(), &out[..size])
}

pub fn inspect(command: &Inspect, json: bool) -> Result<()> {
    let inspection = message::inspect(&files::read(command.file.as_deref())?)?;
    if json {
        return show::json(&inspection);
    }
    let rows = [
        ["kind", inspection.kind],
        ["key", &inspection.key],
        ["algorithm", inspection.algorithm],
        ["key derivation", inspection.key_derivation],
        ["size", &format!("{} bytes", inspection.size)],
        ["plaintext", &format!("{} bytes", inspection.plaintext_size)],
        ["IV", &inspection.iv],
        ["salt", &inspection.salt],
        ["key commitment", &inspection.key_commitment],
    ]
    .map(|row| row.map(String::from));
    show::text(&show::columns(&rows))
}
