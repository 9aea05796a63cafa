//! Key encryption keys: on the key servers, where they stay.
//!
//! The Name of a KEK says what it is for: `kek-gcm:NAME/V` encrypts and authenticates DEKs, `kek-cbc:NAME/V` encrypts
//! them, and `kek-mac:NAME/V` then authenticates them. So a KEK has its rung for life, one of another rung is never found in its
//! place, and no named key is ever taken for one, or the other way about.

#![forbid(unsafe_code)]

use crate::cluster::Subject;
use crate::envelope::KeyId;
use crate::envelope::protected::Rung;
use crate::error::{Code, Error, Result};
use crate::keys::create::Creation;
use crate::keys::lookup::Found;
use crate::keys::{Keys, check_name};
use crate::kmip::{self, Create, Deadline, Exposure, State, Usage};

/// What the Names of the objects of data spaces begin with. The last is that of a DEK, while its key manager has it.
pub(in crate::keys) const ROLES: [&str; 4] = ["kek-gcm", "kek-cbc", "kek-mac", "space"];
pub(super) const MAC: &str = ROLES[2];

/// The better one first.
pub(super) const RUNGS: [Rung; 2] = [Rung::Gcm, Rung::CbcHmac];

/// A key encryption key, as it was found on the key servers.
#[derive(Clone, Debug)]
pub struct Kek {
    /// `NAME/V`, as protected DEKs carry it.
    pub id: KeyId,
    pub rung: Rung,
    pub(super) found: Found,
    /// The key of the HMAC, on the rung that has one.
    pub(super) mac: Option<Found>,
}

fn role(rung: Rung) -> &'static str {
    match rung {
        Rung::Gcm => ROLES[0],
        Rung::CbcHmac => ROLES[1],
    }
}

/// The name of an object of that role on the key servers.
pub(super) fn object_name(role: &str, name: &str) -> String {
    format!("{role}:{name}")
}

/// What else makes up the KEK of which this is an object, and so shares its versions: `NAME/V` names one KEK, whatever its rung.
pub(in crate::keys) fn sharing_versions(object: &str) -> Vec<String> {
    let kek = &ROLES[..3];
    let Some((role, name)) = object.split_once(':').filter(|(role, _)| kek.contains(role)) else { return Vec::new() };
    kek.iter().filter(|other| **other != role).map(|other| object_name(other, name)).collect()
}

/// What a Name on a key server stands for: a key, or an object of a data space with its role in front.
pub(in crate::keys) fn object_id(text: &str) -> Option<KeyId> {
    let Some((role, rest)) = text.split_once(':') else { return KeyId::parse(text).ok() };
    let KeyId { name, version } = KeyId::parse(rest).ok().filter(|_| ROLES.contains(&role))?;
    Some(KeyId { name: object_name(role, &name), version })
}

/// How an object of that name is asked for: what it may be used for, and that a KEK must not leave its server.
pub(in crate::keys) fn create<'a>(id: &KeyId, name: &'a str, group: &'a str) -> Create<'a> {
    let create = Create::new(name, Some(group));
    let role = id.name.split_once(':').map(|(role, _)| role);
    match role {
        Some(MAC) => Create { usage: Usage::MAC_GENERATE | Usage::MAC_VERIFY, exposure: Exposure::Never, ..create },
        Some(role) if role != "space" => Create { exposure: Exposure::Never, ..create },
        _ => create,
    }
}

impl Keys {
    /// Makes the first version of a KEK, or finds the one there is. Blocks.
    ///
    /// Its rung is the best that all configured servers offer, so all of them have to answer.
    pub fn create_kek(&self, name: &str) -> Result<(Kek, Creation)> {
        check_name(name)?;
        let deadline = self.cluster.deadline();
        let existing = match self.newest_kek(name, deadline) {
            // Who could not be asked has to answer below.
            Err(error) if error.code() == Code::KeyNotFound => None,
            outcome => outcome?,
        };
        if let Some((rung, found)) = existing {
            return Ok((self.with_mac_key(name, rung, found, deadline)?, Creation::Existed));
        }
        let rung = self.next_rung(name, deadline)?;
        let (found, creation) = self.create_or_find(&object_name(role(rung), name), deadline)?;
        Ok((self.with_mac_key(name, rung, found, deadline)?, creation))
    }

    /// Makes a new version of a KEK, for what is protected or rewrapped from now on, also where no other one is active any
    /// more. Blocks.
    ///
    /// Its rung may be better than that of the version before, and is never lower.
    pub fn rotate_kek(&self, name: &str) -> Result<Kek> {
        check_name(name)?;
        let deadline = self.cluster.deadline();
        self.all_versions(name, deadline)?;
        let rung = self.next_rung(name, deadline)?;
        let found = self.make_next(&object_name(role(rung), name), deadline)?;
        self.with_mac_key(name, rung, found, deadline)
    }

    /// Every version of a KEK, of either rung, with its HMAC keys. Blocks.
    pub fn show_kek(&self, name: &str) -> Result<Vec<Found>> {
        check_name(name)?;
        self.all_versions(name, self.cluster.deadline())
    }

    fn all_versions(&self, name: &str, deadline: Deadline) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for role in &ROLES[..3] {
            all.extend(self.versions_of(&object_name(role, name), deadline)?);
        }
        if all.is_empty() { Err(no_kek(name)) } else { Ok(all) }
    }

    /// The newest KEK of that name, which protects from now on.
    pub(super) fn find_kek(&self, name: &str, deadline: Deadline) -> Result<Kek> {
        check_name(name)?;
        let (rung, found) = self.newest_kek(name, deadline)?.ok_or_else(|| no_kek(name))?;
        self.completed(name, rung, found, deadline)
    }

    /// The KEK that a protected DEK names, in whatever state it is.
    pub(super) fn find_kek_version(&self, id: &KeyId, rung: Rung, deadline: Deadline) -> Result<Kek> {
        let object = kek_object(id, rung);
        let found = self.find_version(&object, deadline)?;
        self.completed(&id.name, rung, found, deadline)
    }

    /// The highest Active version of the best rung that any version had, as far as the servers that can be asked know.
    ///
    /// A lower rung is not fallen back to once the better one has ended: what is protected would be protected less.
    fn newest_kek(&self, name: &str, deadline: Deadline) -> Result<Option<(Rung, Found)>> {
        let (mut unasked, mut had_better) = (None, false);
        for rung in RUNGS {
            let object = object_name(role(rung), name);
            let versions = match self.versions_of(&object, deadline) {
                Err(error) if error.code() == Code::KeyNotFound => {
                    unasked = Some(no_kek(name).after(error.attempts().to_vec()));
                    Vec::new()
                }
                outcome => outcome?,
            };
            if is_used(&versions) {
                if had_better {
                    return Err(unasked.unwrap_or_else(|| none_active(name, &versions)));
                }
                let newest = self.find_newest(&object, deadline).map_err(|error| match error.code() {
                    Code::KeyState => none_active(name, &versions),
                    _ => error,
                });
                return newest.map(|found| Some((rung, found)));
            }
            // Key servers may forget what is destroyed.
            had_better |= self.ledger.newest(&object).is_some();
        }
        unasked.map_or(Ok(None), Err)
    }

    fn versions_of(&self, object: &str, deadline: Deadline) -> Result<Vec<Found>> {
        match self.find_group(object, deadline) {
            Err(error) if error.code() == Code::KeyNotFound && error.attempts().is_empty() => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// Makes the key of the HMAC where the rung has one and whoever made the KEK did not come so far.
    fn with_mac_key(&self, name: &str, rung: Rung, found: Found, deadline: Deadline) -> Result<Kek> {
        self.check_tenant(&found)?;
        let id = KeyId { name: name.to_owned(), version: found.id.version };
        let mac = match rung {
            Rung::Gcm => None,
            Rung::CbcHmac => {
                let mac = KeyId { name: object_name(MAC, name), version: id.version };
                match self.find_version(&mac, deadline) {
                    Ok(found) if found.state != State::PreActive => Some(found),
                    Err(error) if error.code() != Code::KeyNotFound || !error.attempts().is_empty() => {
                        return Err(error);
                    }
                    _ => Some(self.make_version(&mac, deadline)?),
                }
            }
        };
        Ok(Kek { id, rung, found, mac })
    }

    /// The KEK with its key of the HMAC, which is there.
    fn completed(&self, name: &str, rung: Rung, found: Found, deadline: Deadline) -> Result<Kek> {
        self.check_tenant(&found)?;
        let id = KeyId { name: name.to_owned(), version: found.id.version };
        let mac = match rung {
            Rung::Gcm => None,
            Rung::CbcHmac => {
                let mac = KeyId { name: object_name(MAC, name), version: id.version };
                Some(self.find_version(&mac, deadline).map_err(|error| incomplete(&id, error))?)
            }
        };
        Ok(Kek { id, rung, found, mac })
    }

    /// The rung of a version that is to be made: the best that every configured server offers, unless a version had a better one.
    fn next_rung(&self, name: &str, deadline: Deadline) -> Result<Rung> {
        let rung = self.rung_of_all_servers(deadline)?;
        let better = object_name(role(Rung::Gcm), name);
        let is_lowered = rung == Rung::CbcHmac
            && (self.ledger.newest(&better).is_some() || is_used(&self.versions_of(&better, deadline)?));
        if is_lowered { Err(lowered(name)) } else { Ok(rung) }
    }

    /// The best rung that every configured server offers.
    fn rung_of_all_servers(&self, deadline: Deadline) -> Result<Rung> {
        let mut best = Rung::Gcm;
        for index in self.cluster.order() {
            let capabilities = self.cluster.capabilities(index, deadline).map_err(|failure| {
                let message = format!(
                    "no key encryption key was made, because every configured key server has to say what it offers, and \
                     one did not: {}",
                    failure.error.message()
                );
                Error::new(failure.code(), message)
            })?;
            match capabilities.best_rung() {
                Some(kmip::Rung::Gcm) => {}
                Some(kmip::Rung::CbcMac) => best = Rung::CbcHmac,
                None => {
                    let lack = capabilities.lacks(kmip::Rung::CbcMac).unwrap_or_default();
                    return Err(no_rung(&self.cluster.server(index).name(), &lack));
                }
            }
        }
        Ok(best)
    }

    /// Fails where the server that has the KEK cannot work with it, before anything is made.
    pub(super) fn check_rung(&self, kek: &Kek, deadline: Deadline) -> Result<()> {
        match self.lack_of(kek.found.server, kek.rung, deadline)? {
            Some(lack) => Err(no_rung(&self.cluster.server(kek.found.server).name(), &lack)),
            None => Ok(()),
        }
    }

    /// The KEK as known to a server that can work with it: a protected DEK is not lost while one of them can unwrap it.
    pub(super) fn at_capable_server(&self, mut kek: Kek, deadline: Deadline) -> Result<Kek> {
        let refusal = match self.lack_of(kek.found.server, kek.rung, deadline) {
            Ok(None) => return Ok(kek),
            Ok(Some(lack)) => not_unlocked(&self.cluster.server(kek.found.server).name(), &kek, &lack),
            Err(error) => error,
        };
        let can = |&server: &usize| {
            let turn = self.cluster.turn(server, deadline);
            matches!(self.lack_of(server, kek.rung, turn), Ok(None))
        };
        let server = self.cluster.order().into_iter().find(can).ok_or(refusal)?;
        kek.found.server = server;
        kek.mac.iter_mut().for_each(|mac| mac.server = server);
        Ok(kek)
    }

    /// What a server lacks of a rung.
    fn lack_of(&self, server: usize, rung: Rung, deadline: Deadline) -> Result<Option<String>> {
        let capabilities = self.cluster.capabilities(server, deadline).map_err(|failure| failure.error)?;
        Ok(capabilities.lacks(match rung {
            Rung::Gcm => kmip::Rung::Gcm,
            Rung::CbcHmac => kmip::Rung::CbcMac,
        }))
    }
}

/// The KEK's id on the key servers.
pub(super) fn kek_object(id: &KeyId, rung: Rung) -> KeyId {
    KeyId { name: object_name(role(rung), &id.name), version: id.version }
}

/// What the journal says an operation on this KEK is about.
pub(super) fn subject_of(found: &Found) -> Subject<'_> {
    Subject { name: &found.id.name, version: Some(found.id.version) }
}

/// Whether anything can be under one of them.
fn is_used(versions: &[Found]) -> bool {
    versions.iter().any(|found| found.state != State::PreActive)
}

fn no_kek(name: &str) -> Error {
    let message = format!(
        "no key server has a key encryption key named {name:?}; create it with `keystead key create --kek {name}`"
    );
    Error::new(Code::KeyNotFound, message)
}

fn none_active(name: &str, versions: &[Found]) -> Error {
    let states: Vec<_> = versions.iter().map(|found| format!("{} is {}", found.id, found.state)).collect();
    let message = format!(
        "key encryption key {name:?} has no version that protects anything now ({}; a version of a lower rung than another \
         one had does not); make one with `keystead key rotate --kek {name}`",
        states.join(", ")
    );
    Error::new(Code::KeyState, message)
}

fn incomplete(id: &KeyId, error: Error) -> Error {
    if error.code() != Code::KeyNotFound {
        return error;
    }
    let message = format!(
        "key encryption key {id} has no key for its HMAC on the key servers; if it was just being made, finish that with \
         `keystead key create --kek {}`",
        id.name
    );
    Error::new(Code::KeyNotFound, message).after(error.attempts().to_vec())
}

fn lowered(name: &str) -> Error {
    let message = format!(
        "key encryption key {name:?} works with AES-GCM, and not every configured key server offers that any more; a new \
         version would protect less: bring the servers to KMIP 1.4, or take the one that lacks it out of the configuration"
    );
    Error::new(Code::Unsupported, message)
}

fn no_rung(server: &str, lack: &str) -> Error {
    let message = format!(
        "key server {server} cannot protect the key of a data space: {lack}; nothing was made. Have it offer that, or use \
         named keys, which work with every version"
    );
    Error::new(Code::Unsupported, message)
}

fn not_unlocked(server: &str, kek: &Kek, lack: &str) -> Error {
    let message = format!(
        "key server {server} cannot unlock a data space under key encryption key {} ({}): {lack}, and no other configured key \
         server can; name one in the configuration that can, or have this one offer that",
        kek.id,
        kek.rung.name()
    );
    Error::new(Code::Unsupported, message)
}
