//! `keystead space …`

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::Subcommand;
use keystead::client::{Creation, Key, Original, Rewrapped};
use keystead::envelope::KeyId;
use keystead::envelope::protected::MAX_SIZE;
use keystead::{Client, Code, Error, Result};

use crate::files::Input;
use crate::show;

#[derive(Subcommand)]
pub enum Command {
    /// Make the key of a data space, and write it, encrypted by the key server, to a file; says so where it is there already
    Create {
        /// The key encryption key: `keystead key create --kek NAME` makes one
        #[arg(long, value_name = "NAME")]
        kek: String,
        /// The data space's name, if it is not the file's name without its ending
        #[arg(long, value_name = "SPACE")]
        name: Option<String>,
        /// Leave the key server's own copy of the key where it is
        #[arg(long)]
        keep_original: bool,
        /// Where the protected key belongs, near the data
        file: PathBuf,
    },
    /// Have the key of a data space encrypted under the newest version of a key encryption key; the data stays as it is
    Rewrap {
        /// The key encryption key, the same as before or another
        #[arg(long, value_name = "NAME")]
        kek: String,
        /// The protected key
        file: PathBuf,
    },
    /// Destroy the key server's own copy of the key of a data space, which an interrupted creation or --keep-original left
    Discard {
        /// The space and the version of its key, as `keystead key list` shows them after `space:`
        #[arg(value_name = "SPACE/VERSION")]
        id: String,
        /// Say that nothing is left that this copy alone can read
        #[arg(long, required = true)]
        unreadable_for_ever: bool,
    },
}

pub fn run(command: Command, client: &Client, json: bool) -> Result<()> {
    match command {
        Command::Create { kek, name, keep_original, file } => {
            let name = name.map_or_else(|| stem(&file), Ok)?;
            let original = if keep_original { Original::Keep } else { Original::Destroy };
            let (key, creation) = client.create_space(&name, &kek, &file, original)?;
            created(&key, creation == Creation::Created, &file, json)
        }
        Command::Rewrap { kek, file } => rewrapped(&client.rewrap_space(&kek, &file)?, json),
        Command::Discard { id, unreadable_for_ever: _ } => {
            let id = KeyId::parse(&id)?;
            client.discard_original(&id.name, id.version)?;
            if json {
                return show::json(&serde_json::json!({ "key": format!("space:{id}"), "done": "destroyed" }));
            }
            show::text(&format!("the key server's own copy of space:{id} is destroyed\n"))
        }
    }
}

/// Unlocks the space in a file if its name is the expected one.
pub fn unlock(client: &Client, file: &Path, expect: &str) -> Result<Key> {
    let protected = Input::open(Some(file))?.rest(&[], MAX_SIZE)?;
    client.unlock_space(&protected, expect).map_err(|error| match error.code() {
        Code::NotAuthentic => Error::new(error.code(), format!("{}: {}", file.display(), error.message())),
        _ => error,
    })
}

/// The name of a space whose file has the usual name.
pub fn stem(file: &Path) -> Result<String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    stem.ok_or_else(|| {
        let message = format!("{} does not tell the name of a data space; say --name SPACE", file.display());
        Error::new(Code::InvalidArgument, message)
    })
}

fn created(key: &Key, created: bool, file: &Path, json: bool) -> Result<()> {
    let id = key.id()?.to_string();
    if json {
        return show::json(&serde_json::json!({ "key": id, "created": created, "file": file }));
    }
    let done = if created { "created" } else { "existed already:" };
    show::text(&format!("{done} {id} in {}\n", file.display()))
}

fn rewrapped(done: &Rewrapped, json: bool) -> Result<()> {
    let Rewrapped { space, from, to, is_changed } = done;
    if json {
        let done = serde_json::json!({
            "key": space.to_string(), "from": from.to_string(), "to": to.to_string(), "changed": is_changed,
        });
        return show::json(&done);
    }
    match is_changed {
        true => show::text(&format!("{space} is under {to} now, and was under {from}\n")),
        false => show::text(&format!("{space} is under {to} already\n")),
    }
}
