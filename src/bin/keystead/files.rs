//! Standard input and output, and files that appear whole or not at all.

#![forbid(unsafe_code)]

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
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

    /// What another source gives.
    pub fn of(source: Box<dyn Read>, name: String, size: u64) -> Input {
        Input { source, name, size: Some(size) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
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
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
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
/// readable by its owner only. What is there and is no file (a pipe, a device) is written to as it is.
pub struct Output {
    sink: Box<dyn Write>,
    name: String,
    draft: Option<Draft>,
}

/// A file while it is written. Dropping it removes it.
struct Draft {
    file: File,
    /// Where it is meanwhile. `None` where it has no name, and so is gone even if we are killed.
    partial: Option<PathBuf>,
    /// Where it belongs.
    place: PathBuf,
}

impl Output {
    pub fn create(path: Option<&Path>) -> Result<Output> {
        // Under a name it may lead to a file, which is not ours to replace.
        const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
        let Some(path) = path.filter(|path| !STDOUT.iter().any(|name| *path == Path::new(name))) else {
            let sink = Box::new(std::io::stdout().lock());
            return Ok(Output { sink, name: STANDARD_OUTPUT.into(), draft: None });
        };
        let name = path.display().to_string();
        let failed = |error: std::io::Error| fault("write", &name, &error);
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                let sink = Box::new(OpenOptions::new().write(true).open(path).map_err(failed)?);
                Ok(Output { sink, name, draft: None })
            }
            // Where it really lies: a link stays, and names what is written.
            Ok(_) => Output::of(path.canonicalize().and_then(|place| Draft::unnamed(&place)), name),
            Err(_) if path.is_symlink() => {
                Err(Error::new(Code::System, format!("could not write {name}: it is a link to nothing; remove it")))
            }
            Err(_) => Output::of(Draft::unnamed(path), name),
        }
    }

    /// A file that is `partial` while it is written, and then takes the place of `path`.
    pub fn create_beside(partial: PathBuf, path: &Path) -> Result<Output> {
        Output::of(Draft::named(partial, path), path.display().to_string())
    }

    fn of(draft: std::io::Result<Draft>, name: String) -> Result<Output> {
        let draft = draft.and_then(|draft| draft.file.try_clone().map(|file| (draft, file)));
        let (draft, sink) = draft.map_err(|error| fault("write", &name, &error))?;
        Ok(Output { sink: Box::new(sink), name, draft: Some(draft) })
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
        let mut commit = || {
            let Some(Draft { file, place, .. }) = &self.draft else { return self.try_commit() };
            let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned);
            let _ = std::os::unix::fs::fchown(file, Some(replaced.uid()), Some(replaced.gid()));
            file.set_permissions(replaced.permissions())?;
            self.try_commit()?;
            File::open(folder.unwrap_or(PathBuf::from(".")))?.sync_all()
        };
        commit().map_err(|error| fault("write", &self.name, &error))
    }

    /// As [`Output::commit`], but does not take the place of a file that is there. Whether it was not.
    pub fn commit_new(mut self) -> Result<bool> {
        let mut commit = || {
            self.sink.flush()?;
            // Dropping the draft removes the other name.
            self.draft.as_ref().map_or(Ok(()), |draft| draft.link())
        };
        match commit() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(fault("write", &self.name, &error)),
        }
    }

    fn try_commit(&mut self) -> std::io::Result<()> {
        self.sink.flush()?;
        self.draft.as_mut().map_or(Ok(()), Draft::replace)
    }
}

impl Draft {
    fn named(partial: PathBuf, place: &Path) -> std::io::Result<Draft> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        Ok(Draft { file, partial: Some(partial), place: place.to_owned() })
    }

    /// One without a name, where the file system has such files.
    fn unnamed(place: &Path) -> std::io::Result<Draft> {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let opened = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder);
        match opened {
            // It gets its name by way of /proc.
            Ok(file) if Path::new("/proc/self/fd").is_dir() => {
                Ok(Draft { file, partial: None, place: place.to_owned() })
            }
            _ => Draft::named(partial_of(place)?, place),
        }
    }

    fn replace(&mut self) -> std::io::Result<()> {
        self.file.sync_all()?;
        let partial = match self.partial.take() {
            Some(partial) => partial,
            None => {
                let partial = partial_of(&self.place)?;
                keystead::platform::link_unnamed(&self.file, &partial)?;
                partial
            }
        };
        std::fs::rename(self.partial.insert(partial), &self.place)?;
        self.partial = None;
        Ok(())
    }

    fn link(&self) -> std::io::Result<()> {
        self.file.sync_all()?;
        match &self.partial {
            Some(partial) => std::fs::hard_link(partial, &self.place),
            None => keystead::platform::link_unnamed(&self.file, &self.place),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// A name beside `place` that nobody else uses, and nobody who was killed did.
pub fn partial_of(place: &Path) -> std::io::Result<PathBuf> {
    let mut random = [0; 8];
    keystead::platform::fill_random(&mut random)?;
    let mut partial = place.as_os_str().to_owned();
    partial.push(format!(".{:016x}.partial", u64::from_ne_bytes(random)));
    Ok(partial.into())
}

/// Refuses to write to a file that is needed as it is: nothing might bring it back. Another name of it is the same file.
pub fn spare<'a>(output: &Path, needed: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
        Some((metadata.dev(), metadata.ino()))
    };
    let Some(place) = identity(output) else { return Ok(()) };
    match needed.into_iter().find(|file| identity(file) == Some(place)) {
        None => Ok(()),
        Some(file) => {
            let (output, file) = (output.display(), file.display());
            let text =
                format!("could not write {output}: this command reads {file}, which is to stay; name another file");
            Err(Error::new(Code::InvalidArgument, text))
        }
    }
}

/// Writes to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut output = Output::create(None)?;
    output.write(text.as_bytes())?;
    output.commit()
}

/// No fault of anybody: who reads has seen enough.
pub const READER_LEFT: &str = "whoever reads standard output has left";
const STANDARD_OUTPUT: &str = "standard output";

fn fault(what: &str, name: &str, error: &std::io::Error) -> Error {
    // What is decrypted while it is read fails as decryption does.
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        return error.clone();
    }
    let text = match (what, error.kind()) {
        ("write", ErrorKind::BrokenPipe) if name == STANDARD_OUTPUT => READER_LEFT.into(),
        ("write", ErrorKind::NotFound) => format!("could not write {name}: {error}; make its folder first"),
        _ => format!("could not {what} {name}: {error}"),
    };
    Error::new(Code::System, text)
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
