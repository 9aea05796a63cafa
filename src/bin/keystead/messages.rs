//! `keystead encrypt` and `decrypt`

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use keystead::client::{Key, View};
use keystead::envelope::{MAX_PLAINTEXT, message, stream};
use keystead::{Client, Code, Error, Result};
use zeroize::Zeroizing;

use crate::files::{Input, Output};
use crate::{spaces, streams};

#[derive(Args)]
#[command(group = ArgGroup::new("encrypting key").required(true).args(["key", "space"]))]
pub struct Encrypt {
    /// The key's name, or NAME/VERSION while that is its newest; it must exist
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Use the key of the data space whose protected key is in this file
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// The data space's name, if it is not the file's name without its ending
    #[arg(long, value_name = "SPACE", requires = "space")]
    name: Option<String>,
    /// Associated data: not stored, and needed again to decrypt
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// Read from this file instead of standard input
    #[arg(short, value_name = "IN")]
    input: Option<PathBuf>,
    /// Write to this file instead of standard output; it appears whole or not at all
    #[arg(short, value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Decrypt {
    /// Refuse messages and streams of other keys: a name, or a prefix followed by `*`
    #[arg(long, value_name = "PATTERN", default_value = "*", conflicts_with = "space")]
    key: String,
    /// Use the key of the data space whose protected key is in this file
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// The associated data given to encrypt
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// Show only what this mask of the configuration leaves of a message
    #[arg(long, value_name = "NAME", requires = "role")]
    mask: Option<String>,
    /// The role that sees it
    #[arg(long, value_name = "NAME", requires = "mask")]
    role: Option<String>,
    /// Read from this file instead of standard input
    #[arg(short, value_name = "IN")]
    input: Option<PathBuf>,
    /// Write to this file instead of standard output; it appears whole or not at all
    #[arg(short, value_name = "OUT")]
    output: Option<PathBuf>,
}

impl Encrypt {
    pub fn output(&self) -> Option<(&Path, Vec<&Path>)> {
        Some((self.output.as_deref()?, self.space.as_deref().into_iter().collect()))
    }
}

impl Decrypt {
    pub fn output(&self) -> Option<(&Path, Vec<&Path>)> {
        Some((self.output.as_deref()?, self.space.as_deref().into_iter().collect()))
    }
}

/// A larger input becomes a stream. Whoever makes or reads many messages has them in memory as a whole.
const MAX_MESSAGE: usize = 65_536;
/// More than what surrounds the ciphertext of any message.
const OVERHEAD: usize = 2 * stream::MAX_HEADER;
pub const MAX_ENCRYPTED: usize = MAX_PLAINTEXT + OVERHEAD;

pub fn encrypt(command: &Encrypt, client: &Client) -> Result<()> {
    let mut input = Input::open(command.input.as_deref())?;
    let mut start = Zeroizing::new(vec![0; MAX_MESSAGE + 1]);
    let size = input.fill(&mut start)?;
    let (start, aad) = (&start[..size], command.aad.as_bytes());
    let key = key_to_encrypt(command, client)?;
    let mut output = Output::create(command.output.as_deref())?;
    if size > MAX_MESSAGE {
        streams::encrypt(key.encrypt_stream(aad)?, start, &mut input, &mut output)?;
    } else {
        output.write(&message_of(&key, start, aad)?)?;
    }
    output.commit()
}

fn key_to_encrypt(command: &Encrypt, client: &Client) -> Result<Key> {
    match (&command.space, &command.key) {
        (Some(file), _) => {
            // A file in the wrong place would lead to data that somebody else can read.
            let expect = command.name.clone().map_or_else(|| spaces::stem(file), Ok)?;
            spaces::unlock(client, file, &expect)
        }
        (None, key) => client.key(key.as_deref().unwrap_or_default()),
    }
}

fn message_of(key: &Key, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![0; plaintext.len() + OVERHEAD];
    let size = key.encrypt(plaintext, aad, &mut out)?;
    out.truncate(size);
    Ok(out)
}

pub fn decrypt(command: &Decrypt, client: &Client) -> Result<()> {
    let mut input = Input::open(command.input.as_deref())?;
    let decrypted = decrypt_from(&mut input, command, client);
    decrypted.map_err(|error| match error.code() {
        Code::NotAuthentic => Error::new(error.code(), format!("{}: {}", input.name(), error.message())),
        _ => error,
    })
}

fn decrypt_from(input: &mut Input, command: &Decrypt, client: &Client) -> Result<()> {
    let mut start = vec![0; stream::MAX_HEADER];
    let size = input.fill(&mut start)?;
    let (start, aad) = (&start[..size], command.aad.as_bytes());
    let mut output = Output::create(command.output.as_deref())?;
    // What was encrypted names its space, so that no other one's key decrypts it.
    let space = command.space.as_deref().map(|file| spaces::unlock(client, file, "*")).transpose()?;
    if let (Some(mask), Some(role)) = (&command.mask, &command.role) {
        let message = whole_message(input, start)?;
        let mut out = vec![0; message.len()];
        let view = View { mask, role };
        let size = match &space {
            Some(key) => client.decrypt_masked_with(key, &message, aad, view, &mut out)?,
            None => client.decrypt_masked(&message, aad, &command.key, view, &mut out)?,
        };
        output.write(&out[..size])?;
    } else if stream::is_stream(start) {
        let decryptor = match &space {
            Some(key) => key.decrypt_stream(start, aad)?,
            None => client.decrypt_stream(start, aad, &command.key)?,
        };
        let start = &start[decryptor.header_size()..];
        streams::decrypt(decryptor, start, input, &mut output)?;
    } else {
        let message = whole_message(input, start)?;
        let mut out = Zeroizing::new(vec![0; message::decrypted_size(&message)?]);
        let size = match &space {
            Some(key) => key.decrypt(&message, aad, &mut out)?,
            None => client.decrypt(&message, aad, &command.key, &mut out)?,
        };
        output.write(&out[..size])?;
    }
    output.commit()
}

/// All of a message that begins with `start`. Of anything else no more is read.
pub fn whole_message(input: &mut Input, start: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    match message::is_message(start) {
        true => input.rest(start, MAX_ENCRYPTED),
        false => Ok(Zeroizing::new(start.to_vec())),
    }
}
