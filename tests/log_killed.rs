//! Applications that are killed while they write: what was acknowledged is there, and the rest verifies.

use std::collections::HashSet;
use std::ffi::c_void;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Durability, Rotation, Target};
use keystead::log::{Kind, Level, Log, Record, Report, Severity, verify};

/// Where the child that is killed writes to.
const FOLDER: &str = "KEYSTEAD_KILLED_FOLDER";
/// How many children are killed.
const KILLS: &str = "KEYSTEAD_KILLS";
/// In which of its writes to files a child is killed, where it is not killed from outside.
const TORN_WRITE: &str = "KEYSTEAD_KILLED_TORN_WRITE";
/// Every so many children die within a write.
const TEAR_EVERY: u64 = 4;
const THREADS: usize = 4;

static WRITES_LEFT: AtomicI64 = AtomicI64::new(i64::MAX);

/// Stands before write(2) in this program: no kernel tears a short write on demand. All but the last bytes are written, then the
/// process is killed.
#[unsafe(no_mangle)]
extern "C" fn write(file: i32, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: the caller's own arguments, or fewer bytes.
    let put = |count: usize| unsafe { libc::syscall(libc::SYS_write, file, bytes, count) as isize };
    let is_standard = file <= 2;
    if !is_standard && WRITES_LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        put(count.saturating_sub(40));
        // SAFETY: of this process alone.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    put(count)
}

/// Small files, so that children are killed while they rotate, too.
fn rotation() -> Rotation {
    Rotation { size: Some(64 << 10), ..Rotation::default() }
}

fn open(folder: &Path) -> (Log, AuditTrail) {
    let (rotation, durability) = (rotation(), Durability::Fsync);
    let target = Some(Target::File(folder.join("keystead.log")));
    let log = Log::open(&config::Log { target, rotation, durability, ..config::Log::default() }, "orders").unwrap();
    let file = folder.join("audit.csv");
    let config = config::Audit { file, rotation, durability, auditor_key: None };
    (log, AuditTrail::open_as(&config).unwrap())
}

fn write_both((log, audit): &(Log, AuditTrail), name: &str) {
    audit.append(&Row { operation: "Get", key_name: name, succeeded: true, ..Row::default() });
    let fields = [("key_name", name.into())];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

/// Writes records and rows without end, and tells on standard output each one whose call has returned.
fn write_until_killed(folder: &Path) {
    let both = open(folder);
    if let Ok(torn) = std::env::var(TORN_WRITE) {
        WRITES_LEFT.store(torn.parse().unwrap(), Ordering::SeqCst);
    }
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let both = &both;
            scope.spawn(move || {
                for number in 0.. {
                    let name = format!("{}-{thread}-{number}.", std::process::id());
                    write_both(both, &name);
                    // One write of a short line is never torn.
                    std::io::stdout().write_all(format!("ack {name}\n").as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                }
            });
        }
    });
}

/// Kills a child some time after its first words, or has it die within a write. Returns what it had acknowledged.
fn kill_one(folder: &Path, kill: u64) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "no_acknowledged_record_is_lost_with_the_application", "--nocapture"]);
    let is_torn = kill % TEAR_EVERY == TEAR_EVERY - 1;
    if is_torn {
        command.env(TORN_WRITE, (20 + kill * 7919 % 60).to_string());
    }
    let mut child = command.env(FOLDER, folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap_or_default());
    let is_ack = |line: &String| line.starts_with("ack ");
    let first = lines.find(is_ack).expect("the child acknowledges a record");
    if !is_torn {
        std::thread::sleep(Duration::from_micros(kill * 7919 % 20_000));
        child.kill().unwrap();
    }
    let acknowledged = [first].into_iter().chain(lines.filter(is_ack)).map(|line| line[4..].to_owned()).collect();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    acknowledged
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
    let default = if cfg!(debug_assertions) { 20 } else { 200 };
    let kills: u64 = std::env::var(KILLS).map_or(default, |kills| kills.parse().unwrap());
    let kills = kills.next_multiple_of(TEAR_EVERY); // The last one dies within a write.
    let folder = tempfile::tempdir().unwrap();
    let acknowledged: Vec<String> = (0..kills).flat_map(|kill| kill_one(folder.path(), kill)).collect();
    let mut torn = Vec::new();
    for name in NAMES {
        let report = check(folder.path(), name, &acknowledged);
        // A torn line is told of by the record that follows it; what nothing follows yet is found.
        torn.extend(report.notes.iter().filter(|note| note.contains("log.torn_tail")).cloned());
        torn.extend(report.findings.iter().map(ToString::to_string));
        assert!(report.findings.iter().all(|finding| finding.kind == Kind::Torn), "{name}: {report}");
    }
    let tears = (kills / TEAR_EVERY) as usize;
    assert!(torn.len() >= tears, "{tears} writes were torn, but only these were found: {torn:#?}");
    let last = torn.iter().filter(|torn| !torn.contains("log.torn_tail")).count();
    assert_eq!(last, 1, "one line was torn last: {torn:#?}");
    write_both(&open(folder.path()), "last.");
    for name in NAMES {
        let report = check(folder.path(), name, &["last.".to_owned()]);
        assert!(report.is_intact(), "{name}: {report}");
    }
    println!("{kills} kills, {tears} of them within a write");
}

const NAMES: [&str; 2] = ["keystead.log", "audit.csv"];

/// All that was acknowledged is there. Returns what verifying says.
fn check(folder: &Path, name: &str, acknowledged: &[String]) -> Report {
    let files = files(folder, name);
    let text: String = files.iter().map(|file| String::from_utf8(fs::read(file).unwrap()).unwrap()).collect();
    let kept: HashSet<&str> = text.split([' ', ',', '=', '"']).filter(|word| word.ends_with('.')).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !kept.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "{name}: {} of {} records were lost: {lost:?}", lost.len(), acknowledged.len());
    let report = verify(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap();
    let (written, files, findings) = (report.records, files.len(), report.findings.len());
    let told = report.notes.iter().filter(|note| note.contains("log.torn_tail")).count();
    let count = acknowledged.len();
    println!(
        "{name}: {count} records acknowledged, {written} in {files} files, torn: {told} told of and {findings} found"
    );
    report
}
