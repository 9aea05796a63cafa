//! Several servers of one cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keystead::client::Original;
use keystead::{Client, Code};

use crate::keyservers::{KeyServers, Kind, pinned_version};

/// The harness's configuration with more in its section `[failover]`.
fn configured(servers: &KeyServers, more: &str) -> Client {
    let text = fs::read_to_string(&servers.config).unwrap();
    let path = servers.dir.join("cluster.conf");
    fs::write(&path, text.replace("[failover]\n", &format!("[failover]\n{more}\n"))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Client::open(&path).unwrap()
}

#[test]
fn reads_go_to_each_server_in_its_turn_where_that_is_wanted() {
    let mut servers = KeyServers::start(2);
    let client = configured(&servers, "reads = \"round_robin\"");
    client.create_key("orders").unwrap();
    let before = ["primary", "secondary"].map(|name| servers.count(name, "Locate"));
    for _ in 0..6 {
        client.show_key("orders").unwrap();
    }
    let asked = ["primary", "secondary"].map(|name| servers.count(name, "Locate"));
    assert_eq!([asked[0] - before[0], asked[1] - before[1]], [3, 3]);
    servers.kill("secondary");
    for _ in 0..3 {
        client.show_key("orders").unwrap();
    }
}

#[test]
fn a_server_too_old_for_a_space_leaves_it_to_a_newer_one() {
    if !Kind::Go.is_there() || pinned_version().is_some() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 2);
    let file = servers.dir.join("archive.dek");
    let client = Client::open(&servers.config).unwrap();
    client.create_kek("vault").unwrap();
    client.create_space("archive", "vault", &file, Original::Keep).unwrap();
    let protected = fs::read(&file).unwrap();
    servers.kill("primary");
    servers.set_versions("primary", "1.0,1.1");
    servers.restart("primary");

    let asked = servers.count("primary", "Decrypt");
    let client = Client::open(&servers.config).unwrap();
    client.unlock_space(&protected, "archive").unwrap();
    assert_eq!(servers.count("primary", "Decrypt"), asked);
    servers.kill("secondary");
    servers.set_versions("secondary", "1.0");
    servers.restart("secondary");
    let error = Client::open(&servers.config).unwrap().unlock_space(&protected, "archive").err().unwrap();
    assert_eq!(error.code(), Code::Unsupported, "{error}");
}

#[test]
fn a_key_that_its_server_could_not_pass_on_in_time_is_waited_for() {
    if !Kind::Go.is_there() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 2);
    let client = configured(&servers, "replication_delay = \"20s\"");
    let key = client.create_key("orders").unwrap().0;
    let mut message = vec![0; key.encrypted_size(5).unwrap()];
    let size = key.encrypt(b"hello", b"", &mut message).unwrap();
    servers.set_lag(std::time::Duration::from_secs(4));
    let late = client.create_key("invoices").unwrap().0;
    let mut later = vec![0; late.encrypted_size(5).unwrap()];
    let later_size = late.encrypt(b"hello", b"", &mut later).unwrap();
    servers.kill("primary");

    let elsewhere = Client::open(&servers.dir.join("cluster.conf")).unwrap();
    let mut out = [0; 5];
    elsewhere.decrypt(&message[..size], b"", "*", &mut out).unwrap();
    elsewhere.decrypt(&later[..later_size], b"", "*", &mut out).unwrap();
    assert_eq!(&out, b"hello");
}
