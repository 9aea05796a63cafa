//! Input of any length: through a stream, in constant memory.

#![forbid(unsafe_code)]

use keystead::Result;
use keystead::client::{Decryptor, Encryptor};
use keystead::envelope::stream::ROOM;
use zeroize::Zeroizing;

use crate::files::{Input, Output};
use crate::progress::Progress;

/// How much is read at a time: enough for two threads to share.
const PIECE: usize = 4 << 20;

/// Encrypts `start` and what follows it.
pub fn encrypt(mut encryptor: Encryptor, start: &[u8], input: &mut Input, output: &mut Output) -> Result<()> {
    let progress = Progress::new("encrypting", input.size());
    let mut out = vec![0; PIECE + ROOM];
    for_each_piece(start, input, |piece| {
        let size = encryptor.update(piece, &mut out)?;
        progress.advance(piece.len());
        output.write(&out[..size])
    })?;
    let size = encryptor.finish(&mut out)?;
    output.write(&out[..size])
}

/// Decrypts `start`, which is behind the header, and what follows it.
pub fn decrypt(mut decryptor: Decryptor, start: &[u8], input: &mut Input, output: &mut Output) -> Result<()> {
    let progress = Progress::new("decrypting", input.size());
    let mut out = Zeroizing::new(vec![0; PIECE + ROOM]);
    for_each_piece(start, input, |piece| {
        let size = decryptor.update(piece, &mut out)?;
        progress.advance(piece.len());
        output.write(&out[..size])
    })?;
    decryptor.finish()
}

/// Encrypts anew what is decrypted of `start`, which is behind the header, and of what follows it.
pub fn reencrypt(
    mut decryptor: Decryptor,
    mut encryptor: Encryptor,
    start: &[u8],
    input: &mut Input,
    output: &mut Output,
) -> Result<()> {
    let mut plaintext = Zeroizing::new(vec![0; PIECE + ROOM]);
    let mut out = vec![0; PIECE + 2 * ROOM];
    for_each_piece(start, input, |piece| {
        let size = decryptor.update(piece, &mut plaintext)?;
        let size = encryptor.update(&plaintext[..size], &mut out)?;
        output.write(&out[..size])
    })?;
    decryptor.finish()?;
    let size = encryptor.finish(&mut out)?;
    output.write(&out[..size])
}

fn for_each_piece(start: &[u8], input: &mut Input, mut work: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    work(start)?;
    let mut piece = Zeroizing::new(vec![0; PIECE]);
    loop {
        match input.fill(&mut piece)? {
            0 => return Ok(()),
            size => work(&piece[..size])?,
        }
    }
}
