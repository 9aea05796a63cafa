//! Several creators at once, and replicas that lag.

use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use keystead::client::{Creation, Key};
use keystead::kmip::{Activate, Connector, Create, Deadline};
use keystead::{Client, Error, config};

use super::keyservers::{KeyServers, Kind};
use super::proxy::{Proxy, Then, Weather};
use super::{active, agreed, configured, decrypt, encrypt, id, open, ports, start, warm};

#[test]
fn clients_of_lagging_servers_make_each_key_once() {
    if !Kind::Go.is_there() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 2);
    let lag = Duration::from_millis(300);
    servers.set_lag(lag);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let orders = [[primary, secondary], [secondary, primary]];
    let clients = orders.map(|order| open(&servers, &format!("first-{}", order[0]), &order));
    let names: Vec<String> = (0..12).map(|n| format!("shared-{n}")).collect();
    let at_once = |call: fn(&Client, &str) -> keystead::Result<Key>| -> Vec<Vec<u8>> {
        let meet = Barrier::new(2 * names.len());
        let pairs = names.iter().flat_map(|name| clients.each_ref().map(|client| (name, client)));
        let run = |name: &String, client: &Client| {
            meet.wait();
            encrypt(&call(client, name).unwrap_or_else(|error| panic!("{name}: {error}")), name.as_bytes())
        };
        std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = pairs.map(|(name, client)| scope.spawn(move || run(name, client))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let mut messages = at_once(|client, name| Ok(client.create_key(name)?.0));
    messages.extend(at_once(|client, name| client.rotate_key(name)));
    std::thread::sleep(lag);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let shown = alone.each_ref().map(|client| active(&client.list_keys().unwrap()));
    assert_eq!(shown[0], shown[1]);
    for name in &names {
        let versions: Vec<_> = shown[0].keys().filter(|(n, _)| n == name).map(|(_, version)| *version).collect();
        // Rotations at the same time may share a version.
        assert!([vec![1, 2], vec![1, 2, 3]].contains(&versions), "{name}: {versions:?}");
    }
    for message in &messages {
        alone.iter().for_each(|client| drop(decrypt(client, message).unwrap()));
    }
}

#[test]
fn processes_that_make_and_rotate_the_same_name_at_once_agree_on_its_versions() {
    let mut servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let configs = [[primary, secondary], [secondary, primary]]
        .map(|order| configured(&servers, &format!("first-{}", order[0]), &order, "20s"));
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    // They share nothing but the servers.
    let at_once = |verb: &str, name: &str, processes: usize| {
        let tools: Vec<_> = (0..processes)
            .map(|n| {
                let mut tool = Command::new(env!("CARGO_BIN_EXE_keystead"));
                tool.args(["key", verb, name]).env("KEYSTEAD_CONFIG", &configs[n % 2]).stdout(Stdio::null());
                tool.spawn().unwrap()
            })
            .collect();
        for mut tool in tools {
            assert!(tool.wait().unwrap().success(), "key {verb} {name}");
        }
    };
    for lag in [0, 50, 300].map(Duration::from_millis) {
        if Kind::Go.is_there() {
            servers.set_lag(lag);
        }
        for processes in [2, 2, 4] {
            let name = format!("name-{}", alone[0].list_keys().unwrap().len());
            at_once("create", &name, processes);
            std::thread::sleep(lag);
            assert_eq!(agreed(&alone, &name), [1], "{processes} processes, {lag:?}");
            at_once("rotate", &name, processes);
            std::thread::sleep(lag);
            // Rotations at the same time may share a version.
            let versions = agreed(&alone, &name);
            let is_without_gaps = (1..).take(versions.len()).eq(versions.iter().copied());
            assert!(is_without_gaps && (2..=1 + processes).contains(&versions.len()), "{versions:?} after {lag:?}");
        }
    }
}

#[test]
fn a_new_version_stays_in_use_while_only_a_replica_that_has_not_heard_of_it_is_left() {
    if !Kind::Go.is_there() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 2);
    let config = configured(&servers, "lags", &ports(&servers), "5s");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text += "\n[cache]\nttl = \"100ms\"\n";
    std::fs::write(&config, text).unwrap();
    let client = Client::open(&config).unwrap();
    let old = encrypt(&client.create_key("orders").unwrap().0, b"old");
    servers.set_lag(Duration::from_secs(60));
    let key = client.rotate_key("orders").unwrap();
    let (only_here, _) = client.create_key("customers").unwrap();
    servers.kill("primary");

    // Until each was verified anew several times, in vain.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        for key in [&key, &only_here] {
            let message = encrypt(key, b"new");
            assert_eq!(decrypt(&client, &message).unwrap(), b"new");
            client.key(key.name()).unwrap_or_else(|error| panic!("{}: {error}", key.name()));
        }
        assert_eq!(decrypt(&client, &old).unwrap(), b"old");
        assert_eq!(key.id().unwrap(), id("orders", 2));
    }
    let log = std::fs::read_to_string(servers.dir.join("lags.log")).unwrap();
    assert!(!log.contains("event=key.contradiction") && log.contains("event=cache.stale"), "{log}");

    // What is made now gets another version than what the dead server alone knows.
    assert!(client.rotate_key("orders").unwrap().id().unwrap().version > 2);
    let other = open(&servers, "other", &ports(&servers));
    assert_eq!(other.create_key("customers").unwrap().1, Creation::Created);
    servers.restart("primary");
    servers.set_lag(Duration::ZERO);
    let both = ports(&servers).into_iter().map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let shown: Vec<_> = both.flat_map(|client| client.list_keys().unwrap()).collect();
    let mut objects: Vec<_> = shown.iter().map(|found| (&found.name, found.version, &found.identifier)).collect();
    objects.sort();
    objects.dedup();
    let mut versions: Vec<_> = objects.iter().map(|(name, version, _)| (name, version)).collect();
    versions.dedup();
    assert_eq!(versions.len(), objects.len(), "{objects:?}");
}

/// The request to activate does not arrive. A rival that waited for the winner and heard nothing activates its own object
/// meanwhile.
#[test]
fn a_creator_whose_activation_does_not_arrive_looks_again_before_it_asks_another_server() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let client = Client::open(&configured(&servers, "stuck", &[proxy.port, secondary], "4s")).unwrap();
    warm(&client);
    let sizes = proxy.reply_sizes(|| drop(client.create_key("name-1").unwrap()));
    // Locate, Create, Locate, Get Attributes, Activate, Locate, Get Attributes, Get.
    assert_eq!(sizes.len(), 8, "{sizes:?}");
    warm(&client);
    proxy.set(Weather::Cut { after: sizes[..4].iter().sum(), then: Then::Blocked });
    let (rival, creation) = std::thread::scope(|scope| {
        let creator = scope.spawn(|| client.create_key("name-2").map(|(_, creation)| creation));
        let start = Instant::now();
        while !proxy.has_cut() {
            assert!(start.elapsed() < Duration::from_secs(10), "nothing was activated");
            std::thread::sleep(Duration::from_millis(1));
        }
        (make_active(&servers, "name-2"), creator.join().unwrap())
    });
    assert_eq!(creation.unwrap_or_else(|error| panic!("{error}")), Creation::Existed);
    proxy.set(Weather::Fair);
    let other = open(&servers, "other", &[primary, secondary]);
    assert_eq!(active(&other.show_key("name-2").unwrap()), [(("name-2".to_owned(), 1), rival)].into());
}

/// What a rival does once it has waited for the winner in vain. On the secondary; the identifier.
fn make_active(servers: &KeyServers, name: &str) -> String {
    let (config, _) = config::load(&servers.config).unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    let mut connection = Connector::new(&config.servers[1]).unwrap().connect(soon).map_err(Error::from).unwrap();
    let (group, name) = (format!("keystead:{name}"), format!("{name}/1"));
    let id = connection.call(&Create::new(&name, Some(&group)), soon).map_err(Error::from).unwrap();
    connection.call(&Activate { id: &id }, soon).map_err(Error::from).unwrap();
    id
}
