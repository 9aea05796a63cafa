//! `keystead reencrypt`: moves the files of a folder to the newest version of their key.
//!
//! Each file tells which version it needs, so a run that was killed goes on by looking at the files again. A file is
//! replaced in one step by one that was written whole beside it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use keystead::client::Revocation;
use keystead::envelope::{KeyId, Pattern, key_id, stream};
use keystead::{Client, Code, Error, Result};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::files::{Input, Output};
use crate::messages::MAX_ENCRYPTED;
use crate::progress::Progress;
use crate::{show, streams};

#[derive(Args)]
pub struct Reencrypt {
    /// Move what is encrypted with this key to its newest version: a name, or a prefix followed by `*`
    #[arg(long, value_name = "PATTERN")]
    key: String,
    /// The associated data given to encrypt; `{path}` stands for a file's path below FOLDER, `{name}` for its name
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// Once no file of an older version is left, deactivate the older versions: they go on decrypting
    #[arg(long)]
    deactivate: bool,
    /// All files in it and in the folders below are looked at
    folder: PathBuf,
}

/// What a run did, and what its last look found.
#[derive(Serialize)]
struct Outcome {
    /// Files that were written anew.
    moved: u64,
    /// How many files there are of each version.
    versions: BTreeMap<String, u64>,
    /// Files that are neither messages nor streams of these keys; they were left alone.
    others: u64,
    failed: Vec<Failure>,
    /// Versions that no file of the folder needs any more.
    superseded: Vec<String>,
    deactivated: Vec<String>,
}

#[derive(Serialize)]
struct Failure {
    file: String,
    reason: String,
}

pub fn run(command: &Reencrypt, client: &Client, json: bool) -> Result<ExitCode> {
    let pattern = Pattern::parse(&command.key)?;
    let _lock = lock(&command.folder)?;
    let folder = Folder { root: &command.folder, pattern };
    let mut newest = Newest { client, ids: BTreeMap::new() };

    let (mut files, mut bytes) = (0, 0);
    folder.walk(&mut |file| {
        if newest.is_old(&file.id)? {
            files += 1;
            bytes += file.size;
        }
        Ok(())
    })?;
    let (mut moved, mut failed) = (0, Vec::new());
    if files > 0 {
        let progress = Progress::new("moving", Some(bytes));
        folder.walk(&mut |file| {
            if newest.is_old(&file.id)? {
                match file.replace(client, &command.aad(&file)) {
                    Ok(()) => moved += 1,
                    Err(error) if error.code().is_transport() => return Err(error),
                    Err(error) => failed.push(Failure { file: file.shown(), reason: error.message().to_owned() }),
                }
                progress.advance(usize::try_from(file.size).unwrap_or(usize::MAX));
            }
            Ok(())
        })?;
    }
    let outcome = prove(&folder, &mut newest, moved, failed, command.deactivate)?;
    if json {
        show::json(&outcome)?
    } else {
        outcome.print()?
    }
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at every file again. What is still of an older version is a failure.
fn prove(
    folder: &Folder<'_>,
    newest: &mut Newest<'_>,
    moved: u64,
    mut failed: Vec<Failure>,
    deactivate: bool,
) -> Result<Outcome> {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let others = folder.walk(&mut |file| {
        *versions.entry(file.id.to_string()).or_default() += 1;
        let shown = file.shown();
        if newest.is_old(&file.id)? && !failed.iter().any(|failure| failure.file == shown) {
            let reason = format!("it was written with {} while the files were moved; run the command again", file.id);
            failed.push(Failure { file: shown, reason });
        }
        Ok(())
    })?;
    let mut outcome = Outcome { moved, versions, others, failed, superseded: Vec::new(), deactivated: Vec::new() };
    if !outcome.failed.is_empty() {
        return Ok(outcome);
    }
    for id in newest.older()? {
        outcome.superseded.push(id.to_string());
        if deactivate {
            newest.client.revoke_key(&id, Revocation::Superseded)?;
            outcome.deactivated.push(id.to_string());
        }
    }
    Ok(outcome)
}

impl Reencrypt {
    fn aad(&self, file: &Encrypted) -> String {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let below = file.path.strip_prefix(&self.folder).unwrap_or(&file.path).to_string_lossy();
        self.aad.replace("{path}", &below).replace("{name}", &name)
    }
}

/// The newest active version of each name that files name.
struct Newest<'a> {
    client: &'a Client,
    ids: BTreeMap<String, KeyId>,
}

impl Newest<'_> {
    fn is_old(&mut self, id: &KeyId) -> Result<bool> {
        if !self.ids.contains_key(&id.name) {
            self.ids.insert(id.name.clone(), self.client.key(&id.name)?.id()?);
        }
        Ok(id.version < self.ids[&id.name].version)
    }

    /// The older versions that still encrypt.
    fn older(&self) -> Result<Vec<KeyId>> {
        let mut older = Vec::new();
        for newest in self.ids.values() {
            let versions = self.client.show_key(&newest.name)?;
            let is_older = |key: &&keystead::client::KeyInfo| key.version < newest.version && key.state == "active";
            for key in versions.iter().filter(is_older) {
                older.push(KeyId::new(&key.name, key.version)?);
            }
        }
        Ok(older)
    }
}

/// Of a file while it is written. One that is found was left by a run that was killed.
const PARTIAL: &str = ".keystead-reencrypting";

struct Folder<'a> {
    root: &'a Path,
    pattern: Pattern,
}

impl Folder<'_> {
    /// Shows every file of the keys to `visit`, and returns how many others there are. Symbolic links are not followed.
    fn walk(&self, visit: &mut dyn FnMut(Encrypted) -> Result<()>) -> Result<u64> {
        let (mut others, mut folders) = (0, vec![self.root.to_owned()]);
        while let Some(folder) = folders.pop() {
            let mut entries = entries(&folder)?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let (path, kind) =
                    (entry.path(), entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?);
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && path.to_string_lossy().ends_with(PARTIAL) {
                    std::fs::remove_file(&path).map_err(|error| unreadable(&path, &error))?;
                } else if kind.is_file()
                    && let Some(file) = Encrypted::look(&path)?
                    && self.pattern.matches(&file.id.name)
                {
                    visit(file)?;
                } else {
                    others += 1;
                }
            }
        }
        Ok(others)
    }
}

fn entries(folder: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let read = std::fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    read.map_err(|error| unreadable(folder, &error))
}

/// A file that is a message or a stream, as far as its first bytes tell.
struct Encrypted {
    path: PathBuf,
    id: KeyId,
    is_stream: bool,
    size: u64,
    seen: Seen,
}

/// What tells whether somebody else wrote to a file.
#[derive(PartialEq)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(path: &Path) -> Result<(Seen, std::fs::Metadata)> {
        let metadata = std::fs::symlink_metadata(path).map_err(|error| unreadable(path, &error))?;
        let seen = Seen {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        Ok((seen, metadata))
    }
}

impl Encrypted {
    /// `None` for a file of another kind, and for one that is gone by now.
    fn look(path: &Path) -> Result<Option<Encrypted>> {
        let seen = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            _ => Seen::of(path)?.0,
        };
        let mut input = Input::open(Some(path))?;
        let mut start = vec![0; stream::MAX_HEADER];
        let size = input.fill(&mut start)?;
        start.truncate(size);
        let is_stream = stream::is_stream(&start);
        // A message names its key at its end.
        let whole = if is_stream || !start.starts_with(&[0xd8, 0x60]) {
            Zeroizing::new(start)
        } else {
            input.rest(&start, MAX_ENCRYPTED)?
        };
        let id = key_id(&whole).ok();
        Ok(id.map(|id| Encrypted { path: path.to_owned(), id, is_stream, size: seen.size, seen }))
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Writes the file anew beside itself, with its mode and owner, and lets that take its place.
    fn replace(&self, client: &Client, aad: &str) -> Result<()> {
        let mut partial = self.path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let mut output = Output::create_beside(PathBuf::from(partial), &self.path)?;
        let mut input = Input::open(Some(&self.path))?;
        if self.is_stream {
            self.stream(client, aad.as_bytes(), &mut input, &mut output)?;
        } else {
            output.write(&self.message(client, aad.as_bytes(), &mut input)?)?;
        }
        let (now, metadata) = Seen::of(&self.path)?;
        if now != self.seen {
            let text = format!("{} was written to while it was moved, and is left as it is", self.shown());
            return Err(Error::new(Code::System, text));
        }
        output.commit_as(&metadata)
    }

    fn stream(&self, client: &Client, aad: &[u8], input: &mut Input, output: &mut Output) -> Result<()> {
        let mut start = vec![0; stream::MAX_HEADER];
        let size = input.fill(&mut start)?;
        let start = &start[..size];
        let decryptor = client.decrypt_stream(start, aad, &self.id.name)?;
        let start = &start[decryptor.header_size()..];
        let encryptor = client.key(&self.id.name)?.encrypt_stream(aad)?;
        streams::reencrypt(decryptor, encryptor, start, input, output)
    }

    fn message(&self, client: &Client, aad: &[u8], input: &mut Input) -> Result<Vec<u8>> {
        let message = input.rest(&[], MAX_ENCRYPTED)?;
        let (mut out, mut offsets) = (vec![0; message.len() + 16], [0; 2]);
        let values = std::iter::once((message.as_slice(), aad));
        let size = client.reencrypt_many(values, &self.id.name, &mut out, &mut offsets)?;
        out.truncate(size);
        Ok(out)
    }
}

impl Outcome {
    fn print(&self) -> Result<()> {
        let mut text = format!("{} moved\n", counted(self.moved, "file"));
        for failure in &self.failed {
            text += &format!("not moved: {}: {}\n", failure.file, failure.reason);
        }
        for (version, files) in &self.versions {
            text += &format!("{version}: {}\n", counted(*files, "file"));
        }
        text += &format!("{} of another kind or key\n", counted(self.others, "file"));
        if !self.failed.is_empty() {
            text += "older versions are still needed: mend what is named above and run the command again\n";
        } else if !self.versions.is_empty() {
            text += "proved: no file of an older version is left\n";
        }
        for version in &self.superseded {
            text += &match self.deactivated.contains(version) {
                true => format!("{version} is deactivated: it decrypts, and encrypts no more\n"),
                false => format!("to deactivate {version}: keystead key revoke {version} --reason superseded\n"),
            };
        }
        show::text(&text)
    }
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// One run at a time: two would take each other's files for those of a run that was killed.
fn lock(folder: &Path) -> Result<File> {
    let file = File::open(folder).map_err(|error| unreadable(folder, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let text = format!("another run works on {}; wait for it to end", folder.display());
            Err(Error::new(Code::System, text))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(unreadable(folder, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::System, format!("could not work on {}: {error}", path.display()))
}
