//! Seals: what was written cannot be rewritten by whoever takes the machine, as the auditor sees with a key kept elsewhere.
#![cfg(feature = "auditor")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, AuditorKey, Durability, Rotation, Target};
use keystead::log::{
    Anchor, AuditorPrivateKey, Format, Kind, Level, Log, Options, Record, Report, Severity, verify, verify_with,
};
use serde_json::{Value, json};

const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with the auditor's pair of keys in it, made by a library that is not ours.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        site.python(&[
            "keygen",
            site.path("auditor.key").to_str().unwrap(),
            site.path("auditor.pem").to_str().unwrap(),
        ]);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn auditor(&self) -> AuditorKey {
        AuditorKey::from_pem(&fs::read(self.path("auditor.pem")).unwrap()).unwrap()
    }

    fn log(&self, name: &str, format: Format, rotation: Rotation) -> Log {
        open(&self.path(name), format, rotation, self.auditor())
    }

    fn audit(&self, name: &str, rotation: Rotation) -> AuditTrail {
        let (file, durability) = (self.path(name), Durability::Flush);
        AuditTrail::open_as(&config::Audit { file, rotation, durability, auditor_key: Some(self.auditor()) }).unwrap()
    }

    fn python(&self, arguments: &[&str]) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os("KEYSTEAD_PYTHON").map_or(root.join("build/venv/bin/python"), PathBuf::from);
        let output = Command::new(python)
            .arg(root.join("tests/seals/check.py"))
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What Python makes of the seals in the files.
    fn check_elsewhere(&self, files: &[PathBuf]) -> Value {
        let key = self.path("auditor.key");
        let mut arguments = vec!["check", key.to_str().unwrap()];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        serde_json::from_str(&self.python(&arguments)).unwrap()
    }

    /// What the auditor finds.
    fn verify(&self, files: &[PathBuf]) -> Report {
        let key = AuditorPrivateKey::read(&self.path("auditor.key")).unwrap();
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        verify_with(&files, &Options { auditor_keys: &[key], ..Options::default() }).unwrap()
    }

    /// The files of a log in their order.
    fn set(&self, name: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let is_of_set = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}."));
        files.retain(|file| is_of_set(file) && !file.extension().is_some_and(|end| end == "state" || end == "seal"));
        files.sort();
        files.push(self.path(name));
        files
    }
}

fn open(path: &Path, format: Format, rotation: Rotation, auditor: AuditorKey) -> Log {
    let config = config::Log {
        level: Level::Basic,
        format,
        target: Some(Target::File(path.to_owned())),
        rotation,
        auditor_key: Some(auditor),
        ..config::Log::default()
    };
    Log::open(&config, "orders").unwrap()
}

fn write(log: &Log, number: u64) {
    let fields = [("key_name", format!("customer {number}").into()), ("result", "success".into())];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

fn row() -> Row<'static> {
    Row { operation: "Get", key_server: "kms1.example.com", key_name: "customer-1", succeeded: true, ..Row::default() }
}

#[test]
fn a_stock_cose_library_opens_seals_in_every_format_and_in_the_audit_trail() {
    let site = Site::new();
    for (number, format) in FORMATS.into_iter().enumerate() {
        let name = format!("{number}.log");
        let log = site.log(&name, format, Rotation::default());
        for round in 0..3 {
            write(&log, round);
            log.flush(PATIENCE);
        }
        // Nothing is left to seal.
        log.flush(PATIENCE);
        let told = site.check_elsewhere(&[site.path(&name)]);
        assert_eq!((&told["fits"], &told["misfits"], &told["unknown"]), (&json!(3), &json!(0), &json!(0)), "{told}");
        assert_eq!(told["seals"].as_array().unwrap().len(), 1);
    }
    let audit = site.audit("audit.csv", Rotation::default());
    audit.append(&row());
    assert!(audit.flush(PATIENCE));
    let told = site.check_elsewhere(&[site.path("audit.csv")]);
    assert_eq!((&told["fits"], &told["misfits"], &told["unknown"]), (&json!(1), &json!(0), &json!(0)), "{told}");
    assert!(verify(&[&site.path("audit.csv")]).unwrap().is_intact());
}

/// Each file begins with a seal of its own, for which the one before vouches; a file ends with a checkpoint.
#[test]
fn every_file_of_a_rotated_log_has_its_own_seal_and_the_one_before_vouches_for_it() {
    let site = Site::new();
    let rotation = Rotation { size: Some(4096), ..Rotation::default() };
    // Two that share the file share its seal.
    let logs = [site.log("a.log", Format::Syslog, rotation), site.log("a.log", Format::Syslog, rotation)];
    (0..60).for_each(|number| write(&logs[number as usize % 2], number));
    assert!(logs.iter().all(|log| log.flush(PATIENCE)));
    let files = site.set("a.log");
    assert!(files.len() > 4, "{files:?}");
    let told = site.check_elsewhere(&files);
    assert_eq!(told["seals"].as_array().unwrap().len(), files.len(), "{told}");
    // One at the end of each file, and one at the beginning of all but the first.
    assert_eq!((&told["fits"], &told["misfits"]), (&json!(2 * files.len() - 1), &json!(0)), "{told}");
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.lines().last().unwrap().contains("event=log.checkpoint "), "{text}");
    }
    let report = site.verify(&files);
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.streams[0].sealed_to.unwrap() + 1, report.streams[0].last_serial, "{report}");
    // Any of them alone shows what it is, too.
    let report = site.verify(&files[2..3]);
    assert!(report.is_intact() && report.streams[0].sealed_to.is_some(), "{report}");

    // Compressed, as logrotate leaves them, and named by a pattern that also names what stands beside them.
    for file in &files[..files.len() - 1] {
        assert!(Command::new("gzip").arg(file).status().unwrap().success());
    }
    let mut all = site.set("a.log");
    let compressed = all[1].clone();
    all.extend(["a.log.state", "a.log.seal"].map(|name| site.path(name)));
    let again = site.verify(&all);
    assert!(again.is_intact() && again.files.len() == files.len(), "{again}");
    let bytes = fs::read(&compressed).unwrap();
    fs::write(&compressed, &bytes[..bytes.len() / 2]).unwrap();
    let report = site.verify(&all);
    assert!(report.findings.iter().any(|f| f.kind == Kind::Torn && f.file == compressed.to_str().unwrap()), "{report}");
}

#[test]
fn a_compressed_file_that_never_ends_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.gz");
    let script = "head -c 200000000 /dev/zero | gzip > \"$1\"";
    assert!(Command::new("bash").args(["-c", script, "bash"]).arg(&path).status().unwrap().success());
    let report = verify(&[&path]).unwrap();
    assert!(report.to_string().contains("times its size"), "{report}");
}

/// Cuts a log behind its third checkpoint, lets `take` act on what is beside it, and goes on. The hashes fit.
fn cut_and_go_on(site: &Site, take: impl Fn(&Site)) -> Report {
    let path = site.path("a.log");
    let log = site.log("a.log", Format::Syslog, Rotation::default());
    for number in 0..6 {
        write(&log, number);
        assert!(log.flush(PATIENCE));
    }
    drop(log);
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(7).collect();
    assert!(kept[6].contains("event=log.checkpoint"));
    fs::write(&path, kept.concat()).unwrap();
    fs::remove_file(site.path("a.log.state")).unwrap();
    take(site);
    let log = site.log("a.log", Format::Syslog, Rotation::default());
    for number in 0..2 {
        write(&log, number);
        assert!(log.flush(PATIENCE));
    }
    assert!(verify(&[&path]).unwrap().is_intact());
    site.verify(&[path])
}

#[test]
fn a_tail_that_was_replaced_is_found_by_the_checkpoints_that_it_lacks() {
    let report = cut_and_go_on(&Site::new(), |_| {});
    let found = &report.findings[0];
    assert_eq!((report.findings.len(), found.kind, found.line), (1, Kind::Rewritten, 8), "{report}");
    assert!(found.explanation.contains("checkpoints of the seal are missing"), "{report}");
}

#[test]
fn a_seal_that_begins_anew_is_found_to_be_vouched_for_by_none() {
    let report = cut_and_go_on(&Site::new(), |site| fs::remove_file(site.path("a.log.seal")).unwrap());
    assert_eq!(report.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Kind::Unsealed], "{report}");
    // So is one for somebody else's key, and a log without any.
    let (site, other) = (Site::new(), Site::new());
    let log = open(&site.path("a.log"), Format::Syslog, Rotation::default(), other.auditor());
    write(&log, 1);
    assert!(log.flush(PATIENCE));
    assert_eq!(site.verify(&[site.path("a.log")]).findings[0].kind, Kind::Unsealed);
    AuditTrail::open(&site.path("audit.csv")).unwrap().append(&row());
    assert_eq!(site.verify(&[site.path("audit.csv")]).findings[0].kind, Kind::Unsealed);
}

#[test]
fn an_older_copy_of_the_key_is_found() {
    let site = Site::new();
    let log = site.log("a.log", Format::Syslog, Rotation::default());
    write(&log, 0);
    assert!(log.flush(PATIENCE));
    let copy = fs::read(site.path("a.log.seal")).unwrap();
    for number in 1..4 {
        write(&log, number);
        assert!(log.flush(PATIENCE));
    }
    drop(log);
    fs::write(site.path("a.log.seal"), copy).unwrap();
    let log = site.log("a.log", Format::Syslog, Rotation::default());
    write(&log, 4);
    assert!(log.flush(PATIENCE));
    let report = site.verify(&[site.path("a.log")]);
    assert!(report.findings[0].explanation.contains("a key was used that the seal had given up"), "{report}");
}

#[test]
fn the_tool_makes_keys_and_anchors_and_proves_the_end_with_them() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site(tempfile::tempdir().unwrap());
    let tool = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_keystead")).args(arguments).current_dir(site.0.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = tool(&["log", "keygen", "auditor.key", "auditor.pem"]);
    assert!(code == Some(0) && told.contains("keep it away"), "{told}");
    assert_eq!(fs::metadata(site.path("auditor.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(site.path("auditor.key")).unwrap();
    assert!(before.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    for again in [["auditor.key", "new.pem"], ["new.key", "auditor.pem"]] {
        let (code, told) = tool(&["log", "keygen", again[0], again[1]]);
        assert!(code == Some(1) && told.contains("never replaced"), "{told}");
    }
    assert!(fs::read(site.path("auditor.key")).unwrap() == before && !site.path("new.key").exists());

    let log = site.log("a.log", Format::Cef, Rotation::default());
    (0..3).for_each(|number| write(&log, number));
    assert!(log.flush(PATIENCE));
    let (_, anchor) = tool(&["log", "anchor", "a.log"]);
    fs::write(site.path("anchors"), format!("Nov 24 20:15:00 elsewhere {anchor}")).unwrap();
    assert_eq!(Anchor::read_all(&anchor), Some(vec![Anchor::of(&site.path("a.log")).unwrap()]));
    let verified = ["log", "verify", "--auditor-key", "auditor.key", "--anchor", "anchors", "a.log"];
    let (code, told) = tool(&verified);
    assert!(code == Some(0) && told.contains("sealed up to") && told.contains("complete: an anchor proves"), "{told}");
    let (code, told) = tool(&["log", "verify", "a.log"]);
    assert!(code == Some(0) && told.contains("tail unproven") && told.contains("--auditor-key"), "{told}");

    let text = fs::read_to_string(site.path("a.log")).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(3).collect();
    fs::write(site.path("a.log"), kept.concat()).unwrap();
    let (code, told) = tool(&[&["--json"], &verified[..]].concat());
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (code, &report["findings"][0]["kind"], &report["findings"][0]["line"]),
        (Some(1), &json!("cut"), &json!(4))
    );
}

/// Runs one of these tests again in a process of its own.
fn again(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env("KEYSTEAD_TEST_FILE", path).stdout(Stdio::null());
    command
}

#[test]
fn processes_share_one_seal_and_a_restart_or_a_kill_does_not_break_it() {
    const EACH: u64 = 1500;
    let name = "processes_share_one_seal_and_a_restart_or_a_kill_does_not_break_it";
    if let Some(path) = std::env::var_os("KEYSTEAD_TEST_FILE") {
        let path = PathBuf::from(path);
        let auditor = AuditorKey::from_pem(&fs::read(path.with_file_name("auditor.pem")).unwrap()).unwrap();
        let log = open(&path, Format::Syslog, Rotation::default(), auditor);
        (0..EACH).for_each(|number| write(&log, number));
        // Neither closed nor sealed: as if it had been killed.
        std::process::abort();
    }
    let site = Site::new();
    let path = site.path("shared.log");
    for _ in 0..2 {
        let mut processes: Vec<_> = (0..3).map(|_| again(name, &path).spawn().unwrap()).collect();
        assert!(processes.iter_mut().all(|process| !process.wait().unwrap().success()));
    }
    let log = site.log("shared.log", Format::Syslog, Rotation::default());
    write(&log, 0);
    assert!(log.flush(PATIENCE));
    let told = site.check_elsewhere(std::slice::from_ref(&path));
    assert_eq!((told["seals"].as_array().unwrap().len(), &told["misfits"]), (1, &json!(0)), "{told}");
    // One for each thousand records, and the last.
    assert!(told["fits"].as_u64().unwrap() > 6 * EACH / 1100, "{told}");
    let report = verify(&[&path]).unwrap();
    assert!(report.is_intact() && report.records > 6 * EACH, "{report}");
}

#[test]
fn the_key_of_a_seal_is_for_its_owner_alone_and_goes_on_after_each_use() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let log = site.log("a.log", Format::Syslog, Rotation::default());
    let kept = site.path("a.log.seal");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let mut keys = vec![fs::read(&kept).unwrap()[64..96].to_vec()];
    for number in 0..3 {
        write(&log, number);
        log.flush(PATIENCE);
        let bytes = fs::read(&kept).unwrap();
        assert!(keys.iter().all(|key| !bytes.windows(32).any(|window| window == key.as_slice())));
        keys.push(bytes[64..96].to_vec());
    }
    let text = fs::read(site.path("a.log")).unwrap();
    assert!(keys.iter().all(|key| !text.windows(32).any(|window| window == key.as_slice())));
}
