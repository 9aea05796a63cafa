//! Runs the command-line tool.

#![allow(dead_code)] // Each test uses a part of it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub fn tool(config: Option<&Path>, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    command.env_remove("KEYSTEAD_CONFIG").args(arguments);
    if let Some(config) = config {
        command.env("KEYSTEAD_CONFIG", config);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool was built");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A command that works piece by piece writes before it has read all; one that fails early does not read.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

pub fn succeed(config: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = tool(Some(config), arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} failed: {errors}");
    output.stdout
}

/// Runs a command that must fail with status 1, and returns the first line of standard error.
pub fn fail(config: Option<&Path>, arguments: &[&str], input: &[u8]) -> String {
    let output = tool(config, arguments, input);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?} failed and wrote {:?}", output.stdout);
    String::from_utf8(output.stderr).unwrap().lines().next().unwrap().to_owned()
}

pub fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}
