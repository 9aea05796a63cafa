//! `keystead audit report`: an audit trail for people, as one page, and for programs, as JSON.

#![forbid(unsafe_code)]

mod html;
mod plot;
mod rows;
mod summary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use keystead::client::{KeySurvey, WithheldObject};
use keystead::log::Of;
use keystead::{Client, Result};
use serde::Serialize;

use crate::files::Output;
use crate::logs::Proofs;
use crate::show;
use summary::{KeyFacts, Summary};

#[derive(Args)]
pub struct Arguments {
    /// Write to this file instead of standard output
    #[arg(short, value_name = "OUT")]
    output: Option<PathBuf>,
    /// The age in days at which a key is due for rotation
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(i64).range(1..100_000))]
    rotate_after: i64,
    /// Ask the key servers of the configuration for the algorithms, states and ages of all keys, too
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    proofs: Proofs,
    /// The files of one trail, in any order, also compressed ones
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Arguments {
    pub fn output(&self) -> Option<(&Path, Vec<&Path>)> {
        let needed = self.files.iter().map(PathBuf::as_path).chain(self.proofs.files());
        Some((self.output.as_deref()?, needed.collect()))
    }

    pub fn asks(&self) -> bool {
        self.ask
    }
}

#[derive(Serialize)]
struct Report {
    /// Seconds since 1970.
    made: i64,
    /// In seconds.
    rotate_after: i64,
    verification: keystead::log::Report,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_servers: Option<Evidence>,
}

impl Report {
    /// Whether there are seals, and no key was given that opens them.
    fn has_unverified_seals(&self) -> bool {
        self.verification.streams.iter().any(|stream| stream.first_seal.is_some() && stream.unsealed_records.is_none())
    }

    /// Keys whose newest version of the trail is older than it should be.
    fn due(&self) -> impl Iterator<Item = (&str, &KeyFacts)> {
        let latest = self.made - self.rotate_after;
        self.summary.by_key.iter().filter(move |(_, facts)| facts.since.is_some_and(|since| since < latest))
    }
}

/// What the key servers say of all keys.
#[derive(Serialize)]
struct Evidence {
    #[serde(serialize_with = "as_list")]
    kinds: BTreeMap<(String, String), Kind>,
    /// Newest active versions that are due for rotation, with the time of their making, the oldest first.
    due: Vec<(String, i64)>,
    /// What they located and did not describe, which is in none of these figures.
    withheld: Vec<WithheldObject>,
}

#[derive(Default, Serialize)]
struct Kind {
    versions: u64,
    oldest: Option<i64>,
}

fn as_list<S: serde::Serializer>(
    kinds: &BTreeMap<(String, String), Kind>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        algorithm: &'a str,
        state: &'a str,
        #[serde(flatten)]
        kind: &'a Kind,
    }
    serializer.collect_seq(kinds.iter().map(|((algorithm, state), kind)| Row { algorithm, state, kind }))
}

impl Evidence {
    fn ask(client: &Client, latest: i64) -> Result<Evidence> {
        let mut kinds: BTreeMap<(String, String), Kind> = BTreeMap::new();
        let mut newest: BTreeMap<String, (u32, Option<i64>)> = BTreeMap::new();
        let KeySurvey { keys, withheld } = client.survey_keys()?;
        for key in keys {
            let bits = key.length_bits.map_or(String::new(), |bits| format!("-{bits}"));
            let algorithm = format!("{}{bits}", key.algorithm.as_deref().unwrap_or("not told"));
            let kind = kinds.entry((algorithm, key.state.clone())).or_default();
            kind.versions += 1;
            kind.oldest = kind.oldest.into_iter().chain(key.created).min();
            let known = newest.entry(key.name).or_default();
            if key.state == "active" && key.version > known.0 {
                *known = (key.version, key.created);
            }
        }
        let due = newest.into_iter().filter_map(|(name, (version, created))| {
            created.filter(|&created| created < latest).map(|created| (format!("{name}/{version}"), created))
        });
        let mut due: Vec<(String, i64)> = due.collect();
        due.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        Ok(Evidence { kinds, due, withheld })
    }
}

/// `client` where the key servers are to be asked.
pub fn run(arguments: &Arguments, client: Option<&Client>, json: bool) -> Result<()> {
    let made = keystead::config::now();
    let rotate_after = arguments.rotate_after * 86_400;
    let key_servers = client.map(|client| Evidence::ask(client, made - rotate_after)).transpose()?;
    let mut summary = Summary::default();
    let paths: Vec<&Path> = arguments.files.iter().map(PathBuf::as_path).collect();
    summary.unreadable = rows::read(&paths, &mut |row| summary.add(row))?;
    let verification = arguments.proofs.verify(&paths, Some(Of::Audit), false)?;
    let report = Report { made, rotate_after, verification, summary, key_servers };
    let text = match json {
        true => serde_json::to_string(&report).map_err(show::failed)? + "\n",
        false => html::page(&report),
    };
    let mut output = Output::create(arguments.output.as_deref())?;
    output.write(text.as_bytes())?;
    output.commit()
}
