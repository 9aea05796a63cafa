//! Logs that are put aside, by us or by logrotate: one chain over all files.

#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Rotation, Target};
use keystead::log::{Format, Level, Log, Record, Report, Severity, verify};

fn open(path: &Path, rotation: Rotation) -> Log {
    let target = Some(Target::File(path.to_owned()));
    let config =
        config::Log { level: Level::Basic, format: Format::Syslog, target, rotation, ..config::Log::default() };
    Log::open(&config, "orders").unwrap()
}

fn write(log: &Log) {
    let fields = [("key_name", "customer-42".into())];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

/// Every file beside `path` that is part of its chain, and what verifying them says.
fn check(path: &Path) -> (Vec<PathBuf>, Report) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| {
        let other = file.file_name().unwrap().to_str().unwrap();
        other.starts_with(name) && !other.ends_with(".state")
    });
    files.sort();
    let report = verify(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap();
    assert!(report.is_intact(), "{report}");
    (files, report)
}

#[test]
fn a_file_that_is_large_is_put_aside_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystead.log");
    let rotation = Rotation { size: Some(4096), ..Rotation::default() };
    // Two that share the file rotate it once.
    let logs = [open(&path, rotation), open(&path, rotation)];
    (0..100).for_each(|number| write(&logs[number % 2]));
    let (files, report) = check(&path);
    assert!(files.len() > 5, "{files:?}");
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() < 4096 + 1024), "{files:?}");
    assert_eq!((report.streams.len(), report.records), (1, 100 + files.len() as u64 - 1), "{report}");
    assert!(report.streams[0].has_beginning);
    let text = fs::read_to_string(&path).unwrap();
    let aside = files.last().unwrap().file_name().unwrap().to_str().unwrap();
    assert!(text.contains("event=log.rotated severity=notice"), "{text}");
    assert!(text.contains(&format!("reason=\"the file was rotated to {aside}\"")), "{text}");
    assert!(report.notes.is_empty(), "{report}");
}

#[test]
fn a_new_day_begins_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystead.log");
    let day = Duration::from_secs(24 * 3600);
    let log = open(&path, Rotation { every: Some(day), ..Rotation::default() });
    write(&log);
    write(&log);
    assert_eq!(check(&path).0.len(), 1);
    fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - day).unwrap();
    write(&log);
    assert_eq!(check(&path).0.len(), 2);
}

#[cfg(feature = "auditor")]
#[test]
fn the_checkpoint_of_a_pause_ends_yesterdays_file_and_does_not_prolong_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystead.log");
    let day = Duration::from_secs(24 * 3600);
    let (target, rotation) = (Some(Target::File(path.clone())), Rotation { every: Some(day), ..Rotation::default() });
    let auditor_key = Some(keystead::log::AuditorPrivateKey::generate().unwrap().public());
    let log = Log::open(&config::Log { target, rotation, auditor_key, ..config::Log::default() }, "orders").unwrap();
    write(&log);
    fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - day).unwrap();
    // What a pause brings, too.
    assert!(log.flush(Duration::from_secs(20)));
    write(&log);
    let records = |file: &PathBuf| fs::read_to_string(file).unwrap().matches(" event=kmip.get ").count();
    let mut files = check(&path).0;
    files.retain(|file| file.extension().is_none_or(|extension| extension != "seal"));
    assert_eq!(files.iter().map(records).collect::<Vec<_>>(), [1, 1], "{files:?}");
    let yesterday = fs::read_to_string(&files[1]).unwrap();
    assert!(yesterday.lines().last().unwrap().contains(" event=log.checkpoint "), "{yesterday}");
}

#[test]
fn as_many_are_kept_as_the_configuration_says_and_nothing_else_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.csv");
    let others = ["audit.csv.1", "audit.csv.1234567890.gz", "audit.csv.old", "other.csv.1234567890"];
    others.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
    let audit = AuditTrail::open_as(&config::Audit {
        file: path.clone(),
        rotation: Rotation { size: Some(1024), keep: Some(3), every: None },
        durability: config::Durability::Flush,
        auditor_key: None,
    })
    .unwrap();
    (0..100).for_each(|_| audit.append(&Row { operation: "Get", succeeded: true, ..Row::default() }));
    assert!(others.iter().all(|name| folder.path().join(name).exists()));
    others.iter().for_each(|name| fs::remove_file(folder.path().join(name)).unwrap());
    let (files, report) = check(&path);
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(!report.streams[0].has_beginning, "the oldest were removed");
}

/// A file that stands in the way, or a folder that may not be written, stops rotation and not the log.
#[test]
fn a_file_that_cannot_be_put_aside_is_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystead.log");
    write(&open(&path, Rotation::default()));
    let serial = check(&path).1.streams[0].last_serial;
    let in_the_way = folder.path().join(format!("keystead.log.{serial}"));
    fs::write(&in_the_way, "precious").unwrap();
    let log = open(&path, Rotation { size: Some(1), ..Rotation::default() });
    write(&log);
    assert_eq!(fs::read_to_string(&in_the_way).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

/// The configuration of docs/OPERATIONS.md, run by the real logrotate while the log is open, and then the page's verification.
#[test]
fn logrotate_may_rename_or_copy_and_the_chain_goes_on() {
    let Some(logrotate) = programs::program("logrotate") else { return };
    let id = |what: &str| String::from_utf8(Command::new("id").arg(what).output().unwrap().stdout).unwrap();
    let us = format!("su {} {}", id("-un").trim(), id("-gn").trim());
    for way in ["nocreate", "copytruncate"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystead.log");
        let config = folder.path().join("logrotate.conf");
        let here = ("/var/log/keystead", folder.path().to_str().unwrap());
        let text = programs::snippet("## Rotation", 1, &[here, ("su orders orders", &us), ("nocreate", way)]);
        fs::write(&config, text).unwrap();
        let log = open(&path, Rotation::default());
        for _ in 0..3 {
            write(&log);
            write(&log);
            let state = folder.path().join("state");
            let output =
                Command::new(&logrotate).args(["--force", "--state"]).arg(state).arg(&config).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        write(&log);
        assert!(folder.path().join("keystead.log.3.gz").exists(), "the page says compress");
        let command = programs::inline("`keystead log verify /").replace(here.0, here.1);
        let tool = env!("CARGO_BIN_EXE_keystead");
        let output =
            Command::new("sh").arg("-c").arg(command.replace("keystead log", &format!("{tool} --json log"))).output();
        let output = output.unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(output.status.success() && told["findings"].as_array().unwrap().is_empty(), "{way}: {told:#}");
        assert_eq!(
            (&told["records"], told["streams"].as_array().unwrap().len()),
            (&(7 + 3).into(), 1),
            "{way}: {told:#}"
        );
    }
}

#[test]
fn records_go_into_the_new_file_also_when_an_old_one_cannot_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystead.log");
    // What is in its way is no file, so that also root cannot remove it as one.
    let stuck = folder.path().join("keystead.log.1000000000");
    fs::create_dir(&stuck).unwrap();
    fs::write(stuck.join("kept"), "").unwrap();
    let log = open(&path, Rotation { size: Some(4096), keep: Some(2), ..Rotation::default() });
    (0..100).for_each(|_| write(&log));
    fs::rename(&stuck, folder.path().join("elsewhere")).unwrap();
    let (files, report) = check(&path);
    // The one that is stuck counts among those that are kept only while it is one of the newest.
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(fs::metadata(&path).unwrap().len() < 4096 + 1024 && report.streams.len() == 1, "{report}");
}
