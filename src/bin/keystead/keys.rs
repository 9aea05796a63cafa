//! `keystead key …`

#![forbid(unsafe_code)]

use clap::Subcommand;
use keystead::client::{Creation, KeyInfo};
use keystead::{Client, Result};

use crate::show;

#[derive(Subcommand)]
pub enum Command {
    /// Make a named key on the key server; says so where the name has one already
    Create {
        /// 1 to 128 letters, digits, dots, underscores and hyphens
        name: String,
    },
    /// List every key that the key servers know under Keystead's naming
    List,
    /// Show every version of a key
    Show { name: String },
}

pub fn run(command: Command, client: &Client, json: bool) -> Result<()> {
    match command {
        Command::Create { name } => create(client, &name, json),
        Command::List => table(&client.list_keys()?, json),
        Command::Show { name } => table(&client.show_key(&name)?, json),
    }
}

fn create(client: &Client, name: &str, json: bool) -> Result<()> {
    let (key, creation) = client.create_key(name)?;
    let created = creation == Creation::Created;
    if json {
        return show::json(&serde_json::json!({ "key": key.id()?.to_string(), "created": created }));
    }
    let done = if created { "created" } else { "existed already:" };
    show::text(&format!("{done} {}\n", key.id()?))
}

fn table(keys: &[KeyInfo], json: bool) -> Result<()> {
    if json {
        return show::json(&keys);
    }
    let mut rows = vec![["KEY", "STATE", "ALGORITHM", "IDENTIFIER", "CREATED", "SERVER"].map(String::from)];
    rows.extend(keys.iter().map(row));
    show::text(&show::columns(&rows))
}

fn row(key: &KeyInfo) -> [String; 6] {
    let algorithm = match (&key.algorithm, key.length_bits) {
        (Some(algorithm), Some(bits)) => format!("{algorithm}-{bits}"),
        (algorithm, _) => algorithm.clone().unwrap_or("?".into()),
    };
    let created = key.created.map_or("?".into(), show::utc);
    [
        format!("{}/{}", key.name, key.version),
        key.state.clone(),
        algorithm,
        key.identifier.clone(),
        created,
        key.server.clone(),
    ]
}
