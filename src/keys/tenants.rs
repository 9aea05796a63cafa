//! Tenants of one process do not share what is to keep them apart: a client certificate, or a key.
//!
//! A tenant is a client by its configured name. What one of them uses is known to all clients of the process.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use ring::digest;

use crate::platform::ProcessStamp;

/// What a tenant uses, by half of a SHA-256: there may be one for each of a million users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Possession([u8; 16]);

impl Possession {
    /// A client certificate in DER.
    pub fn certificate(der: &[u8]) -> Possession {
        Possession::of(&[b"certificate", der])
    }

    /// An object on a key server, by the server's name and the object's identifier.
    pub fn object(server: &str, identifier: &str) -> Possession {
        Possession::of(&[b"object", server.as_bytes(), b" ", identifier.as_bytes()])
    }

    fn of(parts: &[&[u8]]) -> Possession {
        let mut whole = digest::Context::new(&digest::SHA256);
        parts.iter().for_each(|part| whole.update(part));
        Possession(*whole.finish().as_ref().first_chunk().expect("32 bytes"))
    }
}

/// Of one process: a forked child has clients of its own, and a lock that its parent held says nothing.
struct Registry {
    process: ProcessStamp,
    owners: Mutex<HashMap<Possession, Owner>>,
}

struct Owner {
    tenant: Arc<str>,
    /// How many clients of the tenant use it.
    count: usize,
}

/// Possessions of one client, of which it may have several sets at a time. Given up when they are dropped.
pub struct Tenancy {
    tenant: Arc<str>,
    registry: Arc<Registry>,
    held: Mutex<HashSet<Possession>>,
}

impl Registry {
    fn of_this_process() -> Arc<Registry> {
        static REGISTRY: ArcSwapOption<Registry> = ArcSwapOption::const_empty();
        loop {
            let seen = REGISTRY.load();
            if let Some(registry) = seen.as_ref()
                && registry.process.is_current()
            {
                return registry.clone();
            }
            let fresh = Registry { process: ProcessStamp::current(), owners: Mutex::default() };
            REGISTRY.compare_and_swap(&seen, Some(Arc::new(fresh)));
        }
    }
}

impl Tenancy {
    pub fn new(tenant: &str) -> Tenancy {
        Tenancy { tenant: tenant.into(), registry: Registry::of_this_process(), held: Mutex::default() }
    }

    /// Takes what this tenant uses, unless it is another one's: then tells whose.
    pub fn take(&self, possession: Possession) -> Result<(), String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&possession) {
            return Ok(());
        }
        let mut owners = self.registry.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = owners.entry(possession).or_insert_with(|| Owner { tenant: self.tenant.clone(), count: 0 });
        if owner.tenant != self.tenant {
            return Err(owner.tenant.to_string());
        }
        owner.count += 1;
        held.insert(possession);
        Ok(())
    }

    /// Gives up what the client used, for others to take.
    pub fn give_up(&self) {
        if !self.registry.process.is_current() {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners = self.registry.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for possession in held.drain() {
            if let Some(owner) = owners.get_mut(&possession) {
                owner.count -= 1;
                if owner.count == 0 {
                    owners.remove(&possession);
                }
            }
        }
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_tenant_uses_no_other_takes_before_it_is_given_up() {
        let certificate = Possession::certificate(b"certificate of this test");
        let object = |server: &str| Possession::object(server, "object-of-this-test");
        let (one, again, other) = (Tenancy::new("one"), Tenancy::new("one"), Tenancy::new("other"));
        for possession in [certificate, object("kms1:5696")] {
            one.take(possession).unwrap();
            one.take(possession).unwrap();
            again.take(possession).unwrap();
            assert_eq!(other.take(possession).unwrap_err(), "one");
        }
        other.take(object("kms2:5696")).expect("another server's identifier means another key");
        drop(one);
        assert_eq!(other.take(certificate).unwrap_err(), "one", "its second client is still there");
        drop(again);
        other.take(certificate).unwrap();
    }
}
