//! What a server says in alerts of TLS (RFC 8446 §6.2), and when it asks for a new handshake (RFC 5246 §7.4.1.1).
//!
//! No TLS library sends these on demand, so the server takes the secrets of its connection and writes the records itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use keystead::kmip::{Connector, Deadline, Get};
use keystead::{Code, Error};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ProtocolVersion, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::fake_server::{FakeServer, Request};
use super::fault_server::right_reply;
use super::handshake::Parties;
use super::{BOTH, DEADLINE, in_threads};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const FATAL: u8 = 2;

/// Every alert that was ever registered but the farewell, and one that was not.
const ALERTS: [u8; 35] = [
    10, 20, 21, 22, 30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 60, 70, 71, 80, 86, 90, 100, 109, 110, 111,
    112, 113, 114, 115, 116, 120, 121, 254,
];
/// Those that are about our certificate.
const REFUSALS: [u8; 9] = [41, 42, 43, 44, 45, 46, 48, 49, 116];

/// What a server does in place of answering the second request, which is the first one for a key.
type Act = Arc<dyn Fn(&mut Records, &mut TcpStream, &[u8]) + Send + Sync>;

/// The records that the server's side of a connection sends from now on.
struct Records {
    version: ProtocolVersion,
    sequence: u64,
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Records {
    fn take(connection: ServerConnection) -> Records {
        let version = connection.protocol_version().unwrap();
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("the first suite is AES-256-GCM") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Records { version, sequence, key, iv: iv.as_ref().try_into().unwrap() }
    }

    /// One record (RFC 8446 §5.2, RFC 5288 §3).
    fn seal(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let sequence = self.sequence.to_be_bytes();
        self.sequence += 1;
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(sequence).for_each(|(byte, number)| *byte ^= number);
        let header = |kind: u8, length: usize| [kind, 3, 3, (length >> 8) as u8, length as u8];
        let (start, aad, mut sealed) = match self.version {
            ProtocolVersion::TLSv1_3 => {
                let header = header(APPLICATION_DATA, payload.len() + 1 + 16);
                (header.to_vec(), header.to_vec(), [payload, &[kind]].concat())
            }
            _ => {
                let start = [&header(kind, 8 + payload.len() + 16)[..], &nonce[4..]].concat();
                (start, [&sequence[..], &header(kind, payload.len())].concat(), payload.to_vec())
            }
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
        [start, sealed].concat()
    }
}

fn serve(socket: TcpStream, rules: &Arc<ServerConfig>, act: &Act) {
    socket.set_nodelay(true).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(rules.clone()).unwrap(), socket);
    let Some(question) = Request::receive(&mut stream) else { return };
    stream.write_all(&right_reply(&question)).unwrap();
    let Some(request) = Request::receive(&mut stream) else { return };
    let (connection, mut socket) = stream.into_parts();
    act(&mut Records::take(connection), &mut socket, &right_reply(&request));
    let _ = socket.read_to_end(&mut Vec::new());
}

/// Asks a server that does so for a key.
fn meet(versions: &[&'static SupportedProtocolVersion], act: Act) -> Result<[u8; 32], Error> {
    let parties = Parties::new();
    let mut rules = ServerConfig::clone(&parties.rules(versions));
    rules.enable_secret_extraction = true;
    let rules = Arc::new(rules);
    let server = FakeServer::plain(move |socket| serve(socket, &rules, &act));
    let connector = Connector::new(&parties.client(server.address.port())).unwrap();
    let deadline = Deadline::after(4 * DEADLINE);
    let mut connection = connector.connect(deadline).map_err(|failure| failure.error)?;
    let key = connection.call(&Get { id: "key-1" }, deadline).map_err(|failure| failure.error)?;
    Ok(*key.material)
}

/// What is wrong with the error that an alert became.
fn complaint(alert: u8, error: &Error) -> Option<String> {
    let expected = if REFUSALS.contains(&alert) { Code::ClientCertificateRefused } else { Code::TlsFailed };
    let name = format!("{:?}", AlertDescription::from(alert));
    let is_told = error.code() == expected && error.message().contains(&name);
    (!is_told).then(|| format!("alert {alert}, {name}: {error}"))
}

#[test]
fn every_alert_in_place_of_a_reply_is_named() {
    let cases: Vec<_> = BOTH.into_iter().flat_map(|versions| ALERTS.map(|alert| (versions, alert))).collect();
    let failed = in_threads(&cases, |&(versions, alert)| {
        let act: Act = Arc::new(move |records, socket, _| {
            socket.write_all(&records.seal(ALERT, &[FATAL, alert])).unwrap();
        });
        match meet(versions, act) {
            Ok(_) => Some(format!("alert {alert} was no reason to stop")),
            Err(error) => complaint(alert, &error),
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_alert_in_place_of_a_handshake_is_named() {
    let failed = in_threads(&ALERTS, |&alert| {
        let server = FakeServer::plain(move |mut socket| {
            socket.write_all(&[ALERT, 3, 3, 0, 2, FATAL, alert]).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let connector = Connector::new(&Parties::new().client(server.address.port())).unwrap();
        match connector.connect(Deadline::after(4 * DEADLINE)) {
            Ok(_) => Some("there is no TLS".into()),
            Err(failure) => complaint(alert, &failure.error),
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_server_that_asks_for_a_new_handshake_gets_none_and_may_still_reply() {
    const HELLO_REQUEST: [u8; 4] = [0; 4];
    for (requests, is_served) in [(1, true), (8, false)] {
        let act: Act = Arc::new(move |records, socket, reply| {
            for _ in 0..requests {
                socket.write_all(&records.seal(HANDSHAKE, &HELLO_REQUEST)).unwrap();
            }
            socket.write_all(&records.seal(APPLICATION_DATA, reply)).unwrap();
        });
        match meet(BOTH[0], act.clone()) {
            Ok(key) => assert!(is_served && key == [0xA7; 32], "{requests} requests"),
            Err(error) => assert!(!is_served && error.code() == Code::TlsFailed, "{requests} requests: {error}"),
        }
        // TLS 1.3 has no such thing.
        assert_eq!(meet(BOTH[1], act).unwrap_err().code(), Code::TlsFailed);
    }
}
