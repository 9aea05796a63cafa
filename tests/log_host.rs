//! Records for a function of the application.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keystead::Code;
use keystead::config::{self, OnFailure, Target};
use keystead::log::{Format, Level, Log, OnRecord, Record, Report, Severity, verify};

const PATIENCE: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_secs(1);
/// Long against what a busy machine adds to it.
const LONG: Duration = Duration::from_secs(4);

fn config(level: Level, format: Format, target: Option<Target>) -> config::Log {
    config::Log { level, format, target, ..config::Log::default() }
}

fn open(config: &config::Log, on_record: OnRecord) -> Log {
    Log::open_with(config, "orders", Some(on_record)).unwrap()
}

fn write(log: &Log, key_name: &str) {
    let fields = [("key_name", Cow::from(key_name))];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

/// A function that keeps what it is told.
fn keeper() -> (Arc<Mutex<Vec<String>>>, OnRecord) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = kept.clone();
    (kept, Box::new(move |told| keeper.lock().unwrap().push(told.line.to_owned())))
}

/// A function that takes nothing more until it is let go on; what it was told comes out of the other channel.
fn held() -> (Sender<()>, Receiver<String>, OnRecord) {
    let (go_on, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let function = move |one: keystead::log::Told<'_>| {
        tell.send(one.line.to_owned()).unwrap();
        // An end of the channel lets everything through.
        let _ = wait.recv();
    };
    (go_on, told, Box::new(function))
}

fn check(lines: &[String]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told");
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    verify(&[&path]).unwrap()
}

fn count(line: &str) -> u64 {
    line.split(" count=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_record_arrives_in_order_in_a_chain_of_its_own_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (number, format) in [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef].into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.log"));
        let (kept, keeper) = keeper();
        let log = open(&config(Level::Basic, format, Some(Target::File(path.clone()))), keeper);
        (0..100).for_each(|number| write(&log, &format!("customer-{number}")));
        assert!(log.flush(PATIENCE));
        let lines = kept.lock().unwrap().clone();
        assert!(lines.iter().enumerate().all(|(number, line)| line.contains(&format!("customer-{number}"))));
        let (told, written) = (check(&lines), verify(&[Path::new(&path)]).unwrap());
        for report in [&told, &written] {
            assert!(report.is_intact() && report.records == 100 && report.streams[0].has_beginning, "{report}");
        }
        assert_ne!(told.streams[0].stream, written.streams[0].stream);
    }
}

#[test]
fn a_function_that_hangs_stops_nobody_and_is_told_what_it_missed() {
    let (go_on, told, function) = held();
    let log = open(&config(Level::Basic, Format::Syslog, None), function);
    write(&log, "first");
    let mut lines = vec![told.recv_timeout(PATIENCE).unwrap()];
    let start = Instant::now();
    (0..20_000).for_each(|_| write(&log, "customer"));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop(go_on);
    let (mut read, mut lost) = (1, 0);
    while read + lost < 20_001 {
        let line = told.recv_timeout(PATIENCE).unwrap();
        match line.contains("event=log.lost") {
            true => lost += count(&line),
            false => read += 1,
        }
        lines.push(line);
    }
    assert!(lost > 10_000 && read + lost == 20_001, "{read} read, {lost} lost");
    assert!(check(&lines).is_intact());
}

#[test]
fn work_is_refused_while_a_function_hangs_only_if_so_configured() {
    let refusing = config::Log { on_failure: OnFailure::Refuse, ..config(Level::Basic, Format::Syslog, None) };
    for (config, is_refused) in [(config(Level::Basic, Format::Syslog, None), false), (refusing, true)] {
        let (go_on, told, function) = held();
        let log = open(&config, function);
        write(&log, "first");
        told.recv_timeout(PATIENCE).unwrap();
        (0..10_000).for_each(|_| write(&log, "customer"));
        assert_eq!(log.check(|| None).is_err_and(|error| error.code() == Code::LogFailed), is_refused);
        drop(go_on);
        while !told.recv_timeout(PATIENCE).unwrap().contains("event=log.lost") {}
        log.check(|| None).unwrap();
    }
}

#[test]
fn a_function_that_panics_is_called_for_the_next_record_all_the_same() {
    let (kept, mut keeper) = keeper();
    let mut is_first = true;
    let function = move |told: keystead::log::Told<'_>| {
        keeper(told);
        assert!(!std::mem::take(&mut is_first), "on purpose");
    };
    let log = open(&config(Level::Basic, Format::Syslog, None), Box::new(function));
    ["one", "two"].into_iter().for_each(|name| write(&log, name));
    assert!(log.flush(PATIENCE));
    assert_eq!(check(&kept.lock().unwrap()).records, 2);
}

#[test]
fn a_log_ends_while_its_function_hangs_and_lets_go_of_it_later() {
    let (go_on, told, function) = held();
    let log = open(&config(Level::Basic, Format::Syslog, None), function);
    ["one", "two"].into_iter().for_each(|name| write(&log, name));
    told.recv_timeout(PATIENCE).unwrap();
    let start = Instant::now();
    log.end(MOMENT);
    assert!((MOMENT..PATIENCE).contains(&start.elapsed()), "{:?}", start.elapsed());
    write(&log, "three");
    go_on.send(()).unwrap();
    // The function, and what it holds, are gone: it was not called again.
    let end = told.recv_timeout(PATIENCE);
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
    log.end(PATIENCE);
    write(&log, "four");
    let start = Instant::now();
    assert!(!log.flush(2 * PATIENCE), "a record that came too late was written");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn the_end_of_a_log_is_waited_for_once_and_not_for_one_queue_after_the_other() {
    let (_go_on, told, function) = held();
    let nobody = Some(Target::Tcp("127.0.0.1".into(), 9));
    let log = open(&config(Level::Basic, Format::Syslog, nobody), function);
    write(&log, "one");
    told.recv_timeout(PATIENCE).unwrap();
    let start = Instant::now();
    log.end(LONG);
    assert!((LONG..2 * LONG).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn a_log_that_its_own_function_ends_does_not_wait_for_itself() {
    let (kept, mut keeper) = keeper();
    let ended = Arc::new((Mutex::new(None::<Arc<Log>>), Mutex::new(None)));
    let seen = ended.clone();
    let function = move |told: keystead::log::Told<'_>| {
        keeper(told);
        if let Some(log) = seen.0.lock().unwrap().take() {
            let start = Instant::now();
            assert!(!log.flush(PATIENCE));
            log.end(PATIENCE);
            *seen.1.lock().unwrap() = Some(start.elapsed());
        }
    };
    let log = Arc::new(open(&config(Level::Basic, Format::Syslog, None), Box::new(function)));
    *ended.0.lock().unwrap() = Some(log.clone());
    write(&log, "one");
    log.flush(PATIENCE);
    assert!(ended.1.lock().unwrap().is_some_and(|took| took < MOMENT));
    assert_eq!(kept.lock().unwrap().len(), 1);
}

#[test]
fn levels_above_basic_are_warned_of_to_the_function_and_nothing_comes_at_none() {
    let (kept, keeper_of_all) = keeper();
    let log = open(&config(Level::Verbose, Format::Syslog, None), keeper_of_all);
    assert!(log.is_enabled(Level::Verbose) && !log.is_enabled(Level::Debug));
    assert!(log.flush(PATIENCE));
    assert!(kept.lock().unwrap()[0].contains("event=log.level_warning"));

    let (kept, keeper) = keeper();
    let log = open(&config(Level::None, Format::Syslog, None), keeper);
    assert_eq!(Arc::strong_count(&kept), 1, "the function is kept although it is never called");
    write(&log, "one");
    assert!(log.flush(PATIENCE) && kept.lock().unwrap().is_empty());
}
