//! `residue-scan PID` or `residue-scan FILE` reads a key of 32 bytes as hexadecimal from standard input and prints,
//! as one line of JSON, how often it is in the memory of that process or in that (core) file.
//!
//! Exit status: 0 when nothing was found, 1 when something was, 2 when it could not look.

#[allow(dead_code)]
#[path = "scan.rs"]
mod scan;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(counts) => {
            println!("{}", serde_json::to_string(&counts).expect("numbers always serialise"));
            ExitCode::from(u8::from(counts.total() > 0))
        }
        Err(reason) => {
            eprintln!("residue-scan: {reason}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<scan::Counts, String> {
    let target = std::env::args().nth(1).ok_or("name a process by its number, or a file; the key goes to stdin")?;
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).map_err(|e| format!("cannot read the key from standard input: {e}"))?;
    let needles = scan::Needles::of(&key(text.trim()).ok_or("a key is 64 hexadecimal digits")?);
    let counts = match target.parse() {
        Ok(pid) => scan::process(pid, &needles),
        Err(_) => scan::file(Path::new(&target), &needles),
    };
    counts.map_err(|e| format!("cannot look into {target}: {e}"))
}

fn key(text: &str) -> Option<[u8; 32]> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}
