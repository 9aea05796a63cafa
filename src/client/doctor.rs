//! Is everything in order? What works, what does not, and what to do about it.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::reload::lock;
use super::{Client, Parts};
use crate::config;
use crate::error::Result;
use crate::kmip::capability::{Capabilities, Rung};
use crate::kmip::{Deadline, Description};
use crate::log::utc;
use crate::memory::slot::{self, Slot};

/// A certificate that ends within this many seconds is to be renewed.
const SOON: i64 = 30 * 24 * 3600;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// It works, and its owner should know.
    Warning,
    /// It does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub verdict: Verdict,
    /// `configuration`, `memory`, `log`, `keys.state`, or a server as `host:port`.
    pub about: String,
    /// What was found, and what to do.
    pub message: String,
}

impl Check {
    fn new(verdict: Verdict, about: &str, message: impl Into<String>) -> Check {
        Check { verdict, about: about.to_owned(), message: message.into() }
    }
}

impl Client {
    /// Looks at the configuration and its files, the memory for keys, the log, what is remembered of keys, and what every key server can do. Blocks
    /// until the slowest server has answered, or the deadline.
    ///
    /// Errors: `Closed`, `Forked`.
    pub fn diagnose(&self) -> Result<Vec<Check>> {
        let parts = self.live()?;
        let mut checks = parts.configuration();
        checks.push(memory());
        checks.push(parts.log());
        checks.push(parts.state());
        let deadline = parts.cluster.deadline();
        for index in parts.cluster.order() {
            checks.extend(parts.server(index, deadline));
        }
        Ok(checks)
    }
}

impl Parts {
    fn configuration(&self) -> Vec<Check> {
        const ABOUT: &str = "configuration";
        let file = lock(&self.config_status).file.clone();
        match config::load(file.as_ref()) {
            Ok((_, findings)) => {
                let sound =
                    format!("{file} can be used, and so can every file that it names; others cannot change them");
                let found = findings.iter().map(|finding| Check::new(Verdict::Warning, ABOUT, &finding.message));
                [Check::new(Verdict::Good, ABOUT, sound)].into_iter().chain(found).collect()
            }
            Err(error) => vec![Check::new(Verdict::Fault, ABOUT, error.message())],
        }
    }

    fn log(&self) -> Check {
        match self.journal.check() {
            Ok(()) => Check::new(Verdict::Good, "log", "records are written as configured"),
            Err(error) => Check::new(Verdict::Fault, "log", error.message()),
        }
    }

    fn state(&self) -> Check {
        const ABOUT: &str = "keys.state";
        match self.keys.check_state() {
            Ok(Some(true)) => {
                Check::new(Verdict::Good, ABOUT, "what needs a key, and the highest versions seen, are remembered")
            }
            Ok(Some(false)) => {
                let message = "holds lines that are not understood, so a need for a key may be forgotten; look what they were, \
                               and take them out";
                Check::new(Verdict::Warning, ABOUT, message)
            }
            Ok(None) => {
                let message = "is not set, so what needs a key, and the highest version seen of it, are forgotten when the process \
                               ends; name a file that all processes of the application share";
                Check::new(Verdict::Warning, ABOUT, message)
            }
            Err(error) => Check::new(Verdict::Fault, ABOUT, error.message()),
        }
    }

    fn server(&self, index: usize, deadline: Deadline) -> Vec<Check> {
        let server = self.cluster.server(index);
        let name = server.name();
        let capabilities = match self.cluster.capabilities(index, self.cluster.turn(index, deadline)) {
            Ok(capabilities) => capabilities,
            Err(failure) => return vec![Check::new(Verdict::Fault, &name, failure.error.message())],
        };
        let address = server.health().address;
        let place = address.map(|address| format!(" at {address}")).unwrap_or_default();
        let mut checks =
            vec![Check::new(Verdict::Good, &name, format!("answers{place} in KMIP {}", capabilities.version))];
        if address.is_some_and(|address| address.ip().to_canonical().is_loopback()) {
            let message = "is this machine, where the data is, too; policy \"strict\" forbids that, as it should be";
            checks.push(Check::new(Verdict::Warning, &name, message));
        }
        checks.push(certificate(&name, server.certificate_ends()));
        checks.extend(spaces(&name, &capabilities));
        checks.push(validation(&name, capabilities.description.as_ref()));
        checks
    }
}

fn memory() -> Check {
    match Slot::copy_of(&[0; 32]) {
        Ok(_) => {
            let tier = slot::tier().map_or_else(String::new, |tier| tier.to_string());
            Check::new(Verdict::Good, "memory", format!("keys are kept in locked memory ({tier})"))
        }
        Err(error) => Check::new(Verdict::Fault, "memory", error.message()),
    }
}

fn certificate(server: &str, ends: i64) -> Check {
    let left = ends - config::now();
    let message = format!("our certificate for it ends {}", utc(ends));
    match left {
        ..=0 => Check::new(Verdict::Fault, server, format!("{message}: it has ended; renew it")),
        1..SOON => Check::new(Verdict::Warning, server, format!("{message}; renew it")),
        _ => Check::new(Verdict::Good, server, message),
    }
}

/// Whether data spaces can be kept there, and how well.
fn spaces(server: &str, capabilities: &Capabilities) -> Vec<Check> {
    let Some(rung) = capabilities.best_rung() else {
        let lack = capabilities.lacks(Rung::CbcMac).unwrap_or_default();
        let message = format!("cannot unlock data spaces: {lack}; named keys work");
        return vec![Check::new(Verdict::Warning, server, message)];
    };
    let mut checks = vec![Check::new(Verdict::Good, server, format!("protects data spaces with {rung}"))];
    if !capabilities.withholds_keys() {
        let message = "cannot be told to keep a key encryption key in it, which takes KMIP 1.4; see to it that its own \
                       policy lets nobody fetch one";
        checks.push(Check::new(Verdict::Warning, server, message));
    }
    checks
}

/// What the server says of its certification.
fn validation(server: &str, description: Option<&Description>) -> Check {
    let vendor = description.and_then(|description| description.vendor.as_deref()).unwrap_or("who does not say so");
    let declared: Vec<&str> = description
        .map(|description| description.validations.iter().filter_map(|one| one.certificate.as_deref()).collect())
        .unwrap_or_default();
    match declared.is_empty() {
        true => {
            let message = format!(
                "is made by {vendor} and declares no validation (FIPS 140) in KMIP; ask for its certificate number"
            );
            Check::new(Verdict::Warning, server, message)
        }
        false => {
            let message = format!("is made by {vendor} and declares validation {}; compare it", declared.join(", "));
            Check::new(Verdict::Good, server, message)
        }
    }
}
