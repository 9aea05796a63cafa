//! What `verify` says is true also where somebody would rather have it say something else.
#![cfg(feature = "auditor")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, AuditorKey, Durability, Rotation, Target};
use keystead::log::{
    Anchor, AuditorPrivateKey, Format, Kind, Level, Log, Of, Options, Record, Report, Severity, verify, verify_with,
};
use ring::digest::{SHA256, digest};

const FORMATS: [Format; 4] = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];
const PATIENCE: Duration = Duration::from_secs(30);

fn open(path: &Path, format: Format, client: &str, auditor_key: Option<AuditorKey>) -> Log {
    let target = Some(Target::File(path.to_owned()));
    let config = config::Log { level: Level::Basic, format, target, auditor_key, ..config::Log::default() };
    Log::open(&config, client).unwrap()
}

/// Opens the log or the trail, writes one record and waits for it.
fn go_on(path: &Path, format: Option<Format>, client: &str, number: u64) {
    match format {
        Some(format) => {
            let log = open(path, format, client, None);
            write(&log, number);
            assert!(log.flush(PATIENCE));
        }
        None => {
            let trail = open_trail(path, None);
            append(&trail);
            assert!(trail.flush(PATIENCE));
        }
    }
}

fn write(log: &Log, number: u64) {
    let fields = [("key_name", format!("customer {number}").into()), ("result", "success".into())];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

fn open_trail(path: &Path, auditor_key: Option<AuditorKey>) -> AuditTrail {
    let (rotation, durability) = (Rotation::default(), Durability::Flush);
    AuditTrail::open_as(&config::Audit { file: path.to_owned(), rotation, durability, auditor_key }).unwrap()
}

fn append(trail: &AuditTrail) {
    trail.append(&Row { operation: "Get", key_name: "customer-1", succeeded: true, ..Row::default() });
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

fn check(paths: &[&PathBuf]) -> Report {
    verify(&paths.iter().map(|path| path.as_path()).collect::<Vec<_>>()).unwrap()
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// Names that hold what a record of the chain itself holds.
#[test]
fn a_clients_name_hides_nothing_and_accuses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = AuditorPrivateKey::generate().unwrap();
    let names = [
        "x event=log.torn_tail bytes=6 y",
        "x event=log.seal y",
        "\" event=log.checkpoint severity=info seal=0 \"",
        "0|1|2|3|log.seal|5|\tevent=log.torn_tail",
    ];
    for (format, name) in FORMATS.into_iter().flat_map(|format| names.map(|name| (format, name))) {
        let path = folder.path().join("keystead.log");
        let log = open(&path, format, name, Some(auditor.public()));
        (0..4).for_each(|number| write(&log, number));
        assert!(log.flush(PATIENCE));
        drop(log);
        let auditor_keys = std::slice::from_ref(&auditor);
        let report = verify_with(&[&path], &Options { auditor_keys, ..Options::default() }).unwrap();
        assert!(report.is_intact() && report.notes.is_empty(), "{name}: {report}");
        let hidden: String = lines(&path).iter().map(|line| format!("hidden\n{line}")).collect();
        fs::write(&path, hidden).unwrap();
        assert_eq!(kinds(&check(&[&path])).len(), 6, "{name}: {}", check(&[&path]));
        fs::read_dir(folder.path()).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
    }
}

/// A record that tells of a torn line explains this line alone, and is no excuse for its loss.
#[test]
fn a_torn_line_is_as_long_as_the_record_behind_it_says() {
    let folder = tempfile::tempdir().unwrap();
    for (name, loses_state) in [("a.log", false), ("b.log", true), ("a.csv", false), ("b.csv", true)] {
        let path = folder.path().join(name);
        let go_on = |path: &Path| go_on(path, name.ends_with("log").then_some(Format::Cef), "orders", 1);
        (0..2).for_each(|_| go_on(&path));
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"<14>Nov 23 20:15:00 db").unwrap();
        if loses_state {
            fs::remove_file(folder.path().join(format!("{name}.state"))).unwrap();
        }
        go_on(&path);
        assert!(check(&[&path]).is_intact(), "{}", check(&[&path]));
        let mut all = lines(&path);
        let at = all.iter().position(|line| line.starts_with("<14>Nov 23 20:15:00 db")).unwrap();
        all[at].insert_str(4, "Get ");
        fs::write(&path, all.concat()).unwrap();
        assert!(!check(&[&path]).is_intact(), "{name}: another line stands in its place");
        all.remove(at);
        fs::write(&path, all.concat()).unwrap();
        assert_eq!(kinds(&check(&[&path])), [Kind::Missing], "{name}");
    }
}

/// The files of one log hold one chain, whatever their order, and whether or not seals and anchors fit.
#[test]
fn a_log_that_was_replaced_or_joined_to_another_is_not_intact() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = AuditorPrivateKey::generate().unwrap();
    for (format, name) in [(Some(Format::Syslog), "a.log"), (Some(Format::Cef), "b.log"), (None, "c.csv")] {
        let path = folder.path().join(name);
        let begin = |path: &Path| match format {
            Some(format) => {
                let log = open(path, format, "orders", Some(auditor.public()));
                (0..8).for_each(|number| write(&log, number));
                assert!(log.flush(PATIENCE));
            }
            None => {
                let trail = open_trail(path, Some(auditor.public()));
                (0..8).for_each(|_| append(&trail));
                assert!(trail.flush(PATIENCE));
            }
        };
        begin(&path);
        let anchors = [Anchor::of(&path).unwrap()];
        let older = folder.path().join(format!("{name}.1"));
        fs::rename(&path, &older).unwrap();
        for end in ["state", "seal"] {
            fs::remove_file(folder.path().join(format!("{name}.{end}"))).unwrap();
        }
        // Rows tell the second.
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let begun = second();
        while second() == begun {
            std::thread::yield_now();
        }
        begin(&path);
        let end = lines(&older).len();
        let auditor_keys = std::slice::from_ref(&auditor);
        for options in [Options::default(), Options { auditor_keys, anchors: &anchors, ..Options::default() }] {
            for files in [[path.as_path(), &older], [&older, &path]] {
                let report = verify_with(&files, &options).unwrap();
                assert_eq!(kinds(&report), [Kind::Inserted], "{report}");
                let found = &report.findings[0];
                assert!(found.explanation.contains(&format!("({}:{end})", older.display())), "{report}");
                assert_eq!(found.file, path.to_str().unwrap());
            }
        }
        // As one file, a stranger behind the end is found, too.
        let joined = folder.path().join("joined");
        let header = usize::from(format.is_none());
        fs::write(&joined, [lines(&older), lines(&path)[header..].to_vec()].concat().concat()).unwrap();
        let report = check(&[&joined]);
        assert_eq!((kinds(&report), report.findings[0].line), (vec![Kind::Inserted], end as u64 + 1), "{report}");
        let collected = Options { is_collected: true, ..Options::default() };
        assert!(verify_with(&[&joined], &collected).unwrap().is_intact(), "a collector keeps many chains");
    }
}

/// Gives the last record another time, and a hash that fits.
fn postpone(lines: &mut [String]) {
    let line = lines.last_mut().unwrap();
    let is_row = line.ends_with("\r\n");
    let (start, label) = if is_row { (0, ",") } else { (line.find("serial=").unwrap(), " sha256=") };
    let at = match is_row {
        true => line.match_indices(',').nth(4).unwrap().0 + 1,
        false => line.find("ts=").unwrap() + 3,
    };
    // In a row only the date and the time tell it, in a record its header does, too.
    let year = line[at..at + 4].to_owned();
    *line = line.replace(&format!("{year}-"), "2999-");
    let end = line.rfind(label).unwrap();
    let hash = digest(&SHA256, &line.as_bytes()[start..end]);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    line.replace_range(end + label.len()..end + label.len() + 64, &hash);
}

/// Behind its last checkpoint a log is as unproven as without seals, so no more may stand there than a writer leaves.
#[test]
fn no_more_is_left_unsealed_than_a_writer_that_was_killed_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = AuditorPrivateKey::generate().unwrap();
    let auditor_keys = std::slice::from_ref(&auditor);
    let prove = |path: &Path| verify_with(&[path], &Options { auditor_keys, ..Options::default() }).unwrap();
    for name in ["a.log", "a.csv"] {
        let path = folder.path().join(name);
        let (is_log, format) = (name == "a.log", Format::Syslog5424);
        let go_on = |sealed: bool, count: u64| {
            let auditor_key = sealed.then(|| auditor.public());
            let is_flushed = if is_log {
                let log = open(&path, format, "orders", auditor_key);
                (0..count).for_each(|number| write(&log, number));
                log.flush(PATIENCE)
            } else {
                let trail = open_trail(&path, auditor_key);
                (0..count).for_each(|_| append(&trail));
                trail.flush(PATIENCE)
            };
            assert!(is_flushed);
        };
        go_on(true, 0);
        let text = prove(&path).to_string();
        assert!(text.contains("nothing is sealed: no checkpoint was made yet") && text.contains("intact"), "{text}");
        let stranger = AuditorPrivateKey::generate().unwrap();
        let auditor_keys = &[stranger];
        let report = verify_with(&[&path], &Options { auditor_keys, ..Options::default() }).unwrap();
        assert!(report.to_string().contains("no auditor's key that was given opens a seal"), "{report}");

        go_on(true, 1);
        assert!(!prove(&path).to_string().contains("are not sealed"), "{}", prove(&path));
        go_on(false, 2200);
        let report = prove(&path);
        assert!(report.is_intact(), "{report}");
        let stream = &report.streams[0];
        assert_eq!(stream.unsealed_records, Some(2200), "{report}");
        assert!(report.to_string().contains("; 2200 records over "), "{report}");

        let all = lines(&path);
        let mut forged = all.clone();
        postpone(&mut forged);
        fs::write(&path, forged.concat()).unwrap();
        assert_eq!(kinds(&check(&[&path])), [], "the forger computed the hashes anew");
        assert_eq!(kinds(&prove(&path)), [Kind::Unsealed], "{}", prove(&path));
        fs::write(&path, all.concat()).unwrap();
        go_on(false, 400);
        assert_eq!(kinds(&prove(&path)), [Kind::Unsealed], "{}", prove(&path));
    }
}

#[test]
fn files_without_a_record_are_not_intact() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty.log"), "").unwrap();
    fs::write(path("nothing.log.gz"), b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0").unwrap();
    drop(open_trail(&path("audit.csv"), None));
    write(&open(&path("a.log"), Format::Syslog, "orders", None), 1);
    for name in ["empty.log", "nothing.log.gz", "audit.csv", "a.log.state"] {
        let report = check(&[&path(name)]);
        assert!(!report.is_intact() && report.findings.len() == 1, "{name}: {report}");
        assert!(!report.to_string().contains("\nintact"), "{name}: {report}");
    }
    assert!(check(&[&path("empty.log"), &path("a.log"), &path("a.log.state")]).is_intact());
}

/// A pipe would be waited for, and a device may have no end.
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("keystead.log.state");
    fs::write(folder.path().join("keystead.log"), "").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null"), folder.path()] {
        let (tell, told) = std::sync::mpsc::channel();
        let path = path.to_owned();
        std::thread::spawn(move || {
            let verified = verify(&[&path]).map(|report| report.is_intact());
            tell.send([verified.map(drop), Anchor::of(&path).map(drop)]).unwrap();
        });
        for outcome in told.recv_timeout(PATIENCE).expect("it waits") {
            assert!(outcome.unwrap_err().to_string().contains("no regular file"));
        }
    }
}

/// A relay that ends all lines otherwise is a relay; one line that ends otherwise was changed.
#[test]
fn a_line_that_ends_otherwise_is_altered() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystead.log");
        let log = open(&path, format, "orders", None);
        (0..4).for_each(|number| write(&log, number));
        drop(log);
        let mut all = lines(&path);
        let end = all[2].len() - 1;
        all[2].insert(end, '\r');
        fs::write(&path, all.concat()).unwrap();
        let report = check(&[&path]);
        assert_eq!((kinds(&report), report.findings[0].line), (vec![Kind::Altered], 3), "{report}");
        fs::write(&path, all.concat().replace('\r', "").replace('\n', "\r\n")).unwrap();
        let report = check(&[&path]);
        assert!(report.is_intact() && report.notes[0].contains("a relay rewrote"), "{report}");
    }
}

/// One text holds the anchors of the log and of the audit trail, and whatever else came to it.
#[test]
fn anchors_of_the_other_kind_accuse_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let [log, trail, other, kept] = ["a.log", "a.csv", "b.log", "anchors"].map(|name| folder.path().join(name));
    write(&open(&log, Format::Syslog, "orders", None), 1);
    write(&open(&other, Format::Leef, "orders", None), 1);
    append(&open_trail(&trail, None));
    let anchor = |path: &Path| Anchor::of(path).unwrap().to_string().into_bytes();
    let text = [anchor(&log), anchor(&trail), b"caf\xe9 2026".to_vec()].join(&b'\n');
    fs::write(&kept, &text).unwrap();
    let anchors = Anchor::read_file(&kept).unwrap();
    for (path, told) in [(&log, "an audit trail"), (&trail, "a log")] {
        let report = verify_with(&[path], &Options { anchors: &anchors, ..Options::default() }).unwrap();
        assert!(report.is_intact() && report.streams[0].anchored_to.is_some(), "{report}");
        assert!(report.notes[0].contains(&format!("1 anchor of {told}")), "{report}");
    }
    let anchors = [anchors, vec![Anchor::of(&other).unwrap()]].concat();
    let report = verify_with(&[&log], &Options { anchors: &anchors, ..Options::default() }).unwrap();
    assert_eq!(kinds(&report), [Kind::Cut], "{report}");
}

/// The anchors of both stand in one text, so they prove a copy of the trail in the place of the log, too.
#[test]
fn a_log_whose_place_the_audit_trail_took_is_not_intact() {
    let folder = tempfile::tempdir().unwrap();
    let [log, trail, older] = ["keystead.log", "audit.csv", "keystead.log.1"].map(|name| folder.path().join(name));
    write(&open(&log, Format::Cef, "orders", None), 1);
    append(&open_trail(&trail, None));
    let anchors = [&log, &trail].map(|path| Anchor::of(path).unwrap());
    let prove = |path: &Path, of| {
        let options = Options { anchors: &anchors, of, ..Options::default() };
        verify_with(&[path], &options).unwrap()
    };
    for (path, is, other) in [(&log, Of::Log, Of::Audit), (&trail, Of::Audit, Of::Log)] {
        assert!(prove(path, None).is_intact() && prove(path, Some(is)).is_intact());
        let report = prove(path, Some(other));
        assert_eq!(kinds(&report), [Kind::Inserted], "{report}");
        assert_eq!(report.findings[0].line, 1);
    }
    fs::copy(&trail, &older).unwrap();
    let report = verify_with(&[&log, &older], &Options { of: Some(Of::Log), ..Options::default() }).unwrap();
    assert_eq!(kinds(&report), [Kind::Inserted], "{report}");
    assert!(report.findings[0].explanation.contains("is an audit trail, and a log is expected"), "{report}");
    assert_eq!(report.findings[0].file, older.display().to_string());
}

/// Who rewrites the end and waits for the next anchor has two of them against himself.
#[test]
fn an_anchor_is_not_forgotten_for_a_later_one_of_the_same_record() {
    for format in FORMATS.map(Some).into_iter().chain([None]) {
        let folder = tempfile::tempdir().unwrap();
        let [path, state] = ["a.log", "a.log.state"].map(|name| folder.path().join(name));
        go_on(&path, format, "orders", 1);
        let before = [&path, &state].map(|file| fs::read(file).unwrap());
        go_on(&path, format, "orders", 2);
        let first = Anchor::of(&path).unwrap();
        [&path, &state].into_iter().zip(before).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
        // A row holds its time.
        std::thread::sleep(Duration::from_secs(u64::from(format.is_none())));
        go_on(&path, format, "orders", 3);
        let second = Anchor::of(&path).unwrap();
        assert_ne!(first.to_string(), second.to_string());
        let report = |anchors: &[Anchor]| verify_with(&[&path], &Options { anchors, ..Options::default() }).unwrap();
        assert!(report(std::slice::from_ref(&second)).is_intact(), "{}", report(&[second]));
        for anchors in [[first, second], [second, first]] {
            assert_eq!(kinds(&report(&anchors)), [Kind::Rewritten], "{}", report(&anchors));
            assert_eq!(report(&anchors).streams[0].anchored_to, None);
        }
    }
}

#[test]
fn a_note_gives_the_reason() {
    for format in FORMATS.map(Some).into_iter().chain([None]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if format.is_some() { "a.log" } else { "a.csv" });
        let go_on = || go_on(&path, format, "x reason=none, y", 1);
        go_on();
        fs::write(&path, "").unwrap();
        go_on();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"12345").unwrap();
        go_on();
        let notes = check(&[&path]).notes.join("\n");
        assert!(notes.contains("log.continued: the file was emptied"), "{notes}");
        assert!(notes.contains("log.torn_tail: 5 bytes"), "{notes}");
    }
}

/// A write may be interrupted right before the end of a line: then the record is whole, and the chain goes on behind it.
#[test]
fn a_record_that_lacks_nothing_but_its_line_end_is_a_record() {
    for format in FORMATS.map(Some).into_iter().chain([None]) {
        for state in ["as it was before", "gone", "ahead"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(if format.is_some() { "a.log" } else { "a.csv" });
            let beside = path.with_extension(if format.is_some() { "log.state" } else { "csv.state" });
            let go_on = || match format {
                Some(format) => write(&open(&path, format, "orders", None), 1),
                None => append(&open_trail(&path, None)),
            };
            go_on();
            let before = fs::read(&beside).unwrap();
            go_on();
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(bytes.len() - if format.is_some() { 1 } else { 2 });
            fs::write(&path, bytes).unwrap();
            match state {
                "gone" => fs::remove_file(&beside).unwrap(),
                "ahead" => {}
                _ => fs::write(&beside, &before).unwrap(),
            }
            go_on();
            let report = check(&[&path]);
            assert!(report.is_intact() && !report.notes.join("").contains("torn"), "{state}: {report}");
            assert_eq!(report.records, 3 + u64::from(state == "gone"), "{state}: {report}");
        }
    }
}

/// All files of a log or a trail.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_none_or(|end| end != "state")).collect()
}

/// Of a line within a file, and of the beginning of a rotated one, for the next writer to find.
#[test]
fn a_write_is_named_torn_wherever_it_was_and_gone_on_after() {
    for format in FORMATS.map(Some).into_iter().chain([None]) {
        for size in [None, Some(1)] {
            let folder = tempfile::tempdir().unwrap();
            let [path, state] = ["kept", "kept.state"].map(|name| folder.path().join(name));
            let rotation = Rotation { size, ..Rotation::default() };
            let go_on = || match format {
                Some(format) => {
                    let target = Some(Target::File(path.clone()));
                    let config = config::Log { format, target, rotation, ..config::Log::default() };
                    let log = Log::open(&config, "orders").unwrap();
                    write(&log, 1);
                    assert!(log.flush(PATIENCE));
                }
                None => {
                    let (file, durability) = (path.clone(), Durability::Flush);
                    let config = config::Audit { file, rotation, durability, auditor_key: None };
                    let trail = AuditTrail::open_as(&config).unwrap();
                    append(&trail);
                    assert!(trail.flush(PATIENCE));
                }
            };
            go_on();
            let before = fs::read(&state).unwrap();
            let start = if size.is_some() { 0 } else { fs::metadata(&path).unwrap().len() as usize };
            go_on();
            let whole = fs::read(&path).unwrap();
            let old = kept(folder.path());
            // Those beside line ends, and some of the others.
            let is_tried =
                |cut: &usize| cut.is_multiple_of(9) || whole[cut - 1..whole.len().min(cut + 2)].contains(&b'\n');
            for cut in (start + 1..whole.len()).filter(is_tried) {
                fs::write(&path, &whole[..cut]).unwrap();
                fs::write(&state, &before).unwrap();
                let name = format!("{format:?}, rotation {size:?}, {cut} of {start} to {}", whole.len());
                let report = check(&old.iter().collect::<Vec<_>>());
                let torn: &[Kind] = if whole[..cut].ends_with(b"\n") { &[] } else { &[Kind::Torn] };
                assert_eq!(kinds(&report), torn, "{name}: {report}");
                go_on();
                let report = check(&kept(folder.path()).iter().collect::<Vec<_>>());
                assert!(report.is_intact(), "{name}: {report}");
                let now: Vec<_> = kept(folder.path()).into_iter().filter(|file| !old.contains(file)).collect();
                now.iter().for_each(|file| fs::remove_file(file).unwrap());
            }
        }
    }
}
