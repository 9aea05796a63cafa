//! What a record costs its caller, and how many a second are written; see README.md.

use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Durability, Target};
use keystead::log::{Format, Level, Log, Record, Severity, verify};

/// The most that a record may cost whose level is not in force.
const DISABLED: f64 = 2.0;
/// The most that a record may cost that nobody waits for.
const QUEUED: f64 = 80.0;
/// So many records a second, each with its audit row, are to be written at least.
const SUSTAINED: f64 = 500_000.0;

fn open(path: &Path, level: Level, format: Format, durability: Durability) -> Log {
    let target = Some(Target::File(path.to_owned()));
    Log::open(&config::Log { level, format, target, durability, ..config::Log::default() }, "orders-api").unwrap()
}

/// A message, as the client looks whether it is to be told.
fn of_message(log: &Log) {
    if black_box(log).is_enabled(Level::Verbose) {
        tell_of_message(log);
    }
}

/// Out of line, so that who does not tell does not make room for it. The fields are those of a message that was encrypted.
#[inline(never)]
fn tell_of_message(log: &Log) {
    let fields = [
        ("key_name", Cow::Borrowed("customer-42")),
        ("key_version", "3".into()),
        ("size", "1024".into()),
        ("result", "success".into()),
    ];
    let record =
        Record { event: "message.encrypted", severity: Severity::Info, level: Level::Verbose, fields: &fields };
    let _ = black_box(log.queue(black_box(&record)));
}

/// What is told of an operation of a key server.
const OPERATION: [(&str, Cow<'static, str>); 10] = [
    ("key_server", Cow::Borrowed("kms1.example.com")),
    ("ip_addr", Cow::Borrowed("192.0.2.1")),
    ("port", Cow::Borrowed("5696")),
    ("key_name", Cow::Borrowed("customer-42")),
    ("key_version", Cow::Borrowed("3")),
    ("identifier", Cow::Borrowed("5c1f2d1e-8a0b-4a35-9d3e-0123456789ab")),
    ("state", Cow::Borrowed("active")),
    ("user", Cow::Borrowed("orders")),
    ("result", Cow::Borrowed("success")),
    ("duration_us", Cow::Borrowed("1234")),
];

fn row() -> Row<'static> {
    Row {
        operation: "Get",
        key_server: "kms1.example.com",
        ip_address: Some([192, 0, 2, 1].into()),
        port: 5696,
        key_name: "customer-42",
        user: "orders",
        succeeded: true,
        key_version: Some(3),
        identifier: "5c1f2d1e-8a0b-4a35-9d3e-0123456789ab",
        state: "active",
        kmip_version: "1.2",
        duration: Duration::from_micros(1234),
        ..Row::default()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds a call, the median of many bursts; between two of them the queue is emptied.
fn each(burst: u32, mut work: impl FnMut(), mut rest: impl FnMut()) -> f64 {
    const BURSTS: usize = 200;
    let times = (0..BURSTS).map(|_| {
        let start = Instant::now();
        (0..burst).for_each(|_| work());
        let time = start.elapsed().as_nanos() as f64 / f64::from(burst);
        rest();
        time
    });
    median(times.collect())
}

/// Prints one line and says whether the limit holds.
fn judge(what: &str, value: f64, limit: f64, unit: &str, is_least: bool) -> bool {
    let holds = if is_least { value >= limit } else { value <= limit };
    println!("  {what:<44} {value:>12.2}{unit}  limit {limit:.2}{unit}  {}", if holds { "holds" } else { "EXCEEDED" });
    holds
}

/// Records a second that are written, each with its audit row, both chained. One thread puts them in and stays one burst ahead of
/// what is written, so that the writers never lack any.
fn sustained(folder: &Path, format: Format, durability: Durability, total: u32) -> f64 {
    const BURST: u32 = 2000;
    let log_file = folder.join(format!("{format:?}-{durability:?}.log"));
    let audit_file = folder.join(format!("{format:?}-{durability:?}.csv"));
    let log = open(&log_file, Level::Basic, format, durability);
    let rotation = config::Rotation::default();
    let audit =
        AuditTrail::open_as(&config::Audit { file: audit_file.clone(), rotation, durability, auditor_key: None })
            .unwrap();
    let record = Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &OPERATION };
    let queue_burst = || {
        let mut last = (audit.queue(&row()), log.queue(&record));
        for _ in 1..BURST {
            last = (audit.queue(&row()), log.queue(&record));
        }
        last
    };
    let wait = |(row, record)| {
        log.wait(record);
        audit.wait(row);
    };
    let start = Instant::now();
    let mut before = queue_burst();
    for _ in 1..total / BURST {
        let last = queue_burst();
        wait(before);
        before = last;
    }
    wait(before);
    let rate = f64::from(total) / start.elapsed().as_secs_f64();
    for file in [&log_file, &audit_file] {
        let report = verify(&[file]).unwrap();
        assert!(report.is_intact() && report.records == u64::from(total), "{report}");
        std::fs::remove_file(file).unwrap();
    }
    rate
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let basic = open(&folder.path().join("basic.log"), Level::Basic, Format::Syslog, Durability::Flush);
    let verbose = open(&folder.path().join("verbose.log"), Level::Verbose, Format::Syslog, Durability::Flush);
    let mut all_hold = true;
    println!("to the caller:");
    let disabled = each(100_000, || of_message(&basic), || {});
    all_hold &= judge("a disabled record", disabled, DISABLED, " ns", false);
    let empty = || assert!(verbose.flush(Duration::from_secs(10)));
    let queued = each(4000, || of_message(&verbose), empty);
    all_hold &= judge("a queued record of 4 fields", queued, QUEUED, " ns", false);
    let record = Record { event: "kmip.get", severity: Severity::Info, level: Level::Verbose, fields: &OPERATION };
    let queued = each(
        4000,
        || {
            let _ = black_box(verbose.queue(black_box(&record)));
        },
        empty,
    );
    println!(
        "  {:<44} {queued:>12.2} ns  (no limit: whose record has 10 waits for the file)",
        "a queued record of 10 fields"
    );
    println!("records a second, each with its audit row:");
    for format in [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef] {
        let rate = sustained(folder.path(), format, Durability::Flush, 500_000);
        all_hold &= judge(&format!("{format:?}"), rate, SUSTAINED, "", true);
    }
    let rate = sustained(folder.path(), Format::Syslog, Durability::Fsync, 50_000);
    println!("  {:<44} {rate:>12.2}  (no limit: the disk's)", "Syslog, fsync once for 2000");
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
