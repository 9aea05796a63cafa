//! A configuration that changes while the client runs, with a real key server.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyservers::{Certificate, KeyServers, Kind};
use keystead::client::Key;
use keystead::{Client, Code};

/// Puts a file in the place of another at once, as whoever renews a certificate should.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// A configuration of the first `number` servers whose certificates are files of its own, looked at every 10 ms.
struct Site {
    config: PathBuf,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Site {
    fn new(servers: &KeyServers, number: usize) -> Site {
        let [config, ca, certificate, key] =
            ["own.conf", "own-ca.pem", "own.pem", "own.key"].map(|name| servers.dir.join(name));
        let site = Site { config, ca, certificate, key };
        site.install(&Certificate {
            certificate: servers.client_certificate.clone(),
            key: servers.client_key.clone(),
            ca: servers.ca.clone(),
        });
        site.configure(servers, number, "");
        site
    }

    fn configure(&self, servers: &KeyServers, number: usize, more: &str) {
        let mut text = format!(
            "[client]\nname = \"reload\"\npolicy = \"relaxed\"\n[tls]\nca_certificate = \"own-ca.pem\"\n\
             client_certificate = \"own.pem\"\nclient_key = \"own.key\"\n[failover]\ndelay = \"10ms\"\n\
             [cache]\nttl = \"80ms\"\n[log]\ntarget = \"file:own.log\"\n{more}"
        );
        for server in &servers.servers[..number] {
            text += &format!("[[server]]\nhost = \"{}\"\nport = {}\n", server.host, server.port);
        }
        replace(&self.config, &text);
    }

    /// As careful administrators do it: first the CAs, then certificate and key.
    fn install(&self, with: &Certificate) {
        let old = fs::read_to_string(&self.ca).unwrap_or_default();
        replace(&self.ca, &(old + &fs::read_to_string(&with.ca).unwrap()));
        replace(&self.certificate, &fs::read_to_string(&with.certificate).unwrap());
        replace(&self.key, &fs::read_to_string(&with.key).unwrap());
    }

    /// The records of an event.
    fn told(&self, event: &str) -> Vec<String> {
        let log = fs::read_to_string(self.config.with_extension("log")).unwrap();
        log.lines().filter(|line| line.contains(&format!("event={event} "))).map(str::to_owned).collect()
    }

    fn await_told(&self, event: &str, words: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.told(event).into_iter().find(|line| line.contains(words)) {
                return line;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{event} with {words:?} was not told");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn encrypt(key: &Key) {
    let mut out = vec![0; key.encrypted_size(5).unwrap()];
    key.encrypt(b"hello", b"", &mut out).unwrap();
}

/// TLS 1.2 and 1.3, in which a server that knows us again asks for no certificate.
#[test]
fn certificates_of_a_new_authority_are_taken_up_while_the_client_runs() {
    for kind in [Kind::PyKmip, Kind::Go].into_iter().filter(|kind| kind.is_there()) {
        renew_certificates(kind);
    }
}

fn renew_certificates(kind: Kind) {
    let mut servers = KeyServers::start_kind(kind, 1);
    let site = Site::new(&servers, 1);
    let client = Client::open(&site.config).unwrap();
    let key = client.create_key("orders").unwrap().0;
    assert!(site.told("config.loaded")[0].contains(&servers.servers[0].port.to_string()));

    site.install(&servers.certificate("client-renewed"));
    let told = site.await_told("config.reloaded", "client_certificate");
    assert!(told.contains("key_server=") || told.contains("own.conf"), "{told}");
    assert_eq!(client.status().unwrap().config.reload_error, None);
    encrypt(&key);

    servers.kill("primary");
    encrypt(&key);
    servers.restart_with("primary", "server-renewed");
    client.create_key("invoices").unwrap();
    encrypt(&key);
    client.close().unwrap();
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_told() {
    let mut servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let site = Site::new(&servers, 1);
    let client = Client::open(&site.config).unwrap();
    let good = fs::read_to_string(&site.config).unwrap();

    replace(&site.config, &good.replace("[tls]", "[tsl]"));
    site.await_told("config.reload_failed", "unknown section");
    let status = client.status().unwrap().config;
    assert!(status.reload_error.is_some_and(|error| error.contains("unknown section")));
    assert_eq!(client.reload().unwrap_err().code(), Code::ConfigInvalid);
    client.create_key("orders").unwrap();
    let failures = site.told("config.reload_failed").len();
    assert_eq!(failures, 2, "one for the change, one for the call: it is not told at every look");

    replace(&site.config, &good);
    site.await_told("config.reloaded", "changed=nothing");
    assert_eq!(client.status().unwrap().config.reload_error, None);

    // A key without its certificate.
    let other = servers.certificate("client-other");
    replace(&site.key, &fs::read_to_string(&other.key).unwrap());
    site.await_told("config.reload_failed", "is not the key of the certificate");
    client.create_key("invoices").unwrap();
    replace(&site.certificate, &fs::read_to_string(&other.certificate).unwrap());
    site.await_told("config.reloaded", "client_certificate");
    assert_eq!(client.key("orders").err().map(|error| error.code()), None, "what is cached stays");
}

#[test]
fn servers_come_and_go_and_what_needs_another_client_is_named() {
    let mut servers = KeyServers::start_kind(Kind::PyKmip, 2);
    let site = Site::new(&servers, 1);
    let client = Client::open(&site.config).unwrap();
    client.create_key("orders").unwrap();

    site.configure(&servers, 2, "level = \"debug\"\n");
    let changes = client.reload().unwrap();
    let second = format!("127.0.0.1:{}", servers.servers[1].port);
    assert_eq!(changes.taken_up, [format!("key server {second} added")]);
    assert_eq!(changes.left, ["[log]"]);
    let told = site.await_told("config.reloaded", &second);
    assert!(told.contains("not_taken_up=[log]"), "{told}");
    servers.kill("primary");
    client.create_key("invoices").unwrap();

    let text = fs::read_to_string(&site.config).unwrap();
    let first = format!("[[server]]\nhost = \"127.0.0.1\"\nport = {}\n", servers.servers[0].port);
    replace(&site.config, &text.replace(&first, ""));
    let start = Instant::now();
    // The background may have been quicker.
    client.reload().unwrap();
    site.await_told("config.reloaded", &format!("key server 127.0.0.1:{} removed", servers.servers[0].port));
    let status = client.status().unwrap();
    assert_eq!(status.servers.len(), 1);
    assert_eq!(status.servers[0].server, second);
    client.create_key("returns").unwrap();
    println!("{:?}", start.elapsed());
}
