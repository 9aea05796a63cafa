//! What the configuration permits that its owner should know of.

use std::sync::Arc;

use super::{Config, Finding, Level, Tls, Trust};

const DAY: i64 = 24 * 60 * 60;

/// What the configuration as a whole says. `now` is in seconds since 1970.
pub(super) fn of(config: &Config, now: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |id, message: &str| found.push(Finding { id, message: message.to_owned() });
    let first = &config.servers[0];
    if config.servers.iter().all(|server| server.host == first.host && server.port == first.port) {
        add(
            "single-server",
            "only one key server is configured: while it is away no key can be fetched. Add a second [[server]]",
        );
    }
    if config.log.level > Level::Basic {
        add(
            "talkative-log",
            "the log level shows details of the application and fills disks. Use \"basic\" in production",
        );
    }
    if config.log.level > Level::None && config.log.target.is_none() {
        add("no-log", "no log is written, because [log] has no `target`. Add target = \"file:/path\"");
    }
    if config.audit.is_none() {
        add("no-audit", "no audit trail is written. Add [audit] with its `file`");
    }
    found.extend(identities(config).iter().filter_map(|tls| tls.expiry(now)));
    found.extend(identities(config).iter().filter_map(|tls| tls.trust.end_of_lists(now)));
    found
}

/// Each set of certificates once, however many servers share it.
fn identities(config: &Config) -> Vec<&Arc<Tls>> {
    let mut identities: Vec<&Arc<Tls>> = Vec::new();
    for tls in config.servers.iter().map(|server| &server.tls).chain(&config.log.tls) {
        if !identities.iter().any(|known| Arc::ptr_eq(known, tls)) {
            identities.push(tls);
        }
    }
    identities
}

/// Follows the ends of our certificates while the client runs, so that each step is told once.
pub struct ExpiryWatch {
    /// With the identifier of what was told last.
    certificates: Vec<(Arc<Tls>, Option<&'static str>)>,
}

impl ExpiryWatch {
    /// For a configuration that was loaded at `since`, in seconds since 1970, and told what was to be said then.
    pub fn new(config: &Config, since: i64) -> ExpiryWatch {
        let told = |tls: &Arc<Tls>| (tls.clone(), tls.expiry(since).map(|finding| finding.id));
        ExpiryWatch { certificates: identities(config).into_iter().map(told).collect() }
    }

    /// What is to be said at `now` and was not said before.
    pub fn news(&mut self, now: i64) -> Vec<Finding> {
        let changed = |(tls, told): &mut (Arc<Tls>, Option<&'static str>)| {
            let finding = tls.expiry(now);
            let id = finding.as_ref().map(|finding| finding.id);
            if std::mem::replace(told, id) == id { None } else { finding }
        };
        self.certificates.iter_mut().filter_map(changed).collect()
    }
}

impl Trust {
    /// What is to be said of revocation lists that have ended, or are about to.
    fn end_of_lists(&self, now: i64) -> Option<Finding> {
        let Trust::Authorities(authorities) = self else { return None };
        match authorities.revoked_until? - now {
            ..0 => Some(Finding {
                id: "crl-ended",
                message:
                    "a list in `crl` has ended, and its authority's key servers are refused; put the current list \
                          into that file"
                        .to_owned(),
            }),
            left if left < DAY => Some(Finding {
                id: "crl-ends",
                message: format!(
                    "a list in `crl` ends in {} hours, and its authority's key servers are refused then; put the next \
                     list into that file",
                    left / 3600
                ),
            }),
            _ => None,
        }
    }
}

impl Tls {
    /// What is to be said of our certificate's end at `now`, in seconds since 1970: 30, 7 and 1 days before
    /// it and afterwards. The identifier changes at each of these steps.
    pub fn expiry(&self, now: i64) -> Option<Finding> {
        let left = self.not_after - now;
        let id = match left {
            ..0 => "client-certificate-expired",
            _ if left < DAY => "client-certificate-expires-in-1-day",
            _ if left < 7 * DAY => "client-certificate-expires-in-7-days",
            _ if left < 30 * DAY => "client-certificate-expires-in-30-days",
            _ => return None,
        };
        let name = &self.common_name;
        let message = match left {
            ..0 => format!("the client certificate of {name} expired {} days ago; renew it", -left / DAY),
            _ => format!("the client certificate of {name} expires in {} hours; renew it", left / 3600),
        };
        Some(Finding { id, message })
    }
}
