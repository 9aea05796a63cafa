//! A key server in this process, for faults and answers that no real server gives on demand.

#![allow(dead_code)] // Each test uses a part of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::{CertificateRevocationListDer, PrivateKeyDer};
use x509_cert::der::Decode;

use keystead::config;
use keystead::kmip::ttlv::{Reader, Writer};
use keystead::kmip::{Connector, tags};

/// A CA of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub roots: Arc<RootCertStore>,
    /// Its own certificate.
    pub pem: String,
}

/// What a certificate says.
pub struct Certificate<'a> {
    pub name: &'a str,
    pub purpose: ExtendedKeyUsagePurpose,
    pub expired: bool,
    /// Valid in the future only.
    pub early: bool,
}

impl Certificate<'_> {
    pub const SERVER: Certificate<'static> =
        Certificate { name: "127.0.0.1", purpose: ExtendedKeyUsagePurpose::ServerAuth, expired: false, early: false };
    pub const CLIENT: Certificate<'static> =
        Certificate { name: "orders-api", purpose: ExtendedKeyUsagePurpose::ClientAuth, expired: false, early: false };
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Authority { issuer: Issuer::new(params, key), roots: Arc::new(roots), pem: certificate.pem() }
    }

    pub fn issue(&self, certificate: &Certificate<'_>) -> Arc<CertifiedKey> {
        let (signed, key) = self.sign(certificate);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = rustls::crypto::ring::default_provider();
        Arc::new(CertifiedKey::from_der(vec![signed.der().clone()], key, &provider).unwrap())
    }

    /// The list of what it revoked: one certificate, or none. It has ended, or ends in the far future.
    pub fn revoke(&self, certificate: Option<&CertifiedKey>, has_ended: bool) -> CertificateRevocationListDer<'static> {
        let serial = |certificate: &CertifiedKey| {
            let certificate = x509_cert::Certificate::from_der(&certificate.cert[0]).unwrap();
            SerialNumber::from_slice(certificate.tbs_certificate.serial_number.as_bytes())
        };
        let entry = |certificate| RevokedCertParams {
            serial_number: serial(certificate),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(if has_ended { 2021 } else { 2080 }, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: certificate.into_iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }

    /// A certificate and its key.
    pub fn issue_pem(&self, certificate: &Certificate<'_>) -> [String; 2] {
        let (signed, key) = self.sign(certificate);
        [signed.pem(), key.serialize_pem()]
    }

    fn sign(&self, certificate: &Certificate<'_>) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([certificate.name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, certificate.name);
        params.extended_key_usages.push(certificate.purpose.clone());
        if certificate.expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 2, 3);
        }
        if certificate.early {
            params.not_before = date_time_ymd(2093, 4, 5);
        }
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// What a server of this CA demands of its clients.
    pub fn server_rules(
        &self,
        identity: Arc<CertifiedKey>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone());
        let rules = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
        Arc::new(rules)
    }
}

/// The client's side of a configuration.
pub fn client(trust: &Authority, identity: Arc<CertifiedKey>, host: &str, port: u16) -> config::Server {
    config::Server {
        host: host.to_owned(),
        port,
        kmip_minor: None,
        tls: Arc::new(config::Tls {
            trust: config::Trust::Authorities(config::Authorities::without_lists(trust.roots.clone())),
            identity,
            common_name: "orders-api".into(),
            not_after: i64::MAX,
        }),
        user: None,
        password: None,
        connections: config::Connections::default(),
    }
}

pub type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Listens on loopback until it is dropped.
pub struct FakeServer {
    pub address: SocketAddr,
    /// How many connections were accepted.
    pub accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Gives every connection to `serve`, in a thread of its own.
    pub fn plain(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end, serve) = (accepted.clone(), ended.clone(), Arc::new(serve));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream.unwrap()));
            }
        });
        FakeServer { address, accepted, ended, thread: Some(thread) }
    }

    /// As `plain`, within TLS.
    pub fn tls(rules: Arc<ServerConfig>, serve: impl Fn(Stream) + Send + Sync + 'static) -> FakeServer {
        FakeServer::plain(move |socket| {
            socket.set_nodelay(true).unwrap();
            serve(StreamOwned::new(ServerConnection::new(rules.clone()).unwrap(), socket));
        })
    }

    /// Answers each request with the bytes that `answer` makes of it.
    pub fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (FakeServer, Connector) {
        FakeServer::answering_pinned(None, answer)
    }

    /// The same, for a client whose configuration pins KMIP 1.`minor`.
    pub fn answering_pinned(
        minor: Option<u16>,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> (FakeServer, Connector) {
        let authority = Authority::new("Keystead test CA");
        let rules = authority.server_rules(authority.issue(&Certificate::SERVER), rustls::ALL_VERSIONS);
        let server = FakeServer::tls(rules, move |mut stream| {
            while let Some(request) = Request::receive(&mut stream) {
                if stream.write_all(&answer(&request)).is_err() {
                    return;
                }
            }
        });
        let identity = authority.issue(&Certificate::CLIENT);
        let client = client(&authority, identity, "127.0.0.1", server.address.port());
        let connector = Connector::new(&config::Server { kmip_minor: minor, ..client }).unwrap();
        (server, connector)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // Wakes the listener.
        self.thread.take().map(JoinHandle::join);
    }
}

/// A request as the server understands it.
pub struct Request {
    pub minor_version: i32,
    /// Operation and Unique Batch Item ID of each item.
    pub items: Vec<(u32, Vec<u8>)>,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn receive(stream: &mut Stream) -> Option<Request> {
        let mut bytes = vec![0; 8];
        stream.read_exact(&mut bytes).ok()?;
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        bytes.resize(8 + length, 0);
        stream.read_exact(&mut bytes[8..]).ok()?;
        Some(Request::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Request {
        let message = Reader::message(bytes, tags::REQUEST_MESSAGE).unwrap();
        let header = message.require(tags::REQUEST_HEADER).unwrap().structure().unwrap();
        let version = header.require(tags::PROTOCOL_VERSION).unwrap().structure().unwrap();
        let items = message.all(tags::BATCH_ITEM).map(|item| {
            let item = item.unwrap().structure().unwrap();
            let operation = item.require(tags::OPERATION).unwrap().enumeration().unwrap();
            (operation, item.require(tags::UNIQUE_BATCH_ITEM_ID).unwrap().bytes().unwrap().to_vec())
        });
        Request {
            minor_version: version.require(tags::PROTOCOL_VERSION_MINOR).unwrap().integer().unwrap(),
            items: items.collect(),
            bytes: bytes.to_vec(),
        }
    }

    /// The Unique Batch Item ID of the only item.
    pub fn id(&self) -> &[u8] {
        &self.items[0].1
    }

    pub fn asks_for_versions(&self) -> bool {
        self.items[0].0 == 0x1E
    }

    /// The right answer to Discover Versions, or `other`.
    pub fn versions_or(&self, other: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        match self.asks_for_versions() {
            true => success(0x1E, self.id(), |payload| {
                for minor in (0..=4).rev() {
                    version(payload, minor);
                }
            }),
            false => other(),
        }
    }
}

pub fn version(writer: &mut Writer, minor: i32) {
    writer.structure(tags::PROTOCOL_VERSION, |version| {
        version.integer(tags::PROTOCOL_VERSION_MAJOR, 1);
        version.integer(tags::PROTOCOL_VERSION_MINOR, minor);
    });
}

/// A reply with the batch items that `items` writes.
pub fn reply(items: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::with_capacity(64 << 10);
    writer.structure(tags::RESPONSE_MESSAGE, |message| {
        message.structure(tags::RESPONSE_HEADER, |header| {
            version(header, 4);
            header.date_time(0x420092, 1_700_000_000);
            header.integer(tags::BATCH_COUNT, 1);
        });
        items(message);
    });
    writer.written().unwrap().to_vec()
}

/// One successful batch item.
pub fn item(message: &mut Writer, operation: u32, id: &[u8], payload: impl FnOnce(&mut Writer)) {
    message.structure(tags::BATCH_ITEM, |item| {
        item.enumeration(tags::OPERATION, operation);
        item.bytes(tags::UNIQUE_BATCH_ITEM_ID, id);
        item.enumeration(tags::RESULT_STATUS, 0);
        item.structure(tags::RESPONSE_PAYLOAD, payload);
    });
}

/// One failed batch item.
pub fn failed_item(message: &mut Writer, operation: u32, id: &[u8], reason: u32, text: &str) {
    message.structure(tags::BATCH_ITEM, |item| {
        item.enumeration(tags::OPERATION, operation);
        item.bytes(tags::UNIQUE_BATCH_ITEM_ID, id);
        item.enumeration(tags::RESULT_STATUS, 1);
        item.enumeration(tags::RESULT_REASON, reason);
        item.text(tags::RESULT_MESSAGE, text);
    });
}

pub fn success(operation: u32, id: &[u8], payload: impl FnOnce(&mut Writer)) -> Vec<u8> {
    reply(|message| item(message, operation, id, payload))
}

pub fn failure(operation: u32, id: &[u8], reason: u32, text: &str) -> Vec<u8> {
    reply(|message| failed_item(message, operation, id, reason, text))
}

/// What may differ in a key that a server returns.
#[derive(Clone, Copy)]
pub struct FakeKey<'a> {
    pub id: &'a str,
    pub object_type: u32,
    pub format: u32,
    pub algorithm: u32,
    pub bits: i32,
    pub material: &'a [u8],
    pub wrapped: bool,
}

impl FakeKey<'_> {
    pub const GOOD: FakeKey<'static> = FakeKey {
        id: "key-1",
        object_type: 2,
        format: 1,
        algorithm: 3,
        bits: 256,
        material: &[0xA7; 32],
        wrapped: false,
    };

    /// The payload of a Get response, with what vendors add: unknown tags, attributes behind the material.
    pub fn write(&self, payload: &mut Writer) {
        const VENDOR: u32 = 0x540001;
        payload.structure(VENDOR, |vendor| vendor.text(VENDOR, "made by us"));
        payload.enumeration(tags::OBJECT_TYPE, self.object_type);
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.structure(tags::SYMMETRIC_KEY, |key| {
            key.structure(tags::KEY_BLOCK, |block| {
                block.enumeration(tags::KEY_FORMAT_TYPE, self.format);
                block.structure(tags::KEY_VALUE, |value| {
                    value.bytes(tags::KEY_MATERIAL, self.material);
                    value.structure(tags::ATTRIBUTE, |attribute| attribute.text(tags::ATTRIBUTE_NAME, "x-vendor"));
                });
                block.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, self.algorithm);
                block.integer(tags::CRYPTOGRAPHIC_LENGTH, self.bits);
                if self.wrapped {
                    block.structure(tags::KEY_WRAPPING_DATA, |_| {});
                }
            });
        });
    }
}
