//! Records at the collectors that others wrote, and what these keep is verified. The configurations are those of docs/OPERATIONS.md.

#[path = "common/collector.rs"]
mod collector;
#[path = "common/collector_tls.rs"]
mod collector_tls;
#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::path::Path;

use collector::{FORMATS, HOSTILE, open, until, write};
use collector_tls::{OURS, Site};
use keystead::config::{OnFailure, Target};
use keystead::log::{Format, Log, Options, Report, verify_with};
use programs::{free_port, snippet};

const EACH: u64 = 20;

fn tcp(port: u16) -> [Log; 4] {
    FORMATS.map(|format| open(Target::Tcp("127.0.0.1".into(), port), format, OnFailure::Continue))
}

fn write_to(logs: &[Log]) {
    logs.iter().for_each(|log| (0..EACH).for_each(|number| write(log, &format!("customer {number}"), HOSTILE)));
}

/// Waits for the records of so many logs and verifies them.
fn received(file: &Path, logs: u64) -> Report {
    let lines = || fs::read_to_string(file).unwrap_or_default().lines().count() as u64;
    until(&format!("the arrival of all records in {}", file.display()), || lines() == logs * EACH);
    let report = verify_with(&[file], &Options { is_collected: true, ..Options::default() }).unwrap();
    assert!(report.is_intact(), "{}: {report}", file.display());
    assert_eq!((report.streams.len() as u64, report.records), (logs, logs * EACH), "{}: {report}", file.display());
    report
}

/// rsyslog rewrites headers, takes words for tags, and escapes: what it kept is verified all the same.
#[test]
fn a_real_rsyslogd_keeps_records_that_verify() {
    let folder = tempfile::tempdir().unwrap();
    let (port, socket) = (free_port(), folder.path().join("socket"));
    let text = format!(
        r#"
        global(workDirectory="{folder}" parser.escapeControlCharacterTab="off" net.enableDNS="off")
        module(load="imtcp")
        module(load="imuxsock" SysSock.Use="off")
        input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="remote")
        input(type="imuxsock" socket="{socket}" ruleset="local" RateLimit.Interval="0")
        template(name="as_it_came" type="string" string="%rawmsg%\n")
        ruleset(name="remote") {{
            action(type="omfile" file="{folder}/usual" template="RSYSLOG_TraditionalFileFormat")
            action(type="omfile" file="{folder}/raw" template="as_it_came")
        }}
        ruleset(name="local") {{ action(type="omfile" file="{folder}/local" template="RSYSLOG_FileFormat") }}
        "#,
        folder = folder.path().display(),
        socket = socket.display(),
    );
    // Records written before it listens wait for it.
    let logs = tcp(port);
    let local = open(Target::Syslog(Some(socket)), Format::Syslog, OnFailure::Continue);
    write_to(&logs);
    write_to(std::slice::from_ref(&local));
    let Some(_daemon) = programs::collector("rsyslogd", folder.path(), &text) else { return };
    for (name, logs) in [("raw", 4), ("usual", 4), ("local", 1)] {
        received(&folder.path().join(name), logs);
    }
}

#[test]
fn the_page_on_operations_makes_rsyslog_and_syslog_ng_keep_what_verifies() {
    for (heading, name) in [("### rsyslog", "rsyslogd"), ("### syslog-ng", "syslog-ng")] {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let text = snippet(heading, 0, &[("601", &port.to_string()), ("/var/log", folder.path().to_str().unwrap())]);
        let Some(_daemon) = programs::collector(name, folder.path(), &text) else { continue };
        let logs = tcp(port);
        write_to(&logs);
        let report = received(&folder.path().join("keystead-received.log"), 4);
        assert!(report.notes.is_empty(), "{name}: {report}");
    }
}

#[test]
fn the_page_on_operations_makes_rsyslog_and_syslog_ng_keep_what_came_over_tls() {
    for (heading, name) in [("### rsyslog over TLS", "rsyslogd"), ("### syslog-ng over TLS", "syslog-ng")] {
        let site = Site::new();
        let folder = site.0.path();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let port = free_port();
        let replacements = [
            ("6514", port.to_string()),
            ("/var/log", folder.to_str().unwrap().to_owned()),
            ("/etc/keystead-collector/ca.pem", path("ours.pem")),
            ("/etc/keystead-collector/server.pem", path("ours-collector.pem")),
            ("/etc/keystead-collector/server.key", path("ours-collector.key")),
        ];
        let text = snippet(heading, 0, &replacements.each_ref().map(|(from, to)| (*from, to.as_str())));
        let Some(_daemon) = programs::collector(name, folder, &text) else { continue };
        let formats = ["syslog", "syslog-5424", "cef", "leef"];
        let logs = formats.map(|format| site.open(port, &format!("{OURS}\nformat = {format:?}")));
        write_to(&logs);
        received(&folder.join("keystead-received.log"), 4);
    }
}

/// The page's way from the file on a host to a collector elsewhere, with two rsyslogds. The collector is away at first: nothing is
/// lost, and nothing kept twice.
#[test]
fn the_page_on_operations_forwards_a_file_whole() {
    let (folder, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [here, there] = [&folder, &host].map(|folder| folder.path().to_str().unwrap());
    let port = free_port().to_string();
    let collecting = snippet("### rsyslog", 0, &[("601", &port), ("/var/log", here)]);
    let forwarding =
        snippet("### rsyslog", 1, &[("601", &port), ("/var/log/keystead", there), ("loghost", "127.0.0.1")]);
    let forwarding = format!("global(workDirectory=\"{there}\")\n{forwarding}");
    let log = open(Target::File(host.path().join("keystead.log")), Format::Syslog, OnFailure::Continue);
    write_to(std::slice::from_ref(&log));
    let Some(_forwarder) = programs::collector("rsyslogd", host.path(), &forwarding) else { return };
    let said = || fs::read_to_string(host.path().join("rsyslogd.err")).unwrap();
    until("an attempt to connect", || said().contains("cannot connect to"));
    let _collector = programs::collector("rsyslogd", folder.path(), &collecting);
    received(&folder.path().join("keystead-received.log"), 1);
}
