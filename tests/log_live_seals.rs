//! Seals in what goes to a collector or to the application: what was sent cannot be rewritten where it is kept.
#![cfg(feature = "auditor")]

#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::io::{BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use keystead::config::{self, AuditorKey, Target};
use keystead::log::{
    AuditorPrivateKey, Format, Kind, Level, Log, Options, Record, Report, Severity, verify, verify_with,
};
use ring::digest::{SHA256, digest};

const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];
const PATIENCE: Duration = Duration::from_secs(30);
/// Of a checkpoint after the 1000th and the 2000th record since the last one, and of one at the end.
const WRITTEN: usize = 2500;

fn config(format: Format, target: Option<Target>, auditor: AuditorKey) -> config::Log {
    config::Log { level: Level::Basic, format, target, auditor_key: Some(auditor), ..config::Log::default() }
}

/// A collector that reads frames of RFC 6587 §3.4.1 until its client goes.
fn collector(lines: Sender<String>) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        loop {
            let (mut length, mut byte) = (0, [0]);
            while stream.read_exact(&mut byte).is_ok() && byte[0] != b' ' {
                length = length * 10 + usize::from(byte[0] - b'0');
            }
            let mut line = vec![0; length];
            if length == 0
                || stream.read_exact(&mut line).is_err()
                || lines.send(String::from_utf8(line).unwrap()).is_err()
            {
                return;
            }
        }
    });
    Target::Tcp("127.0.0.1".into(), port)
}

fn write(log: &Log, number: usize) {
    let fields = [("key_name", format!("customer {number}").into()), ("result", "success".into())];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
    // The queue is bounded, and this is no test of what it drops.
    if number.is_multiple_of(1000) {
        assert!(log.flush(PATIENCE));
    }
}

/// All until nobody sends any more.
fn all(lines: &Receiver<String>) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => got.push(line),
            Err(RecvTimeoutError::Disconnected) => return got,
            Err(RecvTimeoutError::Timeout) => panic!("only {} lines came", got.len()),
        }
    }
}

fn save(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn prove(path: &Path, auditor: &AuditorPrivateKey) -> Report {
    verify_with(&[path], &Options { auditor_keys: std::slice::from_ref(auditor), ..Options::default() }).unwrap()
}

/// Changes a record and computes all hashes from it on anew.
fn forge(lines: &mut [String], from: &str, to: &str) {
    let first = lines.iter().position(|line| line.contains(from)).unwrap();
    lines[first] = lines[first].replace(from, to);
    let mut previous: Option<String> = None;
    for line in &mut lines[first..] {
        let body = line.find("serial=").unwrap();
        let (prev, sha) = (line.rfind(" prev=").unwrap() + 6, line.rfind(" sha256=").unwrap());
        if let Some(previous) = previous {
            line.replace_range(prev..prev + 64, &previous);
        }
        let hash: String =
            digest(&SHA256, &line.as_bytes()[body..sha]).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        line.truncate(sha + 8);
        line.push_str(&hash);
        previous = Some(hash);
    }
}

#[test]
fn what_a_collector_or_the_application_got_is_proven_with_the_auditors_key() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = AuditorPrivateKey::generate().unwrap();
    for format in FORMATS {
        for is_for_host in [false, true] {
            let (tell, lines) = mpsc::channel();
            let log = match is_for_host {
                true => {
                    let on_record = Box::new(move |told: keystead::log::Told<'_>| tell.send(told.line.into()).unwrap());
                    Log::open_with(&config(format, None, auditor.public()), "orders", Some(on_record)).unwrap()
                }
                false => Log::open(&config(format, Some(collector(tell)), auditor.public()), "orders").unwrap(),
            };
            (1..=WRITTEN).for_each(|number| write(&log, number));
            assert!(log.flush(PATIENCE));
            drop(log);
            let mut lines = all(&lines);
            let path = folder.path().join("received");
            save(&path, &lines);
            let report = prove(&path, &auditor);
            let stream = &report.streams[0];
            assert!(report.is_intact() && report.notes.is_empty() && stream.has_beginning, "{format:?}: {report}");
            assert_eq!(report.records as usize - WRITTEN, 1 + stream.checkpoints as usize, "{format:?}: {report}");
            assert!(
                stream.checkpoints >= 3 && stream.sealed_to == Some(stream.last_serial - 1),
                "{format:?}: {report}"
            );
            let stranger = prove(&path, &AuditorPrivateKey::generate().unwrap());
            assert!(stranger.findings.iter().any(|finding| finding.kind == Kind::Unsealed), "{stranger}");

            if format == Format::Syslog {
                forge(&mut lines, "customer 1234", "customer 4321");
                save(&path, &lines);
                assert!(verify(&[&path]).unwrap().is_intact(), "the hashes were not computed anew");
                let report = prove(&path, &auditor);
                let is_rewritten = |report: &Report| report.findings.iter().any(|found| found.kind == Kind::Rewritten);
                assert!(is_rewritten(&report), "{report}");
            }
        }
    }
}

/// A collector's file holds the chains of all who sent to it, as they came.
#[test]
fn chains_side_by_side_are_proven_each_if_a_collector_kept_them() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = AuditorPrivateKey::generate().unwrap();
    let chains = [300, 100].map(|count| {
        let (tell, lines) = mpsc::channel();
        let config = config(Format::Syslog, Some(collector(tell)), auditor.public());
        let log = Log::open(&config, "orders").unwrap();
        (1..=count).for_each(|number| write(&log, number));
        assert!(log.flush(PATIENCE));
        drop(log);
        all(&lines)
    });
    // One in three, and what is left of the longer at the end.
    let (mut longer, mut shorter) = (chains[0].iter(), chains[1].iter());
    let mut lines: Vec<String> = Vec::new();
    while lines.len() < chains[0].len() + chains[1].len() {
        lines.extend(longer.by_ref().take(2).chain(shorter.by_ref().take(1)).cloned());
    }
    let path = folder.path().join("collected");
    let prove = |lines: &[String], is_collected: bool| {
        save(&path, lines);
        let auditor_keys = std::slice::from_ref(&auditor);
        verify_with(&[&path], &Options { auditor_keys, is_collected, ..Options::default() }).unwrap()
    };
    let report = prove(&lines, true);
    let is_proven = |stream: &keystead::log::Stream| stream.sealed_to == Some(stream.last_serial - 1);
    assert!(report.is_intact() && report.streams.len() == 2 && report.streams.iter().all(is_proven), "{report}");
    let kinds = |report: &Report| report.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&prove(&lines, false)), [Kind::Inserted], "a log's own file holds one chain");
    lines.remove(50);
    assert_eq!(kinds(&prove(&lines, true)), [Kind::Missing]);
}

/// As an auditor would do it: with the tool, on what rsyslog kept of two applications.
#[test]
fn what_a_real_rsyslogd_kept_is_proven_with_the_tool() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, key, port) = (folder.path().join("kept"), folder.path().join("auditor.key"), programs::free_port());
    let text = format!(
        r#"
        global(workDirectory="{}" parser.escapeControlCharacterTab="off" net.enableDNS="off")
        module(load="imtcp")
        input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="remote")
        ruleset(name="remote") {{ action(type="omfile" file="{}" template="RSYSLOG_TraditionalFileFormat") }}
        "#,
        folder.path().display(),
        kept.display()
    );
    let Some(_daemon) = programs::collector("rsyslogd", folder.path(), &text) else { return };
    let auditor = AuditorPrivateKey::generate().unwrap();
    fs::write(&key, &*auditor.to_pem().unwrap()).unwrap();
    let logs = ["orders", "billing"].map(|client| {
        let target = Target::Tcp("127.0.0.1".into(), port);
        Log::open(&config(Format::Syslog, Some(target), auditor.public()), client).unwrap()
    });
    (1..=50).for_each(|number| logs.iter().for_each(|log| write(log, number)));
    assert!(logs.iter().all(|log| log.flush(PATIENCE)));
    let whole = || fs::read_to_string(&kept).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    // A seal, fifty records and a checkpoint of each; more checkpoints if the machine was slow.
    while whole().matches("event=kmip.get").count() < 100 || whole().matches("event=log.checkpoint").count() < 2 {
        assert!(Instant::now() < deadline, "rsyslog kept only {}", whole());
        std::thread::sleep(Duration::from_millis(20));
    }
    let verify = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
        command.args(["--json", "log", "verify"]).args(options).arg("--auditor-key").args([&key, &kept]);
        serde_json::from_slice::<serde_json::Value>(&command.output().unwrap().stdout).unwrap()
    };
    let report = verify(&["--collected"]);
    assert_eq!(report["intact"], true, "{report:#}");
    let streams = report["streams"].as_array().unwrap();
    let is_proven = |stream: &serde_json::Value| stream["sealed_to"].as_u64() > stream["first_serial"].as_u64();
    assert!(streams.len() == 2 && streams.iter().all(is_proven), "{report:#}");
    fs::write(&kept, whole().replacen("customer 25", "customer 52", 1)).unwrap();
    assert_eq!(verify(&["--collected"])["findings"][0]["kind"], "altered");
}

/// As a service manager keeps it: what two processes wrote to their standard error at once, in one file.
#[test]
fn what_processes_wrote_to_standard_error_is_proven_with_the_tool() {
    const AUDITOR: &str = "KEYSTEAD_TEST_AUDITOR";
    const EACH: usize = 1500;
    const NAME: &str = "what_processes_wrote_to_standard_error_is_proven_with_the_tool";
    if let Some(pem) = std::env::var_os(AUDITOR) {
        let auditor = AuditorKey::from_pem(pem.to_str().unwrap().as_bytes()).unwrap();
        let config = config::Log { level: Level::Verbose, ..config(Format::Syslog, Some(Target::Stderr), auditor) };
        let log = Log::open(&config, "orders").unwrap();
        (1..=EACH).for_each(|number| write(&log, number));
        assert!(log.flush(PATIENCE));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [kept, key] = ["kept", "auditor.key"].map(|name| folder.path().join(name));
    let auditor = AuditorPrivateKey::generate().unwrap();
    fs::write(&key, &*auditor.to_pem().unwrap()).unwrap();
    let file = fs::OpenOptions::new().create(true).append(true).open(&kept).unwrap();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(AUDITOR, auditor.to_public_pem().unwrap());
        command.stdout(Stdio::null()).stderr(file.try_clone().unwrap()).spawn().unwrap()
    };
    let mut processes = [start(), start()];
    assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
    let verify = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
        command.args(["--json", "log", "verify", "--of", "log", "--collected", "--auditor-key"]).args([&key, &kept]);
        serde_json::from_slice::<serde_json::Value>(&command.output().unwrap().stdout).unwrap()
    };
    let report = verify();
    assert_eq!(report["intact"], true, "{report:#}");
    let streams = report["streams"].as_array().unwrap();
    let is_proven = |stream: &serde_json::Value| {
        let serial = |name: &str| stream[name].as_u64().unwrap();
        serial("sealed_to") + 1 == serial("last_serial") && serial("records") > EACH as u64
    };
    assert!(streams.len() == 2 && streams.iter().all(is_proven), "{report:#}");
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replacen("customer 25", "customer 52", 1)).unwrap();
    assert_eq!(verify()["findings"][0]["kind"], "altered");
}
