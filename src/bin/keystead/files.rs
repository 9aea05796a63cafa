//! Standard input and output, and files that appear whole or not at all.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keystead::{Code, Error, Result};
use zeroize::Zeroizing;

/// Reads a file, or standard input, to its end.
pub fn read(path: Option<&Path>) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    match path {
        Some(path) => File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
        None => std::io::stdin().lock().read_to_end(&mut bytes),
    }
    .map_err(|error| fault("read", path, "standard input", &error))?;
    Ok(bytes)
}

/// Writes a file, or standard output. A file appears with its whole content or not at all, readable by its owner only.
pub fn write(path: Option<&Path>, bytes: &[u8]) -> Result<()> {
    match path {
        Some(path) => replace(path, bytes),
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
    }
    .map_err(|error| fault("write", path, "standard output", &error))
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn fault(what: &str, path: Option<&Path>, otherwise: &str, error: &std::io::Error) -> Error {
    let place = path.map_or(otherwise.to_owned(), |path| path.display().to_string());
    Error::new(Code::System, format!("could not {what} {place}: {error}"))
}
