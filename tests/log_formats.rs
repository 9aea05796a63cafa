//! Every format is read back, field by field, by programs that others wrote.

#[path = "common/programs.rs"]
mod programs;

use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Target};
use keystead::log::{Format, Level, Log, Record, Severity, verify};
use serde_json::Value;

const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];

/// Delimiters of every format, and text beyond ASCII.
const HOSTILE: &str = "say \"no\" | a=b, c\\d ]  e=\\ Zoë 鍵";

type Fields<'a> = &'a [(&'static str, Cow<'a, str>)];

const PLAIN: Fields<'static> = &[
    ("key_server", Cow::Borrowed("kms1.example.com")),
    ("ip_addr", Cow::Borrowed("2001:db8::7")),
    ("port", Cow::Borrowed("5696")),
    ("key_name", Cow::Borrowed("customer-42")),
    ("user", Cow::Borrowed("alice")),
    ("result", Cow::Borrowed("success")),
    ("duration_us", Cow::Borrowed("1234")),
];

fn write(format: Format, path: &Path, client: &str, records: &[Fields<'_>]) -> Vec<String> {
    let config = config::Log {
        level: Level::Basic,
        format,
        target: Some(Target::File(path.to_owned())),
        ..config::Log::default()
    };
    let log = Log::open(&config, client).unwrap();
    for fields in records {
        log.write(&Record { event: "kmip.get", severity: Severity::Warning, level: Level::Basic, fields });
    }
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn feed(command: &mut Command, lines: &[String]) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the readers of `tests/formats/read.py` say.
fn read(lines: &[String]) -> Vec<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("KEYSTEAD_PYTHON").map_or(root.join("build/venv/bin/python"), PathBuf::from);
    let help =
        "configure with `cmake --preset default`, or point KEYSTEAD_PYTHON to a Python with tests/requirements.txt";
    assert!(python.exists(), "{} is missing: {help}", python.display());
    feed(Command::new(python).arg(root.join("tests/formats/read.py")), lines)
}

fn holds(fields: &Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fields[name], *value, "{name} in {fields:#}");
    }
}

fn records_of(format: Format, client: &str, records: &[Fields<'_>]) -> (Vec<String>, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let lines = write(format, &folder.path().join("log"), client, records);
    let values = read(&lines);
    (lines, values)
}

#[test]
fn parsers_of_others_read_every_header() {
    let host = Command::new("hostname").output().map(|output| String::from_utf8(output.stdout).unwrap());
    let pid = std::process::id().to_string();
    for format in FORMATS {
        let (lines, values) = records_of(format, "orders", &[PLAIN]);
        let theirs = &values[0]["theirs"];
        holds(theirs, &[("severity", "warning"), ("facility", "user")]);
        if let Ok(host) = &host {
            holds(theirs, &[("host", host.trim().split('.').next().unwrap())]);
        }
        match format {
            Format::Syslog => holds(theirs, &[("tag", &format!("keystead[{pid}]"))]),
            Format::Syslog5424 => {
                holds(theirs, &[("app", "keystead"), ("pid", &pid), ("event", "kmip.get")]);
                assert_eq!(theirs["timestamp"], values[0]["ours"]["ts"], "{lines:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn parsers_of_others_read_every_field_of_cef() {
    let (_, values) = records_of(Format::Cef, "orders", &[PLAIN]);
    for value in [&values[0]["theirs"], &values[0]["ours"]] {
        holds(value, &[("dhost", "kms1.example.com"), ("dpt", "5696"), ("suser", "alice"), ("outcome", "success")]);
        holds(value, &[("sourceServiceName", "orders")]);
    }
    // Where there is a label, pycef shows the value under it.
    let labelled = [("Destination IPv6 Address", "2001:db8::7"), ("key_name", "customer-42"), ("duration_us", "1234")];
    holds(&values[0]["theirs"], &labelled);
    let head = [("CEFVersion", "0"), ("DeviceEventClassID", "kmip.get"), ("Name", "KMIP Get: a key was fetched")];
    holds(&values[0]["theirs"], &head);
    holds(&values[0]["theirs"], &[("DeviceVendor", "Keystead"), ("Severity", "6")]);
    assert_eq!(values[0]["theirs"]["sha256"], values[0]["ours"]["cs1"]);
    assert_eq!(values[0]["theirs"]["prev"], "0".repeat(64));
}

#[test]
fn no_field_of_any_format_loses_its_delimiters() {
    let fields: Fields<'_> = &[("key_name", HOSTILE.into()), ("message", "two\r\nlines\tand\u{202e}more".into())];
    for format in FORMATS {
        let (lines, values) = records_of(format, HOSTILE, &[fields, PLAIN]);
        assert_eq!(lines.len(), 2, "a record is one line");
        let ours = &values[0]["ours"];
        let (client, key_name, message) = match format {
            Format::Cef => ("sourceServiceName", "cs3", "msg"),
            _ => ("client", "key_name", "message"),
        };
        let shown = match format {
            Format::Cef => "two\r\nlines\\u{9}and\\u{202e}more",
            _ => "two\\r\\nlines\\tand\\u{202e}more",
        };
        holds(ours, &[(client, HOSTILE), (key_name, HOSTILE), (message, shown)]);
        let number = |value: &Value| {
            let serial = value["ours"].get("serial").or(value["ours"].get("externalId")).unwrap();
            serial.as_str().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(number(&values[1]), number(&values[0]) + 1);
    }
}

#[test]
fn leef_has_the_names_that_a_collector_knows() {
    let (_, values) = records_of(Format::Leef, "orders", &[PLAIN]);
    let ours = &values[0]["ours"];
    holds(
        ours,
        &[("version", "2.0"), ("event", "kmip.get"), ("sev", "6"), ("dst", "2001:db8::7"), ("dstPort", "5696")],
    );
    holds(ours, &[("usrName", "alice"), ("key_name", "customer-42"), ("result", "success")]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let written: u128 = ours["devTime"].as_str().unwrap().parse().unwrap();
    assert!((written..written + 60_000).contains(&now), "{written} is not within the minute before {now}");
}

/// `lognormalizer` (liblognorm 2) drops the first letter of the first CEF pair and takes no quoted pairs, so it is asked
/// for the others. What it knows as pairs does not stand between tabulators, so the rule for LEEF says what a pair is.
#[test]
fn lognormalizer_reads_plain_records() {
    let Some(lognormalizer) = programs::program("lognormalizer") else { return };
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    let rule = |format| match format {
        Format::Cef => "<%pri:number%>%date:date-rfc3164% %host:word% %r:cef%",
        Format::Syslog5424 => {
            "<%pri:number%>1 %date:date-rfc5424% %host:word% keystead %pid:number% %id:word% - %r:name-value-list%"
        }
        Format::Leef => concat!(
            "<%pri:number%>%date:date-rfc3164% %host:word% LEEF:%v:char-to:|%|%vendor:char-to:|%|%product:char-to:|%|",
            "%version:char-to:|%|%event:char-to:|%|x09|",
            r#"%{"name": "r", "type": "repeat", "while": [{"type": "literal", "text": "\t"}], "parser": ["#,
            r#"{"name": "k", "type": "char-to", "extradata": "="}, {"type": "literal", "text": "="}, "#,
            r#"{"name": "v", "type": "char-sep", "extradata": "\t"}]}%"#
        ),
        Format::Syslog => "<%pri:number%>%date:date-rfc3164% %host:word% keystead[%pid:number%]: %r:name-value-list%",
    };
    for format in FORMATS {
        fs::write(&rules, format!("version=2\nrule=:{}\n", rule(format))).unwrap();
        let lines = write(format, &folder.path().join(format!("{format:?}")), "orders", &[PLAIN]);
        let values = feed(Command::new(&lognormalizer).args(["-e", "json", "-r"]).arg(&rules), &lines);
        assert_eq!(values[0]["pri"], "12", "{values:?}");
        if format == Format::Leef {
            holds(&values[0], &[("v", "2.0"), ("vendor", "Keystead"), ("event", "kmip.get")]);
            let pairs = values[0]["r"].as_array().unwrap();
            let name = |pair: &Value| pair["k"].as_str().unwrap().to_owned();
            let read: Value = pairs.iter().map(|pair| (name(pair), pair["v"].clone())).collect();
            let fields = [("dst", "2001:db8::7"), ("dstPort", "5696"), ("usrName", "alice"), ("duration_us", "1234")];
            holds(&read, &fields);
            holds(&read, &[("key_server", "kms1.example.com"), ("key_name", "customer-42"), ("client", "orders")]);
        } else if format == Format::Cef {
            let fields =
                [("dhost", "kms1.example.com"), ("c6a3", "2001:db8::7"), ("cs3", "customer-42"), ("cn1", "1234")];
            holds(&values[0]["r"]["Extensions"], &fields);
            holds(&values[0]["r"], &[("SignatureID", "kmip.get"), ("Severity", "6")]);
        } else {
            let fields = PLAIN.iter().map(|(name, value)| (*name, value.as_ref())).collect::<Vec<_>>();
            holds(&values[0]["r"], &fields);
            holds(&values[0]["r"], &[("event", "kmip.get"), ("client", "orders")]);
        }
    }
}

/// The chain goes on when the format of a file is changed, and when its state file is lost besides.
#[test]
fn one_file_may_change_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for (number, format) in FORMATS.into_iter().chain(FORMATS).enumerate() {
        if number >= FORMATS.len() {
            fs::remove_file(folder.path().join("log.state")).unwrap();
        }
        write(format, &path, "orders", &[PLAIN, PLAIN]);
    }
    let report = verify(&[&path]).unwrap();
    assert!(report.is_intact(), "{report}");
    assert_eq!((report.streams.len(), report.records, report.notes.len()), (1, 8 * 2 + 4, 4), "{report}");
}

/// docs/LOG.md tells how to check a line by hand; its commands are run as they stand there.
#[test]
fn the_page_on_the_log_reproduces_every_hash_with_sha256sum() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/LOG.md")).unwrap();
    let block = |label: &str| page.split("```\n").find(|block| block.contains(label)).unwrap();
    let of_lines = block("# syslog, syslog-5424");
    let sum = of_lines.lines().find(|line| line.contains("sha256sum")).unwrap();
    let script = |label: &str| {
        let body = of_lines.lines().find(|line| line.ends_with(label)).unwrap_or_else(|| panic!("no {label}"));
        format!("{body}\n{sum}")
    };
    let by_hand = |script: &str, line: &str| {
        let output = Command::new("bash").args(["-c", &format!("line=$1\n{script}"), "bash", line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let fields: Fields<'_> = &[("key_name", HOSTILE.into()), ("message", "two\r\nlines".into())];
    let folder = tempfile::tempdir().unwrap();
    for (format, label) in FORMATS.into_iter().zip(["syslog, syslog-5424", "syslog-5424", "# cef", "# leef"]) {
        let lines = write(format, &folder.path().join(format!("{format:?}")), HOSTILE, &[fields, PLAIN]);
        for line in lines {
            assert!(line.ends_with(&by_hand(&script(label), &line)), "{label}: {line}");
        }
    }
    let trail = AuditTrail::open(&folder.path().join("audit.csv")).unwrap();
    trail.append(&Row { operation: "Get", key_name: HOSTILE, succeeded: true, ..Row::default() });
    let text = fs::read_to_string(folder.path().join("audit.csv")).unwrap();
    let row = text.lines().nth(1).unwrap();
    assert!(row.ends_with(&by_hand(block("row=${line"), &format!("{row}\r"))), "{row}");
}
