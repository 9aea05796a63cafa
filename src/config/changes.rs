//! What differs between a configuration in force and the same file read again.

use rustls_pki_types::CertificateRevocationListDer;

use super::{Config, Server, Tls, Trust};

/// What a reload found, in words of the file. Never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Changes {
    /// In force from now on.
    pub taken_up: Vec<String>,
    /// In force once the client is opened again.
    pub left: Vec<String>,
}

impl Changes {
    pub fn between(old: &Config, new: &Config) -> Changes {
        let mut taken_up = server_changes(&old.servers, &new.servers);
        if old.failover != new.failover {
            taken_up.push("[failover]".to_owned());
        }
        let differences = [
            ("[client] name", old.client_name != new.client_name),
            ("[client] policy", old.policy != new.policy),
            ("[cache]", old.cache != new.cache),
            ("[keys]", old.keys != new.keys),
            ("[[mask]]", old.masks != new.masks),
            ("[log]", old.log != new.log),
            ("[audit]", old.audit != new.audit),
        ];
        let left = differences.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_owned()).collect();
        Changes { taken_up, left }
    }
}

fn server_changes(old: &[Server], new: &[Server]) -> Vec<String> {
    let mut told = Vec::new();
    let mut matched = vec![false; old.len()];
    for server in new {
        let known = (0..old.len()).find(|&at| !matched[at] && old[at].is_at_place_of(server));
        match known {
            Some(at) => {
                matched[at] = true;
                let keys = old[at].differences(server);
                if !keys.is_empty() {
                    told.push(format!("{} of {}", keys.join(" and "), server.name()));
                }
            }
            None => told.push(format!("key server {} added", server.name())),
        }
    }
    let removed = old.iter().zip(&matched).filter(|(_, matched)| !**matched);
    told.extend(removed.map(|(server, _)| format!("key server {} removed", server.name())));
    let is_moved = |(old, new): (&Server, &Server)| !old.is_at_place_of(new);
    if old.len() == new.len() && matched.iter().all(|matched| *matched) && old.iter().zip(new).any(is_moved) {
        told.push("the order of the key servers".to_owned());
    }
    told
}

impl Server {
    /// `host:port`, as in errors and records.
    pub fn name(&self) -> String {
        match self.host.contains(':') && !self.host.starts_with('[') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether both mean the same server, however it is spoken to.
    pub fn is_at_place_of(&self, other: &Server) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// What it is spoken to with that differs from another configuration of it.
    pub fn differences(&self, other: &Server) -> Vec<&'static str> {
        let differences = [
            ("kmip_version", self.kmip_minor != other.kmip_minor),
            ("user", self.user != other.user),
            ("password", self.password != other.password),
            ("ca_certificate", !self.tls.trust.is_like(&other.tls.trust)),
            ("crl", self.tls.trust.revoked() != other.tls.trust.revoked()),
            ("client_certificate", !self.tls.has_identity_of(&other.tls)),
            ("max_connections", self.connections.most != other.connections.most),
            ("max_idle", self.connections.idle != other.connections.idle),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
    }
}

impl Tls {
    /// A key belongs to its certificate, so the certificates tell.
    fn has_identity_of(&self, other: &Tls) -> bool {
        self.identity.cert == other.identity.cert
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        self.trust.is_like(&other.trust) && self.has_identity_of(other)
    }
}

impl Eq for Tls {}

impl Trust {
    fn revoked(&self) -> &[CertificateRevocationListDer<'static>] {
        match self {
            Trust::Authorities(authorities) => &authorities.revoked,
            Trust::Pins(_) => &[],
        }
    }

    fn is_like(&self, other: &Trust) -> bool {
        match (self, other) {
            (Trust::Authorities(old), Trust::Authorities(new)) => old.roots.roots == new.roots.roots,
            (Trust::Pins(old), Trust::Pins(new)) => old == new,
            _ => false,
        }
    }
}
