//! Runs the command-line tool where somebody sits; beside `common/keyservers.rs`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the tool on a terminal where somebody types. Whether it succeeded, and what was to be seen.
pub fn on_a_terminal(config: Option<&Path>, arguments: &[&str], typed: &str) -> (bool, String) {
    const SPAWN: &str = "import os, pty, sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = Command::new(crate::keyservers::python());
    command.env_remove("KEYSTEAD_CONFIG").args(["-c", SPAWN, env!("CARGO_BIN_EXE_keystead")]).args(arguments);
    if let Some(config) = config {
        command.env("KEYSTEAD_CONFIG", config);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}
