//! Records on their way to collectors over TLS (RFC 5425): ours and real ones, and ones that are not to be trusted.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead::config;
use keystead::log::{Level, Log, Record, Report, Severity, verify};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with the certificates of two authorities, `ours` and `theirs`.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        for authority in ["ours", "theirs"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([]).unwrap();
            params.distinguished_name.push(DnType::CommonName, authority);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            site.write(&format!("{authority}.pem"), &params.self_signed(&key).unwrap().pem());
            let issuer = Issuer::new(params, key);
            for (name, host, purpose) in [
                ("collector", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
                ("client", "orders", ExtendedKeyUsagePurpose::ClientAuth),
            ] {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new([host.to_owned()]).unwrap();
                params.distinguished_name.push(DnType::CommonName, format!("{name} of {authority}"));
                params.extended_key_usages.push(purpose);
                let certificate = params.signed_by(&key, &issuer).unwrap();
                site.write(&format!("{authority}-{name}.pem"), &certificate.pem());
                site.write(&format!("{authority}-{name}.key"), &key.serialize_pem());
            }
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The log of a configuration whose `[tls]` is for key servers; `more` stands in `[log]`.
    fn open(&self, port: u16, more: &str) -> Log {
        let text = format!(
            r#"
            client = {{ name = "orders" }}
            tls = {{ ca_certificate = "theirs.pem", client_certificate = "theirs-client.pem", client_key = "theirs-client.key" }}
            server = [{{ host = "kms1.example.com" }}]
            [log]
            target = "tls://127.0.0.1:{port}"
            on_failure = "refuse"
            {more}
            "#
        );
        let (config, _) = config::load(&self.write("keystead.conf", &text)).unwrap();
        Log::open(&config.log, &config.client_name).unwrap()
    }

    /// What a collector of `authority` demands.
    fn rules(&self, authority: &str, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let certificates = |name: &str| CertificateDer::from_pem_file(self.path(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&format!("{authority}.pem"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{authority}-collector.key"))).unwrap();
        let rules = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let chain = vec![certificates(&format!("{authority}-collector.pem"))];
        Arc::new(rules.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap())
    }
}

const OURS: &str = r#"ca_certificate = "ours.pem"
            client_certificate = "ours-client.pem"
            client_key = "ours-client.key""#;

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn accept(listener: &TcpListener, rules: &Arc<ServerConfig>) -> Stream {
    let socket = listener.accept().unwrap().0;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ServerConnection::new(rules.clone()).unwrap(), socket)
}

/// One message in a frame of RFC 5425 §4.3.
fn frame(stream: &mut Stream) -> std::io::Result<String> {
    let mut length = String::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b' ' {
            break;
        }
        length.push(byte[0].into());
    }
    let mut message = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut message)?;
    Ok(String::from_utf8(message).unwrap())
}

fn write(log: &Log, key_name: &str) {
    let fields = [("key_name", Cow::from(key_name))];
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

#[test]
fn a_collector_over_tls_gets_every_record_also_after_it_was_away() {
    let site = Site::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let rules = site.rules("ours", version);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = site.open(listener.local_addr().unwrap().port(), OURS);
        (0..50).for_each(|number| write(&log, &format!("customer-{number}, 鍵\n")));
        let mut stream = accept(&listener, &rules);
        let mut lines: Vec<_> = (0..50).map(|_| frame(&mut stream).unwrap()).collect();
        let shown = stream.conn.peer_certificates().unwrap();
        assert_eq!(shown[0], CertificateDer::from_pem_file(site.path("ours-client.pem")).unwrap());
        assert!(log.flush(PATIENCE));
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock).unwrap();
        (0..10).for_each(|_| write(&log, "later"));
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
    write(&log, "customer");
    assert!(frame(&mut accept(&listener, &rules)).is_err());
    until("a refusal", || log.check(|| None).is_err());
    let why = log.check(|| None).unwrap_err().to_string();
    assert!(why.contains("issued by") && why.contains("ours"), "{why}");
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
        write(&log, "customer");
        let refusing = site.rules("ours", version);
        assert!(frame(&mut accept(&listener, &refusing)).is_err());
        until("a refusal", || log.check(|| None).is_err());
        let why = log.check(|| None).unwrap_err().to_string();
        assert!(why.contains("no TLS with collector 127.0.0.1"), "{why}");
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

/// The first block of docs/OPERATIONS.md below a heading, for another port and other folders.
fn snippet(heading: &str, port: u16, folder: &Path) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md")).unwrap();
    let block = page.split(heading).nth(1).unwrap().split("```\n").nth(1).unwrap();
    let folder = folder.to_str().unwrap();
    let certificates =
        [("ca.pem", "ours.pem"), ("server.pem", "ours-collector.pem"), ("server.key", "ours-collector.key")];
    let block = block.replace("6514", &port.to_string()).replace("/var/log", folder);
    certificates.iter().fold(block, |block, (name, file)| {
        block.replace(&format!("/etc/keystead-collector/{name}"), &format!("{folder}/{file}"))
    })
}

#[test]
fn the_page_on_operations_makes_rsyslog_and_syslog_ng_keep_what_came_over_tls() {
    for (heading, name) in [("### rsyslog over TLS\n", "rsyslogd"), ("### syslog-ng over TLS\n", "syslog-ng")] {
        let Some(program) = program(name) else {
            println!("skipped: {name} is not installed");
            continue;
        };
        let site = Site::new();
        let folder = site.0.path();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = snippet(heading, port, folder);
        let mut command = Command::new(program);
        if name == "syslog-ng" {
            let config = site.write("collector.conf", &format!("@version: 3.38\n{text}"));
            command.args(["--foreground", "--no-caps", "--cfgfile"]).arg(config);
            for (option, file) in [("--persist-file", "persist"), ("--pidfile", "pid"), ("--control", "control")] {
                command.arg(option).arg(site.path(file));
            }
        } else {
            let config = site.write("collector.conf", &text);
            command.arg("-n").arg("-i").arg(site.path("pid")).arg("-f").arg(config);
        }
        let _daemon = Daemon(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let formats = ["syslog", "syslog-5424", "cef", "leef"];
        let logs = formats.map(|format| site.open(port, &format!("{OURS}\nformat = {format:?}")));
        for log in &logs {
            (0..5).for_each(|number| write(log, &format!("customer {number} a=b|c\\d \"e\" ] Zoë 鍵")));
        }
        let received = folder.join("keystead-received.log");
        until("the arrival of all records", || fs::read_to_string(&received).unwrap_or_default().lines().count() == 20);
        let report = verify(&[&received]).unwrap();
        assert!(report.is_intact() && report.streams.len() == 4, "{name}: {report}");
    }
}
