//! Nothing is done on a key server that is recorded nowhere; and where unlogged work is refused, nothing is done with it either.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyservers::{KeyServers, Kind, pinned_version};
use keystead::audit::AuditTrail;
use keystead::client::{Original, Revocation};
use keystead::cluster::{Audited, Cluster, Journal, Subject};
use keystead::envelope::KeyId;
use keystead::kmip::attributes::{self, Value};
use keystead::kmip::{
    Activate, AddAttribute, Check, Cipher, Create, Deadline, Decrypt, DeleteAttribute, Destroy, DiscoverVersions,
    Encrypt, Failure, Get, GetAttributeList, GetAttributes, GetWrapped, Locate, Mac, Material, ModifyAttribute, Query,
    ReKey, Register, Revoke, RngRetrieve, Usage,
};
use keystead::log::{Log, catalogue};
use keystead::{Client, Code, Error, config};

/// All that the client may ask of a key server, as servers count it.
const OPERATIONS: [&str; 19] = [
    "DiscoverVersions",
    "Query",
    "Create",
    "Register",
    "ReKey",
    "Get",
    "GetAttributes",
    "GetAttributeList",
    "AddAttribute",
    "ModifyAttribute",
    "DeleteAttribute",
    "Locate",
    "Check",
    "Activate",
    "Revoke",
    "Destroy",
    "Encrypt",
    "Decrypt",
    "MAC",
];

fn counts(servers: &mut KeyServers) -> Vec<u64> {
    let names: Vec<String> = servers.servers.iter().map(|server| server.name.clone()).collect();
    let mut count = |operation: &str| names.iter().map(|name| servers.count(name, operation)).sum();
    OPERATIONS.iter().map(|operation| count(operation)).collect()
}

/// A configuration in which the text is replaced.
fn config(servers: &KeyServers, name: &str, old: &str, new: &str) -> PathBuf {
    let text = fs::read_to_string(&servers.config).unwrap();
    assert!(text.contains(old), "{text}");
    let path = servers.dir.join(name);
    fs::write(&path, text.replacen(old, new, 1)).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// One that refuses unlogged work.
fn strict(servers: &KeyServers) -> PathBuf {
    config(servers, "strict.conf", "[log]\n", "[log]\non_failure = \"refuse\"\n")
}

/// A life of keys and data spaces, as far as the servers' versions have them.
fn work(client: &Client, folder: &Path) {
    let id = |text| KeyId::parse(text).unwrap();
    client.create_key("customer-1").unwrap();
    client.rotate_key("customer-1").unwrap();
    client.purge().unwrap();
    client.key("customer-1").unwrap();
    assert_eq!(client.key("nobody").err().unwrap().code(), Code::KeyNotFound);
    client.revoke_key(&id("customer-1/1"), Revocation::Superseded).unwrap();
    client.destroy_key(&id("customer-1/1")).unwrap();
    client.list_keys().unwrap();
    client.probe_servers().unwrap();
    client.diagnose().unwrap();
    client.create_kek("master").unwrap();
    let file = folder.join("space");
    client.create_space("ledger", "master", &file, Original::Destroy).unwrap();
    client.purge().unwrap();
    client.unlock_space(&fs::read(&file).unwrap(), "ledger").unwrap();
    client.rotate_kek("master").unwrap();
    client.rewrap_space("master", &file).unwrap();
}

#[test]
fn every_operation_that_a_server_counts_is_in_the_log_and_in_the_audit_trail() {
    for kind in [Kind::PyKmip, Kind::Go].into_iter().filter(|kind| kind.is_there()) {
        let mut servers = KeyServers::start_kind(kind, 2);
        let before = counts(&mut servers);
        let client = Client::open(&servers.config).unwrap();
        work(&client, &servers.dir);
        client.close().unwrap();
        let counted: Vec<u64> = counts(&mut servers).iter().zip(before).map(|(after, before)| after - before).collect();
        let (log, audit) = (fs::read_to_string(&servers.log).unwrap(), fs::read_to_string(&servers.audit).unwrap());
        let squeezed = |text: &str| text.replace(" (wrapped)", "").replace([' ', '_', '-'], "").to_lowercase();
        let logged = |operation: &str| {
            let events = log.lines().filter_map(|line| line.split(" event=kmip.").nth(1)?.split(' ').next());
            events.filter(|event| squeezed(event) == squeezed(operation)).count() as u64
        };
        let audited = |operation: &str| {
            let cells = audit.lines().filter_map(|row| row.split(',').next());
            cells.filter(|cell| squeezed(cell) == squeezed(operation)).count() as u64
        };
        for (operation, counted) in OPERATIONS.iter().zip(&counted) {
            let recorded = (logged(operation), audited(operation));
            assert_eq!(recorded, (*counted, *counted), "{kind:?}: {operation}, {counted} of which a server counted");
        }
        for line in log.lines().filter(|line| line.contains(" event=kmip.")) {
            assert!(line.contains(" kmip_version=1.") && line.contains(" server_time=\"20"), "{line}");
        }
        // What no test asks for proves nothing.
        assert!(counted.iter().filter(|count| **count > 0).count() >= 9, "{counted:?}");
        assert!(counted[0] > 0, "no version was negotiated");
    }
}

#[test]
fn nothing_is_done_with_what_could_not_be_recorded_where_unlogged_work_is_refused() {
    let mut servers = KeyServers::start(2);
    let client = Client::open(&strict(&servers)).unwrap();
    for path in [servers.log.clone(), servers.audit.clone()] {
        let name = path.file_name().unwrap().to_string_lossy().replace('.', "-");
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        let before = counts(&mut servers);
        let refused = client.create_key(&name).err().unwrap();
        assert!(refused.code() == Code::LogFailed && refused.message().contains("symbolic link"), "{refused}");
        let asked = |servers: &mut KeyServers| -> u64 {
            counts(servers).iter().zip(&before).map(|(after, before)| after - before).sum()
        };
        // That the record is missing shows when the first operation was done; nothing else is done from then on.
        assert_eq!(asked(&mut servers), 1, "operations without a record of the first");
        assert_eq!(client.create_key(&name).err().unwrap().code(), Code::LogFailed);
        assert_eq!(asked(&mut servers), 1, "operations while it is known that there is no record");
        let status = client.status().unwrap();
        let (log, audit) = (status.log.unwrap(), status.audit.unwrap());
        let (failing, sound) = if path == servers.log { (log, audit) } else { (audit, log) };
        assert!(failing.lost > 0 && failing.failing_since > Some(1_700_000_000), "{failing:?}");
        assert!(failing.reason.is_some_and(|why| why.contains("symbolic link")));
        assert_eq!((sound.failing_since, sound.reason), (None, None));
        fs::rename(&aside, &path).unwrap();
        client.create_key(&name).unwrap();
        let status = client.status().unwrap();
        let (log, audit) = (status.log.unwrap(), status.audit.unwrap());
        assert!(log.lost > 0 && log.failing_since.is_none() && audit.failing_since.is_none(), "{log:?} {audit:?}");
    }
    let told = fs::read_to_string(&servers.log).unwrap();
    assert!(told.contains(" event=log.lost "), "{told}");
}

#[test]
fn the_first_call_is_refused_too_while_a_collector_is_away() {
    let mut servers = KeyServers::start(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let target = format!("target = \"file:{}\"", servers.log.display());
    let config = config(
        &servers,
        "away.conf",
        &target,
        &format!("target = \"tcp://127.0.0.1:{port}\"\non_failure = \"refuse\""),
    );
    let before = counts(&mut servers);
    let client = Client::open(&config).unwrap();
    assert_eq!(client.create_key("customer-1").err().unwrap().code(), Code::LogFailed);
    assert_eq!(counts(&mut servers), before);
}

fn ask<O: Audited>(cluster: &Cluster, operation: &O) -> Result<O::Answer, Failure> {
    let deadline = Deadline::after(Duration::from_secs(10));
    cluster.call_on(0, operation, Subject { name: "orders", version: Some(1) }, deadline)
}

fn done<O: Audited>(cluster: &Cluster, operation: &O) -> O::Answer {
    ask(cluster, operation).map_err(Error::from).unwrap()
}

/// The event of an operation that fails, and what the audit trail calls it.
fn failed<O: Audited>(cluster: &Cluster, operation: &O) -> (&'static str, &'static str) {
    assert!(ask(cluster, operation).is_err(), "{} succeeded", O::NAME);
    (O::EVENT, O::NAME)
}

#[test]
fn every_operation_is_recorded_when_it_succeeds_and_when_it_fails() {
    if !Kind::Go.is_there() || pinned_version().is_some() {
        return;
    }
    const CIPHER: Cipher<'static> = Cipher::Gcm { iv: b"twelve bytes", aad: b"header" };
    const USAGE: Usage = Usage(0xC | 0x80);
    let mut servers = KeyServers::start_kind(Kind::Go, 1);
    let (config, _) = config::load(&servers.config).unwrap();
    let log = Arc::new(Log::open(&config.log, "orders").unwrap());
    let audit = config.audit.as_ref().map(|audit| Arc::new(AuditTrail::open_as(audit).unwrap()));
    let cluster = &Cluster::new(&config, Journal { log, audit }).unwrap();

    done(cluster, &DiscoverVersions);
    done(cluster, &Query);
    done(cluster, &RngRetrieve);
    let id = done(cluster, &Create { usage: USAGE, ..Create::new("orders/1", None) });
    done(cluster, &Activate { id: &id });
    done(cluster, &Locate { name: Some("orders/1"), ..Locate::default() });
    done(cluster, &Get { id: &id });
    done(cluster, &GetAttributes { id: &id, names: &attributes::UNDERSTOOD });
    done(cluster, &GetAttributeList { id: &id });
    done(cluster, &AddAttribute { id: &id, name: attributes::OBJECT_GROUP, value: Value::Text("team") });
    done(cluster, &ModifyAttribute { id: &id, name: attributes::OBJECT_GROUP, index: 0, value: Value::Text("crew") });
    done(cluster, &DeleteAttribute { id: &id, name: attributes::OBJECT_GROUP, index: 0 });
    done(cluster, &Check { id: &id, usage: Usage::ENCRYPT });
    done(cluster, &Mac { id: &id, data: b"data" });
    let sealed = done(cluster, &Encrypt { id: &id, cipher: CIPHER, key: &[7; 32] });
    done(cluster, &Decrypt::new(&id, CIPHER, &sealed).unwrap());
    let given = Register { name: "kek/1", group: None, usage: Usage::WRAP_KEY, material: Material::Plain(&[9; 32]) };
    let kek = done(cluster, &given);
    done(cluster, &Activate { id: &kek });
    done(cluster, &GetWrapped { id: &id, under: &kek });
    let newer = done(cluster, &ReKey { id: &id });
    done(cluster, &Revoke { id: &id, why: Revocation::Superseded, compromised_since: None });
    done(cluster, &Destroy { id: &id });
    assert_ne!(newer, id);

    // No operation succeeds on a server that is gone.
    servers.kill("primary");
    let all = [
        failed(cluster, &DiscoverVersions),
        failed(cluster, &Query),
        failed(cluster, &RngRetrieve),
        failed(cluster, &Create::new("orders/2", None)),
        failed(cluster, &Activate { id: &id }),
        failed(cluster, &Locate::default()),
        failed(cluster, &Get { id: &id }),
        failed(cluster, &GetAttributes { id: &id, names: &attributes::UNDERSTOOD }),
        failed(cluster, &GetAttributeList { id: &id }),
        failed(cluster, &AddAttribute { id: &id, name: attributes::OBJECT_GROUP, value: Value::Text("team") }),
        failed(cluster, &ModifyAttribute { id: &id, name: attributes::NAME, index: 0, value: Value::Name("orders/2") }),
        failed(cluster, &DeleteAttribute { id: &id, name: attributes::OBJECT_GROUP, index: 0 }),
        failed(cluster, &Check { id: &id, usage: Usage::ENCRYPT }),
        failed(cluster, &Mac { id: &id, data: b"data" }),
        failed(cluster, &Encrypt { id: &id, cipher: CIPHER, key: &[7; 32] }),
        failed(cluster, &Decrypt::new(&id, CIPHER, &sealed).unwrap()),
        failed(cluster, &given),
        failed(cluster, &GetWrapped { id: &id, under: &kek }),
        failed(cluster, &ReKey { id: &id }),
        failed(cluster, &Revoke { id: &id, why: Revocation::Superseded, compromised_since: None }),
        failed(cluster, &Destroy { id: &id }),
    ];
    let (log, audit) = (fs::read_to_string(&servers.log).unwrap(), fs::read_to_string(&servers.audit).unwrap());
    for (event, operation) in all {
        for (result, severity) in [("success", "info"), ("failure", "warning")] {
            let (severity, outcome) = (format!(" event={event} severity={severity} "), format!(" result={result} "));
            let is_it = |line: &str| line.contains(&severity) && line.contains(&outcome);
            assert!(log.lines().any(is_it), "{event} has no {result}");
            let is_it = |row: &str| row.starts_with(&format!("{operation},")) && row.contains(&format!(",{result},"));
            assert!(audit.lines().any(is_it), "{operation} has no {result}");
        }
    }
    let events: HashSet<_> = all.iter().map(|(event, _)| *event).collect();
    let listed =
        catalogue::EVENTS.iter().map(|event| event.id).filter(|id| id.starts_with("kmip.") && *id != "kmip.message");
    assert_eq!(events, listed.collect(), "an operation of the catalogue was not tried");
}
