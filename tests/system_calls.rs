//! A message costs no system call: a million of them through the C interface, in a process of their own under strace.

#[path = "common/c_key.rs"]
mod c_key;
#[path = "common/keyservers.rs"]
mod keyservers;
#[path = "common/programs.rs"]
mod programs;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use c_key::CKey;
use keyservers::KeyServers;

const MESSAGES: usize = 1_000_000;
const LIMIT: usize = 100;
const WORK: &str = "--encrypt-a-million-messages";
/// No such files: the attempts to open them show in the trace where the work begins and ends.
const BEGIN: &str = "/the-million-begins";
const END: &str = "/the-million-ends";

fn encrypt_a_million_messages(config: &Path) {
    let key = CKey::create(config, "customer-42");
    let mut message = vec![0; key.encrypted_size(64)];
    let mut out = [0; 64];
    assert!(std::fs::File::open(BEGIN).is_err());
    for _ in 0..MESSAGES {
        key.encrypt(&[1; 64], b"row 1", &mut message);
    }
    key.decrypt(&message, b"row 1", &mut out);
    assert!(std::fs::File::open(END).is_err());
    assert_eq!(out, [1; 64]);
}

/// How many calls any thread began between the two marks.
fn calls_between_the_marks(trace: &str) -> Option<usize> {
    let place = |mark| trace.lines().position(|line| line.contains(mark));
    let (begin, end) = (place(BEGIN)?, place(END)?);
    let is_call = |line: &&str| !line.contains(" resumed>") && !line.contains("+++") && !line.contains("---");
    Some(trace.lines().take(end).skip(begin + 1).filter(is_call).count())
}

/// Without a test harness, whose own threads and output would be counted, too.
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(WORK) {
        encrypt_a_million_messages(Path::new(&arguments.next().unwrap()));
        return ExitCode::SUCCESS;
    }
    let Some(strace) = programs::program("strace") else { return ExitCode::SUCCESS };
    let servers = KeyServers::start(1);
    let trace = servers.dir.join("trace");
    let start = Instant::now();
    let mut command = Command::new(strace);
    command
        .args(["-E", "LD_LIBRARY_PATH", "-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .arg(WORK)
        .arg(&servers.config);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // Where no process may trace another, which the trace alone can tell.
    if !output.status.success() && errors.contains("ptrace") && !programs::is_required("strace") {
        println!("skipped: strace could not trace the process: {errors}");
        return ExitCode::SUCCESS;
    }
    assert!(output.status.success(), "strace could not trace the process: {errors}");
    let calls =
        calls_between_the_marks(&std::fs::read_to_string(&trace).unwrap()).expect("both marks are in the trace");
    // Each second begins a session with a salt of its own, and the client's own threads look around.
    let limit = LIMIT + 2 * start.elapsed().as_secs() as usize;
    println!("{MESSAGES} messages: {calls} system calls (limit {limit})");
    if calls < limit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
