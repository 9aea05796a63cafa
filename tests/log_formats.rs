//! Every format is read back, field by field, by programs that others wrote, and by readers of our own that unescape.
//!
//! All fields of a record are compared with all that it has to say, in both directions.

#[path = "formats/case.rs"]
mod case;
#[path = "formats/expected.rs"]
mod expected;
#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use case::{Case, all_cases, as_read, cases, client, equal, feed, in_pairs, write};
use expected::{Fields, same};
use keystead::audit::{AuditTrail, Row};
use keystead::log::{Format, verify};
use serde_json::{Value as Json, json};

const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn parsers_of_others_read_every_field_of_a_header_and_the_whole_message() {
    for format in FORMATS {
        for case in all_cases(format) {
            let (host, pid) = (&case.stamp.host, case.stamp.pid);
            let expected = match format {
                Format::Syslog5424 => json!({
                    "facility": "user", "severity": "warning", "version": 1, "timestamp": case.stamp.time,
                    "hostname": host, "appname": "keystead", "procid": pid, "msgid": "kmip.get", "sd": {},
                    "msg": case.body,
                }),
                _ => {
                    let tag = if format == Format::Syslog { case.tag() + ": " } else { String::new() };
                    json!({
                        "facility": "user", "severity": "warning", "timestamp": case.header_time(), "hostname": host,
                        "message": tag + &case.body,
                    })
                }
            };
            equal(&case.read["syslog"], &expected, &case);
        }
    }
}

/// `pycef` shows a value under its label, and the columns under names of its own.
#[test]
fn pycef_reads_every_field() {
    for case in all_cases(Format::Cef) {
        let mut expected = expected::cef(&case.stamp, &case.record);
        let labels: Vec<String> =
            expected.keys().filter_map(|key| Some(key.strip_suffix("Label")?.to_owned())).collect();
        for key in labels {
            let label = expected.remove(&format!("{key}Label")).unwrap();
            let value = expected.remove(&key).unwrap();
            expected.insert(label, value);
        }
        let names = [
            ("version", &["CEFVersion"][..]),
            ("vendor", &["DeviceVendor"]),
            ("product", &["DeviceProduct"]),
            ("product_version", &["DeviceVersion"]),
            ("event", &["DeviceEventClassID"]),
            ("name", &["Name", "DeviceName"]),
            ("severity", &["Severity", "DeviceSeverity"]),
        ];
        let columns = expected::columns(Format::Cef);
        for (column, names) in names {
            expected.extend(names.iter().map(|name| ((*name).to_owned(), columns[column].clone())));
        }
        equal(&case.read["pycef"], &as_read(expected), &case);
    }
}

#[test]
fn readers_that_unescape_find_every_field_of_every_format() {
    for format in FORMATS {
        for case in all_cases(format) {
            let mut expected = in_pairs(format, &case);
            if matches!(format, Format::Cef | Format::Leef) {
                expected.extend(expected::columns(format));
            }
            equal(&case.read["ours"], &as_read(expected), &case);
        }
    }
}

/// A rule of `lognormalizer` for a format. What it knows as pairs neither stands between tabulators nor in quotes, so those for
/// LEEF and for quoted pairs say what a pair is.
fn rule(format: Format, is_quoted: bool) -> String {
    let pairs = |delimiter: &str, value: &str| {
        format!(
            r#"%{{"name": "r", "type": "repeat", "while": [{{"type": "literal", "text": "{delimiter}"}}], "parser": [
            {{"name": "k", "type": "char-to", "extradata": "="}}, {{"type": "literal", "text": "="}}, {value}]}}%"#
        )
        .replace("\n", " ")
    };
    let syslog = if is_quoted {
        pairs(" ", r#"{"name": "v", "type": "op-quoted-string"}"#)
    } else {
        "%r:name-value-list%".into()
    };
    let header = "<%pri:number%>%date:date-rfc3164% %host:word%";
    match format {
        Format::Cef => format!("{header} %r:cef%"),
        Format::Leef => {
            let columns = "LEEF:%version:char-to:|%|%vendor:char-to:|%|%product:char-to:|%|%product_version:char-to:|%";
            let pairs = pairs("\\t", r#"{"name": "v", "type": "char-sep", "extradata": "\t"}"#);
            format!("{header} {columns}|%event:char-to:|%|x09|{pairs}")
        }
        Format::Syslog5424 => {
            format!("<%pri:number%>1 %date:date-rfc5424% %host:word% keystead %pid:number% %id:word% - {syslog}")
        }
        Format::Syslog => format!("{header} keystead[%pid:number%]: {syslog}"),
    }
}

/// What `lognormalizer` makes of a line: it drops the first letter of the first CEF pair.
fn normalized(format: Format, case: &Case, is_quoted: bool) -> Json {
    let stamp = &case.stamp;
    let date = if format == Format::Syslog5424 { stamp.time.clone() } else { case.header_time() };
    let mut all = json!({"pri": "12", "date": date, "host": stamp.host});
    let listed = |fields: Fields| fields.into_iter().map(|(name, value)| json!({"k": name, "v": value})).collect();
    match format {
        Format::Cef => {
            let columns = expected::columns(format);
            let mut pairs = expected::cef(stamp, &case.record);
            let first = pairs.remove("externalId").unwrap();
            pairs.insert("xternalId".into(), first);
            all["r"] = json!({
                "DeviceVendor": columns["vendor"], "DeviceProduct": columns["product"],
                "DeviceVersion": columns["product_version"], "SignatureID": columns["event"], "Name": columns["name"],
                "Severity": columns["severity"], "Extensions": pairs,
            });
        }
        Format::Leef => {
            expected::columns(format).into_iter().for_each(|(name, value)| all[name] = value.into());
            all["r"] = listed(expected::leef(stamp, &case.record));
        }
        _ => {
            all["pid"] = stamp.pid.to_string().into();
            let pairs = expected::pairs(stamp, &case.record, |value| &value.quoted);
            all["r"] = if is_quoted { listed(pairs) } else { as_read(pairs) };
            if format == Format::Syslog5424 {
                all["id"] = "kmip.get".into();
            }
        }
    }
    all
}

/// Its quoted strings end at any quote, so it is given pairs without.
#[test]
fn lognormalizer_reads_every_field() {
    let Some(lognormalizer) = programs::program("lognormalizer") else { return };
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    let unquoted = || expected::hostile().into_iter().filter(|value| !value.written.contains('"')).collect();
    let check = |format, is_quoted, cases: Vec<Case>| {
        fs::write(&rules, format!("version=2\nrule=:{}\n", rule(format, is_quoted))).unwrap();
        let lines = cases.iter().map(|case| case.line.as_str());
        let values = feed(Command::new(&lognormalizer).args(["-e", "json", "-r"]).arg(&rules), lines);
        for (case, mut value) in cases.iter().zip(values) {
            if let Some(pairs) = value["r"].as_array_mut() {
                pairs.sort_by_key(|pair| pair["k"].as_str().map(str::to_owned));
            }
            equal(&value, &normalized(format, case, is_quoted), case);
        }
    };
    for format in [Format::Syslog, Format::Syslog5424] {
        check(format, false, cases(format, || same("orders"), vec![expected::plain()]));
        check(format, true, cases(format, || same("a=b | Zoë 鍵"), expected::records(unquoted)));
    }
    for format in [Format::Cef, Format::Leef] {
        check(format, true, all_cases(format));
    }
}

/// All that a collector keeps of a record: rsyslog's properties, but those that tell of the transport.
#[test]
fn a_real_rsyslogd_reads_every_field_of_a_header_and_the_whole_message() {
    let folder = tempfile::tempdir().unwrap();
    let (port, file) = (programs::free_port(), folder.path().join("read"));
    let config = format!(
        r#"
        global(parser.escapeControlCharacterTab="off" net.enableDNS="off" maxMessageSize="64k")
        module(load="imtcp")
        input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="remote")
        template(name="fields" type="string" string="%jsonmesg%\n")
        ruleset(name="remote") {{ action(type="omfile" file="{}" template="fields") }}
        "#,
        file.display()
    );
    let Some(_daemon) = programs::collector("rsyslogd", folder.path(), &config) else { return };
    let cases: Vec<(Format, Case)> =
        FORMATS.into_iter().flat_map(|format| all_cases(format).into_iter().map(move |case| (format, case))).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "rsyslogd does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    for (_, case) in &cases {
        write!(stream, "{} {}", case.line.len(), case.line).unwrap();
    }
    let read = || fs::read_to_string(&file).unwrap_or_default();
    while read().lines().count() < cases.len() {
        assert!(Instant::now() < deadline, "rsyslogd kept {} of {}", read().lines().count(), cases.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    for ((format, case), line) in cases.iter().zip(read().lines()) {
        let mut read: Json = serde_json::from_str(line).unwrap();
        let properties = read.as_object_mut().unwrap();
        for of_transport in ["$!", "fromhost", "fromhost-ip", "inputname", "timegenerated", "uuid"] {
            properties.remove(of_transport);
        }
        equal(&read, &properties_of(*format, case), case);
    }
}

fn properties_of(format: Format, case: &Case) -> Json {
    let (body, pid) = (case.body.as_str(), case.stamp.pid.to_string());
    let (tag, name, process, message) = match format {
        Format::Syslog => (case.tag() + ":", "keystead", pid.as_str(), format!(" {body}")),
        Format::Syslog5424 => (case.tag(), "keystead", pid.as_str(), body.to_owned()),
        // rsyslog takes these words for a tag.
        Format::Cef => ("CEF:".to_owned(), "CEF", "-", body.strip_prefix("CEF:").unwrap().to_owned()),
        Format::Leef => ("LEEF:".to_owned(), "LEEF", "-", body.strip_prefix("LEEF:").unwrap().to_owned()),
    };
    let is_new = format == Format::Syslog5424;
    json!({
        "pri": "12", "syslogfacility": "1", "syslogseverity": "4", "hostname": case.stamp.host, "syslogtag": tag,
        "app-name": name, "programname": name, "procid": process, "msgid": if is_new { "kmip.get" } else { "-" },
        "structured-data": "-", "protocol-version": if is_new { "1" } else { "0" },
        "timereported": if is_new { case.stamp.time.clone() } else { case.time("+%Y-%m-%dT%H:%M:%S%:z") },
        "msg": message, "rawmsg": case.line,
    })
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
        write(format, &path, "orders", &[expected::plain(), expected::plain()]);
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
    let records = expected::records(expected::hostile);
    let folder = tempfile::tempdir().unwrap();
    for (format, label) in FORMATS.into_iter().zip(["syslog, syslog-5424", "syslog-5424", "# cef", "# leef"]) {
        let lines = write(format, &folder.path().join(format!("{format:?}")), &client().written, &records);
        for line in lines {
            assert!(line.ends_with(&by_hand(&script(label), &line)), "{label}: {line}");
        }
    }
    let trail = AuditTrail::open(&folder.path().join("audit.csv")).unwrap();
    trail.append(&Row { operation: "Get", key_name: &client().written, succeeded: true, ..Row::default() });
    let text = fs::read_to_string(folder.path().join("audit.csv")).unwrap();
    let row = text.lines().nth(1).unwrap();
    assert!(row.ends_with(&by_hand(block("row=${line"), &format!("{row}\r"))), "{row}");
}
