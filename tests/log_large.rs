//! A log and an audit trail of a million records each, sealed, are verified in seconds.
//!
//! `KEYSTEAD_RECORDS` says how many records.
#![cfg(feature = "auditor")]

use std::path::Path;
use std::time::{Duration, Instant};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Audit, Durability, Rotation, Target};
use keystead::log::{AuditorPrivateKey, Level, Log, Options, Record, Severity, verify_with};

/// What a million records may take. It is a fraction of this on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(20);

const PATIENCE: Duration = Duration::from_secs(60);

/// The queues are not to fill up.
const BETWEEN: u64 = 2000;

fn write_log(file: &Path, records: u64, auditor_key: config::AuditorKey) {
    let target = Some(Target::File(file.to_owned()));
    let config = config::Log { target, auditor_key: Some(auditor_key), ..config::Log::default() };
    let log = Log::open(&config, "orders").unwrap();
    for number in 0..records {
        let name = format!("customer-{number}");
        let fields = [("key_server", "kms1.example.com".into()), ("key_name", name.into())];
        let (severity, level) = (Severity::Info, Level::Basic);
        let written = log.queue(&Record { event: "kmip.get", severity, level, fields: &fields });
        if number % BETWEEN == 0 {
            log.wait(written);
        }
    }
    assert!(log.flush(PATIENCE));
}

fn write_trail(file: &Path, records: u64, auditor_key: config::AuditorKey) {
    let (rotation, durability) = (Rotation::default(), Durability::Flush);
    let config = Audit { file: file.to_owned(), rotation, durability, auditor_key: Some(auditor_key) };
    let trail = AuditTrail::open_as(&config).unwrap();
    for number in 0..records {
        let name = format!("customer-{number}");
        let written = trail.queue(&Row { operation: "Get", key_name: &name, succeeded: true, ..Row::default() });
        if number % BETWEEN == 0 {
            trail.wait(written);
        }
    }
    assert!(trail.flush(PATIENCE));
}

#[test]
fn an_untouched_log_of_a_million_records_verifies_in_seconds() {
    let default = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    let records = std::env::var("KEYSTEAD_RECORDS").map_or(default, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let auditor = AuditorPrivateKey::generate().unwrap();
    type Write = fn(&Path, u64, config::AuditorKey);
    for (name, write) in [("keystead.log", write_log as Write), ("audit.csv", write_trail)] {
        let file = folder.path().join(name);
        write(&file, records, auditor.public());
        // Its seal and its checkpoints are records, too.
        for auditor_keys in [&[][..], std::slice::from_ref(&auditor)] {
            let start = Instant::now();
            let report = verify_with(&[&file], &Options { auditor_keys, ..Options::default() }).unwrap();
            let took = start.elapsed();
            let stream = &report.streams[0];
            println!(
                "{} records of {name} were verified in {took:?}, sealed to {:?}",
                report.records, stream.sealed_to
            );
            assert!(report.is_intact() && stream.has_beginning && report.records > records, "{report}");
            assert_eq!(report.records, stream.last_serial - stream.first_serial + 1, "{report}");
            let proven = (!auditor_keys.is_empty()).then_some(stream.last_serial - 1);
            assert_eq!(stream.sealed_to, proven, "{report}");
            assert!(took < LIMIT * u32::try_from(records).unwrap() / 1_000_000 + Duration::from_secs(2), "{took:?}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}
