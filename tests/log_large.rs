//! A log and an audit trail of a million records are verified in seconds.
//!
//! `KEYSTEAD_RECORDS` says how many records, in all.

use std::time::{Duration, Instant};

use keystead::audit::{AuditTrail, Row};
use keystead::config::{self, Target};
use keystead::log::{Level, Log, Record, Severity, verify};

/// What a million records may take. It is a fraction of this on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(20);

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_untouched_log_of_a_million_records_verifies_in_seconds() {
    let default = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    let records = std::env::var("KEYSTEAD_RECORDS").map_or(default, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let [log_file, audit_file] = ["keystead.log", "audit.csv"].map(|name| folder.path().join(name));
    let target = Some(Target::File(log_file.clone()));
    let log = Log::open(&config::Log { target, ..config::Log::default() }, "orders").unwrap();
    let audit = AuditTrail::open(&audit_file).unwrap();
    for number in 0..records / 2 {
        let name = format!("customer-{number}");
        let fields = [("key_server", "kms1.example.com".into()), ("key_name", name.as_str().into())];
        let (severity, level) = (Severity::Info, Level::Basic);
        let written = log.queue(&Record { event: "kmip.get", severity, level, fields: &fields });
        let row = audit.queue(&Row { operation: "Get", key_name: &name, succeeded: true, ..Row::default() });
        // The queues are not to fill up.
        if number % 2000 == 0 {
            log.wait(written);
            audit.wait(row);
        }
    }
    assert!(log.flush(PATIENCE) && audit.flush(PATIENCE));
    let start = Instant::now();
    for file in [&log_file, &audit_file] {
        let report = verify(&[file]).unwrap();
        assert!(report.is_intact() && report.records == records / 2 && report.streams[0].has_beginning, "{report}");
    }
    let took = start.elapsed();
    println!("{records} records were verified in {took:?}");
    assert!(took < LIMIT * u32::try_from(records).unwrap() / 1_000_000 + Duration::from_secs(2), "{took:?}");
}
