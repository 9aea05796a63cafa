//! Lines of every format, what they have to say, and what readers find in them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead::config::{self, Target};
use keystead::log::{Format, Level, Log, Record, Severity};
use serde_json::Value as Json;

use super::expected::{self, Entry, Fields, Stamp, Value, date, value};

/// A client's name with the delimiters of every format.
pub fn client() -> Value {
    let plain = r#"say "no" | a=b, c\d ]  e=\ Zoë 鍵"#;
    value(plain, r#"say \"no\" | a=b, c\\d ]  e=\\ Zoë 鍵"#, plain, plain)
}

pub fn write(format: Format, path: &Path, client: &str, records: &[Entry]) -> Vec<String> {
    let config = config::Log {
        level: Level::Basic,
        format,
        target: Some(Target::File(path.to_owned())),
        ..config::Log::default()
    };
    let log = Log::open(&config, client).unwrap();
    for record in records {
        let fields: Vec<_> = record.iter().map(|(name, value)| (*name, value.written.as_str().into())).collect();
        log.write(&Record { event: "kmip.get", severity: Severity::Warning, level: Level::Basic, fields: &fields });
    }
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Gives the program lines, and takes one of JSON for each.
pub fn feed<'a>(command: &mut Command, lines: impl Iterator<Item = &'a str>) -> Vec<Json> {
    let lines: Vec<&str> = lines.collect();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = lines.join("\n") + "\n";
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}");
    let read = String::from_utf8(output.stdout).unwrap();
    let read: Vec<Json> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), lines.len(), "{command:?}");
    read
}

/// What the readers of `tests/formats/read.py` say.
pub fn read(lines: &[String]) -> Vec<Json> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("KEYSTEAD_PYTHON").map_or(root.join("build/venv/bin/python"), PathBuf::from);
    let help =
        "configure with `cmake --preset default`, or point KEYSTEAD_PYTHON to a Python with tests/requirements.txt";
    assert!(python.exists(), "{} is missing: {help}", python.display());
    feed(Command::new(python).arg(root.join("tests/formats/read.py")), lines.iter().map(String::as_str))
}

/// A line as it was written, what it has to say, and what the readers of `tests/formats/read.py` find in it.
pub struct Case {
    pub line: String,
    pub body: String,
    pub stamp: Stamp,
    pub record: Entry,
    pub read: Json,
}

impl Case {
    /// The time of the body in another form of `date`, in local time.
    pub fn time(&self, form: &str) -> String {
        let time = &self.stamp.time;
        let of_body = time.parse::<u64>().map_or(time.clone(), |milliseconds| format!("@{}", milliseconds / 1000));
        date(&["-d", &of_body, form])
    }

    /// How a header of RFC 3164 says it.
    pub fn header_time(&self) -> String {
        self.time("+%b %e %H:%M:%S")
    }

    pub fn tag(&self) -> String {
        format!("keystead[{}]", self.stamp.pid)
    }
}

/// Writes the records to a new file. Nothing of what they have to say is taken from their lines but the time, which lies
/// between two readings of the clock.
pub fn cases(format: Format, client: fn() -> Value, records: Vec<Entry>) -> Vec<Case> {
    let folder = tempfile::tempdir().unwrap();
    let (clock, key) = match format {
        Format::Cef => ("+%s%3N", "rt"),
        Format::Leef => ("+%s%3N", "devTime"),
        _ => ("+%Y-%m-%dT%H:%M:%S.%6NZ", "ts"),
    };
    let before = date(&["-u", clock]);
    let lines = write(format, &folder.path().join("log"), &client().written, &records);
    let after = date(&["-u", clock]);
    assert_eq!(lines.len(), records.len(), "a record is one line");

    let state = fs::read_to_string(folder.path().join("log.state")).unwrap();
    let state = |name: &str| state.split(name).nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let first = state(" serial=").parse::<u64>().unwrap() + 1 - lines.len() as u64;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim().split('.').next().unwrap();
    let zone = date(&["+%:z"]).replace("+00:00", "Z");
    let mut prev = "0".repeat(64);
    let read = read(&lines);
    let case = |(((serial, line), record), read): (((u64, String), Entry), Json)| {
        let (body, sha256) = expected::hash(format, &line);
        let time = read["ours"][key].as_str().unwrap().to_owned();
        assert!(before <= time && time <= after, "{time} is not between {before} and {after}");
        let stamp = Stamp {
            pid: std::process::id(),
            host: host.to_owned(),
            zone: zone.clone(),
            time,
            client: client(),
            stream: state(" stream="),
            serial,
            prev: std::mem::replace(&mut prev, sha256.clone()),
            sha256,
        };
        Case { body: body.to_owned(), line, stamp, record, read }
    };
    let cases = (first..).zip(lines).zip(records).zip(read).map(case).collect();
    assert_eq!(prev, state(" head="));
    cases
}

pub fn all_cases(format: Format) -> Vec<Case> {
    let mut records = expected::records(expected::hostile);
    records.push(expected::plain());
    cases(format, client, records)
}

/// All that stands in the pairs of the record, under the format's own names.
pub fn in_pairs(format: Format, case: &Case) -> Fields {
    match format {
        Format::Cef => expected::cef(&case.stamp, &case.record),
        Format::Leef => expected::leef(&case.stamp, &case.record),
        _ => expected::pairs(&case.stamp, &case.record, |value| &value.pair),
    }
}

pub fn as_read(fields: Fields) -> Json {
    fields.into_iter().map(|(name, value)| (name, Json::from(value))).collect()
}

#[track_caller]
pub fn equal(read: &Json, expected: &Json, case: &Case) {
    assert_eq!(read, expected, "read: {read:#}\nexpected: {expected:#}\nin: {}", case.line);
}
