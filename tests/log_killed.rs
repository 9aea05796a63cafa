//! Applications that are killed while they write: what was acknowledged is there, and the rest verifies.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Durability, Rotation, Target};
use keystead::log::{Kind, Level, Log, Record, Severity, verify};

/// Where the child that is killed writes to.
const FOLDER: &str = "KEYSTEAD_KILLED_FOLDER";
/// How many children are killed.
const KILLS: &str = "KEYSTEAD_KILLS";
const THREADS: usize = 4;

/// Small files, so that children are killed while they rotate, too.
fn rotation() -> Rotation {
    Rotation { size: Some(64 << 10), ..Rotation::default() }
}

/// Writes records and rows without end, and tells on standard output each one whose call has returned.
fn write_until_killed(folder: &Path) {
    let (rotation, durability) = (rotation(), Durability::Fsync);
    let target = Some(Target::File(folder.join("keystead.log")));
    let log = Log::open(&config::Log { target, rotation, durability, ..config::Log::default() }, "orders").unwrap();
    let file = folder.join("audit.csv");
    let audit = AuditTrail::open_as(&config::Audit { file, rotation, durability, auditor_key: None }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, audit) = (&log, &audit);
            scope.spawn(move || {
                for number in 0.. {
                    let name = format!("{}-{thread}-{number}.", std::process::id());
                    audit.append(&Row { operation: "Get", key_name: &name, succeeded: true, ..Row::default() });
                    let fields = [("key_name", name.as_str().into())];
                    let (severity, level) = (Severity::Info, Level::Basic);
                    log.write(&Record { event: "kmip.get", severity, level, fields: &fields });
                    // One write of a short line is never torn.
                    std::io::stdout().write_all(format!("ack {name}\n").as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                }
            });
        }
    });
}

/// Kills a child some time after its first words. Returns what it had acknowledged.
fn kill_one(folder: &Path, after: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_acknowledged_record_is_lost_with_the_application", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap_or_default());
    let is_ack = |line: &String| line.starts_with("ack ");
    let first = lines.find(is_ack).expect("the child acknowledges a record");
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    [first].into_iter().chain(lines.filter(is_ack)).map(|line| line[4..].to_owned()).collect()
}

/// Every file of the chain.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_part = |path: &PathBuf| {
        let other = path.file_name().unwrap().to_str().unwrap();
        other.starts_with(name) && !other.ends_with(".state")
    };
    all.filter(is_part).collect()
}

#[test]
fn no_acknowledged_record_is_lost_with_the_application() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_until_killed(Path::new(&folder));
    }
    let kills: u64 = std::env::var(KILLS).map_or(20, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for kill in 0..kills {
        acknowledged.extend(kill_one(folder.path(), Duration::from_micros(kill * 7919 % 50_000)));
    }
    for name in ["keystead.log", "audit.csv"] {
        let files = files(folder.path(), name);
        let text: String = files.iter().map(|file| String::from_utf8(fs::read(file).unwrap()).unwrap()).collect();
        let kept: HashSet<&str> = text.split([' ', ',', '=']).filter(|word| word.ends_with('.')).collect();
        let lost: Vec<&String> = acknowledged.iter().filter(|name| !kept.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "{name}: {} of {} records were lost: {lost:?}", lost.len(), acknowledged.len());
        let report = verify(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap();
        assert!(report.findings.iter().all(|finding| finding.kind == Kind::Torn), "{name}: {report}");
        println!(
            "{name}: {kills} kills, {} records acknowledged, {} written in {} files, {} torn",
            acknowledged.len(),
            report.records,
            files.len(),
            report.findings.len()
        );
    }
}
