//! Faults of the text: each is refused with line, column and remedy.

use std::fs;

use keystead::{Code, config};

use crate::site::{POLICIES, Refusal, Site, minimal};

#[test]
fn a_fault_in_the_text_is_refused_with_line_column_and_remedy() {
    let cases: &[(&str, (u64, u64), &[&str])] = &[
        ("hots = \"x\"", (12, 1), &["unknown key `hots` in [[server]]", "did you mean `host`?", "`client_key`"]),
        ("ttl = \"1m\"", (12, 1), &["unknown key `ttl`", "it belongs in [cache]"]),
        (
            "[cache]\n  colour = 1",
            (13, 3),
            &["unknown key `colour`", "[cache] takes `ttl`, `version_ttl`, `max_stale`, `max_uses`, `max_entries`"],
        ),
        ("[chache]\nttl = \"1m\"", (12, 2), &["unknown section `chache`", "did you mean [cache]?"]),
        ("[colours]", (12, 2), &["unknown section `colours`", "[client], [tls], [[server]], [failover]"]),
        ("[[cache]]", (12, 3), &["write it as [cache]"]),
        ("port = 0", (12, 8), &["`port` is not usable", "a number from 1 to 65535 (default 5696)"]),
        ("port = 65536", (12, 8), &["`port` is not usable"]),
        ("port = \"5696\"", (12, 8), &["`port` is not usable", "a number from 1 to 65535"]),
        ("kmip_version = \"2.0\"", (12, 16), &["KMIP \"2.0\" is not spoken here", "\"1.3\" or \"1.4\""]),
        ("kmip_version = 1.2", (12, 16), &["`kmip_version` is not usable"]),
        ("host = \"kms2\"", (12, 1), &["not valid TOML", "duplicate key"]),
        ("user = \"\"", (12, 8), &["`user` is not usable: it is empty"]),
        ("password = \"x\"", (10, 1), &["a `password` but no `user`", "add `user`"]),
        ("client_key = \"cred:\"", (12, 14), &["`cred:` is followed by the name of a systemd credential"]),
        ("client_key = \"cred:../key\"", (12, 14), &["without a folder", "\"cred:NAME\""]),
        ("client_key = \"env:\"", (12, 14), &["`env:` is followed by the name of an environment variable"]),
        ("client_key = \"file:\"", (12, 14), &["the path is empty"]),
        ("client_key = \"sha256:00\"", (12, 14), &["a fingerprint belongs in `ca_certificate` only"]),
        ("ca_certificate = \"sha256:00\"", (12, 18), &["64 hexadecimal digits", "openssl x509 -noout -fingerprint"]),
        ("ca_certificate = []", (12, 18), &["the list is empty", "a list of such fingerprints"]),
        ("ca_certificate = [\"ca.pem\"]", (12, 18), &["a list holds fingerprints only"]),
        ("ca_certificate = 7", (12, 18), &["neither text nor a list of texts"]),
        ("ca_certificate = \"\"", (12, 18), &["the path is empty"]),
        ("[failover]\ndelay = \"2\"", (13, 9), &["\"2\" is not a duration", "in ms, s, m, h or d"]),
        ("[failover]\ndelay = \"2 s\"", (13, 9), &["is not a duration"]),
        ("[failover]\ndelay = \"-2s\"", (13, 9), &["is not a duration"]),
        ("[failover]\ndelay = \"99999999999999999999s\"", (13, 9), &["is not a duration"]),
        ("[failover]\ndelay = \"99999999999d\"", (13, 9), &["is longer than a year"]),
        ("[failover]\ndelay = 2", (13, 9), &["`delay` is not usable", "a duration in ms, s, m, h or d"]),
        ("[failover]\ndeadline = \"0s\"", (13, 12), &["it is zero"]),
        ("[failover]\nrounds = 0", (13, 10), &["`rounds` is not usable", "a number from 1"]),
        ("[cache]\nmax_stale = \"1m\"", (13, 13), &["shorter than `ttl` (600s)", "lengthen"]),
        ("[log]\nlevel = \"loud\"", (13, 9), &["`loud`", "\"none\", \"basic\", \"verbose\" or \"debug\""]),
        ("[log]\nformat = \"xml\"", (13, 10), &["xml", "it takes \"syslog\", \"syslog-5424\", \"cef\" or \"leef\""]),
        ("[log]\ntarget = \"syslog:\"", (13, 10), &["the path is empty"]),
        ("[log]\ntarget = \"/var/log/x\"", (13, 10), &["there is no target \"/var/log/x\"", "it takes \"file:PATH\""]),
        ("[log]\ntarget = \"tcp://loghost:0\"", (13, 10), &["\"//HOST:PORT\""]),
        ("[log]\ntarget = \"udp://2001:db8::1\"", (13, 10), &["\"//[ADDRESS]:PORT\""]),
        ("[audit]\nfile = \"file:/x\"", (13, 8), &["does not belong here", "write a path"]),
        ("[audit]\nfile = ", (13, 8), &["not valid TOML"]),
        ("[[server]]\nport = 1", (12, 1), &["missing field `host`", "add it"]),
        ("[[server]]\nhost = \"kms2:5696\"", (13, 8), &["write host = \"kms2\" and port = 5696"]),
        ("[[server]]\nhost = \"[2001:db8::1]\"", (13, 8), &["has brackets", "write \"2001:db8::1\""]),
        ("[[server]]\nhost = \"a b\"", (13, 8), &["neither a DNS name nor an IP address"]),
    ];
    let site = Site::new();
    for (added, (line, column), words) in cases {
        for policy in POLICIES {
            println!("{added}");
            let refusal = site.refused(&(minimal(policy) + added + "\n"));
            println!("    {}", refusal.message);
            refusal.is(Code::ConfigInvalid, &site.path("keystead.conf")).at(*line, *column).says(words);
        }
    }
}

#[test]
fn a_wrong_or_missing_section_is_refused_with_its_remedy() {
    let site = Site::new();
    let whole = minimal("strict");
    let conf = site.path("keystead.conf");
    let refused = |text: &str| {
        let refusal = site.refused(text);
        println!("{}", refusal.message);
        refusal.is(Code::ConfigInvalid, &conf);
        refusal
    };
    refused("").says(&["there is no section [client]", "add it with `name`"]);
    refused("[client]\nname = \"x\"\n").says(&["there is no section [[server]]", "add it with `host`"]);
    refused("server = []\n[client]\nname = \"x\"\n").says(&["there is no key server", "add a [[server]]"]);
    refused(&whole.replace("[[server]]", "[server]")).at(10, 2).says(&["write it as [[server]]"]);
    refused(&whole.replace("\"strict\"", "\"lax\"")).at(3, 10).says(&["\"strict\" or \"relaxed\""]);
    refused(&whole.replace("name = \"orders\"\n", "")).at(1, 1).says(&["missing field `name`"]);
    refused(&whole.replace("orders", "a\\nb")).at(2, 8).says(&["control character", "1 to 64 characters"]);
    refused(&whole.replace("[client]\n", "")).at(1, 1).says(&["outside of every section", "move it into [client]"]);
    refused(&whole.replace("orders", &"é".repeat(65))).at(2, 8).says(&["longer than 64 characters"]);
}

#[test]
fn a_column_counts_characters_and_text_must_be_utf8() {
    let site = Site::new();
    let text = minimal("strict").replace("name = \"orders\"", "name = \"Žluťoučký\" 1");
    site.refused(&text).at(2, 20);
    let path = site.path("keystead.conf");
    fs::write(&path, b"[client]\nname = \"\xff\"\n").unwrap();
    Refusal::of(config::load(&path)).is(Code::ConfigInvalid, &path).at(2, 9).says(&["UTF-8"]);
}

#[test]
fn no_refusal_repeats_a_password() {
    let site = Site::new();
    let faults = [
        "password = hunter2",
        "password = \"hunter2",
        "password = ['hunter2']",
        "password = { hunter2 = 1 }",
        "password = 72002",
        "user = \"u\"\npassword = \"hunter2\" hunter2",
        "password = \"hunter2\"",
        "user = \"u\"\npassword = \"hunter2\\q\"",
        "client_key_password = ['hunter2']",
        "client_key_password = 72002",
        "client_key = \"other.key\"\nclient_key_password = \"hunter2\"",
    ];
    for fault in faults {
        let refusal = site.refused(&(minimal("strict") + fault + "\n"));
        println!("{}", refusal.message);
        assert!(!refusal.message.contains("hunter2") && !refusal.message.contains("72002"), "{}", refusal.message);
    }
}
