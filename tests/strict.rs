//! What the policy `strict` refuses of a key on a key server, against real ones: the code, the record, the row, and that nothing of the
//! key is fetched or kept that need not be.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyservers::{KeyServers, Kind};
use keystead::audit::AuditTrail;
use keystead::client::{Creation, Original};
use keystead::cluster::{Cluster, Journal};
use keystead::config::{self, Policy};
use keystead::keys::Keys;
use keystead::kmip::{Activate, Connector, Deadline, Material, Register, Usage};
use keystead::log::Log;
use keystead::{Client, Code, Error};

/// The keys of a client under `strict`. Key servers of a test run on this machine, which `strict` refuses before it speaks to them,
/// and all tests have one client certificate; so the connections are those of `relaxed`, and no certificate is taken.
struct Strict {
    keys: Keys,
    journal: Journal,
    log: std::path::PathBuf,
    trail: std::path::PathBuf,
    port: u16,
}

impl Strict {
    fn open(servers: &KeyServers, name: &str) -> Strict {
        let (mut config, _) = config::load(&configuration(servers, name)).unwrap();
        let log = Arc::new(Log::open_with(&config.log, &config.client_name, None).unwrap());
        let audit = config.audit.as_ref().map(|audit| Arc::new(AuditTrail::open_as(audit).unwrap()));
        let journal = Journal { log, audit };
        let cluster = Cluster::new(&config, journal.clone()).unwrap();
        config.policy = Policy::Strict;
        config.servers.clear();
        let keys = Keys::new(Arc::new(cluster), &config).unwrap();
        let path = |ending: &str| servers.dir.join(format!("{name}.{ending}"));
        Strict { keys, journal, log: path("log"), trail: path("csv"), port: servers.servers[0].port }
    }

    /// Asserts that the refusal has the code, and left one record and one row that say so of this version.
    fn refused<T>(&self, outcome: keystead::Result<T>, code: Code, id: &str, object: &str, says: &str) {
        let error = outcome.err().expect("it is refused");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(id) && error.message().contains(says), "{error}");
        self.journal.end(Duration::from_secs(10));
        let (name, version) = id.split_once('/').unwrap();
        let reason = format!("result=failure reason=\"{}\" ", spoken(code));
        let text = std::fs::read_to_string(&self.log).unwrap();
        let of =
            format!(" severity=warning key_server=127.0.0.1 port={} key_name={name} key_version={version} ", self.port);
        let is_of = |line: &&str| line.contains(&format!("key_name={name} "));
        let records: Vec<_> = text.lines().filter(|line| line.contains("event=key.refused")).filter(is_of).collect();
        assert!(records.len() == 1 && records[0].contains(&of) && records[0].contains(&reason), "{records:?}");
        assert!(records[0].contains(says) && records[0].contains(&format!(" identifier={object} ")), "{records:?}");
        let text = std::fs::read_to_string(&self.trail).unwrap();
        let is_of = |row: &&str| row.starts_with("Refuse Key,") && row.contains(&format!(",{name},"));
        let rows: Vec<_> = text.lines().filter(is_of).collect();
        let told = format!(",failure,{version},{object},");
        assert!(rows.len() == 1 && rows[0].contains(&told) && rows[0].contains(spoken(code)), "{rows:?}");
    }
}

/// As a record calls it.
fn spoken(code: Code) -> &'static str {
    match code {
        Code::KeyWeak => "key weak",
        Code::KeyShared => "key shared",
        other => panic!("{other:?}"),
    }
}

/// The harness's configuration for a client of that name, with a log and a trail of its own.
fn configuration(servers: &KeyServers, name: &str) -> std::path::PathBuf {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let own = config::load(&servers.config).unwrap().0.client_name;
    let text = text.replace(&format!("name = \"{own}\""), &format!("name = \"{name}\""));
    let text = text.replace("keystead.log", &format!("{name}.log")).replace("audit.csv", &format!("{name}.csv"));
    let path = servers.dir.join(format!("{name}.conf"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// Gives the server an active key with these bytes, as others do by other means. Answers its identifier.
fn give(config: &Path, id: &str, bytes: &[u8; 32]) -> String {
    let (settings, _) = config::load(config).unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    let mut connection = Connector::new(&settings.servers[0]).unwrap().connect(soon).map_err(Error::from).unwrap();
    let group = format!("keystead:{}", id.split('/').next().unwrap());
    let usage = Usage::ENCRYPT | Usage::DECRYPT;
    let register = Register { name: id, group: Some(&group), usage, material: Material::Plain(bytes) };
    let object = connection.call(&register, soon).map_err(Error::from).unwrap();
    connection.call(&Activate { id: &object }, soon).map_err(Error::from).unwrap();
    object
}

fn kinds() -> impl Iterator<Item = Kind> {
    [Kind::PyKmip, Kind::Go].into_iter().filter(|kind| kind.is_there())
}

#[test]
fn a_key_of_printable_or_constant_bytes_is_refused() {
    for kind in kinds() {
        let servers = KeyServers::start_kind(kind, 1);
        let mut few = [0xC3; 32];
        few[..7].copy_from_slice(&[1, 2, 3, 4, 5, 6, 6]);
        let typed = *b"correct horse battery staple 123";
        for (name, bytes) in [("typed", typed), ("zeros", [0; 32]), ("constant", [0xAA; 32]), ("few", few)] {
            let id = format!("{name}/1");
            let object = give(&servers.config, &id, &bytes);
            let strict = Strict::open(&servers, &format!("strict-{name}"));
            strict.refused(strict.keys.named(name), Code::KeyWeak, &id, &object, "random generator");
            assert_eq!(strict.keys.named(&id).err().unwrap().code(), Code::KeyWeak, "as that version");
            assert_eq!(strict.keys.create(name).err().unwrap().code(), Code::KeyWeak, "nor made beside it");
            assert_eq!(strict.keys.counts().keys, 0, "it is not kept");
        }
        let random: [u8; 32] = std::array::from_fn(|n| (n * 37 + 200) as u8);
        give(&servers.config, "random/1", &random);
        Strict::open(&servers, "strict-random").keys.named("random").expect("what looks random is used");
    }
}

#[test]
fn a_key_and_a_kek_of_another_tenant_are_refused_and_not_fetched() {
    for kind in kinds() {
        let mut servers = KeyServers::start_kind(kind, 1);
        let one = Client::open(&configuration(&servers, "tenant-one")).unwrap();
        one.create_key("orders").unwrap();
        let has_spaces = !keyservers::is_pinned_below_data_spaces();
        if has_spaces {
            one.create_kek("master").unwrap();
        }
        let object = |id: &str| {
            let trail = std::fs::read_to_string(servers.dir.join("tenant-one.csv")).unwrap();
            let (name, _) = id.split_once('/').unwrap();
            let row = trail.lines().find(|row| row.starts_with("Activate,") && row.contains(&format!(",{name},")));
            let row: Vec<_> = row.expect(&trail).split(',').map(str::to_owned).collect();
            row[10].clone()
        };
        let [orders, gets] = [object("orders/1"), servers.count("primary", "Get").to_string()];
        let strict = Strict::open(&servers, "tenant-two");
        strict.refused(strict.keys.named("orders"), Code::KeyShared, "orders/1", &orders, "tenant-one");
        assert_eq!(strict.keys.create("orders").err().unwrap().code(), Code::KeyShared);
        assert_eq!(strict.keys.named("orders/1").err().unwrap().code(), Code::KeyShared);
        assert_eq!(servers.count("primary", "Get").to_string(), gets, "nothing of it is fetched");
        if has_spaces {
            assert_eq!(strict.keys.create_kek("master").err().unwrap().code(), Code::KeyShared);
            let file = servers.dir.join("orders.dek");
            let space = strict.keys.create_space("orders", "master", &file, Original::Destroy);
            assert!(space.is_err_and(|error| error.code() == Code::KeyShared) && !file.exists());
        }
        one.close().unwrap();
        let (_, creation) = strict.keys.create("orders").expect("what nobody else uses any more is free");
        assert_eq!(creation, Creation::Existed);
    }
}

/// As a key server with a bad generator would: each of its new keys has these bytes.
fn spoil_generator(servers: &KeyServers) {
    const TRIGGER: &str = "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); store.execute(\"CREATE TRIGGER spoil AFTER \
                           INSERT ON managed_objects BEGIN UPDATE managed_objects SET value = CAST('correct horse battery \
                           staple 123' AS BLOB) WHERE uid = NEW.uid; END\"); store.commit()";
    let store = servers.dir.join("keys.sqlite");
    let done = std::process::Command::new(keyservers::python()).args(["-c", TRIGGER]).arg(store).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_key_whose_bytes_were_made_by_hand_is_recorded_and_audited_also_as_the_key_of_a_data_space() {
    if keyservers::is_pinned_below_data_spaces() {
        return; // These have none.
    }
    let servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let client = Client::open(&servers.config).unwrap();
    client.create_key("random").unwrap();
    client.create_kek("master").unwrap();
    spoil_generator(&servers);
    client.create_key("typed").unwrap();
    let file = servers.dir.join("orders.dek");
    client.create_space("orders", "master", &file, Original::Destroy).unwrap();
    let log = std::fs::read_to_string(&servers.log).unwrap();
    let trail = std::fs::read_to_string(&servers.audit).unwrap();
    for name in ["typed", "space:orders"] {
        let is_of = |line: &&str| line.contains(name) && line.contains("key weak");
        let record = log.lines().filter(|line| line.contains("event=key.refused")).find(is_of);
        let row = trail.lines().filter(|row| row.starts_with("Refuse Key,")).find(is_of);
        let says = |record: &str| {
            record.contains("random generator") && record.contains("under the policy relaxed it is used")
        };
        assert!(record.is_some_and(says), "{name}: {log}");
        assert!(row.is_some_and(|row| row.contains(",failure,1,")), "{name}: {trail}");
    }
    assert_eq!(log.lines().filter(|line| line.contains("key weak")).count(), 2, "{log}");
    assert!(!log.contains("battery") && !trail.contains("battery"));

    // Under `strict` there is no such space, and what was made for it is destroyed.
    client.close().unwrap();
    let (strict, file) = (Strict::open(&servers, "strict-space"), servers.dir.join("letters.dek"));
    let space = strict.keys.create_space("letters", "master", &file, Original::Destroy);
    let trail = std::fs::read_to_string(&strict.trail).unwrap();
    let row: Vec<_> = trail.lines().find(|row| row.starts_with("Create,")).unwrap().split(',').collect();
    strict.refused(space, Code::KeyWeak, "space:letters/1", row[10], "random generator");
    assert!(
        trail
            .lines()
            .any(|other| other.starts_with("Destroy,") && other.contains(",success,") && other.contains(row[10]))
    );
    assert!(!file.exists());
}
