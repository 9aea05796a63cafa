//! What breaks between us and a key server is one clear error each, in time, without much memory.

#[path = "common/fake_server.rs"]
mod fake_server;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead::Code;
use keystead::config::{Fingerprint, Trust};
use keystead::kmip::{Connector, Deadline, Failure, Get, SymmetricKey};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use fake_server::{Authority, Certificate, FakeKey, FakeServer, Request, client, reply, success};

const DEADLINE: Duration = Duration::from_millis(1500);
const GET: u32 = 0x0A;

/// Connects and fetches a key.
fn fetch(connector: &Connector) -> Result<SymmetricKey, Failure> {
    let deadline = Deadline::after(DEADLINE);
    connector.connect(deadline)?.call(&Get { id: "key-1" }, deadline)
}

/// Fetches in vain; the failure comes in time, costs little memory, and names the server and this cause.
fn expect(connector: &Connector, code: Code, cause: &str) -> Failure {
    let start = Instant::now();
    let failure = fetch(connector).err().expect("the fault has no effect");
    let taken = start.elapsed();
    let message = failure.error.message();
    println!("{taken:?} {code:?}: {message}");
    assert_eq!(failure.code(), code, "{message}");
    assert!(message.contains(cause), "{message}");
    assert!(message.contains(connector.server()), "{message}");
    assert!(taken <= DEADLINE + Duration::from_millis(100), "{taken:?}");
    assert!(peak_memory() < 64 << 20, "{} bytes", peak_memory());
    failure
}

/// The most memory that this process ever had resident, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// A server that answers every Get with the same bytes.
fn answering_get(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (FakeServer, Connector) {
    FakeServer::answering(move |request| request.versions_or(|| answer(request)))
}

/// A server that would hand out the key, if only TLS allowed it.
fn guarded(
    authority: &Authority,
    server: &Certificate<'_>,
    identity: Arc<CertifiedKey>,
    versions: &[&'static SupportedProtocolVersion],
) -> (FakeServer, Connector) {
    guarded_as(authority, authority, server, identity, versions)
}

fn guarded_as(
    authority: &Authority,
    trust: &Authority,
    server: &Certificate<'_>,
    identity: Arc<CertifiedKey>,
    versions: &[&'static SupportedProtocolVersion],
) -> (FakeServer, Connector) {
    guarded_by(authority.server_rules(authority.issue(server), versions), trust, identity)
}

fn guarded_by(rules: Arc<ServerConfig>, trust: &Authority, identity: Arc<CertifiedKey>) -> (FakeServer, Connector) {
    let server = FakeServer::tls(rules, |mut stream| {
        while let Some(request) = Request::receive(&mut stream) {
            let answer = request.versions_or(|| success(GET, request.id(), |payload| FakeKey::GOOD.write(payload)));
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    let connector = Connector::new(&client(trust, identity, "127.0.0.1", server.address.port())).unwrap();
    (server, connector)
}

const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

#[test]
fn without_a_fault_the_key_arrives_over_tls_1_2_and_1_3() {
    let authority = Authority::new("Keystead test CA");
    for versions in BOTH {
        let identity = authority.issue(&Certificate::CLIENT);
        let (_server, connector) = guarded(&authority, &Certificate::SERVER, identity, versions);
        let key = fetch(&connector).map_err(|failure| failure.error).unwrap();
        assert_eq!(*key.material, [0xA7; 32]);
        assert_eq!((key.id.as_str(), key.length_bits), ("key-1", 256));
    }
}

#[test]
fn every_address_of_a_name_is_tried() {
    let authority = Authority::new("Keystead test CA");
    let named = Certificate { name: "localhost", ..Certificate::SERVER };
    let (server, _) = guarded(&authority, &named, authority.issue(&Certificate::CLIENT), BOTH[1]);
    // Where the name has an IPv6 address, nobody listens there.
    let local = client(&authority, authority.issue(&Certificate::CLIENT), "localhost", server.address.port());
    fetch(&Connector::new(&local).unwrap()).map_err(|failure| failure.error).map(drop).unwrap();
}

#[test]
fn a_long_certificate_chain_is_taken() {
    let authority = Authority::new("Keystead test CA");
    let leaf = authority.issue(&Certificate::SERVER);
    // More than one TLS record, and nearly the 64 KiB that a handshake message may have.
    let chain = vec![leaf.cert[0].clone(); 60_000 / leaf.cert[0].len()];
    for versions in BOTH {
        let identity = Arc::new(CertifiedKey::new(chain.clone(), leaf.key.clone()));
        let rules = authority.server_rules(identity, versions);
        let (_server, connector) = guarded_by(rules, &authority, authority.issue(&Certificate::CLIENT));
        fetch(&connector).map_err(|failure| failure.error).map(drop).unwrap();
    }
}

#[test]
fn a_server_of_another_ca_is_not_trusted() {
    let (ours, stranger) = (Authority::new("Keystead test CA"), Authority::new("Stranger CA"));
    for versions in BOTH {
        let identity = stranger.issue(&Certificate::CLIENT);
        let (_server, connector) = guarded_as(&stranger, &ours, &Certificate::SERVER, identity, versions);
        let failure = expect(&connector, Code::ServerUntrusted, "issued by \"CN=Stranger CA\"");
        assert!(!failure.request_sent);
    }
}

#[test]
fn an_expired_server_certificate_is_named_with_its_date() {
    let authority = Authority::new("Keystead test CA");
    for versions in BOTH {
        let expired = Certificate { expired: true, ..Certificate::SERVER };
        let identity = authority.issue(&Certificate::CLIENT);
        let (_server, connector) = guarded(&authority, &expired, identity, versions);
        expect(&connector, Code::ServerCertificateExpired, "expired on 2021-02-03");
    }
}

#[test]
fn a_certificate_for_another_name_is_named() {
    let authority = Authority::new("Keystead test CA");
    for versions in BOTH {
        let elsewhere = Certificate { name: "kms9.example", ..Certificate::SERVER };
        let identity = authority.issue(&Certificate::CLIENT);
        let (_server, connector) = guarded(&authority, &elsewhere, identity, versions);
        let failure = expect(&connector, Code::ServerNameMismatch, "a certificate for kms9.example, which");
        assert!(failure.error.message().contains("does not cover 127.0.0.1"));
    }
}

/// A server of a CA that nobody knows, and a client that trusts these fingerprints.
fn pinned(
    server: &Certificate<'_>,
    versions: &[&'static SupportedProtocolVersion],
    pins: impl FnOnce(Fingerprint) -> Vec<Fingerprint>,
) -> (FakeServer, Connector) {
    let stranger = Authority::new("Stranger CA");
    let shown = stranger.issue(server);
    let pins = pins(Fingerprint::of(&shown.cert[0]));
    let (fake, _) = guarded_by(stranger.server_rules(shown, versions), &stranger, stranger.issue(&Certificate::CLIENT));
    let mut config = client(&stranger, stranger.issue(&Certificate::CLIENT), "127.0.0.1", fake.address.port());
    Arc::get_mut(&mut config.tls).unwrap().trust = Trust::Pins(pins.into());
    (fake, Connector::new(&config).unwrap())
}

#[test]
fn a_pinned_certificate_is_trusted_whatever_its_name_and_issuer() {
    let elsewhere = Certificate { name: "kms9.example", ..Certificate::SERVER };
    for versions in BOTH {
        let (_server, connector) = pinned(&elsewhere, versions, |shown| vec![shown]);
        fetch(&connector).map_err(|failure| failure.error).map(drop).unwrap();
        let (_server, connector) = pinned(&elsewhere, versions, |shown| vec![Fingerprint::of(b"the last one"), shown]);
        fetch(&connector).map_err(|failure| failure.error).map(drop).unwrap();
    }
}

#[test]
fn another_certificate_than_the_pinned_one_is_refused_and_both_are_named() {
    for versions in BOTH {
        let mut shown_fingerprint = String::new();
        let wanted = Fingerprint::of(b"another");
        let (_server, connector) = pinned(&Certificate::SERVER, versions, |shown| {
            shown_fingerprint = shown.to_string();
            vec![wanted]
        });
        let failure =
            expect(&connector, Code::ServerUntrusted, &format!("{shown_fingerprint}, not {wanted}; check that"));
        assert!(failure.error.message().contains("tls.ca_certificate"));
        assert!(!failure.request_sent);
    }
}

#[test]
fn a_pinned_certificate_expires_all_the_same() {
    for versions in BOTH {
        let expired = Certificate { expired: true, ..Certificate::SERVER };
        let (_server, connector) = pinned(&expired, versions, |shown| vec![shown]);
        expect(&connector, Code::ServerCertificateExpired, "expired on 2021-02-03");
    }
}

#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let stranger = Authority::new("Stranger CA");
    for versions in BOTH {
        let (shown, other) = (stranger.issue(&Certificate::SERVER), stranger.issue(&Certificate::SERVER));
        let impostor = Arc::new(CertifiedKey::new(shown.cert.clone(), other.key.clone()));
        let (fake, _) =
            guarded_by(stranger.server_rules(impostor, versions), &stranger, stranger.issue(&Certificate::CLIENT));
        let mut config = client(&stranger, stranger.issue(&Certificate::CLIENT), "127.0.0.1", fake.address.port());
        let pins = vec![Fingerprint::of(&shown.cert[0])];
        Arc::get_mut(&mut config.tls).unwrap().trust = Trust::Pins(pins.into());
        expect(&Connector::new(&config).unwrap(), Code::ServerUntrusted, "its certificate is its own");
    }
}

#[test]
fn a_refused_client_certificate_is_told_from_other_tls_trouble() {
    let (authority, stranger) = (Authority::new("Keystead test CA"), Authority::new("Stranger CA"));
    let refused = [
        (stranger.issue(&Certificate::CLIENT), "does not know its CA"),
        (authority.issue(&Certificate { expired: true, ..Certificate::CLIENT }), "it has expired; renew it"),
        (
            authority.issue(&Certificate { purpose: ExtendedKeyUsagePurpose::ServerAuth, ..Certificate::CLIENT }),
            "meant for clientAuth",
        ),
    ];
    for versions in BOTH {
        for (identity, cause) in &refused {
            let (_server, connector) = guarded(&authority, &Certificate::SERVER, identity.clone(), versions);
            let failure = expect(&connector, Code::ClientCertificateRefused, cause);
            assert!(!failure.request_sent, "nothing of the caller's was sent");
        }
    }
}

/// A client for a server that never gets as far as a handshake.
fn stranger_to(port: u16) -> Connector {
    let authority = Authority::new("Keystead test CA");
    Connector::new(&client(&authority, authority.issue(&Certificate::CLIENT), "127.0.0.1", port)).unwrap()
}

#[test]
fn a_port_without_tls_is_recognised() {
    for greeting in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), reply(|_| {}), vec![0; 64], b"\x16".repeat(64)] {
        let server = FakeServer::plain(move |mut socket| {
            let _ = socket.write_all(&greeting);
            let _ = socket.read_to_end(&mut Vec::new());
        });
        expect(&stranger_to(server.address.port()), Code::NotTls, "does not speak TLS");
    }
}

#[test]
fn a_server_that_accepts_and_is_silent_costs_the_deadline_and_no_more() {
    let server = FakeServer::plain(|mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let failure = expect(&stranger_to(server.address.port()), Code::Deadline, "complete the TLS handshake");
    assert_eq!(failure.address, Some(server.address));
}

#[test]
fn a_server_that_hangs_up_in_the_handshake_is_lost() {
    let server = FakeServer::plain(drop);
    expect(&stranger_to(server.address.port()), Code::ConnectionLost, "during the TLS handshake");
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = expect(&stranger_to(port), Code::Unreachable, "refused");
    assert!(!failure.request_sent);
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let authority = Authority::new("Keystead test CA");
    let server = client(&authority, authority.issue(&Certificate::CLIENT), "no-such-host.invalid", 5696);
    let failure = fetch(&Connector::new(&server).unwrap()).err().unwrap();
    // Some resolvers take longer than the deadline to say so.
    assert!(matches!(failure.code(), Code::Unreachable | Code::Deadline), "{:?}", failure.error);
    assert!(failure.error.message().contains("no-such-host.invalid:5696"));
    assert_eq!(failure.address, None);
}

#[test]
fn a_truncated_reply_is_a_lost_connection() {
    let authority = Authority::new("Keystead test CA");
    let rules = authority.server_rules(authority.issue(&Certificate::SERVER), rustls::ALL_VERSIONS);
    let server = FakeServer::tls(rules, |mut stream| {
        while let Some(request) = Request::receive(&mut stream) {
            let whole = request.versions_or(|| success(GET, request.id(), |payload| FakeKey::GOOD.write(payload)));
            let part = if request.asks_for_versions() { whole.len() } else { whole.len() / 2 };
            let _ = stream.write_all(&whole[..part]);
            if part < whole.len() {
                return;
            }
        }
    });
    let identity = authority.issue(&Certificate::CLIENT);
    let connector = Connector::new(&client(&authority, identity, "127.0.0.1", server.address.port())).unwrap();
    let failure = expect(&connector, Code::ConnectionLost, "before its reply was complete");
    assert!(failure.request_sent, "the server may have acted on it");
}

#[test]
fn a_byte_a_second_cannot_hold_a_call() {
    let authority = Authority::new("Keystead test CA");
    let rules = authority.server_rules(authority.issue(&Certificate::SERVER), rustls::ALL_VERSIONS);
    let server = FakeServer::tls(rules, |mut stream| {
        while let Some(request) = Request::receive(&mut stream) {
            let whole = request.versions_or(|| success(GET, request.id(), |payload| FakeKey::GOOD.write(payload)));
            if request.asks_for_versions() {
                stream.write_all(&whole).unwrap();
                continue;
            }
            for byte in whole {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(300));
            }
        }
    });
    let identity = authority.issue(&Certificate::CLIENT);
    let connector = Connector::new(&client(&authority, identity, "127.0.0.1", server.address.port())).unwrap();
    let failure = expect(&connector, Code::Deadline, "complete its reply");
    assert!(failure.request_sent);
}

/// Bytes that start like a reply of that length.
fn claiming(length: u32, rest: &[u8]) -> Vec<u8> {
    [&[0x42, 0, 0x7B, 1][..], &length.to_be_bytes(), rest].concat()
}

#[test]
fn four_gibibytes_outside_are_refused_before_they_are_awaited() {
    let (_server, connector) = answering_get(|_| claiming(!7, &[0; 64]));
    expect(&connector, Code::ReplyMalformed, "claims 4294967288 bytes");
}

#[test]
fn four_gibibytes_inside_are_refused() {
    let (_server, connector) = answering_get(|request| {
        let mut bytes = success(GET, request.id(), |payload| payload.bytes(0x540001, &[0; 64]));
        let at = bytes.windows(4).position(|window| window == [0x54, 0, 1, 8]).unwrap();
        bytes[at + 4..at + 8].copy_from_slice(&u32::MAX.to_be_bytes());
        bytes
    });
    expect(&connector, Code::ReplyMalformed, "claims 4294967295 bytes where");
}

#[test]
fn four_hundred_nested_structures_are_refused() {
    let (_server, connector) = answering_get(|request| {
        fn nest(writer: &mut keystead::kmip::ttlv::Writer, left: usize) {
            if left > 0 {
                writer.structure(0x540001, |inner| nest(inner, left - 1));
            }
        }
        success(GET, request.id(), |payload| nest(payload, 400))
    });
    expect(&connector, Code::ReplyMalformed, "nest deeper");
}

#[test]
fn garbage_instead_of_a_reply_is_refused_at_once() {
    let (_server, connector) = answering_get(|_| b"all your base are belong to us".to_vec());
    expect(&connector, Code::ReplyMalformed, "does not start like");
}

#[test]
fn bytes_behind_a_reply_are_refused() {
    let (_server, connector) = answering_get(|request| {
        [success(GET, request.id(), |payload| FakeKey::GOOD.write(payload)), vec![0; 8]].concat()
    });
    expect(&connector, Code::ReplyMalformed, "8 bytes follow");
}

#[test]
fn an_altered_tls_record_is_refused() {
    let authority = Authority::new("Keystead test CA");
    let rules = authority.server_rules(authority.issue(&Certificate::SERVER), rustls::ALL_VERSIONS);
    let server = FakeServer::tls(rules, |mut stream| {
        let _ = Request::receive(&mut stream);
        // A record of application data that nobody encrypted.
        let _ = stream.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[0x55; 32]].concat());
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    let identity = authority.issue(&Certificate::CLIENT);
    let connector = Connector::new(&client(&authority, identity, "127.0.0.1", server.address.port())).unwrap();
    expect(&connector, Code::TlsFailed, "broke the rules of TLS");
}

#[test]
fn the_answer_to_another_request_is_refused_and_ends_the_connection() {
    let (_server, connector) = answering_get(|_| success(GET, &[9; 8], |payload| FakeKey::GOOD.write(payload)));
    expect(&connector, Code::ReplyMalformed, "not requested");

    let deadline = Deadline::after(DEADLINE);
    let mut connection = connector.connect(deadline).map_err(|failure| failure.error).unwrap();
    assert!(connection.is_usable());
    assert!(connection.call(&Get { id: "key-1" }, deadline).is_err());
    assert!(!connection.is_usable());
    let again = connection.call(&Get { id: "key-1" }, deadline).err().unwrap();
    assert!(!again.request_sent);
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_recognised() {
    let authority = Authority::new("Keystead test CA");
    let rules = authority.server_rules(authority.issue(&Certificate::SERVER), rustls::ALL_VERSIONS);
    let (close, closing) = std::sync::mpsc::channel::<()>();
    let closing = std::sync::Mutex::new(closing);
    let server = FakeServer::tls(rules, move |mut stream| {
        let request = Request::receive(&mut stream).unwrap();
        stream.write_all(&request.versions_or(Vec::new)).unwrap();
        let _ = closing.lock().unwrap().recv();
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let identity = authority.issue(&Certificate::CLIENT);
    let connector = Connector::new(&client(&authority, identity, "127.0.0.1", server.address.port())).unwrap();
    let mut connection = connector.connect(Deadline::after(DEADLINE)).map_err(|failure| failure.error).unwrap();
    assert!(connection.is_usable());
    close.send(()).unwrap();
    let patience = Deadline::after(DEADLINE);
    while connection.is_usable() {
        assert!(!patience.is_past(), "the closed connection still counts as usable");
        std::thread::yield_now();
    }
}
