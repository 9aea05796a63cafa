//! No copy of a key is left in memory once it was given up, and while it is in use there is none in a core file or a
//! forked child. Another process looks; beside each proof stands a control that leaks.

#[path = "../common/keyservers.rs"]
mod keyservers;

mod fetched;
mod own_stack;
mod scan;
mod subject;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use keystead::platform;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use scan::{Counts, Needles};
use subject::{DROP, FORK, NAME, NO_SECRET_MEMORY, PLAIN};

/// Not a test of its own: what the tests below run in another process.
#[test]
fn subject() {
    if let Ok(words) = std::env::var(subject::VARIABLE) {
        subject::run(&words);
    }
}

/// A process that was given a random key and has reported.
struct Subject {
    key: [u8; 32],
    message: Vec<u8>,
    tier: String,
    /// The process to look into: the child's child, if that was asked for.
    pid: u32,
    process: Child,
    /// The subject ends when this is closed.
    input: Option<ChildStdin>,
    /// Kept open, as the subject's test runner has more to say.
    _output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Subject {
    fn start(words: &[&str]) -> Subject {
        let mut key = [0; 32];
        platform::fill_random(&mut key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "subject", "--nocapture"])
            .env(subject::VARIABLE, words.join(" "))
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(&key).unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let report = (&mut output)
            .lines()
            .map(|line| line.expect("text on standard output"))
            // The test runner may have begun the line.
            .find_map(|line| line.split_once("READY ").map(|(_, report)| report.to_owned()))
            .expect("the subject reports before it ends");
        let words: Vec<&str> = report.split(' ').collect();
        let [pid, tier, message] = words[..] else { panic!("a report of three words: {report}") };
        let message = (0..message.len()).step_by(2).map(|i| u8::from_str_radix(&message[i..i + 2], 16).unwrap());
        let (pid, tier, message) = (pid.parse().unwrap(), tier.to_owned(), message.collect());
        Subject { key, message, tier, pid, process, input: Some(input), _output: output, folder }
    }

    /// What the living process shows of its key, and of the session's key that was derived from it.
    fn scan(&self) -> [Counts; 2] {
        self.needles().map(|needles| scan::process(self.pid, &needles).unwrap())
    }

    fn needles(&self) -> [Needles; 2] {
        [Needles::of(&self.key), Needles::of(&content_key(&self.key, &self.message))]
    }

    /// What its core file shows, which has the registers, too. `None` where this machine writes no core files.
    fn scan_core(self) -> Option<[Counts; 2]> {
        let core = core_file(self.pid, self.folder.path())?;
        let counts = self.needles().map(|needles| scan::file(&core, &needles).unwrap());
        assert!(counts[0].scanned_bytes > 100_000, "not a core file: {counts:?}");
        Some(counts)
    }
}

/// Makes a core file of a child of ours, which ends it unless gcore has to do it. `None` where there is no way.
fn core_file(pid: u32, folder: &Path) -> Option<PathBuf> {
    if kernel_writes_core_files_here() {
        // SAFETY: the process is our child and was not waited for yet.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGABRT) };
        // The file is complete when the process is gone.
        while Path::new(&format!("/proc/{}/maps", pid)).metadata().is_ok() && !is_zombie(pid) {
            std::thread::yield_now();
        }
    } else {
        let prefix = folder.join("core");
        Command::new("gcore").arg("-o").arg(prefix).arg(pid.to_string()).output().ok()?;
    }
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let core = entries.into_iter().find(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"core"));
    if core.is_none() {
        println!("skipped: this machine writes no core files (core_pattern, RLIMIT_CORE) and has no gcore");
    }
    core
}

impl Drop for Subject {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn kernel_writes_core_files_here() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) };
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    limit.rlim_max == libc::RLIM_INFINITY && pattern.starts_with("core") && !pattern.contains('/')
}

/// The key of the message's session, by `docs/FORMAT.md`. What is not a message gives a key that is nowhere.
fn content_key(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let id = format!("{NAME}/1");
    // The end: protected header {alg, kid, commitment}, {salt: 16 bytes}, empty string.
    let (rest, salt) = message[..message.len() - 1].split_at(message.len() - 17);
    let protected = &rest[rest.len() - 3 - (4 + 1 + id.len() + 7 + 32)..rest.len() - 3];
    let context = b"\x84\x03\x83\xf6\xf6\xf6\x83\xf6\xf6\xf6\x83\x19\x01\x00\x58";
    let info = [&context[..], &[protected.len() as u8], protected, b"\x47message"];
    let mut content_key = [0; 32];
    let prk = Salt::new(HKDF_SHA256, salt).extract(key);
    prk.expand(&info, HKDF_SHA256).unwrap().fill(&mut content_key).unwrap();
    assert_eq!(HKDF_SHA256.len(), content_key.len());
    content_key
}

fn assert_none(counts: [Counts; 2], of: &str) {
    println!("{of}: {counts:?}");
    assert_eq!(counts.map(|counts| counts.total()), [0, 0], "{of}: {counts:?}");
}

#[test]
fn a_key_given_up_is_nowhere_in_the_process_and_its_core_file() {
    for words in [&[DROP][..], &[DROP, NO_SECRET_MEMORY]] {
        let subject = Subject::start(words);
        let tier = subject.tier.clone();
        assert_none(subject.scan(), &format!("process, {tier}"));
        if let Some(counts) = subject.scan_core() {
            assert_none(counts, &format!("core file, {tier}"));
        }
    }
}

#[test]
fn without_the_measures_a_key_given_up_is_still_there() {
    let subject = Subject::start(&[PLAIN, DROP]);
    let [process, _] = subject.scan();
    let core = subject.scan_core().map(|counts| counts[0]);
    println!("control: process {process:?}, core file {core:?}");
    assert!(process.total() > 0);
    assert!(core.is_none_or(|core| core.total() > 0));
}

#[test]
fn a_key_in_use_is_absent_from_the_core_file() {
    for words in [&[][..], &[NO_SECRET_MEMORY]] {
        let subject = Subject::start(words);
        let tier = subject.tier.clone();
        if let Some(counts) = subject.scan_core() {
            assert_none(counts, &format!("core file, {tier}"));
        }
    }
}

#[test]
fn a_debugger_sees_no_key_in_use_in_secret_memory_but_does_in_locked_memory() {
    let subject = Subject::start(&[]);
    if subject.tier == "memfd_secret" {
        assert_none(subject.scan(), "process, memfd_secret");
        assert!(subject.scan()[0].unreadable_bytes > 0);
    }
    // Which also shows that what is looked for is what is there.
    let subject = Subject::start(&[NO_SECRET_MEMORY]);
    assert_eq!(subject.tier, "mlock");
    let [key, content_key] = subject.scan();
    println!("process, mlock: {key:?}, {content_key:?}");
    assert_eq!((key.keys, key.halves, key.round_keys), (1, 2, 0), "the slot and nothing else");
    assert_eq!((content_key.keys, content_key.round_keys % 13), (content_key.round_keys / 13, 0));
    assert!(content_key.keys > 0, "the schedule in its slot");
}

#[test]
fn a_forked_child_has_no_copy_of_a_key_in_use() {
    for words in [&[FORK][..], &[FORK, NO_SECRET_MEMORY]] {
        let subject = Subject::start(words);
        assert_ne!(subject.pid, subject.process.id());
        assert_none(subject.scan(), "child");
    }
    let control = Subject::start(&[FORK, PLAIN]);
    assert!(control.scan()[0].total() > 0, "a plain key is inherited");
}
