//! What an application is promised of named keys, against real key servers.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind};
use keystead::client::{Creation, Key};
use keystead::{Client, Code};

/// The harness's configuration with its failover and cache sections replaced.
fn configured(servers: &KeyServers, file: &str, sections: &str) -> PathBuf {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let kept = text.split("\n[").filter(|section| !section.starts_with("failover]") && !section.starts_with("cache]"));
    let path = servers.dir.join(file);
    std::fs::write(&path, format!("{}\n\n{sections}\n", kept.collect::<Vec<_>>().join("\n["))).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn impatient(servers: &KeyServers) -> Client {
    let sections = "[failover]\ndelay = \"50ms\"\nrounds = 2\ndeadline = \"5s\"";
    Client::open(&configured(servers, "impatient.conf", sections)).unwrap()
}

fn encrypt(key: &Key, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, aad, &mut out).unwrap();
    out.truncate(size);
    out
}

fn decrypt(key: &Key, message: &[u8], aad: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; message.len()];
    let size = key.decrypt(message, aad, &mut out)?;
    out.truncate(size);
    Ok(out)
}

#[test]
fn one_get_serves_ten_thousand_encryptions_and_then_an_outage() {
    let mut servers = KeyServers::start(2);
    let client = impatient(&servers);
    assert_eq!(client.create_key("customer-1").unwrap().1, Creation::Created);
    drop(client);
    let before = servers.count("primary", "Get");

    let client = impatient(&servers);
    let key = client.key("customer-1").unwrap();
    let messages: Vec<_> = (0..10_000_u32).map(|n| encrypt(&key, &n.to_be_bytes(), b"row")).collect();
    for (n, message) in (0..10_000_u32).zip(&messages) {
        assert_eq!(decrypt(&client.key("customer-1").unwrap(), message, b"row").unwrap(), n.to_be_bytes());
    }
    assert_eq!(servers.count("primary", "Get") - before, 1);

    servers.kill("primary");
    servers.kill("secondary");
    let message = encrypt(&client.key("customer-1").unwrap(), b"still here", b"");
    let mut out = vec![0; message.len()];
    let size = client.decrypt(&message, b"", "customer-*", &mut out).unwrap();
    assert_eq!(&out[..size], b"still here");
}

#[test]
fn a_client_opens_while_every_server_is_down_says_so_in_time_and_recovers() {
    let mut servers = KeyServers::start(2);
    impatient(&servers).create_key("customer-1").unwrap();
    servers.kill("primary");
    servers.kill("secondary");

    let client = impatient(&servers);
    let start = Instant::now();
    let error = client.key("customer-1").err().expect("nobody can answer");
    assert!(start.elapsed() < Duration::from_secs(5), "the deadline is five seconds, it took {:?}", start.elapsed());
    assert_eq!(error.code(), Code::NoServer);
    for server in &servers.servers {
        let name = format!("{}:{}", server.host, server.port);
        assert!(error.message().contains(&name), "{error} does not name {name}");
        let attempt = error.attempts().iter().find(|attempt| attempt.server == name).unwrap();
        assert_eq!(attempt.address.as_deref(), Some(name.as_str()));
        assert!(attempt.reason.contains("refused"), "{}", attempt.reason);
    }

    servers.restart("secondary");
    assert_eq!(client.key("customer-1").unwrap().id().unwrap().to_string(), "customer-1/1");
}

#[test]
fn the_secondary_makes_and_serves_keys_when_the_primary_dies_and_the_trail_names_it() {
    let mut servers = KeyServers::start(2);
    let client = impatient(&servers);
    client.create_key("before").unwrap();
    servers.kill("primary");
    let (key, creation) = client.create_key("after").unwrap();
    assert_eq!(creation, Creation::Created);
    let message = encrypt(&key, "nach dem Ausfall".as_bytes(), b"");
    assert_eq!(decrypt(&key, &message, b"").unwrap(), "nach dem Ausfall".as_bytes());

    let trail = std::fs::read_to_string(&servers.audit).unwrap();
    let created_on = |name: &str| -> Vec<String> {
        let rows = trail.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let made = rows.filter(|row| row[0] == "Create" && row[4] == name && row[8] == "success");
        made.map(|row| row[3].to_owned()).collect()
    };
    assert_eq!(created_on("before"), [servers.servers[0].port.to_string()]);
    assert_eq!(created_on("after"), [servers.servers[1].port.to_string()]);
    let log = std::fs::read_to_string(&servers.log).unwrap();
    assert!(log.contains("event=server.failed") && log.contains("event=server.failover"), "{log}");
    assert!(keystead::log::verify(&[&servers.log]).unwrap().is_intact());
    assert!(keystead::log::verify(&[&servers.audit]).unwrap().is_intact());
}

#[test]
fn sixteen_creators_of_one_name_end_with_one_active_key_that_all_share() {
    end_with_one_active_key(&KeyServers::start(2));
}

#[test]
fn sixteen_creators_share_a_key_also_where_no_name_is_taken_twice() {
    if Kind::Go.is_there() {
        let mut servers = KeyServers::start_kind(Kind::Go, 2);
        servers.refuse_used_names();
        end_with_one_active_key(&servers);
    }
}

fn end_with_one_active_key(servers: &KeyServers) {
    // With the harness's own, longer deadline: sixteen at once take their time on a busy machine.
    let clients = [Client::open(&servers.config).unwrap(), Client::open(&servers.config).unwrap()];
    let start = Barrier::new(16);
    let messages: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..16)
            .map(|n: usize| {
                let (client, start) = (&clients[n % 2], &start);
                scope.spawn(move || {
                    start.wait();
                    encrypt(&client.create_key("shared").unwrap().0, b"hello", b"")
                })
            })
            .collect();
        creators.into_iter().map(|creator| creator.join().unwrap()).collect()
    });
    let fresh = impatient(servers);
    let key = fresh.key("shared").unwrap();
    for message in &messages {
        assert_eq!(decrypt(&key, message, b"").unwrap(), b"hello");
    }
    let versions = fresh.show_key("shared").unwrap();
    assert_eq!(versions.iter().filter(|version| version.state == "active").count(), 1, "{versions:?}");
}

/// A replica is behind: what it says is not there may be there.
#[test]
fn a_key_is_found_by_who_asks_the_lagging_server_first() {
    if !Kind::Go.is_there() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 2);
    servers.set_lag(Duration::from_secs(60));
    let message = encrypt(&impatient(&servers).create_key("customer-1").unwrap().0, b"new", b"");
    let config = servers.dir.join("impatient.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    let ports = [servers.servers[0].port.to_string(), servers.servers[1].port.to_string()];
    let swapped = text.replace(&ports[0], "PORT").replace(&ports[1], &ports[0]).replace("PORT", &ports[1]);
    std::fs::write(&config, swapped).unwrap();
    let client = Client::open(&config).unwrap();
    assert_eq!(decrypt(&client.key("customer-1").unwrap(), &message, b"").unwrap(), b"new");
    assert_eq!(client.create_key("customer-1").unwrap().1, Creation::Existed);
}

#[test]
fn a_message_of_another_customer_is_refused_before_any_request() {
    let mut servers = KeyServers::start(1);
    let client = impatient(&servers);
    let message = encrypt(&client.create_key("customer-1").unwrap().0, b"hers", b"");
    drop(client);
    let before = servers.count("primary", "Locate");
    let client = impatient(&servers);
    let mut out = vec![0; message.len()];
    let error = client.decrypt(&message, b"", "customer-2", &mut out).unwrap_err();
    assert_eq!(error.code(), Code::WrongKey);
    assert!(error.message().contains("customer-1/1") && error.message().contains("customer-2"), "{error}");
    assert_eq!(servers.count("primary", "Locate"), before);
    assert_eq!(client.decrypt(&message, b"", "customer-1", &mut out).unwrap(), 4);
}

#[test]
fn a_missing_key_is_named_and_audited_as_not_found() {
    let servers = KeyServers::start(2);
    let error = impatient(&servers).key("nobody").err().unwrap();
    assert_eq!(error.code(), Code::KeyNotFound);
    assert!(error.message().contains("nobody"), "{error}");
    let trail = std::fs::read_to_string(&servers.audit).unwrap();
    let row = trail.lines().find(|line| line.starts_with("Locate,") && line.contains(",nobody,")).unwrap();
    assert!(row.contains(",failure,") && row.contains("not found"), "{row}");
}

#[test]
fn a_key_serves_an_outage_up_to_max_stale_and_comes_back_with_the_servers() {
    let mut servers = KeyServers::start(1);
    let sections =
        "[failover]\ndelay = \"10ms\"\nrounds = 1\ndeadline = \"10s\"\n[cache]\nttl = \"400ms\"\nmax_stale = \"2s\"";
    let client = Client::open(&configured(&servers, "stale.conf", sections)).unwrap();
    let (key, _) = client.create_key("customer-1").unwrap();
    servers.kill("primary");
    let killed = Instant::now();
    let mut out = [0; 256];
    while killed.elapsed() < Duration::from_secs(1) {
        key.encrypt(b"x", b"", &mut out).expect("an outage shorter than max_stale is not noticed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let error = loop {
        match key.encrypt(b"x", b"", &mut out) {
            Err(error) => break error,
            Ok(_) => assert!(killed.elapsed() < Duration::from_secs(10), "the key never went stale"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(error.code(), Code::KeyStale);
    servers.restart("primary");
    let key = client.key("customer-1").unwrap();
    key.encrypt(b"x", b"", &mut out).unwrap();
}

#[test]
fn an_outage_longer_than_ttl_holds_up_nobody_who_has_the_key() {
    let mut servers = KeyServers::start(1);
    let sections = "[failover]\ndelay = \"500ms\"\nrounds = 3\ndeadline = \"10s\"\n[cache]\nttl = \"400ms\"";
    let client = Client::open(&configured(&servers, "outage.conf", sections)).unwrap();
    let old = encrypt(&client.create_key("customer-1").unwrap().0, b"old", b"");
    let new = encrypt(&client.rotate_key("customer-1").unwrap(), b"new", b"");
    let read = |message: &[u8]| client.decrypt(message, b"", "*", &mut [0; 256]).unwrap();
    read(&old);
    servers.kill("primary");
    let log = servers.dir.join("keystead.log");
    let killed = Instant::now();
    while !std::fs::read_to_string(&log).unwrap().contains("event=cache.stale") {
        assert!(killed.elapsed() < Duration::from_secs(10), "nobody noticed the outage");
        std::thread::sleep(Duration::from_millis(20));
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!((read(&old), read(&new)), (3, 3));
        client.key("customer-1").unwrap();
    }
    // An attempt in vain takes a second.
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());

    servers.restart("primary");
    let before = servers.count("primary", "GetAttributes");
    while servers.count("primary", "GetAttributes") == before {
        assert!(killed.elapsed() < Duration::from_secs(30), "the key was never verified again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_certificate_fault_is_named_at_once_and_not_as_an_outage() {
    let mut servers = KeyServers::start(1);
    for (kind, code) in [
        ("server-expired", Code::ServerCertificateExpired),
        ("server-wrong-ca", Code::ServerUntrusted),
        ("server-wrong-name", Code::ServerNameMismatch),
    ] {
        servers.kill("primary");
        servers.restart_with("primary", kind);
        let start = Instant::now();
        let error = impatient(&servers).key("customer-1").err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(error.attempts().len(), 1, "a second round mends no certificate: {error}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn a_closed_client_takes_its_keys_along() {
    let servers = KeyServers::start(1);
    let client = impatient(&servers);
    let (key, _) = client.create_key("customer-1").unwrap();
    client.close().unwrap();
    assert_eq!(key.encrypt(b"x", b"", &mut [0; 256]).unwrap_err().code(), Code::Closed);
    assert_eq!(client.key("customer-1").err().unwrap().code(), Code::Closed);
    client.close().unwrap();
}

#[test]
fn a_thousand_threads_that_want_one_key_cause_one_get() {
    let mut servers = KeyServers::start(1);
    impatient(&servers).create_key("wanted").unwrap();
    let before = servers.count("primary", "Get");
    let client = impatient(&servers);
    let start = Barrier::new(1000);
    std::thread::scope(|scope| {
        for _ in 0..1000 {
            let wait = || {
                start.wait();
                assert_eq!(client.key("wanted").unwrap().id().unwrap().to_string(), "wanted/1");
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, wait).unwrap();
        }
    });
    assert_eq!(servers.count("primary", "Get") - before, 1);
    let counts = client.status().unwrap().cache;
    assert_eq!((counts.hits + counts.misses, counts.keys), (1000, 1));
}

#[test]
fn that_a_key_is_missing_is_not_remembered() {
    let servers = KeyServers::start(1);
    let (client, other) = (impatient(&servers), impatient(&servers));
    assert_eq!(client.key("late").err().unwrap().code(), Code::KeyNotFound);
    other.create_key("late").unwrap();
    client.key("late").unwrap();
}

#[test]
fn hits_misses_refreshes_and_stale_keys_are_counted() {
    let mut servers = KeyServers::start(1);
    let sections = "[failover]\ndelay = \"10ms\"\nrounds = 1\ndeadline = \"10s\"\n[cache]\nttl = \"400ms\"";
    let client = Client::open(&configured(&servers, "counted.conf", sections)).unwrap();
    client.create_key("customer-1").unwrap();
    let counts = || client.status().unwrap().cache;
    let eventually = |what: &str, reached: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !reached() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what} did not come about: {:?}", counts());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    client.key("customer-1").unwrap();
    assert_eq!((counts().hits, counts().misses, counts().stale), (1, 0, 0));
    eventually("a refresh", &|| counts().refreshes > 0);
    servers.kill("primary");
    eventually("a stale key", &|| counts().stale > 0);
    assert_eq!(client.key("nobody").err().unwrap().code(), Code::NoServer);
    assert_eq!(counts().misses, 1);
}

#[test]
fn a_key_is_verified_again_after_its_maximum_of_uses() {
    let mut servers = KeyServers::start(1);
    let client = Client::open(&configured(&servers, "uses.conf", "[cache]\nmax_uses = 100")).unwrap();
    let message = encrypt(&client.create_key("customer-1").unwrap().0, b"x", b"");
    let before = servers.count("primary", "GetAttributes");
    for _ in 0..250 {
        client.key("customer-1").unwrap();
    }
    let by_name = servers.count("primary", "GetAttributes") - before;
    for _ in 0..250 {
        client.decrypt(&message, b"", "*", &mut [0; 64]).unwrap();
    }
    let by_message = servers.count("primary", "GetAttributes") - before - by_name;
    assert_eq!((by_name, by_message), (2, 2));
}

#[test]
fn a_rotation_made_elsewhere_is_followed_within_version_ttl() {
    let servers = KeyServers::start(1);
    let sections = "[cache]\nttl = \"10m\"\nversion_ttl = \"800ms\"";
    let client = Client::open(&configured(&servers, "follows.conf", sections)).unwrap();
    let (key, _) = client.create_key("customer-1").unwrap();
    impatient(&servers).rotate_key("customer-1").unwrap();
    let rotated = Instant::now();
    while key.id().unwrap().version == 1 {
        // What a busy machine may take besides is as much again and a little.
        assert!(rotated.elapsed() < Duration::from_secs(2), "the rotation went unnoticed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_purged_is_fetched_anew_and_nothing_else_is() {
    let mut servers = KeyServers::start(1);
    let client = impatient(&servers);
    let keys = ["one", "two"].map(|name| client.create_key(name).unwrap().0);
    let before = servers.count("primary", "Get");
    client.purge_key("one").unwrap();
    let error = keys[0].encrypt(b"x", b"", &mut [0; 256]).unwrap_err();
    assert!(error.code() == Code::KeyStale && error.message().contains("purged"), "{error}");
    encrypt(&keys[1], b"x", b"");
    encrypt(&client.key("one").unwrap(), b"x", b"");
    client.key("two").unwrap();
    assert_eq!(servers.count("primary", "Get") - before, 1);
    client.purge().unwrap();
    assert_eq!(client.status().unwrap().cache.keys, 0);
    assert_eq!(keys[1].encrypt(b"x", b"", &mut [0; 256]).unwrap_err().code(), Code::KeyStale);
    assert!(std::fs::read_to_string(&servers.log).unwrap().contains("event=cache.purged"));
}

#[test]
fn a_key_of_one_name_opens_nothing_of_another() {
    let servers = KeyServers::start(1);
    let client = impatient(&servers);
    let [hers, his] = ["customer-1", "customer-2"].map(|name| client.create_key(name).unwrap().0);
    let message = encrypt(&hers, b"hers", b"");
    assert_eq!(decrypt(&his, &message, b"").unwrap_err().code(), Code::WrongKey);
    // The name in the message is what is believed, and it is authenticated.
    let at = message.windows(12).position(|bytes| bytes == b"customer-1/1").unwrap();
    let mut renamed = message.clone();
    renamed[at + 9] = b'2';
    assert_eq!(decrypt(&his, &renamed, b"").unwrap_err().code(), Code::NotAuthentic);
    assert_eq!(client.decrypt(&renamed, b"", "*", &mut [0; 256]).unwrap_err().code(), Code::NotAuthentic);
}

#[test]
fn each_user_has_a_key_of_the_template_s_name_made_once() {
    let servers = KeyServers::start(1);
    let client = Client::open(&configured(&servers, "users.conf", "[keys]\ntemplate = \"customer-{id}\"")).unwrap();
    assert_eq!(client.key_name("42").unwrap(), "customer-42");
    assert_eq!(client.key_for("42").err().unwrap().code(), Code::KeyNotFound);
    let (key, creation) = client.register("42").unwrap();
    assert_eq!((key.id().unwrap().to_string().as_str(), creation), ("customer-42/1", Creation::Created));
    assert_eq!(client.register("42").unwrap().1, Creation::Existed);
    client.register("43").unwrap();
    let message = encrypt(&client.key_for("42").unwrap(), b"Ada", b"name");
    let open = |id: &str| client.decrypt(&message, b"name", &client.key_name(id).unwrap(), &mut [0; 256]);
    assert_eq!(open("42").unwrap(), 3);
    assert_eq!(open("43").unwrap_err().code(), Code::WrongKey);
    for id in ["", "a b", "a/1", "ada@example.com", "*", &"x".repeat(200)] {
        let error = client.register(id).err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument, "{id}");
        assert!(!error.message().contains("example.com"), "what tells people apart stays out of errors: {error}");
    }
    let error = impatient(&servers).register("42").err().unwrap();
    assert!(error.message().contains("template"), "{error}");
}

#[test]
fn a_name_that_tells_of_people_is_warned_of() {
    let servers = KeyServers::start(1);
    let client = impatient(&servers);
    let warnings = || std::fs::read_to_string(&servers.log).unwrap().matches("event=key.name_personal").count();
    client.create_key("customer-42").unwrap();
    assert_eq!(warnings(), 0);
    client.create_key("customer-00436601234567").unwrap();
    client.create_key("customer-00436601234567").unwrap();
    assert_eq!(warnings(), 1);
}

#[test]
fn pseudonyms_come_from_a_key_of_the_key_server_and_outlive_its_rotation() {
    let servers = KeyServers::start(1);
    let sections = "[keys]\ntemplate = \"user-{id}\"\npseudonym_key = \"names\"";
    let open = || Client::open(&configured(&servers, "pseudonyms.conf", sections)).unwrap();
    let client = open();
    assert_eq!(client.key_name("ada@example.com").err().unwrap().code(), Code::KeyNotFound, "it is never made unasked");
    client.create_key("names").unwrap();
    let name = client.key_name("ada@example.com").unwrap();
    let digits = name.strip_prefix("user-").unwrap();
    assert!(digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    assert_ne!(name, client.key_name("bob@example.com").unwrap());
    client.register("ada@example.com").unwrap();
    client.rotate_key("names").unwrap();
    assert_eq!(open().key_name("ada@example.com").unwrap(), name);
    assert_eq!(open().key_for("ada@example.com").unwrap().name(), name);
    let written = std::fs::read_to_string(&servers.log).unwrap() + &std::fs::read_to_string(&servers.audit).unwrap();
    assert!(!written.contains("example.com") && !written.contains("event=key.name_personal"), "it tells of people");
}
