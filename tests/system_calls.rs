//! A message costs no system call: a million of them, in a process of their own under strace.

use std::process::{Command, ExitCode};

use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;

const MESSAGES: usize = 1_000_000;
const LIMIT: usize = 100;
const WORK: &str = "--encrypt-a-million-messages";

fn encrypt_a_million_messages() {
    let key = Key::new(KeyId::new("customer-42", 1).unwrap(), Slot::copy_of(&[7; 32]).unwrap());
    let mut message = vec![0; key.encrypted_size(64).unwrap()];
    let mut out = [0; 64];
    for _ in 0..MESSAGES {
        key.encrypt(&[1; 64], b"row 1", &mut message).unwrap();
    }
    key.decrypt(&message, b"row 1", &mut out).unwrap();
    assert_eq!(out, [1; 64]);
}

/// How many calls strace counted, from the line that ends its table.
fn total_calls(table: &str) -> Option<usize> {
    table.lines().find(|line| line.ends_with(" total"))?.split_whitespace().nth(3)?.parse().ok()
}

/// Without a test harness, whose own threads and output would be counted, too.
fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == WORK) {
        encrypt_a_million_messages();
        return ExitCode::SUCCESS;
    }
    let start = std::time::Instant::now();
    let strace = Command::new("strace")
        .args(["-f", "-c"])
        .arg(std::env::current_exe().unwrap())
        .arg(WORK)
        // Cargo's, in which the loader would look for libraries, a hundred calls long.
        .env_remove("LD_LIBRARY_PATH")
        .output();
    let counted = match &strace {
        Err(error) => Err(format!("strace cannot be run ({error})")),
        Ok(output) => {
            let table = String::from_utf8_lossy(&output.stderr);
            let counted = total_calls(&table).filter(|_| output.status.success());
            counted.ok_or_else(|| format!("strace could not trace the process: {table}"))
        }
    };
    match counted {
        Err(reason) => {
            println!("skipped: {reason}");
            ExitCode::SUCCESS
        }
        Ok(calls) => {
            // Each second begins a session with a salt of its own, however few messages a busy machine gets done in it.
            let limit = LIMIT + start.elapsed().as_secs() as usize;
            println!("{MESSAGES} messages, with the start of the process: {calls} system calls (limit {limit})");
            if calls < limit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
