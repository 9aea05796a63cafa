//! An application keeps working while key servers die, hang, lag and come back, and a name never gets two keys.

#[path = "../common/keyservers.rs"]
mod keyservers;
#[path = "../common/proxy.rs"]
mod proxy;

mod chaos;
mod cuts;
mod idle;
mod races;

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyservers::{KeyServers, Kind};
use keystead::client::{Key, KeyInfo};
use keystead::envelope::KeyId;
use keystead::{Client, Code};

/// Go servers answer fast enough to try every byte; where there is no Go, PyKMIP has to do.
fn start(number: usize) -> KeyServers {
    KeyServers::start_kind(if Kind::Go.is_there() { Kind::Go } else { Kind::PyKmip }, number)
}

/// The harness's configuration with servers on these ports, and its log and trail in `file`.log and `file`.csv.
fn configured(servers: &KeyServers, file: &str, ports: &[u16], deadline: &str) -> PathBuf {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let text = text.replace("keystead.log", &format!("{file}.log")).replace("audit.csv", &format!("{file}.csv"));
    let replaced = ["[server]]", "failover]"];
    let kept = text.split("\n[").filter(|section| !replaced.iter().any(|start| section.starts_with(start)));
    let mut text = kept.collect::<Vec<_>>().join("\n[");
    let version = keyservers::pinned_version().map_or(String::new(), |v| format!("kmip_version = \"{v}\"\n"));
    for port in ports {
        text += &format!("\n[[server]]\nhost = \"127.0.0.1\"\nport = {port}\n{version}");
    }
    text += &format!("\n[failover]\ndelay = \"20ms\"\nrounds = 3\ndeadline = \"{deadline}\"\n");
    let path = servers.dir.join(format!("{file}.conf"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn open(servers: &KeyServers, file: &str, ports: &[u16]) -> Client {
    Client::open(&configured(servers, file, ports, "10s")).unwrap()
}

fn ports(servers: &KeyServers) -> Vec<u16> {
    servers.servers.iter().map(|server| server.port).collect()
}

fn encrypt(key: &Key, plaintext: &[u8]) -> Vec<u8> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, b"", &mut out).unwrap();
    out.truncate(size);
    out
}

fn decrypt(client: &Client, message: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; message.len()];
    let size = client.decrypt(message, b"", "*", &mut out)?;
    out.truncate(size);
    Ok(out)
}

/// Gives a client a connection that stands.
fn warm(client: &Client) {
    assert_eq!(client.key("nobody").err().unwrap().code(), Code::KeyNotFound);
}

fn id(name: &str, version: u32) -> KeyId {
    KeyId::parse(&format!("{name}/{version}")).unwrap()
}

/// The identifier of each active version. Panics where a version has two.
fn active(versions: &[KeyInfo]) -> BTreeMap<(String, u32), String> {
    let mut active = BTreeMap::new();
    for found in versions.iter().filter(|found| found.state == "active") {
        let twin = active.insert((found.name.clone(), found.version), found.identifier.clone());
        assert_eq!(twin, None, "{}/{} is there twice", found.name, found.version);
    }
    active
}

/// The active versions of a name, as every server alone shows them: the same on all, one object each.
fn agreed(alone: &[Client], name: &str) -> Vec<u32> {
    let shown: Vec<_> = alone.iter().map(|client| active(&client.show_key(name).unwrap())).collect();
    assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "{shown:?}");
    shown[0].keys().map(|(_, version)| *version).collect()
}
