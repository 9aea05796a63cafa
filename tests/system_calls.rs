//! A message costs no system call: a million of them through the C interface, in a process of their own under strace.

#[path = "common/c_key.rs"]
mod c_key;
#[path = "common/keyservers.rs"]
mod keyservers;

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
    let servers = KeyServers::start(1);
    let trace = servers.dir.join("trace");
    let start = Instant::now();
    let strace = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .arg(WORK)
        .arg(&servers.config)
        .output();
    let counted = match &strace {
        Err(error) => Err(format!("strace cannot be run ({error})")),
        Ok(output) => {
            let counted = std::fs::read_to_string(&trace).ok().and_then(|trace| calls_between_the_marks(&trace));
            let errors = || format!("strace could not trace the process: {}", String::from_utf8_lossy(&output.stderr));
            counted.filter(|_| output.status.success()).ok_or_else(errors)
        }
    };
    match counted {
        Err(reason) => {
            println!("skipped: {reason}");
            ExitCode::SUCCESS
        }
        Ok(calls) => {
            // Each second begins a session with a salt of its own, and the client's own threads look around.
            let limit = LIMIT + 2 * start.elapsed().as_secs() as usize;
            println!("{MESSAGES} messages: {calls} system calls (limit {limit})");
            if calls < limit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
