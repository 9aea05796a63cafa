//! `keystead key …`

#![forbid(unsafe_code)]

use clap::{Subcommand, ValueEnum};
use keystead::client::{Creation, KekInfo, Key, KeyInfo, KeySurvey, Revocation, WithheldObject};
use keystead::envelope::KeyId;
use keystead::log::counted;
use keystead::{Client, Code, Error, Result};

use crate::show;

#[derive(Subcommand)]
pub enum Command {
    /// Make a named key on the key server; says so where the name has one already
    Create {
        /// Make a key encryption key: it never leaves the key server, and protects the keys of data spaces
        #[arg(long)]
        kek: bool,
        /// 1 to 128 letters, digits, dots, underscores and hyphens
        name: String,
    },
    /// Make the key of a user, customer or document, named by keys.template of the configuration
    Register {
        /// What tells the user apart
        id: String,
    },
    /// Print the name of the key of a user, customer or document
    Name {
        /// What tells the user apart
        id: String,
    },
    /// List every key that the key servers know under Keystead's naming
    List,
    /// Show every version of a key, and what is known to need it
    Show {
        /// A key encryption key
        #[arg(long)]
        kek: bool,
        /// The key's name
        name: String,
    },
    /// Make a new version of a key; what older versions encrypted stays readable
    Rotate {
        /// A key encryption key; then `keystead space rewrap` the keys that are under older versions
        #[arg(long)]
        kek: bool,
        /// The key's name
        name: String,
    },
    /// Make a pre-active version usable
    Activate {
        /// Name and version, for example customer-42/3
        #[arg(value_name = "NAME/VERSION")]
        id: String,
    },
    /// End a version's time: it encrypts no more, and goes on decrypting unless it is compromised
    Revoke {
        /// A key encryption key
        #[arg(long)]
        kek: bool,
        /// Name and version, for example customer-42/3
        #[arg(value_name = "NAME/VERSION")]
        id: String,
        /// Why
        #[arg(long, value_enum)]
        reason: Reason,
    },
    /// Remember that something needs a version, which is then not destroyed (kept in the file of keys.state)
    Need {
        /// A key encryption key; the files of `keystead space create` and `rewrap` are remembered without it
        #[arg(long)]
        kek: bool,
        /// Name and version, for example customer-42/3
        #[arg(value_name = "NAME/VERSION")]
        id: String,
        /// Who needs it, in words: a table, an archive
        #[arg(long, value_name = "WHAT")]
        by: String,
        /// Forget it instead
        #[arg(long)]
        no_more: bool,
    },
    /// Destroy a revoked version for good: what it encrypted can never be read again
    Destroy {
        /// A key encryption key: what is under it can never be unlocked again
        #[arg(long)]
        kek: bool,
        /// Name and version, for example customer-42/3
        #[arg(value_name = "NAME/VERSION")]
        id: String,
        /// Say that nothing is left that this version encrypted
        #[arg(long, required = true)]
        unreadable_for_ever: bool,
    },
}

/// Why a version is revoked.
#[derive(Clone, Copy, ValueEnum)]
pub enum Reason {
    /// Another version took its place: it becomes deactivated
    Superseded,
    /// Its purpose ended: it becomes deactivated
    Ended,
    /// It may be in other hands: it becomes compromised, and decrypts nothing
    Compromised,
}

impl From<Reason> for Revocation {
    fn from(reason: Reason) -> Revocation {
        match reason {
            Reason::Superseded => Revocation::Superseded,
            Reason::Ended => Revocation::CessationOfOperation,
            Reason::Compromised => Revocation::KeyCompromise,
        }
    }
}

pub fn run(command: Command, client: &Client, json: bool) -> Result<()> {
    match command {
        Command::Create { kek: true, name } => create_kek(client, &name, json),
        Command::Create { kek: false, name } => created(client.create_key(&name)?, json),
        Command::Register { id } => created(client.register(&id)?, json),
        Command::Name { id } => name(&client.key_name(&id)?, json),
        Command::List => list(&client.survey_keys()?, json),
        Command::Show { kek: true, name } => show(&client.show_kek(&name)?, json),
        Command::Show { kek: false, name } => show(&client.show_key(&name)?, json),
        Command::Rotate { kek: true, name } => {
            let KekInfo { name, version, rung } = client.rotate_kek(&name)?;
            let id = KeyId::new(&name, version)?;
            done(&id, &format!("{id} ({rung}) protects the keys of data spaces from now on"), "rotated", json)
        }
        Command::Rotate { kek: false, name } => {
            let id = client.rotate_key(&name)?.id()?;
            done(&id, &format!("{id} encrypts from now on"), "rotated", json)
        }
        Command::Activate { id } => {
            let id = KeyId::parse(&id)?;
            client.activate_key(&id)?;
            done(&id, &format!("{id} is active"), "active", json)
        }
        Command::Revoke { kek, id, reason } => {
            let id = KeyId::parse(&id)?;
            match kek {
                true => client.revoke_kek(&id, reason.into())?,
                false => client.revoke_key(&id, reason.into())?,
            }
            let state = if matches!(reason, Reason::Compromised) { "compromised" } else { "deactivated" };
            done(&id, &format!("{id} is {state}"), state, json)
        }
        Command::Need { kek, id, by, no_more } => need(client, kek, &KeyId::parse(&id)?, &by, no_more, json),
        Command::Destroy { kek, id, unreadable_for_ever: _ } => {
            let id = KeyId::parse(&id)?;
            match kek {
                true => client.destroy_kek(&id)?,
                false => client.destroy_key(&id)?,
            }
            done(&id, &format!("{id} is destroyed"), "destroyed", json)
        }
    }
}

fn need(client: &Client, is_kek: bool, id: &KeyId, by: &str, no_more: bool, json: bool) -> Result<()> {
    if !client.keeps_references()? {
        let text = "what is needed is remembered in the file of keys.state, and the configuration names none; set keys.state, also \
                    for whoever revokes and destroys";
        return Err(Error::new(Code::InvalidArgument, text));
    }
    if !is_kek && !no_more {
        check_version(client, id)?;
    }
    match (is_kek, no_more) {
        (true, false) => client.add_kek_reference(id, by)?,
        (true, true) => client.remove_kek_reference(id, by)?,
        (false, false) => client.add_reference(id, by)?,
        (false, true) => client.remove_reference(id, by)?,
    }
    match no_more {
        true => done(id, &format!("{id} is not needed by {by} any more"), "not needed", json),
        false => done(id, &format!("{id} is needed by {by}"), "needed", json),
    }
}

fn check_version(client: &Client, id: &KeyId) -> Result<()> {
    if client.show_key(&id.name)?.iter().any(|key| key.version == id.version) {
        return Ok(());
    }
    let message = format!("no key server has {id}; `keystead key show {}` tells which versions there are", id.name);
    Err(Error::new(Code::KeyNotFound, message))
}

fn done(id: &KeyId, sentence: &str, state: &str, json: bool) -> Result<()> {
    if json {
        return show::json(&serde_json::json!({ "key": id.to_string(), "done": state }));
    }
    show::text(&format!("{sentence}\n"))
}

fn created((key, creation): (Key, Creation), json: bool) -> Result<()> {
    let created = creation == Creation::Created;
    if json {
        return show::json(&serde_json::json!({ "key": key.id()?.to_string(), "created": created }));
    }
    let done = if created { "created" } else { "existed already:" };
    show::text(&format!("{done} {}\n", key.id()?))
}

fn name(name: &str, json: bool) -> Result<()> {
    if json {
        return show::json(&serde_json::json!({ "name": name }));
    }
    show::text(&format!("{name}\n"))
}

/// What a server withholds is told on standard error, so that a program reads the list as it is. A list of nothing but that
/// is an error: it is not empty, but unknown.
fn list(survey: &KeySurvey, json: bool) -> Result<()> {
    if let ([], [WithheldObject { server, reason, .. }, ..]) = (&survey.keys[..], &survey.withheld[..]) {
        let count = counted(survey.withheld.len() as u64, "object");
        let message = format!(
            "{server} describes none of the {count} that it finds: {reason}; permit this client Get Attributes there"
        );
        return Err(Error::new(Code::PermissionDenied, message));
    }
    table(&survey.keys, json)?;
    for object in &survey.withheld {
        let WithheldObject { identifier, server, reason } = object;
        show::complaint(&format!(
            "keystead: not listed: {server} does not describe its object {identifier:?}: {reason}\n"
        ));
    }
    Ok(())
}

fn show(keys: &[KeyInfo], json: bool) -> Result<()> {
    table(keys, json)?;
    let needs = keys.iter().flat_map(|key| {
        key.needed_by.iter().map(move |what| format!("\n{}/{} is needed by {what}", key.name, key.version))
    });
    let needs: String = needs.collect();
    if json || needs.is_empty() { Ok(()) } else { show::text(&format!("{needs}\n")) }
}

fn create_kek(client: &Client, name: &str, json: bool) -> Result<()> {
    let (kek, creation) = client.create_kek(name)?;
    let created = creation == Creation::Created;
    let id = KeyId::new(&kek.name, kek.version)?;
    if json {
        return show::json(&serde_json::json!({ "kek": id.to_string(), "rung": kek.rung, "created": created }));
    }
    let done = if created { "created" } else { "existed already:" };
    show::text(&format!("{done} {id} ({})\n", kek.rung))
}

fn table(keys: &[KeyInfo], json: bool) -> Result<()> {
    if json {
        return show::json(&keys);
    }
    let mut rows =
        vec![["KEY", "STATE", "ALGORITHM", "IDENTIFIER", "CREATED", "ROTATE BY", "SERVER"].map(String::from)];
    rows.extend(keys.iter().map(row));
    show::text(&show::columns(&rows))?;
    let due = keys.iter().filter(|key| is_due(key)).count();
    if due > 0 { show::text(&format!("\n{due} to be rotated: keystead key rotate NAME\n")) } else { Ok(()) }
}

fn is_due(key: &KeyInfo) -> bool {
    key.rotate_by.is_some_and(|by| by <= keystead::config::now())
}

fn row(key: &KeyInfo) -> [String; 7] {
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
        key.rotate_by
            .map_or("-".into(), |by| if is_due(key) { format!("{} (due)", show::utc(by)) } else { show::utc(by) }),
        key.server.clone(),
    ]
}
