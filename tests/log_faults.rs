//! Logs on disks that are full or may not be written, or whose files somebody takes away, and what becomes of the application
//! meanwhile.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Durability, OnFailure, Target};
use keystead::log::{Level, Log, Record, Severity, verify};

/// A small file system of its own. Only root may mount one, or who is root in a namespace.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Disk> {
        let disk = Disk(tempfile::tempdir().unwrap());
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs"])
            .arg(disk.0.path())
            .output();
        output.is_ok_and(|output| output.status.success()).then_some(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,bind,{how}");
        let start = Instant::now();
        // Busy while a program that another test starts still has our files, until it is what it becomes.
        while !Command::new("mount").args(["-o", &how]).arg(self.0.path()).status().unwrap().success() {
            assert!(start.elapsed() < Duration::from_secs(10), "{how} did not come about");
        }
    }
}

/// Makes whoever runs it root, of folders that it has mounted where the root of all can be seen to be its own.
const NAMESPACE: &str = r#"
set -e
mount -t tmpfs -o mode=0755 tmpfs "$1"
cd "$1"
for found in /*; do
    name=${found#/}
    if [ -L "$found" ]; then cp -P "$found" "$name"
    elif [ -d "$found" ]; then mkdir "$name"; mount --rbind "$found" "$name"
    fi
done
mkdir -m 700 own
shift
TMPDIR=/own exec chroot . "$@" --nocapture --exact
"#;

/// Runs a test again where it may mount, if the system lets users have namespaces.
fn in_a_namespace(test: &str) {
    const INSIDE: &str = "KEYSTEAD_TEST_NAMESPACE";
    assert!(std::env::var_os(INSIDE).is_none(), "nothing can be mounted here either");
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("-Urm");
        command
    };
    let root = tempfile::tempdir().unwrap();
    let mount = unshare().args(["mount", "-t", "tmpfs", "tmpfs"]).arg(root.path()).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: neither root nor namespaces of a user, so nothing can be mounted");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let again =
        unshare().args(["sh", "-c", NAMESPACE, "sh"]).arg(root.path()).arg(own).arg(test).env(INSIDE, "1").output();
    let again = again.unwrap();
    let told = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && told.contains("1 passed"), "{told}");
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

const NAMES: [&str; 2] = ["keystead.log", "audit.csv"];

fn open(path: &Path) -> (Log, AuditTrail) {
    (open_log(path, OnFailure::Refuse), AuditTrail::open(&path.join("audit.csv")).unwrap())
}

fn open_log(path: &Path, on_failure: OnFailure) -> Log {
    let target = Some(Target::File(path.join("keystead.log")));
    Log::open(&config::Log { target, on_failure, ..config::Log::default() }, "orders").unwrap()
}

/// Work goes on where the configuration does not forbid it, without a record.
fn patient_work_goes_on(path: &Path, (_, audit): &(Log, AuditTrail)) {
    open_log(path, OnFailure::Continue).check(|| audit.failure()).unwrap();
}

fn write((log, audit): &(Log, AuditTrail), message: &str) {
    let fields = [("message", Cow::from(message))];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
    audit.append(&Row { operation: "Get", result_message: message, succeeded: true, ..Row::default() });
}

fn may_work((log, audit): &(Log, AuditTrail)) -> bool {
    log.check(|| audit.failure()).is_ok()
}

/// Every one of `written` records is in the file, or was counted as lost there.
fn check(path: &Path, written: u64) -> u64 {
    let report = verify(&[path]).unwrap();
    assert!(report.is_intact(), "{report}");
    let text = fs::read_to_string(path).unwrap();
    let told = text.split("count=").chain(text.split("\"count ")).skip(1);
    let lost: u64 = told.filter_map(|rest| rest.split([' ', ',']).next()?.parse::<u64>().ok()).sum();
    let own = text.matches("Get,").count().max(text.matches("event=kmip.get").count()) as u64;
    assert_eq!(own + lost, written, "{}: {own} are there, {lost} were lost", path.display());
    lost
}

#[test]
fn a_full_disk_costs_records_and_no_time_and_the_log_counts_them() {
    let Some(disk) = Disk::new() else {
        return in_a_namespace("a_full_disk_costs_records_and_no_time_and_the_log_counts_them");
    };
    let both = open(disk.0.path());
    write(&both, "first");
    assert!(may_work(&both));
    let ballast = disk.path("ballast");
    while fs::File::options()
        .append(true)
        .create(true)
        .open(&ballast)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
        .is_ok()
    {}
    // What was left of a page may still be filled.
    let (message, start) = ("x".repeat(500), Instant::now());
    (0..1000).for_each(|_| write(&both, &message));
    assert!(start.elapsed() < Duration::from_secs(10), "1000 calls took {:?}", start.elapsed());
    assert!(!may_work(&both));
    patient_work_goes_on(disk.0.path(), &both);
    fs::remove_file(&ballast).unwrap();
    assert!(may_work(&both), "there is room again");
    write(&both, "last");
    for name in NAMES {
        assert!(check(&disk.path(name), 1002) > 900);
    }
}

/// Holds the lock of a log as another process would that was stopped.
fn hold(path: &Path) -> fs::File {
    let state = fs::File::open(path.join("keystead.log.state")).unwrap();
    state.lock().unwrap();
    state
}

#[test]
fn whoever_waits_for_a_record_is_told_what_became_of_this_one_however_late_he_asks() {
    let Some(disk) = Disk::new() else {
        return in_a_namespace("whoever_waits_for_a_record_is_told_what_became_of_this_one_however_late_he_asks");
    };
    let log = open_log(disk.0.path(), OnFailure::Refuse);
    let written = log.queue(&numbered(&[]));
    assert!(log.flush(Duration::from_secs(30)));
    // While the lock is held they come together, and the disk takes some of them.
    let held = hold(disk.0.path());
    let names: Vec<String> = (0..2000).map(|number| format!("{number:0>250}")).collect();
    let together = names.iter().map(|name| log.queue(&numbered(&[("key_name", Cow::from(name))]))).collect::<Vec<_>>();
    drop(held);
    assert!(log.flush(Duration::from_secs(30)));
    let text = fs::read_to_string(disk.path("keystead.log")).unwrap();
    let mut taken = 0;
    for (name, waiting) in names.iter().zip(together) {
        let is_there = text.contains(name);
        taken += usize::from(is_there);
        assert_eq!(log.wait(waiting).is_none(), is_there, "{name}");
    }
    assert!((100..1900).contains(&taken), "{taken} were taken");
    assert_eq!(log.wait(written), None, "it was written before any was lost");
}

fn numbered<'a>(fields: &'a [(&'static str, Cow<'a, str>)]) -> Record<'a> {
    Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields }
}

#[test]
fn a_file_system_that_may_not_be_written_stops_nobody_and_the_log_tells_of_it() {
    let Some(disk) = Disk::new() else {
        return in_a_namespace("a_file_system_that_may_not_be_written_stops_nobody_and_the_log_tells_of_it");
    };
    drop(open(disk.0.path()));
    disk.remount("ro");
    let both = open(disk.0.path());
    (0..10).for_each(|_| write(&both, "lost"));
    assert!(!may_work(&both));
    patient_work_goes_on(disk.0.path(), &both);
    disk.remount("rw");
    assert!(may_work(&both));
    write(&both, "last");
    for name in NAMES {
        assert_eq!(check(&disk.path(name), 11), 10);
    }
}

#[test]
fn a_mebibyte_in_a_field_costs_its_caller_no_more_than_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let both = open(folder.path());
    let (long, short) = ("é".repeat(1 << 19), "é".repeat(200));
    let time = |message: &str| {
        let start = Instant::now();
        (0..200).for_each(|_| write(&both, message));
        start.elapsed()
    };
    let (of_short, of_long) = (time(&short), time(&long));
    assert!(of_long < of_short * 5 + Duration::from_millis(200), "{of_long:?} instead of {of_short:?}");
    let text = fs::read_to_string(folder.path().join("keystead.log")).unwrap();
    assert!(text.lines().all(|line| line.len() < 1500) && text.contains("…(+1048096 bytes)"));
    for name in NAMES {
        assert_eq!(check(&folder.path().join(name), 400), 0);
    }
}

#[test]
fn a_file_that_was_deleted_is_begun_anew_and_says_what_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let both = open(folder.path());
    (0..3).for_each(|_| write(&both, "deleted"));
    let paths = NAMES.map(|name| folder.path().join(name));
    let last = paths.each_ref().map(|path| verify(&[path]).unwrap().streams[0].last_serial);
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    let start = Instant::now();
    (0..100).for_each(|_| write(&both, "kept"));
    assert!(start.elapsed() < Duration::from_secs(1), "100 calls took {:?}", start.elapsed());
    assert!(may_work(&both));
    for (path, last) in paths.iter().zip(last) {
        assert_eq!(check(path, 100), 0);
        let stream = &verify(&[path]).unwrap().streams[0];
        // All up to this serial stood in the file that is gone.
        assert_eq!((stream.has_beginning, stream.first_serial), (false, last + 1), "{}", path.display());
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("the file was replaced by an empty one"), "{text}");
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_never_followed_and_the_log_counts_what_that_cost() {
    for leads_to in ["precious", "nothing", "itself"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let aside = |name: &str| path(&format!("{name}.aside"));
        let both = open(folder.path());
        write(&both, "first");
        for name in NAMES {
            fs::rename(path(name), aside(name)).unwrap();
            fs::write(path("precious"), "precious").unwrap();
            let target = if leads_to == "itself" { aside(name) } else { path(leads_to) };
            symlink(target, path(name)).unwrap();
        }
        let before = NAMES.map(|name| fs::read(aside(name)).unwrap());
        let start = Instant::now();
        (0..100).for_each(|_| write(&both, "lost"));
        assert!(start.elapsed() < Duration::from_secs(1), "100 calls took {:?}", start.elapsed());
        let why = both.0.check(|| None).unwrap_err();
        assert!(why.message().contains("symbolic link"), "{why}");
        assert!(both.1.failure().is_some_and(|why| why.contains("symbolic link")));
        assert_eq!(NAMES.map(|name| fs::read(aside(name)).unwrap()), before, "a link to {leads_to} was followed");
        assert_eq!(fs::read_to_string(path("precious")).unwrap(), "precious");
        assert!(!path("nothing").exists());
        NAMES.iter().for_each(|name| fs::rename(aside(name), path(name)).unwrap());
        assert!(may_work(&both), "the files are back");
        write(&both, "last");
        for name in NAMES {
            assert_eq!(check(&path(name), 102), 100);
        }
    }
}

/// Stands between a program and a disk that loses what it was given, as long as a file says so.
const FAILING_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int fd) {
    if (access(getenv("KEYSTEAD_TEST_FAILS"), F_OK) == 0) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"#;

#[test]
fn a_record_that_stands_in_the_file_is_not_counted_as_lost_when_the_disk_may_not_have_it() {
    if let (Some(path), Some(fails)) = (std::env::var_os(LOG_OF_CHILD), std::env::var_os("KEYSTEAD_TEST_FAILS")) {
        let (target, durability) = (Some(Target::File(path.into())), Durability::Fsync);
        let settings = config::Log { target, durability, on_failure: OnFailure::Refuse, ..config::Log::default() };
        let log = Log::open(&settings, "orders").unwrap();
        let write = |key: &'static str| {
            let fields = [("key_name", Cow::from(key))];
            let record = Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields };
            log.wait(log.queue(&record))
        };
        assert_eq!(write("first"), None);
        fs::write(&fails, "").unwrap();
        let why = write("doubtful").expect("it is not known to be on the disk");
        assert!(why.contains("may not be on the disk"), "{why}");
        assert!(log.health().unwrap().failing_since.is_some());
        for _ in 0..2 {
            let why = log.check(|| None).unwrap_err();
            assert!(why.message().contains("may not be on the disk"), "{why}");
        }
        assert!(log.health().unwrap().failing_since.is_some());
        fs::remove_file(&fails).unwrap();
        log.check(|| None).unwrap();
        assert_eq!(write("last"), None);
        let health = log.health().unwrap();
        assert_eq!((health.lost, health.failing_since), (0, None));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("failing.c"), folder.path().join("failing.so"));
    fs::write(&source, FAILING_DISK).unwrap();
    let compiler = std::env::var_os("KEYSTEAD_CC").unwrap_or_else(|| "cc".into());
    let compiled = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(compiled.success());
    let path = folder.path().join("keystead.log");
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_record_that_stands_in_the_file_is_not_counted_as_lost_when_the_disk_may_not_have_it"])
        .env(LOG_OF_CHILD, &path)
        .env("KEYSTEAD_TEST_FAILS", folder.path().join("fails"))
        .env("LD_PRELOAD", &library)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(check(&path, 3), 0);
}

/// The file of a log that this test opens when it runs again in a process of its own.
const LOG_OF_CHILD: &str = "KEYSTEAD_TEST_FILE";

/// A pipe of which nobody reads, and that takes nothing more.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    // Opened anew, so that only this way to the pipe does not wait.
    let mut impatient = fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    while impatient.write(&[b'x'; 4096]).is_ok() {}
    while impatient.write(b"x").is_ok() {}
    (reader, writer)
}

#[test]
fn a_standard_error_that_takes_no_warning_neither_holds_nor_ends_the_application() {
    if let Some(path) = std::env::var_os(LOG_OF_CHILD) {
        let log =
            config::Log { level: Level::Verbose, target: Some(Target::File(path.into())), ..config::Log::default() };
        drop(Log::open(&log, "orders").unwrap());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (unread, full) = full_pipe();
    let (reader, broken) = io::pipe().unwrap();
    drop(reader);
    let full_disk = fs::File::options().write(true).open("/dev/full").unwrap();
    let (mut told, open) = io::pipe().unwrap();
    let outlets: [(&str, Stdio); 4] = [
        ("full pipe", full.into()),
        ("broken pipe", broken.into()),
        ("full disk", full_disk.into()),
        ("open", open.into()),
    ];
    for (name, stderr) in outlets {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_standard_error_that_takes_no_warning_neither_holds_nor_ends_the_application",
                "--nocapture",
            ])
            .env(LOG_OF_CHILD, folder.path().join(name))
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let ended = loop {
            match child.try_wait().unwrap() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                ended => break ended,
            }
        };
        let _ = child.kill();
        assert!(ended.is_some_and(|status| status.success()), "{name}: {ended:?}");
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.contains("event=log.level_warning "), "{name}: {text}");
    }
    drop(unread);
    let warning = io::read_to_string(&mut told).unwrap();
    assert!(warning.starts_with("keystead: the log level \"verbose\" shows details"), "{warning}");
}
