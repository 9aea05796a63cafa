//! An application keeps working while key servers die, hang, lag and come back, and a name never gets two keys.

#[path = "common/keyservers.rs"]
mod keyservers;
#[path = "common/proxy.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind};
use keystead::client::{Creation, Key, KeyInfo, Revocation};
use keystead::envelope::KeyId;
use keystead::{Client, Code};
use proxy::{Ending, Proxy, Then, Weather};

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

/// Where to cut: the first bytes of each reply, which are the header of a TLS record, its middle and its last byte.
fn places(sizes: &[usize]) -> Vec<usize> {
    let starts = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size)));
    let within = |size: usize| match Kind::Go.is_there() {
        true => vec![0, 1, 4, 5, size / 2, size - 1],
        false => vec![size / 2], // PyKMIP takes its time.
    };
    starts.zip(sizes).flat_map(|(start, size)| within(*size).into_iter().map(move |at| start + at)).collect()
}

#[test]
fn a_create_whose_reply_is_cut_at_any_byte_makes_one_key() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    let (client, other) = (open(&servers, "cut", &[proxy.port]), open(&servers, "straight", &ports(&servers)));
    warm(&client);
    let sizes = proxy.reply_sizes(|| drop(client.create_key("name-0000").unwrap()));
    assert!(sizes.len() > 4, "{sizes:?}");
    let mut cuts = places(&sizes);
    if Kind::Go.is_there() {
        // The reply to Create is the one after the first looks, and one of them is as good as another.
        cuts.extend(sizes[0]..sizes.iter().take(4).sum());
    }
    for (n, after) in cuts.into_iter().enumerate() {
        let name = format!("name-{:04}", n + 1);
        warm(&client);
        proxy.set(Weather::Cut { after, then: Then::Fair });
        let (key, creation) = client.create_key(&name).unwrap_or_else(|error| panic!("cut after {after}: {error}"));
        assert!(proxy.has_cut(), "no reply came to byte {after} of {sizes:?}");
        assert!(creation == Creation::Created || after < sizes[0], "{creation:?} after {after}");
        assert_eq!(agreed(std::slice::from_ref(&other), &name), [1], "cut after {after} of {sizes:?}");
        assert_eq!(decrypt(&other, &encrypt(&key, name.as_bytes())).unwrap(), name.as_bytes());
    }
    active(&other.list_keys().unwrap());
}

#[test]
fn a_create_and_a_rotation_go_on_elsewhere_when_the_server_dies_within_a_reply() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let mut n = 0;
    let mut try_at = |cut: Option<usize>, rotates: bool| {
        n += 1;
        let name = format!("name-{n:04}");
        // A client of its own: one that knows of the death would pass the server over.
        let client = open(&servers, "dies", &[proxy.port, secondary]);
        if rotates {
            client.create_key(&name).unwrap();
        }
        warm(&client);
        let mut key = None;
        let sizes = proxy.reply_sizes(|| {
            if let Some(after) = cut {
                proxy.set(Weather::Cut { after, then: Then::Down });
            }
            let made = if rotates { client.rotate_key(&name) } else { client.create_key(&name).map(|made| made.0) };
            key = Some(made.unwrap_or_else(|error| panic!("cut after {cut:?}: {error}")));
        });
        assert!(cut.is_none() || proxy.has_cut(), "no reply came to byte {cut:?}");
        let message = encrypt(&key.unwrap(), b"value");
        proxy.set(Weather::Fair);
        let versions = agreed(&alone, &name);
        assert!(versions.len() > usize::from(rotates), "{versions:?}");
        for client in &alone {
            assert_eq!(decrypt(client, &message).unwrap(), b"value");
            assert_eq!(client.create_key(&name).unwrap().1, Creation::Existed);
        }
        agreed(&alone, &name);
        sizes
    };
    for rotates in [false, true] {
        for after in places(&try_at(None, rotates)) {
            try_at(Some(after), rotates);
        }
    }
}

#[test]
fn a_destruction_whose_reply_is_lost_is_done_or_said_to_be_uncertain() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let mut n = 0;
    let mut try_at = |cut: Option<(usize, Then)>| {
        n += 1;
        let name = format!("name-{n:04}");
        let client = open(&servers, "destroys", &[proxy.port, secondary]);
        let message = encrypt(&client.create_key(&name).unwrap().0, b"value");
        client.revoke_key(&id(&name, 1), Revocation::CessationOfOperation).unwrap();
        let mut outcome = Ok(());
        let sizes = proxy.reply_sizes(|| {
            if let Some((after, then)) = cut {
                proxy.set(Weather::Cut { after, then });
            }
            outcome = client.destroy_key(&id(&name, 1));
        });
        proxy.set(Weather::Fair);
        match (cut, outcome) {
            (Some((_, Then::Down)), Err(error)) => assert_eq!(error.code(), Code::NoServer, "{error}"),
            (_, outcome) => outcome.unwrap_or_else(|error| panic!("cut {cut:?}: {error}")),
        }
        // Whoever was told that it is uncertain asks again.
        if let Err(error) = client.destroy_key(&id(&name, 1)) {
            assert_eq!(error.code(), Code::KeyNotFound, "{error}");
        }
        for client in &alone {
            assert!(decrypt(client, &message).is_err(), "cut {cut:?}");
        }
        sizes
    };
    for after in places(&try_at(None)) {
        for then in [Then::Fair, Then::Down] {
            try_at(Some((after, then)));
        }
    }
}

#[test]
fn a_create_that_a_server_never_answers_is_made_elsewhere_within_the_deadline() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let client = open(&servers, "measures", &[proxy.port, secondary]);
    warm(&client);
    let sizes = proxy.reply_sizes(|| drop(client.create_key("measure").unwrap()));
    let starts: Vec<usize> = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size))).collect();
    for (n, after) in starts.into_iter().enumerate() {
        let client = Client::open(&configured(&servers, "hangs", &[proxy.port, secondary], "4s")).unwrap();
        warm(&client);
        let name = format!("name-{n}");
        proxy.set(Weather::Cut { after, then: Then::Silence });
        let start = Instant::now();
        let (key, _) = client.create_key(&name).unwrap_or_else(|error| panic!("silent after {after}: {error}"));
        assert!(proxy.has_cut() && start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        proxy.end(Ending::Reset);
        proxy.set(Weather::Fair);
        agreed(&alone, &name);
        let message = encrypt(&key, b"value");
        alone.iter().for_each(|client| assert_eq!(decrypt(client, &message).unwrap(), b"value"));
    }
}

#[test]
fn clients_and_processes_of_lagging_servers_make_each_key_once() {
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
    // Processes share nothing but the servers.
    let config = |order: &[u16; 2]| servers.dir.join(format!("first-{}.conf", order[0]));
    for arguments in [["key", "create", "processes"], ["key", "rotate", "processes"]] {
        let tools: Vec<_> = orders
            .iter()
            .chain(&orders)
            .map(|order| {
                let mut tool = Command::new(env!("CARGO_BIN_EXE_keystead"));
                tool.args(arguments).env("KEYSTEAD_CONFIG", config(order)).stdout(Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut tool in tools {
            assert!(tool.wait().unwrap().success());
        }
    }
    std::thread::sleep(lag);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let shown = alone.each_ref().map(|client| active(&client.list_keys().unwrap()));
    assert_eq!(shown[0], shown[1]);
    for name in names.iter().map(String::as_str).chain(["processes"]) {
        let versions: Vec<_> = shown[0].keys().filter(|(n, _)| n == name).map(|(_, version)| *version).collect();
        // Rotations at the same time may share a version.
        let most = if name == "processes" { 5 } else { 3 };
        assert!(
            versions.len() <= most && (1..).take(versions.len()).eq(versions.iter().copied()),
            "{name}: {versions:?}"
        );
        assert!(versions.len() > 1, "{name} was not rotated");
    }
    for message in &messages {
        alone.iter().for_each(|client| drop(decrypt(client, message).unwrap()));
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

#[test]
fn no_call_fails_and_no_key_is_made_twice_while_servers_die_hang_and_return() {
    let mut servers = start(3);
    let [a, b, c] = ports(&servers)[..] else { unreachable!() };
    let orders = [[a, b, c], [b, c, a]];
    let clients =
        orders.map(|order| Client::open(&configured(&servers, &format!("first-{}", order[0]), &order, "30s")).unwrap());
    let (over, calls, slowest) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let timed = |what: &str, call: &mut dyn FnMut() -> keystead::Result<()>| {
        let start = Instant::now();
        call().unwrap_or_else(|error| panic!("{what} failed after {:?}: {error}", start.elapsed()));
        slowest.fetch_max(start.elapsed().as_millis() as usize, Ordering::Relaxed);
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let messages: Vec<(String, Vec<u8>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker: usize| {
                let (clients, over, timed) = (&clients, &over, &timed);
                scope.spawn(move || {
                    let (here, elsewhere) = (&clients[worker % 2], &clients[(worker + 1) % 2]);
                    let mut messages = Vec::new();
                    // Two workers, of one client each, make the same names.
                    for n in 0.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("name-{}-{n}", worker / 2);
                        let mut message = Vec::new();
                        timed("create_key", &mut || {
                            message = encrypt(&here.create_key(&name)?.0, name.as_bytes());
                            Ok(())
                        });
                        timed("key", &mut || elsewhere.key(&name).map(drop));
                        timed("decrypt", &mut || {
                            decrypt(elsewhere, &message).map(|plain| assert_eq!(plain, name.as_bytes()))
                        });
                        let missing = elsewhere.key(&format!("{name}-missing")).err().unwrap();
                        assert_eq!(missing.code(), Code::KeyNotFound, "{missing}");
                        messages.push((name, message));
                    }
                    messages
                })
            })
            .collect();
        let start = Instant::now();
        let names: Vec<String> = servers.servers.iter().map(|server| server.name.clone()).collect();
        for name in names.iter().cycle() {
            if start.elapsed() > Duration::from_secs(10) || workers.iter().any(|worker| worker.is_finished()) {
                break;
            }
            servers.kill(name);
            std::thread::sleep(Duration::from_secs(1));
            servers.restart(name);
            servers.stop(name);
            std::thread::sleep(Duration::from_secs(1));
            servers.resume(name);
        }
        over.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    println!("{} calls, the slowest took {slowest:?} ms, {} messages", calls.into_inner(), messages.len());

    let fresh = open(&servers, "fresh", &[c, b, a]);
    let active = active(&fresh.list_keys().unwrap());
    let names: std::collections::BTreeSet<_> = active.keys().map(|(name, _)| name).collect();
    assert_eq!(active.len(), names.len(), "a name was asked for once and has several versions: {active:?}");
    for (name, message) in &messages {
        assert_eq!(decrypt(&fresh, message).unwrap(), name.as_bytes());
    }
    let trails = orders.map(|order| servers.dir.join(format!("first-{}.csv", order[0])));
    let rows: Vec<String> = trails
        .iter()
        .flat_map(|trail| std::fs::read_to_string(trail).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for server in servers.servers.clone() {
        let port = server.port.to_string();
        let succeeded = |operation: &str| {
            let rows = rows.iter().map(|row| row.split(',').collect::<Vec<_>>());
            rows.filter(|row| row[0] == operation && row[3] == port && row[8] == "success").count() as u64
        };
        // A server may have done what nobody heard of any more, and never less than the trail says.
        for operation in ["Create", "Get", "Locate"] {
            let (told, done) = (succeeded(operation), servers.count(&server.name, operation));
            assert!(
                told > 0 && told <= done,
                "{operation} on {}: the trail has {told}, the server {done}",
                server.name
            );
        }
    }
    for trail in &trails {
        assert!(keystead::log::verify(&[trail]).unwrap().is_intact());
    }
}

#[test]
fn a_connection_that_ended_while_it_was_idle_costs_a_reconnect_and_no_error() {
    let servers = start(1);
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
            client.key(&name).unwrap_or_else(|error| panic!("{how:?}: {error}"));
            assert_eq!(proxy.accepted(), before + 1, "{how:?}");
            proxy.end(how);
            match rotates {
                true => assert_eq!(client.rotate_key(&name).unwrap().id().unwrap(), id(&name, 2)),
                false => assert_eq!(client.create_key(&format!("{name}-new")).unwrap().1, Creation::Created),
            }
            assert_eq!(proxy.accepted(), before + 2, "{how:?}");
        }
    }
    active(&other.list_keys().unwrap());
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
