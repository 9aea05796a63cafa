//! `keystead init`: writes a configuration, asks on a terminal for what no flag says, and checks it.
//!
//! The file appears whole and usable, or not at all, and never in the place of another.

#![forbid(unsafe_code)]

use std::fs::DirBuilder;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use keystead::client::{Check, Verdict};
use keystead::{Client, Code, Error, Result, config};

use crate::files::{Output, partial_of};
use crate::show;

#[derive(Args)]
pub struct Init {
    /// What the application is called in every record of the log
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A key server; the first is the primary, further ones are taken in this order when it does not answer
    #[arg(long = "server", value_name = "HOST[:PORT]")]
    servers: Vec<String>,
    /// Who issued the key servers' certificates: a file, or sha256:… of the one server's certificate itself
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// The certificate that the key manager issued to this application: a file, or env:… or cred:…
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,
    /// The private key of that certificate: a file, or env:… or cred:…
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// The folder for the log, the audit trail and the state of the keys; it is made if it is not there
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// For tests: policy "relaxed", which lets a key server be on this machine
    #[arg(long)]
    relaxed: bool,
    /// Check the file and what it names, and leave the key servers alone
    #[arg(long)]
    offline: bool,
    /// The file to write, if it is not that of --config or KEYSTEAD_CONFIG
    file: Option<PathBuf>,
}

/// What goes into the file.
struct Answers {
    name: String,
    servers: Vec<String>,
    ca: String,
    certificate: String,
    key: String,
    data: String,
}

pub fn run(command: Init, config: Option<&Path>, json: bool) -> Result<ExitCode> {
    let (relaxed, offline) = (command.relaxed, command.offline);
    let Some(file) = command.file.clone().or(config.map(Path::to_owned)) else {
        return usage("say which file to write: `keystead init FILE`");
    };
    if file.symlink_metadata().is_ok() {
        return Err(exists(&file));
    }
    let file = std::path::absolute(&file).map_err(|error| failed(&file, &error))?;
    let missing = command.missing();
    if !missing.is_empty() && !std::io::stdin().is_terminal() {
        return usage(&format!("there is no terminal to ask on, so say {}", missing.join(", ")));
    }
    let answers = command.complete()?;
    let warnings = write(&file, &answers, relaxed)?;
    if !json {
        show::text(&format!("wrote {}\n", file.display()))?;
    }
    let checks = match offline {
        true => warnings,
        false => check(&file)?,
    };
    report(&file, &checks, json)
}

impl Init {
    /// The flags that have to be asked for.
    fn missing(&self) -> Vec<&'static str> {
        let said = [
            ("--name", self.name.is_some()),
            ("--server", !self.servers.is_empty()),
            ("--ca", self.ca.is_some()),
            ("--certificate", self.certificate.is_some()),
            ("--key", self.key.is_some()),
            ("--data", self.data.is_some()),
        ];
        said.into_iter().filter(|(_, is_said)| !is_said).map(|(flag, _)| flag).collect()
    }

    fn complete(self) -> Result<Answers> {
        let or_ask = |said: Option<String>, question: &str| said.map_or_else(|| insist(question), Ok);
        let name = or_ask(self.name, "What the application is called in every record of the log")?;
        let mut servers = self.servers;
        if servers.is_empty() {
            servers.push(insist("The primary key server, as HOST or HOST:PORT")?);
            while let Some(another) = ask("Another one for when it does not answer (empty: no more)")? {
                servers.push(another);
            }
        }
        Ok(Answers {
            name,
            servers,
            ca: or_ask(self.ca, "The file of who issued the key servers' certificates (PEM)")?,
            certificate: or_ask(self.certificate, "The file of this application's certificate (PEM)")?,
            key: or_ask(self.key, "The file of its private key (PEM)")?,
            data: or_ask(self.data, "The folder for the log, the audit trail and the state of the keys")?,
        })
    }
}

/// Asks until there is an answer.
fn insist(question: &str) -> Result<String> {
    loop {
        if let Some(answer) = ask(question)? {
            return Ok(answer);
        }
    }
}

/// One line from the terminal; none if it is empty.
fn ask(question: &str) -> Result<Option<String>> {
    let unanswered = |error| Error::new(Code::System, format!("could not ask for what is missing: {error}"));
    write!(std::io::stderr(), "{question}: ").map_err(unanswered)?;
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).map_err(unanswered)? == 0 {
        return Err(Error::new(
            Code::InvalidArgument,
            "the input ended before everything was said; nothing was written",
        ));
    }
    Ok(Some(line.trim().to_owned()).filter(|answer| !answer.is_empty()))
}

/// Writes the file if it can be used, and returns what its owner should know of it.
fn write(file: &Path, answers: &Answers, relaxed: bool) -> Result<Vec<Check>> {
    let text = answers.text(relaxed)?;
    let data = std::path::absolute(&answers.data).map_err(|error| failed(Path::new(&answers.data), &error))?;
    let is_new_folder = make_folder(&data)?;
    let outcome = write_checked(file, &text);
    if outcome.is_err() && is_new_folder {
        let _ = std::fs::remove_dir(&data);
    }
    outcome
}

fn write_checked(file: &Path, text: &str) -> Result<Vec<Check>> {
    let partial = partial_of(file).map_err(|error| failed(file, &error))?;
    let mut output = Output::create_beside(partial.clone(), file)?;
    output.write(text.as_bytes())?;
    let (_, findings) = config::load(&partial).map_err(|error| {
        let message = error.message().replace(&*partial.to_string_lossy(), &file.to_string_lossy());
        Error::new(error.code(), format!("{message}; nothing was written"))
    })?;
    if !output.commit_new()? {
        return Err(exists(file));
    }
    let warn =
        |message: &String| Check { verdict: Verdict::Warning, about: "configuration".into(), message: message.clone() };
    Ok(findings.iter().map(|finding| warn(&finding.message)).collect())
}

impl Answers {
    fn text(&self, relaxed: bool) -> Result<String> {
        let policy =
            if relaxed { "# Key servers may be on this machine: for tests only.\npolicy = \"relaxed\"\n" } else { "" };
        let servers = self.servers.iter().map(|server| server_section(server)).collect::<Result<String>>()?;
        let data = absolute(&self.data)?;
        let in_data = |prefix: &str, name: &str| quoted(&format!("{prefix}{}/{name}", data.trim_end_matches('/')));
        Ok(format!(
            "# Written by `keystead init`. docs/CONFIG.md describes everything that may stand here.\n\n\
             [client]\nname = {}\n{policy}\n\
             [tls]\nca_certificate = {}\nclient_certificate = {}\nclient_key = {}\n\
             {servers}\n\
             [keys]\nstate = {}\n\n\
             [log]\ntarget = {}\n\n\
             [audit]\nfile = {}\n",
            quoted(&self.name)?,
            reference(&self.ca)?,
            reference(&self.certificate)?,
            reference(&self.key)?,
            in_data("", "keys.state")?,
            in_data("file:", "keystead.log")?,
            in_data("", "audit.csv")?,
        ))
    }
}

/// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`. What is neither is left to the check of the file, which says why.
fn server_section(server: &str) -> Result<String> {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')) => {
            (host.trim_start_matches('[').trim_end_matches(']'), Some(port))
        }
        _ => (server, None),
    };
    let port = port.map(|port| format!("port = {}\n", port.parse::<u16>().unwrap_or_default())).unwrap_or_default();
    Ok(format!("\n[[server]]\nhost = {}\n{port}", quoted(host)?))
}

/// A path, from the root on because it is looked for from the file's folder; or a reference as it is.
fn reference(text: &str) -> Result<String> {
    match ["env:", "file:", "cred:", "sha256:"].iter().any(|kind| text.starts_with(kind)) {
        true => quoted(text),
        false => quoted(&absolute(text)?),
    }
}

fn absolute(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|error| failed(Path::new(path), &error))?;
    absolute.into_os_string().into_string().map_err(|_| {
        Error::new(
            Code::InvalidArgument,
            format!("the folder of {path:?} is no text, so a configuration cannot name it"),
        )
    })
}

/// TOML's strings are JSON's, but for the delete character, which it does not take.
fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(show::failed)
}

/// Whether it had to be made.
fn make_folder(folder: &Path) -> Result<bool> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match folder.is_dir() {
            true => Ok(false),
            false => Err(failed(folder, &ErrorKind::NotADirectory.into())),
        },
        Err(error) => Err(failed(folder, &error)),
    }
}

/// What `keystead doctor` finds.
fn check(file: &Path) -> Result<Vec<Check>> {
    let client = Client::open(file)?;
    let checks = client.diagnose();
    let closed = client.close();
    checks.and_then(|checks| closed.map(|()| checks))
}

fn report(file: &Path, checks: &[Check], json: bool) -> Result<ExitCode> {
    let is_sound = checks.iter().all(|check| check.verdict != Verdict::Fault);
    let file = file.display().to_string();
    if json {
        show::json(&serde_json::json!({ "written": file, "checks": checks }))?;
    } else {
        show::text(&show::checks(checks))?;
        let next =
            if is_sound { "keystead key create NAME" } else { "mend what is called FAULT, then: keystead doctor" };
        show::text(&format!("next:\n    export KEYSTEAD_CONFIG='{}'\n    {next}\n", file.replace('\'', "'\\''")))?;
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn usage(text: &str) -> Result<ExitCode> {
    show::complaint(&format!("keystead: {text}; `keystead init --help` explains it\n"));
    Ok(ExitCode::from(2))
}

fn exists(file: &Path) -> Error {
    let text = format!("{} is there already, and is left as it is; name another file, or remove it", file.display());
    Error::new(Code::InvalidArgument, text)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::System, format!("could not write {}: {error}; nothing was written", path.display()))
}
