//! What TLS may look like, and whom it trusts.

#[path = "common/fake_server.rs"]
mod fake_server;

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead::Code;
use keystead::config::{Authorities, Fingerprint, Trust};
use keystead::kmip::{Connector, Deadline, Failure, Get, SymmetricKey};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use fake_server::{Authority, Certificate, FakeKey, FakeServer, Request, client, success};

const DEADLINE: Duration = Duration::from_millis(1500);
const GET: u32 = 0x0A;

/// Connects and fetches a key.
fn fetch(connector: &Connector) -> Result<SymmetricKey, Failure> {
    let deadline = Deadline::after(DEADLINE);
    connector.connect(deadline)?.call(&Get { id: "key-1" }, deadline)
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
fn a_server_is_reached_over_ipv6_and_its_address_compared_with_its_certificate() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let authority = Authority::new("Keystead test CA");
    let named = Certificate { name: "::1", ..Certificate::SERVER };
    let (server, _) = guarded(&authority, &named, authority.issue(&Certificate::CLIENT), BOTH[1]);
    let inner = server.address;
    std::thread::spawn(move || {
        for outside in listener.incoming() {
            let (outside, inside) = (outside.unwrap(), TcpStream::connect(inner).unwrap());
            let back = (inside.try_clone().unwrap(), outside.try_clone().unwrap());
            for (mut from, mut to) in [(outside, inside), back] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    for host in ["::1", "[::1]", "0:0:0:0:0:0:0:1"] {
        let config = client(&authority, authority.issue(&Certificate::CLIENT), host, port);
        fetch(&Connector::new(&config).unwrap()).map_err(|failure| failure.error).map(drop).unwrap();
    }
    // Whoever is reached by a name may be reached over either.
    let both = |_: &str, port| Ok(vec![([127, 0, 0, 1], port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    let config = client(&authority, authority.issue(&Certificate::CLIENT), "localhost", port);
    let misnamed = fetch(&Connector::new(&config).unwrap().resolving_by(both)).err().unwrap();
    assert_eq!(misnamed.code(), Code::ServerNameMismatch, "{}", misnamed.error);
    assert_eq!(misnamed.address, Some((Ipv6Addr::LOCALHOST, port).into()));
}

#[test]
fn an_address_that_says_nothing_leaves_time_for_the_next_and_is_not_tried_again() {
    let authority = Authority::new("Keystead test CA");
    let named = Certificate { name: "localhost", ..Certificate::SERVER };
    let (server, _) = guarded(&authority, &named, authority.issue(&Certificate::CLIENT), BOTH[1]);
    let silent = TcpListener::bind(("127.0.0.2", server.address.port())).unwrap();
    let config = client(&authority, authority.issue(&Certificate::CLIENT), "localhost", server.address.port());
    let both = |_: &str, port| Ok(vec![([127, 0, 0, 2], port).into(), ([127, 0, 0, 1], port).into()]);
    let connector = Connector::new(&config).unwrap().resolving_by(both);
    let start = Instant::now();
    fetch(&connector).map_err(|failure| failure.error).map(drop).unwrap();
    assert!(start.elapsed() >= DEADLINE / 2, "the silent address was not tried");
    drop(silent.accept().unwrap());
    fetch(&connector).map_err(|failure| failure.error).map(drop).unwrap();
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_err(), "it was tried again before the one that serves");
}

#[test]
fn a_server_knows_us_again_by_a_ticket_of_tls_1_3_and_never_by_one_of_1_2() {
    let authority = Authority::new("Keystead test CA");
    for (versions, is_known) in BOTH.into_iter().zip([false, true]) {
        let (_server, connector) =
            guarded(&authority, &Certificate::SERVER, authority.issue(&Certificate::CLIENT), versions);
        for resumed in [false, is_known, is_known] {
            let deadline = Deadline::after(DEADLINE);
            let mut connection = connector.connect(deadline).map_err(|failure| failure.error).unwrap();
            assert_eq!(connection.is_resumed(), resumed);
            connection.call(&Get { id: "key-1" }, deadline).map_err(|failure| failure.error).map(drop).unwrap();
        }
        connector.forget_sessions();
        assert!(!connector.connect(Deadline::after(DEADLINE)).map_err(|failure| failure.error).unwrap().is_resumed());
    }
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
        let failure = fetch(&connector).err().expect("it is another certificate");
        let message = failure.error.message();
        assert_eq!(failure.code(), Code::ServerUntrusted, "{message}");
        assert!(message.contains(&format!("{shown_fingerprint}, not {wanted}; check that")), "{message}");
        assert!(message.contains("tls.ca_certificate"), "{message}");
    }
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

#[test]
fn a_server_may_renew_its_keys_between_and_within_replies() {
    let authority = Authority::new("Keystead test CA");
    let rules = authority.server_rules(authority.issue(&Certificate::SERVER), &[&TLS13]);
    let server = FakeServer::tls(rules, |mut stream| {
        while let Some(request) = Request::receive(&mut stream) {
            let answer = request.versions_or(|| success(GET, request.id(), |payload| FakeKey::GOOD.write(payload)));
            for part in answer.chunks(50) {
                stream.conn.refresh_traffic_keys().unwrap();
                if stream.write_all(part).is_err() {
                    return;
                }
            }
        }
    });
    let identity = authority.issue(&Certificate::CLIENT);
    let connector = Connector::new(&client(&authority, identity, "127.0.0.1", server.address.port())).unwrap();
    let mut connection = connector.connect(Deadline::after(DEADLINE)).map_err(|failure| failure.error).unwrap();
    for _ in 0..20 {
        let key = connection.call(&Get { id: "key-1" }, Deadline::after(DEADLINE));
        assert_eq!(*key.map_err(|failure| failure.error).unwrap().material, [0xA7; 32]);
        assert!(connection.is_usable());
    }
}

#[test]
fn a_revoked_certificate_is_refused_and_so_is_one_of_which_no_list_tells() {
    let (authority, other) = (Authority::new("Keystead test CA"), Authority::new("Another CA"));
    for versions in BOTH {
        let shown = authority.issue(&Certificate::SERVER);
        let (server, _) = guarded_by(
            authority.server_rules(shown.clone(), versions),
            &authority,
            authority.issue(&Certificate::CLIENT),
        );
        let outcome = |lists: Vec<_>| {
            let mut config =
                client(&authority, authority.issue(&Certificate::CLIENT), "127.0.0.1", server.address.port());
            let authorities =
                Authorities { revoked: lists.into(), ..Authorities::without_lists(authority.roots.clone()) };
            Arc::get_mut(&mut config.tls).unwrap().trust = Trust::Authorities(authorities);
            fetch(&Connector::new(&config).unwrap()).map(drop).map_err(|failure| failure.error)
        };
        outcome(vec![]).unwrap();
        outcome(vec![other.revoke(Some(&shown), false), authority.revoke(None, false)]).unwrap();
        for (lists, code, words) in [
            (vec![authority.revoke(Some(&shown), false)], Code::ServerCertificateRevoked, "revoked; find out why"),
            (vec![authority.revoke(None, true)], Code::RevocationUnknown, "has ended"),
            (vec![other.revoke(None, false)], Code::RevocationUnknown, "holds no list of"),
        ] {
            let error = outcome(lists).unwrap_err();
            println!("{error}");
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(words) && error.message().contains("CN=127.0.0.1"), "{error}");
        }
    }
}
