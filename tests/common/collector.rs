//! What tests of records on their way to collectors share: the frames, and judging what arrived.

#![allow(dead_code)] // Each test uses a part of it.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use keystead::config::{self, OnFailure, Target};
use keystead::log::{Format, Level, Log, Record, Report, Severity, verify};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];

/// Delimiters of every format, and text beyond ASCII.
pub const HOSTILE: &str = "a=b|c\\d \"e\" ] Zoë 鍵";

pub fn open(target: Target, format: Format, on_failure: OnFailure) -> Log {
    let target = Some(target);
    Log::open(&config::Log { level: Level::Basic, format, target, on_failure, ..config::Log::default() }, "orders")
        .unwrap()
}

pub fn write(log: &Log, key_name: &str, message: &str) {
    let fields = [("key_name", Cow::from(key_name)), ("message", Cow::from(message))];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What verifying the lines that a collector received says.
pub fn check(lines: &[String]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received");
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    verify(&[&path]).unwrap()
}

/// One message in a frame of RFC 6587 §3.4.1 and RFC 5425 §4.3.
pub fn frame(stream: &mut impl Read) -> io::Result<String> {
    let mut length = String::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b' ' {
            break;
        }
        length.push(byte[0].into());
    }
    let mut message = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut message)?;
    Ok(String::from_utf8(message).unwrap())
}

/// Takes lines until each of `written` records has arrived or is counted as lost. Returns the lines, which verify, and the count.
pub fn account(written: u64, mut next: impl FnMut() -> String) -> (Vec<String>, u64) {
    let (mut lines, mut lost, mut read) = (Vec::new(), 0, 0);
    while lost + read < written {
        let line = next();
        match lost_in(&line) {
            0 => read += 1,
            count => lost += count,
        }
        lines.push(line);
    }
    assert_eq!(lost + read, written, "{lost} lost, {read} read");
    let report = check(&lines);
    assert!(report.is_intact(), "{report}");
    (lines, lost)
}

/// Writes so many records of 500 bytes while nobody takes them, which costs the caller next to nothing.
pub fn flood(log: &Log, written: u32) {
    let message = "x".repeat(500);
    let start = Instant::now();
    (0..written).for_each(|_| write(log, "customer", &message));
    let each = start.elapsed() / written;
    assert!(each < Duration::from_millis(1), "a record took {each:?} while nobody read");
}

/// How many records the line counts as lost.
pub fn lost_in(line: &str) -> u64 {
    if !line.contains("event=log.lost ") {
        return 0;
    }
    line.split(" count=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}
