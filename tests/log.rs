//! The log and the audit trail as an administrator, an auditor and an attacker meet them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead::Code;
use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Target};
use keystead::log::{Finding, Format, Kind, Level, Log, Record, Report, Severity, catalogue, verify};

const RECORDS: u64 = 12;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn open(path: &Path, level: Level) -> Log {
    Log::open(
        &config::Log {
            level,
            format: Format::Syslog,
            target: Some(Target::File(path.to_owned())),
            ..config::Log::default()
        },
        "orders api",
    )
    .unwrap()
}

fn write(log: &Log, number: u64) {
    let fields = [("key_name", format!("customer {number}").into()), ("result", "success".into())];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

fn row(number: u32) -> Row<'static> {
    Row {
        operation: "Get",
        key_server: "kms1.example.com",
        ip_address: Some("127.0.0.1".parse().unwrap()),
        port: 5696,
        key_name: "customer-1",
        user: "orders",
        succeeded: !number.is_multiple_of(3),
        key_version: Some(number),
        result_message: "said \"no\", or so",
        ..Row::default()
    }
}

/// A log in every format and an audit trail, of [`RECORDS`] records each.
fn every_kind() -> Vec<(Folder, PathBuf)> {
    let mut all = Vec::new();
    for format in [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef] {
        let folder = Folder::new();
        let path = folder.path("keystead.log");
        let config = config::Log {
            level: Level::Basic,
            format,
            target: Some(Target::File(path.clone())),
            ..config::Log::default()
        };
        let log = Log::open(&config, "orders api").unwrap();
        (0..RECORDS).for_each(|number| write(&log, number));
        all.push((folder, path));
    }
    let folder = Folder::new();
    let path = folder.path("audit.csv");
    let audit = AuditTrail::open(&path).unwrap();
    (0..RECORDS).for_each(|number| audit.append(&row(number as u32)));
    all.push((folder, path));
    all
}

/// Where the hashed part of a line begins, and what ends it.
fn hashed_part(line: &str) -> (usize, &'static str) {
    let after = |tag: &str| line.find(tag).map(|at| at + tag.len());
    match (after("CEF:"), after("LEEF:"), line.find("serial=")) {
        (_, Some(start), _) => (start, "\tsha256="),
        (Some(start), ..) => (start, " cs1Label=sha256 cs1="),
        (.., Some(start)) => (start, " sha256="),
        _ => (0, ","),
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

fn check(path: &Path) -> Report {
    verify(&[path]).unwrap()
}

/// Verifies the file after its lines were changed; `first` is the index of the first record.
fn tampered(change: impl Fn(&mut Vec<String>, usize)) -> Vec<Vec<Finding>> {
    every_kind()
        .iter()
        .map(|(_folder, path)| {
            let mut all = lines(path);
            let first = usize::from(path.extension().unwrap() == "csv");
            change(&mut all, first);
            fs::write(path, all.concat()).unwrap();
            check(path)
                .findings
                .into_iter()
                .map(|finding| Finding { line: finding.line - first as u64, ..finding })
                .collect()
        })
        .collect()
}

fn kinds(findings: &[Finding]) -> Vec<(Kind, u64)> {
    findings.iter().map(|finding| (finding.kind, finding.line)).collect()
}

#[test]
fn an_untouched_log_is_intact_and_its_tail_unproven() {
    for (_folder, path) in every_kind() {
        let report = check(&path);
        assert!(report.is_intact(), "{report}");
        assert_eq!(report.records, RECORDS);
        let stream = &report.streams[0];
        assert!(stream.first_serial > 1_000_000_000 && stream.has_beginning);
        assert_eq!(stream.last_serial, stream.first_serial + RECORDS - 1);
        assert!(report.to_string().contains(&format!("complete up to {}, tail unproven", stream.last_serial)));
    }
}

#[test]
fn a_flipped_byte_is_that_line_altered() {
    // Some byte of each part: the front, the middle, and the ends that hold hashes.
    for at in [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97] {
        for line in [0, 5, RECORDS - 1] {
            for findings in tampered(|all, first| {
                let text = &mut all[first + line as usize];
                let place = (text.len() as f64 * at) as usize;
                let flipped = if text.as_bytes()[place] == b'5' { "6" } else { "5" };
                text.replace_range(place..=place, flipped);
            }) {
                assert_eq!(kinds(&findings), [(Kind::Altered, line + 1)], "at {at}: {findings:?}");
            }
        }
    }
}

#[test]
fn deleted_lines_are_missing_where_they_stood() {
    for findings in tampered(|all, first| drop(all.drain(first + 3..first + 6))) {
        assert_eq!(kinds(&findings), [(Kind::Missing, 4)]);
        let (serial, last) = (findings[0].serial.unwrap(), findings[0].last_serial.unwrap());
        assert_eq!(last - serial, 2);
    }
    for (_folder, path) in every_kind() {
        let mut all = lines(&path);
        all.drain(all.len() - 1..);
        fs::write(&path, all.concat()).unwrap();
        assert!(check(&path).is_intact(), "a cut tail cannot be told from the file alone");
    }
}

#[test]
fn swapped_lines_are_reordered() {
    for findings in tampered(|all, first| all.swap(first + 4, first + 5)) {
        assert_eq!(kinds(&findings), [(Kind::Reordered, 5)], "{findings:?}");
    }
    for findings in tampered(|all, first| all.swap(first + 2, first + 8)) {
        assert_eq!(kinds(&findings), [(Kind::Reordered, 3), (Kind::Reordered, 9)], "{findings:?}");
    }
}

#[test]
fn a_repeated_line_is_duplicated() {
    for findings in tampered(|all, first| all.insert(first + 7, all[first + 4].clone())) {
        assert_eq!(kinds(&findings), [(Kind::Duplicated, 8)], "{findings:?}");
    }
    for findings in tampered(|all, first| all.insert(first + 2, all[first + 8].clone())) {
        assert_eq!(kinds(&findings), [(Kind::Duplicated, 3)], "{findings:?}");
    }
}

#[test]
fn a_foreign_line_is_inserted() {
    for findings in tampered(|all, first| all.insert(first + 4, "somebody was here\r\n".to_owned())) {
        assert_eq!(kinds(&findings), [(Kind::Inserted, 5)], "{findings:?}");
    }
    let strangers = every_kind();
    for findings in tampered(|all, first| {
        let stranger = &strangers[if first == 0 { 0 } else { strangers.len() - 1 }].1;
        all.insert(first + 4, lines(stranger)[first + 5].clone());
    }) {
        assert_eq!(kinds(&findings), [(Kind::Inserted, 5)], "{findings:?}");
    }
}

/// The hash alone can be computed by anybody: the next record gives it away.
#[test]
fn a_record_with_a_recomputed_hash_is_altered() {
    for findings in tampered(|all, first| {
        let text = all[first + 4].replace("success", "failure").replace("customer", "consumer");
        let (start, label) = hashed_part(&text);
        let body = &text[start..text.rfind(label).unwrap()];
        let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sum.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        let end = if first == 0 { "\n" } else { "\r\n" };
        all[first + 4] = format!("{}{body}{label}{}{end}", &text[..start], &output[..64]);
    }) {
        assert_eq!(kinds(&findings), [(Kind::Altered, 5)], "{findings:?}");
    }
}

#[test]
fn random_tampering_is_always_found() {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    for (_folder, path) in every_kind() {
        let original = lines(&path);
        let first = original.len() - RECORDS as usize;
        for case in 0..500 {
            let mut all = original.clone();
            let (a, b) = (first + next(RECORDS as usize - 1), first + next(RECORDS as usize));
            let what = match case % 5 {
                0 | 1 => {
                    let mut bytes = all.concat().into_bytes();
                    let (at, bit) = (next(bytes.len()), next(8));
                    bytes[at] ^= 1 << bit;
                    fs::write(&path, bytes).unwrap();
                    format!("bit {bit} of byte {at}")
                }
                2 => {
                    // The first records of a log may rightly lie in an earlier file.
                    let at = a.max(first + 1).min(original.len() - 2);
                    all.remove(at);
                    format!("line {at} removed")
                }
                3 => {
                    all.insert(b, all[a].clone());
                    format!("line {a} again before {b}")
                }
                _ => {
                    let other = if a == b { a + 1 } else { b };
                    all.swap(a, other);
                    format!("lines {a} and {other} swapped")
                }
            };
            if case % 5 > 1 {
                fs::write(&path, all.concat()).unwrap();
            }
            let report = check(&path);
            assert!(!report.is_intact(), "{what} was not found in {}", path.display());
            if case % 5 == 2 {
                assert_eq!(report.findings.len(), 1, "{what}: {report}");
                assert_eq!(report.findings[0].kind, Kind::Missing, "{what}: {report}");
            }
        }
    }
}

#[test]
fn a_torn_line_is_kept_and_told_of() {
    for (_folder, path) in every_kind() {
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"<14>Nov 23 20:15:00 host keystead[1]: serial=10000").unwrap();
        drop(file);
        let torn = check(&path);
        assert_eq!(torn.findings.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::Torn]);
        if path.extension().unwrap() == "csv" {
            AuditTrail::open(&path).unwrap().append(&row(1));
        } else {
            write(&open(&path, Level::Basic), 1);
        }
        let report = check(&path);
        assert!(report.is_intact(), "{report}");
        assert_eq!(report.records, RECORDS + 2);
        assert!(report.notes[0].contains("log.torn_tail"), "{report}");
    }
}

#[test]
fn a_chain_survives_restarts_emptying_rotation_and_the_loss_of_its_state() {
    let folder = Folder::new();
    let (path, rotated, copied) = (folder.path("a.log"), folder.path("a.log.1"), folder.path("a.log.2"));
    let log = open(&path, Level::Basic);
    write(&log, 1);
    write(&open(&path, Level::Basic), 2);
    fs::copy(&path, &copied).unwrap();
    fs::write(&path, "").unwrap();
    write(&log, 3);
    fs::rename(&path, &rotated).unwrap();
    write(&log, 4);
    write(&open(&path, Level::Basic), 5);
    fs::remove_file(folder.path("a.log.state")).unwrap();
    write(&log, 6);
    fs::write(folder.path("a.log.state"), "nonsense").unwrap();
    write(&open(&path, Level::Basic), 7);
    let report = verify(&[&path, &rotated, &copied]).unwrap();
    assert!(report.is_intact(), "{report}");
    assert_eq!((report.streams.len(), report.records), (1, 7 + 4));
    let reasons: Vec<_> = [&rotated, &path]
        .into_iter()
        .flat_map(|path| lines(path))
        .filter(|line| line.contains("event=log.continued"))
        .map(|line| line.split('"').nth(3).unwrap().to_owned())
        .collect();
    assert_eq!(
        reasons,
        [
            "the file was emptied",
            "the file was replaced by an empty one",
            "the state file was missing; the file's last record was taken",
            "the state file was damaged; the file's last record was taken",
        ]
    );
}

/// What the state file remembers proves what was cut, once the log goes on.
#[test]
fn a_tail_that_was_cut_is_missed_as_soon_as_the_log_goes_on() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    let log = open(&path, Level::Basic);
    (0..5).for_each(|number| write(&log, number));
    let mut all = lines(&path);
    all.truncate(3);
    fs::write(&path, all.concat()).unwrap();
    write(&log, 5);
    let report = check(&path);
    assert_eq!(kinds(&report.findings), [(Kind::Missing, 4)], "{report}");
    assert_eq!(report.findings[0].last_serial.unwrap() - report.findings[0].serial.unwrap(), 1);
}

/// Runs one of these tests again in a process of its own.
fn again(test: &str, path: &Path, before: &str) -> Command {
    let mut command = Command::new("bash");
    let program = std::env::current_exe().unwrap();
    command.args(["-c", &format!("{before} exec \"$0\" --exact {test} --nocapture")]).arg(program);
    command.env("KEYSTEAD_TEST_FILE", path).stdout(Stdio::null());
    command
}

#[test]
fn processes_and_threads_share_one_chain() {
    const EACH: u64 = 1000;
    let name = "processes_and_threads_share_one_chain";
    if let Some(path) = std::env::var_os("KEYSTEAD_TEST_FILE") {
        let log = open(Path::new(&path), Level::Basic);
        (0..EACH).for_each(|number| write(&log, number));
        return;
    }
    let folder = Folder::new();
    let path = folder.path("shared.log");
    let mut processes: Vec<_> = (0..2).map(|_| again(name, &path, "").spawn().unwrap()).collect();
    let log = open(&path, Level::Basic);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..EACH).for_each(|number| write(&log, number)));
        }
    });
    assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
    let report = check(&path);
    assert!(report.is_intact() && report.notes.is_empty(), "{report}");
    assert_eq!((report.records, report.streams.len()), (4 * EACH, 1));
}

/// A file size limit is a full disk that a test can have.
#[test]
fn a_full_disk_is_counted_and_told_and_fails_nobody() {
    let name = "a_full_disk_is_counted_and_told_and_fails_nobody";
    if let Some(path) = std::env::var_os("KEYSTEAD_TEST_FILE") {
        let log = open(Path::new(&path), Level::Basic);
        (0..30).for_each(|number| write(&log, number));
        let own = std::process::id().to_string();
        let lifted = Command::new("prlimit").args(["--pid", &own, "--fsize=unlimited"]).status().unwrap();
        assert!(lifted.success());
        write(&log, 30);
        return;
    }
    let folder = Folder::new();
    let path = folder.path("full.log");
    assert!(again(name, &path, "trap '' XFSZ; ulimit -S -f 4;").status().unwrap().success());
    let report = check(&path);
    assert!(report.is_intact(), "{report}");
    let all = lines(&path);
    let told = &all[all.len() - 2];
    assert!(told.contains("event=log.lost severity=error count="), "{told}");
    let count: usize = told.split("count=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(count > 10 && count + all.len() - 2 == 30, "{count} lost of 30, {} written", all.len() - 2);
}

#[test]
fn files_that_others_could_exchange_or_read_are_refused() {
    let folder = Folder::new();
    let refused = |path: &Path| {
        let config = config::Log {
            level: Level::Basic,
            format: Format::Syslog,
            target: Some(Target::File(path.to_owned())),
            ..config::Log::default()
        };
        let errors = [Log::open(&config, "x").err().unwrap(), AuditTrail::open(path).err().unwrap()];
        assert!(errors.iter().all(|error| error.code() == Code::FileExposed), "{errors:?}");
        errors[0].message().to_owned()
    };
    let (target, link) = (folder.path("target"), folder.path("link.log"));
    fs::write(&target, "").unwrap();
    symlink(&target, &link).unwrap();
    assert!(refused(&link).contains("symbolic link"));
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&target).contains("chmod 600"));
    fs::create_dir(folder.path("open")).unwrap();
    fs::set_permissions(folder.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&folder.path("open/a.log")).contains("chmod go-w"));
    assert!(!folder.path("open/a.log").exists());

    let config = config::Log {
        level: Level::Basic,
        format: Format::Syslog,
        target: Some(Target::File(folder.path("nowhere/a.log"))),
        ..config::Log::default()
    };
    let error = Log::open(&config, "x").err().unwrap();
    assert!(error.code() == Code::System && error.message().contains("make its folder"), "{error}");
}

#[test]
fn files_are_for_their_owner_alone() {
    for (_folder, path) in every_kind() {
        for path in [path.clone(), PathBuf::from(format!("{}.state", path.display()))] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
}

#[test]
fn levels_decide_what_is_written_and_none_writes_nothing() {
    let folder = Folder::new();
    let path = folder.path("none.log");
    let log = open(&path, Level::None);
    write(&log, 1);
    assert!(!log.is_enabled(Level::Basic) && !path.exists());

    let basic = open(&folder.path("basic.log"), Level::Basic);
    assert!(basic.is_enabled(Level::Basic) && !basic.is_enabled(Level::Verbose));

    let path = folder.path("verbose.log");
    let verbose = open(&path, Level::Verbose);
    assert!(verbose.is_enabled(Level::Verbose) && !verbose.is_enabled(Level::Debug));
    assert!(lines(&path)[0].contains("event=log.level_warning severity=warning level=verbose"));
}

#[test]
fn the_audit_trail_is_csv_that_opens_in_a_spreadsheet() {
    let folder = Folder::new();
    let path = folder.path("audit.csv");
    let audit = AuditTrail::open(&path).unwrap();
    let start = "operation,key_server,ip_address,port,key_name,date,time,user,result,";
    assert!(fs::read_to_string(&path).unwrap().starts_with(start), "the header row is there before the first row");
    let message = "=HYPERLINK(\"http://x\")\nsecond line, with comma";
    audit.append(&Row { result_message: message, result_reason: "not found", ..row(3) });
    let script = "import csv, json, sys; print(json.dumps(list(csv.DictReader(open(sys.argv[1], newline='')))))";
    let output = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &rows[0];
    for (column, value) in [
        ("operation", "Get"),
        ("key_server", "kms1.example.com"),
        ("ip_address", "127.0.0.1"),
        ("port", "5696"),
        ("key_name", "customer-1"),
        ("user", "orders"),
        ("result", "failure"),
        ("key_version", "3"),
        ("result_reason", "not found"),
        ("result_message", "'=HYPERLINK(\"http://x\")\\nsecond line, with comma"),
        ("duration_us", "0"),
    ] {
        assert_eq!(row[column], value, "{row}");
    }
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let today = Command::new("date").args(["-u", "+%F"]).output().unwrap();
    assert_eq!(row["date"].as_str().unwrap(), String::from_utf8_lossy(&today.stdout).trim());
}

#[test]
fn the_page_of_events_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("docs/EVENTS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, catalogue::markdown()).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap_or_default();
    assert!(written == catalogue::markdown(), "docs/EVENTS.md is stale: UPDATE_DOCS=1 cargo test --test log");
}

/// Every event that the sources write is in the catalogue, and they name every one that is.
#[test]
fn every_event_is_in_the_catalogue_and_used() {
    fn visit(folder: &Path, found: &mut Vec<String>, sources: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                visit(&entry, found, sources);
            } else {
                let source = fs::read_to_string(&entry).unwrap();
                found.extend(source.split('"').filter(|text| is_event(text)).map(str::to_owned));
                if entry.file_name().unwrap() != "catalogue.rs" {
                    sources.push_str(&source);
                }
            }
        }
    }
    fn is_event(text: &str) -> bool {
        let Some((subject, what)) = text.split_once('.') else { return false };
        let subjects: Vec<&str> = catalogue::EVENTS.iter().filter_map(|event| event.id.split('.').next()).collect();
        subjects.contains(&subject)
            && !what.is_empty()
            && what.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !["rs", "key", "pem", "conf", "toml", "unheard_of"].contains(&what)
    }
    let (mut found, mut sources) = (Vec::new(), String::new());
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found, &mut sources);
    let words: std::collections::HashSet<_> = sources.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let constant = |event: &&catalogue::Event| event.id.to_uppercase().replace('.', "_");
    let unused: Vec<_> =
        catalogue::EVENTS.iter().map(|event| constant(&event)).filter(|name| !words.contains(name.as_str())).collect();
    assert!(unused.is_empty(), "in the catalogue, and written nowhere: {unused:?}");
    let unknown: Vec<_> = found.iter().filter(|id| catalogue::find(id).is_none()).collect();
    assert!(found.len() >= catalogue::EVENTS.len() && unknown.is_empty(), "not in the catalogue: {unknown:?}");
}
