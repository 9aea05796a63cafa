//! Records on their way to collectors over TLS (RFC 5425), also to ones that are not to be trusted.

#[path = "common/collector.rs"]
mod collector;
#[path = "common/collector_tls.rs"]
mod collector_tls;

use std::fs;
use std::net::TcpListener;

use collector::{PATIENCE, account, check, flood, frame, until, write};
use collector_tls::{OURS, Site, accept};
use keystead::Code;
use keystead::log::Log;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Whether work is refused, and why. Before the collector is known to have refused, it is for what it does not take.
fn is_refused(log: &Log, why: &[&str]) -> bool {
    log.check(|| None).is_err_and(|error| why.iter().all(|part| error.message().contains(part)))
}

#[test]
fn a_collector_over_tls_gets_every_record_also_after_it_was_away() {
    let site = Site::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let rules = site.rules("ours", version);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = site.open(listener.local_addr().unwrap().port(), OURS);
        (0..50).for_each(|number| write(&log, &format!("customer-{number}, 鍵\n"), ""));
        let mut stream = accept(&listener, &rules);
        let mut lines: Vec<_> = (0..50).map(|_| frame(&mut stream).unwrap()).collect();
        let shown = stream.conn.peer_certificates().unwrap();
        assert_eq!(shown[0], CertificateDer::from_pem_file(site.path("ours-client.pem")).unwrap());
        assert!(log.flush(PATIENCE));
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock).unwrap();
        (0..10).for_each(|_| write(&log, "later", ""));
        drop(stream);
        let mut stream = accept(&listener, &rules);
        lines.extend((0..10).map(|_| frame(&mut stream).unwrap()));
        let report = check(&lines);
        assert!(report.is_intact() && report.records == 60, "{report}");
        log.check(|| None).unwrap();
    }
}

#[test]
fn a_collector_that_is_not_to_be_trusted_gets_nothing_and_the_refusal_says_why() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The default of [tls] is what key servers are held to.
    let (log, rules) = (site.open(port, ""), site.rules("ours", &rustls::version::TLS13));
    write(&log, "customer", "");
    assert!(frame(&mut accept(&listener, &rules)).is_err());
    until("a refusal", || is_refused(&log, &["issued by", "ours"]));
    let rules = site.rules("theirs", &rustls::version::TLS13);
    assert!(frame(&mut accept(&listener, &rules)).unwrap().contains("key_name=customer"));
}

#[test]
fn a_collector_that_refuses_our_certificate_costs_no_record() {
    let site = Site::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = site.open(port, &OURS.replace("ours-client", "theirs-client"));
        write(&log, "customer", "");
        let refusing = site.rules("ours", version);
        assert!(frame(&mut accept(&listener, &refusing)).is_err());
        until("a refusal", || is_refused(&log, &["no TLS with collector 127.0.0.1"]));
        // The same certificate is taken by a collector that knows its authority.
        let key = |name: &str| {
            fs::copy(site.path(&format!("ours-collector.{name}")), site.path(&format!("theirs-collector.{name}")))
        };
        [key("pem"), key("key")].into_iter().for_each(|copied| assert!(copied.is_ok()));
        let taking = site.rules("theirs", version);
        let mut stream = accept(&listener, &taking);
        let line = frame(&mut stream).unwrap();
        assert!(line.contains("key_name=customer"), "{line}");
        assert!(check(&[line]).is_intact());
    }
}

/// It is left when it has taken nothing for as long as one record may take, and what it was owed goes to who listens next.
#[test]
fn a_collector_over_tls_that_stops_reading_slows_nobody_and_is_told_what_it_missed() {
    let site = Site::new();
    let rules = site.rules("ours", &rustls::version::TLS13);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = site.open(listener.local_addr().unwrap().port(), OURS);
    write(&log, "first", "");
    let mut stalled = accept(&listener, &rules);
    let mut lines = vec![frame(&mut stalled).unwrap()];
    flood(&log, 40_000);
    let refused = log.check(|| None).unwrap_err();
    assert_eq!(refused.code(), Code::LogFailed);
    let mut stream = accept(&listener, &rules);
    // What had arrived at the one that was left is still there, up to a record that broke off.
    lines.extend(std::iter::from_fn(|| frame(&mut stalled).ok()));
    let there = lines.len() as u64;
    let (later, lost) = account(40_001 - there, || frame(&mut stream).unwrap());
    assert!(there > 1 && lost > 0, "{there} came before, {lost} were lost");
    lines.extend(later);
    let report = check(&lines);
    assert!(report.is_intact() && report.streams.len() == 1, "{report}");
    until("the end of the refusal", || log.check(|| None).is_ok());
}
