//! Standard input and output, and files that appear whole or not at all.

#![forbid(unsafe_code)]

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keystead::{Code, Error, Result};
use zeroize::Zeroizing;

/// A file, or standard input, read piece by piece.
pub struct Input {
    source: Box<dyn Read>,
    name: String,
    size: Option<u64>,
}

impl Input {
    pub fn open(path: Option<&Path>) -> Result<Input> {
        let Some(path) = path else {
            return Ok(Input { source: Box::new(std::io::stdin().lock()), name: "standard input".into(), size: None });
        };
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = opened.map_err(|error| fault("read", &name, &error))?;
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Input { source: Box::new(file), name, size })
    }

    /// The size of all of it, where that is known beforehand.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads until `buffer` is full or the input ends, and returns how much that was.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault("read", &self.name, &error)),
            }
        }
        Ok(filled)
    }

    /// Everything that is left behind `start`, but no more than `limit` bytes and one.
    pub fn rest(&mut self, start: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(start.to_vec());
        let limit = (limit + 1).saturating_sub(start.len()) as u64;
        let read = (&mut self.source).take(limit).read_to_end(&mut bytes);
        read.map_err(|error| fault("read", &self.name, &error))?;
        Ok(bytes)
    }

    /// How many bytes are left.
    pub fn count_rest(&mut self) -> Result<u64> {
        std::io::copy(&mut self.source, &mut std::io::sink()).map_err(|error| fault("read", &self.name, &error))
    }
}

/// A file, or standard output, written piece by piece. A file appears when all of it was written, or not at all,
/// readable by its owner only.
pub struct Output {
    sink: Box<dyn Write>,
    name: String,
    /// Where the file is while it is written, and where it belongs.
    places: Option<(PathBuf, PathBuf)>,
    file: Option<File>,
}

impl Output {
    pub fn create(path: Option<&Path>) -> Result<Output> {
        let Some(path) = path else {
            let sink = Box::new(std::io::stdout().lock());
            return Ok(Output { sink, name: "standard output".into(), places: None, file: None });
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        Output::create_beside(PathBuf::from(partial), path)
    }

    /// A file that is `partial` while it is written, and then takes the place of `path`.
    pub fn create_beside(partial: PathBuf, path: &Path) -> Result<Output> {
        let name = path.display().to_string();
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = created.and_then(|file| file.try_clone().map(|clone| (file, clone)));
        let (file, sink) = file.map_err(|error| fault("write", &name, &error))?;
        Ok(Output { sink: Box::new(sink), name, places: Some((partial, path.to_owned())), file: Some(file) })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(|error| fault("write", &self.name, &error))
    }

    /// Ends the output. Without it a file never appears.
    pub fn commit(mut self) -> Result<()> {
        self.try_commit().map_err(|error| fault("write", &self.name, &error))
    }

    /// As [`Output::commit`], with the mode and, as far as we may, the owner of the file that it replaces. When it
    /// returns, the file is on the disk.
    pub fn commit_as(mut self, replaced: &Metadata) -> Result<()> {
        let name = self.name.clone();
        let mut commit = || {
            let (file, folder) = match (&self.file, &self.places) {
                (Some(file), Some((_, place))) => (file, place.parent().map(Path::to_owned)),
                _ => return self.try_commit(),
            };
            let _ = std::os::unix::fs::fchown(file, Some(replaced.uid()), Some(replaced.gid()));
            file.set_permissions(replaced.permissions())?;
            self.try_commit()?;
            let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(PathBuf::from("."));
            File::open(folder)?.sync_all()
        };
        commit().map_err(|error| fault("write", &name, &error))
    }

    /// As [`Output::commit`], but does not take the place of a file that is there. Whether it was not.
    pub fn commit_new(mut self) -> Result<bool> {
        let name = self.name.clone();
        let mut commit = || -> std::io::Result<()> {
            self.sink.flush()?;
            if let (Some(file), Some((partial, place))) = (&self.file, &self.places) {
                file.sync_all()?;
                // Dropping it removes the other name.
                std::fs::hard_link(partial, place)?;
            }
            Ok(())
        };
        match commit() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(fault("write", &name, &error)),
        }
    }

    fn try_commit(&mut self) -> std::io::Result<()> {
        self.sink.flush()?;
        if let (Some(file), Some((partial, place))) = (&self.file, &self.places) {
            file.sync_all()?;
            std::fs::rename(partial, place)?;
            self.places = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.places {
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Writes to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut output = Output::create(None)?;
    output.write(text.as_bytes())?;
    output.commit()
}

fn fault(what: &str, name: &str, error: &std::io::Error) -> Error {
    Error::new(Code::System, format!("could not {what} {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_appears_whole_and_takes_nobody_elses_place() {
        let folder = tempfile::tempdir().unwrap();
        let (partial, place) = (folder.path().join("partial"), folder.path().join("keystead.conf"));
        let write = |text: &[u8]| {
            let mut output = Output::create_beside(partial.clone(), &place).unwrap();
            output.write(text).unwrap();
            output
        };
        let late = write(b"first");
        assert!(!place.exists());
        assert!(late.commit_new().unwrap());
        let late = write(b"second");
        assert!(!late.commit_new().unwrap(), "somebody made it meanwhile");
        assert_eq!(std::fs::read(&place).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }
}
