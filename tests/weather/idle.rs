//! Connections that end while nobody uses them.

use std::fs;
use std::time::Duration;

use keystead::Client;
use keystead::client::Creation;

use super::keyservers::{KeyServers, Kind};
use super::proxy::{Ending, Proxy};
use super::{active, configured, id, open, ports, start, warm};

#[test]
fn a_connection_that_ended_while_it_was_idle_costs_a_reconnect_and_no_error() {
    for kind in [Kind::Go, Kind::PyKmip].into_iter().filter(|kind| kind.is_there()) {
        let servers = KeyServers::start_kind(kind, 1);
        let proxy = Proxy::start(servers.servers[0].port);
        let client = open(&servers, "idle", &[proxy.port]);
        let other = open(&servers, "other", &ports(&servers));
        for how in [Ending::Fin, Ending::Reset, Ending::Silent] {
            for (n, rotates) in [false, true].into_iter().enumerate() {
                let name = format!("{how:?}-{n}");
                other.create_key(&name).unwrap();
                warm(&client);
                let before = proxy.accepted();
                proxy.end(how);
                client.key(&name).unwrap_or_else(|error| panic!("{kind:?}, {how:?}: {error}"));
                assert_eq!(proxy.accepted(), before + 1, "{kind:?}, {how:?}");
                proxy.end(how);
                match rotates {
                    true => assert_eq!(client.rotate_key(&name).unwrap().id().unwrap(), id(&name, 2)),
                    false => assert_eq!(client.create_key(&format!("{name}-new")).unwrap().1, Creation::Created),
                }
                assert_eq!(proxy.accepted(), before + 2, "{kind:?}, {how:?}");
            }
        }
        active(&other.list_keys().unwrap());
    }
}

#[test]
fn many_connections_that_ended_while_they_were_idle_cost_one_reconnect() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    let client = open(&servers, "many", &[proxy.port]);
    client.create_key("orders").unwrap();
    for how in [Ending::Fin, Ending::Reset, Ending::Silent] {
        // As many connections as threads ask at once.
        let meet = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    meet.wait();
                    client.show_key("orders").unwrap();
                });
            }
        });
        let before = proxy.accepted();
        proxy.end(how);
        client.show_key("orders").unwrap_or_else(|error| panic!("{how:?}: {error}"));
        assert_eq!(proxy.accepted(), before + 1, "{how:?}");
    }
}

/// With more in the section `[[server]]`.
fn limited(servers: &KeyServers, proxy: &Proxy, more: &str) -> Client {
    let path = configured(servers, "limited", &[proxy.port], "10s");
    let text = fs::read_to_string(&path).unwrap();
    let port = format!("port = {}\n", proxy.port);
    fs::write(&path, text.replace(&port, &format!("{port}{more}\n"))).unwrap();
    Client::open(&path).unwrap()
}

#[test]
fn a_connection_is_used_again_until_nobody_has_used_it_for_as_long_as_is_configured() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    for (limit, connections) in [("500ms", 4), ("1h", 1)] {
        let client = limited(&servers, &proxy, &format!("max_idle = \"{limit}\""));
        let before = proxy.accepted();
        for _ in 0..4 {
            client.key("nobody").err().unwrap();
            std::thread::sleep(Duration::from_millis(501));
        }
        assert_eq!(proxy.accepted() - before, connections, "{limit}");
    }
}

#[test]
fn no_more_connections_are_in_use_at_once_than_are_configured() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    let client = limited(&servers, &proxy, "max_connections = 2");
    client.create_key("orders").unwrap();
    let meet = std::sync::Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                meet.wait();
                client.show_key("orders").unwrap()
            });
        }
    });
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_connection_that_a_firewall_forgot_costs_some_time_and_no_error() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    let client = Client::open(&configured(&servers, "forgotten", &[proxy.port], "3s")).unwrap();
    for name in ["one", "two"] {
        warm(&client);
        std::thread::sleep(Duration::from_millis(1100)); // Long enough to be in doubt.
        proxy.end(Ending::Forgotten);
        assert_eq!(client.create_key(name).unwrap().1, Creation::Created);
    }
    active(&client.list_keys().unwrap());
}
