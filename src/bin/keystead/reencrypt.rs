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
use keystead::log::counted;
use keystead::{Client, Code, Error, Result};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::files::{Input, Output};
use crate::messages::{MAX_ENCRYPTED, whole_message};
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
    // What cannot be told now is tried and named below.
    folder.walk(&mut Failures::default(), &mut |file, ignored| {
        if newest.is_old(&file, ignored)? {
            files += 1;
            bytes += file.size;
        }
        Ok(())
    })?;
    let (mut moved, mut failures) = (0, Failures::default());
    if files > 0 {
        let progress = Progress::new("moving", Some(bytes));
        folder.walk(&mut failures, &mut |file, failures| {
            if newest.is_old(&file, failures)? {
                moved += u64::from(failures.named(&file.path, file.replace(client, &command.aad(&file)))?.is_some());
                progress.advance(usize::try_from(file.size).unwrap_or(usize::MAX));
            }
            Ok(())
        })?;
    }
    let outcome = prove(&folder, &mut newest, moved, failures, command.deactivate)?;
    if json {
        show::json(&outcome)?
    } else {
        outcome.print(&command.key)?
    }
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at every file again. What is still of an older version is a failure.
fn prove(
    folder: &Folder<'_>,
    newest: &mut Newest<'_>,
    moved: u64,
    mut failures: Failures,
    deactivate: bool,
) -> Result<Outcome> {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let others = folder.walk(&mut failures, &mut |file, failures| {
        *versions.entry(file.id.to_string()).or_default() += 1;
        if newest.is_old(&file, failures)? {
            let reason = format!("it was written with {} while the files were moved; run the command again", file.id);
            failures.note(&file.path, reason);
        }
        Ok(())
    })?;
    let failed = failures.list();
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

/// What could not be done, by file or folder, and why.
#[derive(Default)]
struct Failures(BTreeMap<PathBuf, String>);

impl Failures {
    /// The first reason is the one that says most.
    fn note(&mut self, path: &Path, reason: String) {
        self.0.entry(path.to_owned()).or_insert(reason);
    }

    /// What was done with a file or folder, unless it failed for a reason of its own: then that is noted.
    fn named<T>(&mut self, path: &Path, done: Result<T>) -> Result<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            // It would be the same with every other.
            Err(error) if is_outage(&error) => Err(error),
            Err(error) => {
                self.note(path, error.message().to_owned());
                Ok(None)
            }
        }
    }

    fn list(self) -> Vec<Failure> {
        self.0.into_iter().map(|(path, reason)| Failure { file: path.display().to_string(), reason }).collect()
    }
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
    /// Or why there is none.
    ids: BTreeMap<String, std::result::Result<KeyId, String>>,
}

/// Whether the servers that can tell could not be asked. It is no fault of a file.
fn is_outage(error: &Error) -> bool {
    error.code().is_transport() || error.code() == Code::KeyNotFound && !error.attempts().is_empty()
}

impl Newest<'_> {
    /// Whether a file is of an older version. Of a key without a newest one nobody can tell: then that is noted.
    fn is_old(&mut self, file: &Encrypted, failures: &mut Failures) -> Result<bool> {
        let name = &file.id.name;
        if !self.ids.contains_key(name) {
            let newest = match self.client.key(name).and_then(|key| key.id()) {
                Err(error) if is_outage(&error) => return Err(error),
                Err(error) if error.code() == Code::KeyNotFound => Err(format!(
                    "no key server has its key {}; use those that have it, or leave it out with a narrower --key",
                    file.id
                )),
                newest => newest.map_err(|error| error.message().to_owned()),
            };
            self.ids.insert(name.clone(), newest);
        }
        match &self.ids[name] {
            Ok(newest) => Ok(file.id.version < newest.version),
            Err(reason) => {
                failures.note(&file.path, reason.clone());
                Ok(false)
            }
        }
    }

    /// The older versions that still encrypt.
    fn older(&self) -> Result<Vec<KeyId>> {
        let mut older = Vec::new();
        for newest in self.ids.values().flatten() {
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
    /// Shows every file of the keys to `visit`, and returns how many others there are. What cannot be looked at is noted.
    /// Symbolic links are not followed.
    fn walk(&self, failures: &mut Failures, visit: &mut Visit<'_>) -> Result<u64> {
        let (mut others, mut folders) = (0, vec![self.root.to_owned()]);
        while let Some(folder) = folders.pop() {
            // The root is locked for the whole run.
            let locked = if folder == self.root { Ok(None) } else { lock(&folder).map(Some) };
            let Some(_lock) = failures.named(&folder, locked)? else { continue };
            for entry in failures.named(&folder, entries(&folder))?.unwrap_or_default() {
                let path = entry.path();
                let kind = entry.file_type().map_err(|error| unreadable(&path, &error));
                let Some(kind) = failures.named(&path, kind)? else { continue };
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && path.to_string_lossy().ends_with(PARTIAL) {
                    let removed = std::fs::remove_file(&path).map_err(|error| unreadable(&path, &error));
                    failures.named(&path, removed)?;
                } else if kind.is_file() {
                    match failures.named(&path, Encrypted::look(&path))? {
                        Some(Some(file)) if self.holds(&file) => visit(file, failures)?,
                        Some(_) => others += 1,
                        None => {}
                    }
                } else {
                    others += 1;
                }
            }
        }
        Ok(others)
    }

    /// The key of a data space has no newer version, whatever the pattern says.
    fn holds(&self, file: &Encrypted) -> bool {
        file.id.space().is_none() && self.pattern.matches(&file.id.name)
    }
}

type Visit<'a> = dyn FnMut(Encrypted, &mut Failures) -> Result<()> + 'a;

fn entries(folder: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let read = std::fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut entries = read.map_err(|error| unreadable(folder, &error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    Ok(entries)
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
        let whole = if is_stream { Zeroizing::new(start) } else { whole_message(&mut input, &start)? };
        let id = key_id(&whole).ok();
        Ok(id.map(|id| Encrypted { path: path.to_owned(), id, is_stream, size: seen.size, seen }))
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
            let text = format!("{} was written to while it was moved, and is left as it is", self.path.display());
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
        let moved = client.reencrypt_many(values, &self.id.name, &mut out, &mut offsets);
        let size = moved.map_err(|error| {
            let alone = error.message().strip_prefix("value 0 (from 0) of the batch: ").map(str::to_owned);
            alone.map_or(error.clone(), |alone| Error::new(error.code(), alone).after(error.attempts().to_vec()))
        })?;
        out.truncate(size);
        Ok(out)
    }
}

impl Outcome {
    fn print(&self, key: &str) -> Result<()> {
        let mut text = format!("{} moved\n", counted(self.moved, "file"));
        for failure in &self.failed {
            text += &format!("not moved: {}: {}\n", failure.file, failure.reason);
        }
        for (version, files) in &self.versions {
            text += &format!("{version}: {}\n", counted(*files, "file"));
        }
        text += &format!("{} of another kind or key\n", counted(self.others, "file"));
        if self.failed.is_empty() && self.versions.is_empty() {
            text += &format!("nothing here is encrypted with {key}\n");
        }
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

/// One run at a time works in a folder: two would take each other's files for those of a run that was killed.
fn lock(folder: &Path) -> Result<File> {
    let file = File::open(folder).map_err(|error| unreadable(folder, &error))?;
    if !folder.is_dir() {
        let text =
            format!("{} cannot be searched: it is no folder; name the folder that its file lies in", folder.display());
        return Err(Error::new(Code::InvalidArgument, text));
    }
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
    let remedy = if error.kind() == ErrorKind::NotFound { "; correct the path" } else { "" };
    Error::new(Code::System, format!("could not work on {}: {error}{remedy}", path.display()))
}
