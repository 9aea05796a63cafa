//! `keystead log …`: for auditors, and for whoever sends them what they need.

#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use keystead::log::{Anchor, AuditorPrivateKey, Of, Options, Report, verify_with};
use keystead::{Code, Error, Result};
use serde_json::json;

use crate::progress::Progress;
use crate::show;

#[derive(Subcommand)]
pub enum Command {
    /// Check logs and audit trails: what is altered, missing, reordered, duplicated, inserted, cut or rewritten
    Verify(Verify),
    /// Print where a log or an audit trail stands, to be kept on another machine for `verify --anchor`
    Anchor {
        /// The file that is written to
        file: PathBuf,
    },
    /// Make the auditor's pair of keys: seals made for the public one are verified with the private one
    Keygen {
        /// The private key (mode 0600), which belongs on no machine that writes logs
        private: PathBuf,
        /// The public key, for `log.auditor_key`
        public: PathBuf,
    },
}

#[derive(Args)]
pub struct Verify {
    /// All files of one log or audit trail, also compressed ones (gzip), in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    proofs: Proofs,
    /// What the files are to be of, so that an audit trail is not taken for a log, or the reverse
    #[arg(long, value_parser = Of::ALL.map(Of::word))]
    of: Option<String>,
    /// The files are what a collector kept, with chains of many processes side by side; give the oldest first
    #[arg(long)]
    collected: bool,
}

/// What a verification may rely on.
#[derive(Args)]
pub struct Proofs {
    /// The auditor's private key, to verify the seals; may be repeated
    #[arg(long, value_name = "FILE")]
    auditor_key: Vec<PathBuf>,
    /// A file with lines of `keystead log anchor`, to prove the end; may be repeated
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
}

impl Proofs {
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.auditor_key.iter().chain(&self.anchor).map(PathBuf::as_path)
    }

    pub fn verify(&self, files: &[&Path], of: Option<Of>, is_collected: bool) -> Result<Report> {
        let keys = self.auditor_key.iter().map(|path| AuditorPrivateKey::read(path)).collect::<Result<Vec<_>>>()?;
        let anchors = self.anchor.iter().map(|path| Anchor::read_file(path)).collect::<Result<Vec<_>>>()?.concat();
        let _progress = Progress::waiting("verifying");
        verify_with(files, &Options { anchors: &anchors, auditor_keys: &keys, is_collected, of })
    }
}

pub fn run(command: &Command, as_json: bool) -> Result<ExitCode> {
    match command {
        Command::Verify(command) => return verify(command, as_json),
        Command::Anchor { file } => {
            let anchor = Anchor::of(file)?;
            if as_json { show::json(&anchor)? } else { show::text(&format!("{anchor}\n"))? }
        }
        Command::Keygen { private, public } => keygen(private, public, as_json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit status 1 if anything is wrong.
fn verify(command: &Verify, as_json: bool) -> Result<ExitCode> {
    let paths: Vec<&Path> = command.files.iter().map(PathBuf::as_path).collect();
    let of = command.of.as_deref().and_then(Of::from_word);
    show::verify(&command.proofs.verify(&paths, of, command.collected)?, as_json)
}

fn keygen(private: &Path, public: &Path, as_json: bool) -> Result<()> {
    let key = AuditorPrivateKey::generate()?;
    if private == public {
        let text = format!("the private and the public key are two files, and both were to be {}", private.display());
        return Err(Error::new(Code::InvalidArgument, text));
    }
    write_new(private, 0o600, key.to_pem()?.as_bytes())?;
    if let Err(error) = write_new(public, 0o644, key.to_public_pem()?.as_bytes()) {
        let _ = fs::remove_file(private);
        return Err(error);
    }
    let id = format!("{:016x}", u64::from_be_bytes(key.public().id()));
    let (private, public) = (private.display().to_string(), public.display().to_string());
    if as_json {
        return show::json(&json!({ "auditor_key": id, "private": private, "public": public }));
    }
    show::text(&format!(
        "auditor's key {id}\n  {private}: private; keep it away from every machine that writes logs\n  {public}: public; name it in \
         [log] auditor_key\n"
    ))
}

/// Writes all of a file or leaves none. What is there is never replaced: an old key verifies old logs.
fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|error| {
        let message =
            format!("{} could not be made: {error}; name a new file, since keys are never replaced", path.display());
        Error::new(Code::System, message)
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(path);
        Error::new(Code::System, format!("{} could not be written: {error}", path.display()))
    })
}
