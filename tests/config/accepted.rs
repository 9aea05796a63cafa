//! What is accepted, and what holds when it is left out.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keystead::Code;
use keystead::config::{self, Config, Durability, Format, Level, OnFailure, Policy, Shown, Target};

use crate::site::{Site, ids, minimal};

#[test]
fn a_minimal_configuration_has_the_documented_defaults() {
    let site = Site::new();
    let (config, findings) = site.load(&minimal("strict").replace("policy = \"strict\"", "")).unwrap();
    assert_eq!((config.client_name.as_str(), config.policy), ("orders", Policy::Strict));
    assert_eq!((config.servers.len(), config.servers[0].port), (1, 5696));
    assert_eq!(config.path, site.path("keystead.conf"));
    assert_eq!(config.failover.delay, Duration::from_secs(2));
    assert_eq!((config.failover.rounds, config.failover.deadline), (3, Duration::from_secs(30)));
    assert_eq!((config.cache.ttl, config.cache.max_stale), (Duration::from_secs(600), Duration::from_secs(3600)));
    assert_eq!((config.cache.max_entries, config.log.level), (1000, Level::Basic));
    assert!(config.log.target.is_none() && config.audit.is_none());
    assert_eq!(ids(&findings), ["single-server", "no-log", "no-audit"]);
}

/// Each block of the pages that is a configuration, or a part of one.
#[test]
fn what_the_pages_show_loads() {
    let site = Site::new();
    let folder = site.folder.path().to_str().unwrap();
    for (page, count) in [("CONFIG.md", 1), ("OPERATIONS.md", 2)] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap();
        let blocks: Vec<_> = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert_eq!(blocks.len(), count, "{page}");
        for block in blocks {
            let folders = ["/etc/keystead", "/var/log/keystead", "/var/lib/keystead"];
            let block = folders.iter().fold(block.to_owned(), |block, other| block.replace(other, folder));
            let whole = if block.contains("[client]") { block } else { minimal("strict") + &block };
            let loaded = site.load(&whole);
            assert!(loaded.is_ok(), "{page}: {:?} in\n{whole}", loaded.err());
        }
    }
}

#[test]
fn the_documented_defaults_are_those_that_hold() {
    use config::reference::{Absent, KEYS, SECTIONS, header};
    let site = Site::new();
    let (bare, _) = site.load(&minimal("strict")).unwrap();
    let mut text = String::new();
    for (section, _) in SECTIONS {
        text += &format!("{}\n", header(section));
        for doc in KEYS.iter().filter(|doc| doc.section == *section) {
            match (&doc.absent, doc.key) {
                (Absent::Is(value), key) => text += &format!("{key} = {value}\n"),
                (Absent::Refused, "name") => text += "name = \"orders\"\n",
                (Absent::Refused, "host") => text += "host = \"kms1.example.com\"\n",
                (Absent::Refused, "show") => text += "show = \"nothing\"\n",
                (Absent::Refused, "roles") => text += "roles = [\"anybody\"]\n",
                (Absent::Refused, key) => panic!("this test needs a value for {key}"),
                (Absent::Means(_), "crl") => text += "crl = \"crl.pem\"\n",
                (Absent::Means(_), key) if *section == "tls" => {
                    text += &format!("{key} = \"{}\"\n", key.replace("_certificate", ".pem").replace("_key", ".key"));
                }
                (Absent::Means(_), _) => {}
            }
        }
    }
    let (spelled_out, _) = site.load(&text).unwrap();
    let values = |config: &Config| {
        let server = &config.servers[0];
        format!("{:?} {} {:?} {:?} {:?}", config.policy, server.port, config.failover, config.cache, config.log)
    };
    assert_eq!(values(&bare), values(&spelled_out));
}

#[test]
fn masks_of_one_name_may_show_several_roles_different_things_but_one_role_only_one() {
    let site = Site::new();
    let mask = |show: &str, roles: &str| format!("\n[[mask]]\nname = \"card\"\nshow = \"{show}\"\nroles = {roles}\n");
    let load = |masks: &[String]| site.load(&(minimal("strict") + &masks.concat()));
    let (config, _) = load(&[mask("card", "[\"support\", \"sales\"]"), mask("first 1 last 2", "[\"ops\"]")]).unwrap();
    let shown = |role: &str| config.masks.iter().find(|mask| mask.is_for("card", role)).map(|mask| mask.show);
    assert_eq!((shown("support"), shown("sales")), (Some(Shown::Card), Some(Shown::Card)));
    assert_eq!((shown("ops"), shown("Ops")), (Some(Shown::Ends { first: 1, last: 2 }), None));

    for (masks, why) in [
        (
            [mask("card", "[\"support\"]"), mask("year", "[\"support\"]")].to_vec(),
            "role \"support\" has mask \"card\" twice",
        ),
        (vec![mask("card", "[\"support\", \"support\"]")], "role \"support\" has mask \"card\" twice"),
        (vec![mask("all", "[\"support\"]")], "there is no mask that shows \"all\""),
        (vec![mask("card", "[]")], "the list is empty"),
        (vec![mask("card", "\"support\"")], "`roles` is not usable"),
    ] {
        let error = load(&masks).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(error.message().contains(why) && error.message().contains(" line "), "{error}");
    }
}

#[test]
fn every_key_of_a_full_configuration_arrives() {
    let site = Site::new();
    site.write("password", "correct horse\n", 0o600);
    let text = r#"
[client]
name = "orders"
policy = "strict"
[tls]
ca_certificate = "ca.pem"
client_certificate = "client.pem"
client_key = "client.key"
[[server]]
host = "kms1.example.com"
kmip_version = "1.2"
max_connections = 8
max_idle = "50s"
user = "alice"
password = "file:password"
[[server]]
host = "2001:db8::7"
port = 5697
client_certificate = "other.pem"
client_key = "other.key"
[[server]]
host = "192.0.2.7"
[failover]
delay = "500ms"
rounds = 5
deadline = "1m"
[cache]
ttl = "1h"
max_stale = "1d"
max_entries = 7
[log]
level = "none"
format = "syslog"
target = "file:/var/log/keystead/keystead.log"
[audit]
file = "audit.csv"
rotate_keep = 9
durability = "fsync"
"#;
    let (config, findings) = site.load(text).unwrap();
    assert_eq!(ids(&findings), Vec::<&str>::new());
    let [first, second, third] = &config.servers[..] else { panic!("three servers") };
    assert_eq!(first.user.as_deref(), Some("alice"));
    assert_eq!(first.kmip_minor, Some(2));
    assert_eq!((first.connections.most, first.connections.idle), (8, Duration::from_secs(50)));
    assert_eq!(second.connections, config::Connections::default());
    assert_eq!(first.password.as_ref().unwrap().expose(), "correct horse");
    assert_eq!((second.host.as_str(), second.port), ("2001:db8::7", 5697));
    assert_eq!(first.tls.common_name, "client of orders");
    assert_eq!(second.tls.common_name, "other of orders");
    assert!(Arc::ptr_eq(&first.tls, &third.tls), "the same files are read once");
    assert_eq!(first.tls.not_after, 3_471_292_800, "2080-01-01");
    assert_eq!(config.failover.delay, Duration::from_millis(500));
    assert_eq!((config.failover.rounds, config.failover.deadline), (5, Duration::from_secs(60)));
    assert_eq!((config.cache.ttl, config.cache.max_stale), (Duration::from_secs(3600), Duration::from_secs(86400)));
    assert_eq!((config.cache.max_entries, config.log.level), (7, Level::None));
    assert_eq!(config.log.target, Some(Target::File("/var/log/keystead/keystead.log".into())));
    assert_eq!(config.log.durability, Durability::Flush);
    let audit = config.audit.as_ref().unwrap();
    assert_eq!((&audit.file, audit.rotation.keep), (&site.path("audit.csv"), Some(9)));
    assert_eq!(audit.durability, Durability::Fsync);
    assert!(!format!("{config:?}").contains("horse"));
}

#[test]
fn a_log_may_go_to_a_collector() {
    let site = Site::new();
    let (tcp, udp) =
        (|host: &str, port| Target::Tcp(host.into(), port), |host: &str, port| Target::Udp(host.into(), port));
    for (text, target) in [
        ("stderr", Target::Stderr),
        ("syslog", Target::Syslog(None)),
        ("syslog:/run/log", Target::Syslog(Some("/run/log".into()))),
        ("udp://loghost", udp("loghost", 514)),
        ("tcp://loghost", tcp("loghost", 601)),
        ("tcp://192.0.2.7:6514", tcp("192.0.2.7", 6514)),
        ("udp://[2001:db8::7]:10514", udp("2001:db8::7", 10514)),
    ] {
        let log = format!("[log]\nformat = \"syslog-5424\"\non_failure = \"refuse\"\ntarget = \"{text}\"\n");
        let (config, _) = site.load(&(minimal("strict") + &log)).unwrap();
        assert_eq!(config.log.target, Some(target));
        assert_eq!((config.log.format, config.log.on_failure), (Format::Syslog5424, OnFailure::Refuse));
    }
}

#[test]
fn a_server_may_bring_all_of_its_own_certificates() {
    let site = Site::new();
    let files = "ca_certificate = \"ca.pem\"\nclient_certificate = \"other.pem\"\nclient_key = \"other.key\"\n";
    let text = format!("[client]\nname = \"orders\"\n[[server]]\nhost = \"kms1\"\n{files}");
    assert_eq!(site.load(&text).unwrap().0.servers[0].tls.common_name, "other of orders");
    site.refused(&text.replace("client_key = \"other.key\"\n", ""))
        .is(Code::ConfigInvalid, &site.path("keystead.conf"))
        .at(3, 1)
        .says(&["no `client_key` for key server kms1", "add it to [tls] or to this [[server]]"]);
}

#[test]
fn an_unset_max_stale_is_never_shorter_than_ttl() {
    let (config, _) = Site::new().load(&(minimal("strict") + "[cache]\nttl = \"2h\"\n")).unwrap();
    assert_eq!(config.cache.max_stale, Duration::from_secs(7200));
}
