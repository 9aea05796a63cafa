//! The command-line tool: for administrators, and for every test that looks from outside.
//!
//! Human-readable by default, `--json` where a program may read it.

#![forbid(unsafe_code)]

mod files;
mod init;
mod inspect;
mod keys;
mod logs;
mod messages;
mod progress;
mod reencrypt;
mod report;
mod show;
mod spaces;
mod streams;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keystead::{Client, Code, Error, Result};

/// Encrypt data at rest with keys that stay in a KMIP key manager.
#[derive(Parser)]
#[command(name = "keystead", version, arg_required_else_help = true, after_help = STATUSES)]
struct Arguments {
    /// The configuration file, if it is not the one that KEYSTEAD_CONFIG names
    #[arg(long, value_name = "FILE", global = true, display_order = LAST)]
    config: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true, display_order = LAST)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const STATUSES: &str = "Exit status: 0 done, 1 failed or not as it should be, 2 wrong usage";
/// Behind what a command takes of its own.
const LAST: usize = 900;

#[derive(Subcommand)]
enum Command {
    /// Write a configuration and check it; asks on a terminal for what no flag says
    Init(init::Init),
    /// Create, list, rotate and revoke named keys on the key servers
    #[command(subcommand)]
    Key(keys::Command),
    /// Create and rewrap data spaces: one key for all data in a place, kept near it under a key of the key server
    #[command(subcommand)]
    Space(spaces::Command),
    /// Encrypt standard input, or a file: up to 64 KiB into a message, more into a stream
    Encrypt(messages::Encrypt),
    /// Decrypt a message or a stream with the key that it names
    Decrypt(messages::Decrypt),
    /// Show what a message, a stream or a protected DEK says of itself; no key and no configuration needed, but with --layers
    Inspect(inspect::Inspect),
    /// Move the files of a folder to the newest version of their key, and prove that no older one is left
    Reencrypt(reencrypt::Reencrypt),
    /// Ask every key server whether it answers; fails if none does
    Status,
    /// Look at the configuration, its files, the memory and what every key server can do; fails if anything does not work
    Doctor,
    /// Work with audit trails
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Work with logs and audit trails
    #[command(subcommand)]
    Log(logs::Command),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Turn an audit trail into a page for people: what was done, by key and server, failures, failovers, rotations due
    Report(report::Arguments),
}

impl Command {
    /// Where the command writes to, and which files it takes for granted.
    fn output(&self) -> Option<(&Path, Vec<&Path>)> {
        match self {
            Command::Encrypt(command) => command.output(),
            Command::Decrypt(command) => command.output(),
            Command::Audit(AuditCommand::Report(report)) => report.output(),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            if error.message() != files::READER_LEFT {
                show::complaint(&format!("keystead: {error}\n"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { config, json, command } = arguments;
    // An empty variable names no file, as one that is not set.
    let named = std::env::var_os("KEYSTEAD_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
    let config = config.or(named);
    let config = config.as_deref();
    if let Some((output, needed)) = command.output() {
        files::spare(output, needed.into_iter().chain(config))?;
    }
    match command {
        Command::Init(command) => return init::run(command, config, json),
        Command::Key(command) => with_client(config, |client| keys::run(command, client, json))?,
        Command::Space(command) => with_client(config, |client| spaces::run(command, client, json))?,
        Command::Encrypt(command) => with_client(config, |client| messages::encrypt(&command, client))?,
        Command::Decrypt(command) => with_client(config, |client| messages::decrypt(&command, client))?,
        Command::Inspect(command) if command.decrypts() => {
            with_client(config, |client| inspect::layers(&command, client, json))?;
        }
        Command::Inspect(command) => inspect::outermost(&command, json)?,
        Command::Reencrypt(command) => return with_client(config, |client| reencrypt::run(&command, client, json)),
        Command::Doctor => return with_client(config, |client| show::doctor(client, json)),
        Command::Status => return with_client(config, |client| show::status(client, json)),
        Command::Audit(AuditCommand::Report(report)) if report.asks() => {
            with_client(config, |client| report::run(&report, Some(client), json))?;
        }
        Command::Audit(AuditCommand::Report(report)) => report::run(&report, None, json)?,
        Command::Log(command) => return logs::run(&command, json),
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the client of one command, and closes it when the command is done.
fn with_client<T>(config: Option<&Path>, command: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    let missing = || {
        let message = "no configuration was named: say `keystead --config FILE …` or set KEYSTEAD_CONFIG";
        Error::new(Code::InvalidArgument, message)
    };
    let client = Client::open(config.ok_or_else(missing)?)?;
    let result = command(&client);
    let closed = client.close();
    // What the command failed for says more.
    result.and_then(|result| closed.map(|()| result))
}
