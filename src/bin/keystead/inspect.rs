//! `keystead inspect`

#![forbid(unsafe_code)]

use std::io::{Cursor, Read};
use std::path::PathBuf;

use clap::Args;
use keystead::client::{Decryptor, Key};
use keystead::envelope::stream::ROOM;
use keystead::envelope::{message, protected, stream};
use keystead::log::counted;
use keystead::{Client, Code, Error, Result};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::files::Input;
use crate::messages::whole_message;
use crate::{show, spaces};

#[derive(Args)]
pub struct Inspect {
    /// Decrypt a message or stream, and what it holds if that is one itself, to the innermost plaintext, of which only the size is
    /// shown; takes a configuration
    #[arg(long, requires = "file")]
    layers: bool,
    /// The associated data of a layer, the outermost first; none where it is not said
    #[arg(long, value_name = "TEXT", requires = "layers")]
    aad: Vec<String>,
    /// A data space whose key a layer needs: the file of its protected key
    #[arg(long, value_name = "FILE", requires = "layers")]
    space: Vec<PathBuf>,
    /// The message, stream or protected DEK; standard input if absent
    file: Option<PathBuf>,
}

impl Inspect {
    pub fn decrypts(&self) -> bool {
        self.layers
    }
}

/// What one layer says of itself.
#[derive(Serialize)]
#[serde(untagged)]
enum Layer {
    Message(message::Inspection),
    Stream(stream::Inspection),
    ProtectedDek(protected::Inspection),
    Plaintext { kind: &'static str, size: u64 },
}

/// Shows what is to be seen without a key: the outermost layer.
pub fn outermost(command: &Inspect, json: bool) -> Result<()> {
    let mut input = Input::open(command.file.as_deref())?;
    let (layer, bytes) = recognise(&mut input)?;
    let layer = layer.map_err(|error| unknown(error, &input, &bytes))?;
    if json { show::json(&layer) } else { show::text(&show::columns(&layer.rows())) }
}

/// Shows every layer. Each is decrypted, and so authenticated, to its end.
pub fn layers(command: &Inspect, client: &Client, json: bool) -> Result<()> {
    let spaces = command.space.iter().map(|file| spaces::unlock(client, file, "*")).collect::<Result<Vec<_>>>()?;
    let mut input = Input::open(command.file.as_deref())?;
    if input.size().is_none() {
        let message = "the layers of a pipe or a device are not shown, because a stream's end is not known beforehand; save it to a file";
        return Err(Error::new(Code::InvalidArgument, message));
    }
    let mut layers = Vec::new();
    loop {
        let (layer, bytes) = match recognise(&mut input)? {
            (Err(error), bytes) if layers.is_empty() => return Err(unknown(error, &input, &bytes)),
            (Err(_), bytes) => {
                let size = bytes.len() as u64 + input.count_rest()?;
                layers.push(Layer::Plaintext { kind: "plaintext", size });
                break;
            }
            (Ok(layer), bytes) => (layer, bytes),
        };
        let aad = command.aad.get(layers.len()).map_or("", String::as_str);
        let keys = Keys { client, spaces: &spaces };
        let held = layer.open(keys, aad, input, bytes).map_err(|error| of_layer(layers.len() + 1, &layer, error))?;
        layers.push(layer);
        match held {
            Some(held) => input = held,
            None => break,
        }
    }
    if json {
        return show::json(&layers);
    }
    let page = |(number, layer): (usize, &Layer)| format!("layer {number}\n{}", show::columns(&layer.rows()));
    show::text(&(1..).zip(&layers).map(page).collect::<Vec<_>>().join("\n"))
}

/// What the input says of itself, and what was read of it: of a stream its beginning, else all or what shows that it is
/// nothing of ours.
fn recognise(input: &mut Input) -> Result<(Result<Layer>, Zeroizing<Vec<u8>>)> {
    let mut start = Zeroizing::new(vec![0; stream::MAX_HEADER]);
    let size = input.fill(&mut start)?;
    start.truncate(size);
    if protected::is_protected_dek(&start) {
        let bytes = input.rest(&start, protected::MAX_SIZE)?;
        return Ok((protected::inspect(&bytes).map(Layer::ProtectedDek), bytes));
    }
    if stream::is_stream(&start) {
        let size = match input.size() {
            Some(size) => size,
            None => start.len() as u64 + input.count_rest()?,
        };
        return Ok((stream::inspect(&start, size).map(Layer::Stream), start));
    }
    let bytes = whole_message(input, &start)?;
    Ok((message::inspect(&bytes).map(Layer::Message), bytes))
}

fn unknown(error: Error, input: &Input, bytes: &[u8]) -> Error {
    if error.code() != Code::NotAuthentic {
        return error;
    }
    let why = if bytes.is_empty() { "it is empty" } else { "it is something else, or was altered or cut" };
    let text = format!(
        "{} is neither a message, nor a stream, nor a protected DEK: {why}; name what `keystead encrypt` or `keystead space \
         create` wrote, as it was",
        input.name()
    );
    Error::new(error.code(), text)
}

/// The keys of layers.
#[derive(Clone, Copy)]
struct Keys<'a> {
    client: &'a Client,
    spaces: &'a [Key],
}

impl Keys<'_> {
    /// The unlocked data space whose key this is.
    fn space(&self, key: &str) -> Option<&Key> {
        self.spaces.iter().find(|space| space.id().is_ok_and(|id| id.to_string() == key))
    }
}

impl Layer {
    /// What the layer holds, if that is shown: the key in a protected DEK is not.
    fn open(&self, keys: Keys<'_>, aad: &str, input: Input, bytes: Zeroizing<Vec<u8>>) -> Result<Option<Input>> {
        let aad = aad.as_bytes();
        match self {
            Layer::Message(said) => {
                let mut plaintext = Zeroizing::new(vec![0; said.plaintext_size]);
                match keys.space(&said.key) {
                    Some(space) => space.decrypt(&bytes, aad, &mut plaintext)?,
                    None => keys.client.decrypt(&bytes, aad, "*", &mut plaintext)?,
                };
                Ok(Some(held(Cursor::new(plaintext), said.plaintext_size as u64)))
            }
            Layer::Stream(said) => {
                let decryptor = match keys.space(&said.key) {
                    Some(space) => space.decrypt_stream(&bytes, aad)?,
                    None => keys.client.decrypt_stream(&bytes, aad, "*")?,
                };
                Ok(Some(held(Held::new(decryptor, input, &bytes)?, said.plaintext_size)))
            }
            Layer::ProtectedDek(_) | Layer::Plaintext { .. } => Ok(None),
        }
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let bytes = |size: u64| counted(size, "byte");
        let row = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
        match self {
            Layer::Message(said) => vec![
                row("kind", said.kind),
                row("key", &said.key),
                row("algorithm", said.algorithm),
                row("key derivation", said.key_derivation),
                row("size", &bytes(said.size as u64)),
                row("plaintext", &bytes(said.plaintext_size as u64)),
                row("IV", &said.iv),
                row("salt", &said.salt),
                row("key commitment", &said.key_commitment),
            ],
            Layer::Stream(said) => vec![
                row("kind", said.kind),
                row("key", &said.key),
                row("algorithm", said.algorithm),
                row("key derivation", said.key_derivation),
                row("size", &bytes(said.size)),
                row("segments", &said.segments.to_string()),
                row("plaintext", &bytes(said.plaintext_size)),
                row("salt", &said.salt),
                row("key commitment", &said.key_commitment),
            ],
            Layer::ProtectedDek(said) => vec![
                row("kind", said.kind),
                row("key", &said.key),
                row("KEK", &said.kek),
                row("rung", said.rung.name()),
                row("algorithm", said.algorithm),
                row("size", &bytes(said.size as u64)),
                row("IV", &said.iv),
                row("authenticator", &said.authenticator),
            ],
            Layer::Plaintext { kind, size } => vec![row("kind", kind), row("size", &bytes(*size))],
        }
    }
}

fn held(source: impl Read + 'static, size: u64) -> Input {
    Input::of(Box::new(source), "what a layer holds".into(), size)
}

fn of_layer(number: usize, layer: &Layer, error: Error) -> Error {
    let key = match layer {
        Layer::Message(said) => &said.key,
        Layer::Stream(said) => &said.key,
        Layer::ProtectedDek(_) | Layer::Plaintext { .. } => return error,
    };
    let message = format!("layer {number}, encrypted with {key}, cannot be opened: {}", error.message());
    Error::new(error.code(), message).after(error.attempts().to_vec())
}

/// What a stream holds, decrypted while it is read.
struct Held {
    stream: Input,
    decryptor: Option<Decryptor>,
    piece: Vec<u8>,
    plaintext: Zeroizing<Vec<u8>>,
    /// Which part of it is still to be read.
    ready: std::ops::Range<usize>,
}

impl Held {
    const PIECE: usize = 64 << 10;

    /// `start` is what was read of the stream.
    fn new(mut decryptor: Decryptor, stream: Input, start: &[u8]) -> Result<Held> {
        let mut plaintext = Zeroizing::new(vec![0; Held::PIECE + ROOM]);
        let size = decryptor.update(&start[decryptor.header_size()..], &mut plaintext)?;
        Ok(Held { stream, decryptor: Some(decryptor), piece: vec![0; Held::PIECE], plaintext, ready: 0..size })
    }

    /// Decrypts until there is something to be read, or the stream has ended.
    fn go_on(&mut self) -> Result<()> {
        while self.ready.is_empty()
            && let Some(mut decryptor) = self.decryptor.take()
        {
            match self.stream.fill(&mut self.piece)? {
                0 => decryptor.finish()?,
                size => {
                    self.ready = 0..decryptor.update(&self.piece[..size], &mut self.plaintext)?;
                    self.decryptor = Some(decryptor);
                }
            }
        }
        Ok(())
    }
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.go_on().map_err(std::io::Error::other)?;
        let size = self.ready.len().min(buffer.len());
        buffer[..size].copy_from_slice(&self.plaintext[self.ready.start..][..size]);
        self.ready.start += size;
        Ok(size)
    }
}
