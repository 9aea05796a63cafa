//! Records on their way to collectors: ones that are away, slow or gone. tests/log_daemons.rs has real ones.

#[path = "common/collector.rs"]
mod collector;

use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use collector::{FORMATS, PATIENCE, account, check, flood, frame, open, until, write};
use keystead::Code;
use keystead::config::{OnFailure, Target};
use keystead::log::{Format, verify};

/// A collector in this process.
struct Collector {
    listener: TcpListener,
}

impl Collector {
    fn new() -> (Collector, Target) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (Collector { listener }, Target::Tcp("127.0.0.1".into(), port))
    }

    fn accept(&self) -> TcpStream {
        let stream = self.listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

#[test]
fn a_collector_gets_every_record_in_its_frame_and_order() {
    for format in FORMATS {
        let (collector, target) = Collector::new();
        let log = open(target, format, OnFailure::Continue);
        (0..100).for_each(|number| write(&log, &format!("customer-{number}"), "two\nlines, and 鍵"));
        let mut stream = collector.accept();
        let lines: Vec<_> = (0..100).map(|_| frame(&mut stream).unwrap()).collect();
        assert!(log.flush(PATIENCE));
        let report = check(&lines);
        assert!(report.is_intact() && report.notes.is_empty(), "{report}");
        assert_eq!((report.records, report.streams[0].has_beginning), (100, true));
    }
}

#[test]
fn a_collector_that_comes_back_gets_what_came_meanwhile() {
    let (collector, target) = Collector::new();
    let log = open(target, Format::Syslog, OnFailure::Continue);
    write(&log, "first", "");
    let mut stream = collector.accept();
    let mut lines = vec![frame(&mut stream).unwrap()];
    drop(stream);
    // The end of the connection has to arrive: what is written before is lost to TCP itself.
    assert!(log.flush(PATIENCE));
    std::thread::sleep(Duration::from_millis(50));
    (0..10).for_each(|_| write(&log, "later", ""));
    let mut stream = collector.accept();
    lines.extend((0..10).map(|_| frame(&mut stream).unwrap()));
    let report = check(&lines);
    assert!(report.is_intact() && report.records == 11, "{report}");
}

#[test]
fn a_collector_that_stops_reading_slows_nobody_and_is_told_what_it_missed() {
    for on_failure in [OnFailure::Continue, OnFailure::Refuse] {
        let (collector, target) = Collector::new();
        let log = open(target, Format::Syslog, on_failure);
        write(&log, "first", "");
        let mut stream = collector.accept();
        flood(&log, 40_000);
        let refused = log.check(|| None);
        assert_eq!(refused.is_err_and(|error| error.code() == Code::LogFailed), on_failure == OnFailure::Refuse);
        let (_, lost) = account(40_001, || frame(&mut stream).unwrap());
        assert!(lost > 0);
        until("the end of the refusal", || log.check(|| None).is_ok());
    }
}

#[test]
fn work_is_refused_without_a_collector_only_if_so_configured() {
    let (collector, target) = Collector::new();
    drop(collector);
    let patient = open(target.clone(), Format::Syslog, OnFailure::Continue);
    let strict = open(target.clone(), Format::Syslog, OnFailure::Refuse);
    [&patient, &strict].into_iter().for_each(|log| write(log, "customer", ""));
    until("a refusal", || strict.check(|| None).is_err_and(|error| error.code() == Code::LogFailed));
    patient.check(|| None).unwrap();
    let Target::Tcp(host, port) = target else { unreachable!() };
    let listener = TcpListener::bind((host.as_str(), port)).unwrap();
    until("the end of the refusal", || strict.check(|| None).is_ok());
    drop(listener);
}

#[test]
fn a_file_that_cannot_be_written_refuses_work_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = open(Target::File(path.clone()), Format::Syslog, OnFailure::Refuse);
    log.check(|| None).unwrap();
    let refused = log.check(|| Some("no space".into())).unwrap_err();
    assert!(refused.code() == Code::LogFailed && refused.message().contains("audit trail"), "{refused}");
    // A log that others could exchange is not written to.
    fs::write(folder.path().join("other"), "").unwrap();
    fs::remove_file(folder.path().join("log.state")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("other"), folder.path().join("log.state")).unwrap();
    write(&log, "customer", "");
    let refused = log.check(|| None).unwrap_err();
    assert!(refused.code() == Code::LogFailed && refused.message().contains("symbolic link"), "{refused}");
    fs::remove_file(folder.path().join("log.state")).unwrap();
    log.check(|| None).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("event=log.lost severity=error count=1 "), "{text}");
    assert!(verify(&[&path]).unwrap().is_intact());
}

/// Each part is a whole record, and the parts say the whole.
#[test]
fn datagrams_are_short_and_lose_nothing() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    for (format, limit) in
        [(Format::Syslog, 1024), (Format::Syslog5424, 2048), (Format::Cef, 1024), (Format::Leef, 1024)]
    {
        let log = open(Target::Udp("127.0.0.1".into(), port), format, OnFailure::Continue);
        let (name, message) = ("Q".repeat(400), "é\"=".repeat(100));
        write(&log, &name, &message);
        write(&log, "end", "");
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("=end")) {
            let mut packet = [0; 4096];
            let length = socket.recv(&mut packet).unwrap();
            assert!(length <= limit, "a packet of {length} bytes");
            lines.push(String::from_utf8(packet[..length].to_vec()).unwrap());
        }
        let report = check(&lines);
        assert!(report.is_intact() && report.records == lines.len() as u64, "{report}");
        if limit == 1024 {
            assert!(lines.len() > 2, "{lines:?}");
            let part = if format == Format::Cef { "keysteadPart=1/" } else { "part=1/" };
            assert!(lines[0].contains(&format!("{part}{}", lines.len() - 1)), "{lines:?}");
        }
        let whole = lines.concat();
        assert_eq!(whole.matches('é').count(), 100, "{lines:?}");
        assert_eq!(whole.matches('Q').count(), 400, "{lines:?}");
    }
}

#[test]
fn the_socket_of_this_machine_gets_records_without_a_host_also_after_it_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let log = open(Target::Syslog(Some(path.clone())), Format::Syslog, OnFailure::Refuse);
    write(&log, "early", "");
    until("a failure", || log.check(|| None).is_err());
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut packet = [0; 4096];
    let length = socket.recv(&mut packet).unwrap();
    let text = String::from_utf8(packet[..length].to_vec()).unwrap();
    assert_eq!(text.split_whitespace().nth(3).unwrap(), format!("keystead[{}]:", std::process::id()), "{text}");
    assert!(text.starts_with("<14>") && text.contains("key_name=early"), "{text}");
    // Another socket in the same place, as after a restart of the service.
    drop(socket);
    fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write(&log, "late", "");
    let length = socket.recv(&mut packet).unwrap();
    assert!(String::from_utf8_lossy(&packet[..length]).contains("key_name=late"));
}

/// The socket of this machine is gone, and then nobody reads from it.
#[test]
fn a_socket_that_takes_nothing_slows_nobody_and_gets_the_count_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let bound = || {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let receive = |socket: &UnixDatagram| {
        let mut packet = [0; 4096];
        let length = socket.recv(&mut packet).unwrap();
        String::from_utf8(packet[..length].to_vec()).unwrap()
    };
    let socket = bound();
    let log = open(Target::Syslog(Some(path.clone())), Format::Syslog, OnFailure::Continue);
    write(&log, "first", "");
    let mut lines = vec![receive(&socket)];
    drop(socket);
    fs::remove_file(&path).unwrap();
    flood(&log, 20_000);
    let socket = bound();
    let (there, lost) = account(20_000, || receive(&socket));
    assert!(lost > 0);
    lines.extend(there);
    flood(&log, 20_000);
    let (there, lost) = account(20_000, || receive(&socket));
    assert!(lost > 0);
    lines.extend(there);
    let report = check(&lines);
    assert!(report.is_intact() && report.streams.len() == 1, "{report}");
}

#[test]
fn a_mebibyte_in_a_field_is_cut_before_it_is_sent() {
    let (collector, target) = Collector::new();
    let log = open(target, Format::Syslog, OnFailure::Continue);
    let long = "é".repeat(1 << 19);
    (0..50).for_each(|_| write(&log, "customer", &long));
    let mut stream = collector.accept();
    let (lines, lost) = account(50, || frame(&mut stream).unwrap());
    assert!(lost == 0 && lines.iter().all(|line| line.len() < 2000 && line.contains("…(+1048096 bytes)")));
}
