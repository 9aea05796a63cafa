//! Records on their way to collectors: real ones, and ones that are away, slow or gone.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keystead::Code;
use keystead::config::{self, OnFailure, Target};
use keystead::log::{Format, Level, Log, Record, Report, Severity, verify};

const PATIENCE: Duration = Duration::from_secs(20);

fn open(target: Target, format: Format, on_failure: OnFailure) -> Log {
    let config =
        config::Log { level: Level::Basic, format, target: Some(target), on_failure, ..config::Log::default() };
    Log::open(&config, "orders").unwrap()
}

fn write(log: &Log, key_name: &str, message: &str) {
    let fields = [("key_name", Cow::from(key_name)), ("message", Cow::from(message))];
    log.write(&Record { event: "kmip.get", severity: Severity::Info, level: Level::Basic, fields: &fields });
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn check(lines: &[String]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received");
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    verify(&[&path]).unwrap()
}

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

/// One message in a frame of RFC 6587 §3.4.1.
fn frame(stream: &mut TcpStream) -> String {
    let mut length = String::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).unwrap();
        if byte[0] == b' ' {
            break;
        }
        length.push(byte[0].into());
    }
    let mut message = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut message).unwrap();
    String::from_utf8(message).unwrap()
}

#[test]
fn a_collector_gets_every_record_in_its_frame_and_order() {
    for format in [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef] {
        let (collector, target) = Collector::new();
        let log = open(target, format, OnFailure::Continue);
        (0..100).for_each(|number| write(&log, &format!("customer-{number}"), "two\nlines, and 鍵"));
        let mut stream = collector.accept();
        let lines: Vec<_> = (0..100).map(|_| frame(&mut stream)).collect();
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
    let mut lines = vec![frame(&mut stream)];
    drop(stream);
    // The end of the connection has to arrive: what is written before is lost to TCP itself.
    assert!(log.flush(PATIENCE));
    std::thread::sleep(Duration::from_millis(50));
    (0..10).for_each(|_| write(&log, "later", ""));
    let mut stream = collector.accept();
    lines.extend((0..10).map(|_| frame(&mut stream)));
    let report = check(&lines);
    assert!(report.is_intact() && report.records == 11, "{report}");
}

#[test]
fn a_collector_that_stops_reading_slows_nobody_and_is_told_what_it_missed() {
    let (collector, target) = Collector::new();
    let log = open(target, Format::Syslog, OnFailure::Continue);
    write(&log, "first", "");
    let mut stream = collector.accept();
    let message = "x".repeat(500);
    let start = Instant::now();
    let written = 40_000;
    (0..written).for_each(|_| write(&log, "customer", &message));
    let each = start.elapsed() / written;
    assert!(each < Duration::from_millis(1), "a record took {each:?} while nobody read");
    let (mut lines, mut lost, mut read) = (Vec::new(), 0, 0);
    while lost + read < written + 1 {
        let line = frame(&mut stream);
        if line.contains("event=log.lost") {
            lost += line.split(" count=").nth(1).unwrap().split(' ').next().unwrap().parse::<u32>().unwrap();
        } else {
            read += 1;
        }
        lines.push(line);
    }
    assert!(lost > 0 && lost + read == written + 1, "{lost} lost, {read} read");
    let report = check(&lines);
    assert!(report.is_intact(), "{report}");
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

/// Ends it also when the test fails.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of the system, where administrators' programs are.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.exists())
}

fn rsyslogd(folder: &Path, port: u16, socket: &Path) -> Option<Daemon> {
    let config = folder.join("rsyslog.conf");
    let text = format!(
        r#"
        global(workDirectory="{folder}" parser.escapeControlCharacterTab="off" net.enableDNS="off")
        module(load="imtcp")
        module(load="imuxsock" SysSock.Use="off")
        input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="remote")
        input(type="imuxsock" socket="{socket}" ruleset="local" RateLimit.Interval="0")
        template(name="as_it_came" type="string" string="%rawmsg%\n")
        ruleset(name="remote") {{
            action(type="omfile" file="{folder}/usual" template="RSYSLOG_TraditionalFileFormat")
            action(type="omfile" file="{folder}/raw" template="as_it_came")
        }}
        ruleset(name="local") {{ action(type="omfile" file="{folder}/local" template="RSYSLOG_FileFormat") }}
        "#,
        folder = folder.display(),
        socket = socket.display(),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program("rsyslogd")?);
    command.arg("-n").arg("-i").arg(folder.join("pid")).arg("-f").arg(config);
    Some(Daemon(command.stdout(Stdio::null()).spawn().unwrap()))
}

/// rsyslog rewrites headers, takes words for tags, and escapes: what it kept is verified all the same.
#[test]
fn a_real_rsyslogd_keeps_records_that_verify() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let socket = folder.path().join("socket");
    let Some(_daemon) = rsyslogd(folder.path(), port, &socket) else {
        eprintln!("skipped: rsyslogd is not installed (Debian: rsyslog)");
        return;
    };
    let formats = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];
    // Records written before it listens wait for it.
    let logs = formats.map(|format| open(Target::Tcp("127.0.0.1".into(), port), format, OnFailure::Continue));
    let local = open(Target::Syslog(Some(socket)), Format::Syslog, OnFailure::Continue);
    for log in logs.iter().chain([&local]) {
        (0..20).for_each(|number| write(log, &format!("customer {number}"), "a=b|c\\d \"e\" ] Zoë 鍵"));
    }
    let lines = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default().lines().count();
    until("the arrival of all records", || lines("usual") == 80 && lines("raw") == 80 && lines("local") == 20);
    for (name, streams) in [("raw", 4), ("usual", 4), ("local", 1)] {
        let report = verify(&[&folder.path().join(name)]).unwrap();
        assert!(report.is_intact(), "{name}: {report}");
        assert_eq!((report.streams.len(), report.records), (streams, streams as u64 * 20), "{name}: {report}");
    }
}

/// The first block of docs/OPERATIONS.md below a heading, for another port and folder.
fn snippet(heading: &str, port: u16, folder: &Path) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md")).unwrap();
    let block = page.split(heading).nth(1).unwrap().split("```\n").nth(1).unwrap();
    block.replace("601", &port.to_string()).replace("/var/log", folder.to_str().unwrap())
}

#[test]
fn the_page_on_operations_makes_rsyslog_and_syslog_ng_keep_what_verifies() {
    for (heading, program) in [("### rsyslog\n", "rsyslogd"), ("### syslog-ng\n", "syslog-ng")] {
        let Some(file) = self::program(program) else {
            eprintln!("skipped: {program} is not installed");
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.path().join("conf");
        let mut command = Command::new(file);
        let text = snippet(heading, port, folder.path());
        if program == "syslog-ng" {
            fs::write(&config, format!("@version: 3.38\n{text}")).unwrap();
            let [persist, pid, control] = ["persist", "pid", "control"].map(|name| folder.path().join(name));
            command.args(["--foreground", "--no-caps", "--cfgfile"]).arg(&config);
            command.arg("--persist-file").arg(persist).arg("--pidfile").arg(pid).arg("--control").arg(control);
        } else {
            fs::write(&config, text).unwrap();
            command.arg("-n").arg("-i").arg(folder.path().join("pid")).arg("-f").arg(&config);
        }
        let _daemon = Daemon(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let formats = [Format::Syslog, Format::Syslog5424, Format::Cef, Format::Leef];
        let logs = formats.map(|format| open(Target::Tcp("127.0.0.1".into(), port), format, OnFailure::Continue));
        for log in &logs {
            (0..5).for_each(|number| write(log, &format!("customer {number}"), "a=b|c\\d \"e\" ] Zoë 鍵"));
        }
        let received = folder.path().join("keystead-received.log");
        let lines = || fs::read_to_string(&received).unwrap_or_default().lines().count();
        until("the arrival of all records", || lines() == 20);
        let report = verify(&[&received]).unwrap();
        assert!(report.is_intact() && report.notes.is_empty(), "{program}: {report}");
        assert_eq!((report.streams.len(), report.records), (4, 20), "{program}: {report}");
    }
}
