//! One connection to one key server.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::buffer::Buffer;
use super::deadline::Deadline;
use super::diagnosis::{self, Peer, Phase};
use super::dial::{self, Find, Resolver};
use super::failure::Failure;
use super::message::{self, Credential, Head, Outcome, ReplyHead};
use super::operation::{DiscoverVersions, Operation};
use super::resumption::Tickets;
use super::tls::{self, Session, Trouble};
use super::ttlv::Writer;
use super::values::{ResultReason, Version};
use crate::error::{Code, Error, Result};
use crate::{config, memory};

/// The longest request. The largest holds a few names.
const MAXIMUM_REQUEST: usize = 16 << 10;
/// A reply of usual size never makes its buffer grow.
const USUAL_REPLY: usize = 16 << 10;

type Outcomes<T> = Vec<std::result::Result<T, Failure>>;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Request,
    Reply,
}

/// What is shown every message. It holds secrets: [`super::dump::lines`] tells what may be repeated of it.
pub type Observer = Arc<dyn Fn(Direction, &[u8]) + Send + Sync>;

/// Discover Versions, as a server answered it that a connection was opened to.
pub struct Negotiation<'a> {
    pub peer: SocketAddr,
    /// The version in which it was asked.
    pub version: Version,
    pub answer: std::result::Result<&'a Vec<Version>, &'a Failure>,
    pub head: &'a ReplyHead,
    pub duration: Duration,
}

/// Is told of each, and says whether to go on.
pub type OnNegotiation<'a> = &'a dyn Fn(&Negotiation<'_>) -> Result<()>;

/// Opens connections to one configured server, and remembers the protocol version they agreed on.
pub struct Connector {
    server: Arc<str>,
    observer: Option<Observer>,
    resolver: Resolver,
    /// Where it was reached last: the addresses of a name need not be tried in vain each time.
    reached: Mutex<Option<SocketAddr>>,
    rules: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
    name: ServerName<'static>,
    credential: Option<Arc<Credential>>,
    agreed: Arc<AgreedVersion>,
}

impl Connector {
    /// Prepares TLS. Does not block. Fails with `ConfigInvalid` for a host that is neither a name nor an
    /// address, and with `CertificateInvalid` for CA certificates that TLS cannot use.
    pub fn new(server: &config::Server) -> Result<Connector> {
        // Brackets are how people write an IPv6 address next to a port.
        let host = server.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&server.host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            let message = format!("server.host \"{host}\" is neither a host name nor an IP address; correct it");
            Error::new(Code::ConfigInvalid, message)
        })?;
        let label =
            if host.contains(':') { format!("[{host}]:{}", server.port) } else { format!("{host}:{}", server.port) };
        let credential = server.user.as_ref().map(|user| {
            let password = server.password.as_ref().map(|password| Zeroizing::new(password.expose().to_owned()));
            Arc::new(Credential { user: user.clone(), password })
        });
        let tickets = Arc::new(Tickets::default());
        Ok(Connector {
            server: label.into(),
            observer: None,
            resolver: Resolver::new(host, server.port),
            reached: Mutex::new(None),
            rules: tls::rules(&server.tls, tickets.clone())?,
            tickets,
            name,
            credential,
            agreed: Arc::new(AgreedVersion::new(server.kmip_minor)),
        })
    }

    /// Shows every message that is sent and received to the observer.
    pub fn observed_by(self, observer: Observer) -> Connector {
        Connector { observer: Some(observer), ..self }
    }

    /// Looks the server's name up in another way than the system's.
    pub fn resolving_by(self, find: Find) -> Connector {
        Connector { resolver: self.resolver.by(find), ..self }
    }

    /// `host:port` as configured.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Resolves the name, tries each of its addresses, shakes hands and, the first time and unless
    /// one is configured, agrees on a protocol version. Blocks until the deadline at most. `request_sent` is false in every failure.
    pub fn connect(&self, deadline: Deadline) -> std::result::Result<Connection, Failure> {
        self.connect_telling(deadline, &|_| Ok(()))
    }

    /// As [`Connector::connect`]; `told` is told of every question about protocol versions before anything else is asked.
    pub fn connect_telling(
        &self,
        deadline: Deadline,
        told: OnNegotiation<'_>,
    ) -> std::result::Result<Connection, Failure> {
        let mut addresses = self.resolver.resolve(deadline).map_err(|trouble| self.unresolved(&trouble))?;
        let last = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.sort_by_key(|address| Some(*address) != last);
        let mut failures = Vec::new();
        for (tried, address) in addresses.iter().enumerate() {
            match self.open(*address, deadline.share(addresses.len() - tried), told) {
                Ok(connection) => {
                    *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(*address);
                    return Ok(connection);
                }
                Err(failure) if !failure.code().is_transport() => return Err(failure),
                Err(failure) => failures.push(failure),
            }
            if deadline.is_past() {
                break;
            }
        }
        Err(most_telling(failures))
    }

    /// Wipes what servers would know us again by.
    pub fn forget_sessions(&self) {
        self.tickets.clear();
    }

    fn open(
        &self,
        address: SocketAddr,
        deadline: Deadline,
        told: OnNegotiation<'_>,
    ) -> std::result::Result<Connection, Failure> {
        let peer = Peer { server: self.server.clone(), address };
        let fail = |phase, trouble| Failure::new(diagnosis::explain(&peer, phase, &trouble), Some(address));
        let socket = dial::connect(address, deadline).map_err(|trouble| fail(Phase::Connecting, trouble))?;
        let local = socket.local_addr().map_err(|error| fail(Phase::Connecting, Trouble::Socket(error)))?;
        let session = Session::open(socket, self.rules.clone(), self.name.clone(), deadline)
            .inspect_err(|_| self.tickets.clear())
            .map_err(|trouble| fail(Phase::Handshake, trouble))?;
        let mut connection = Connection {
            observer: self.observer.clone(),
            peer,
            local,
            server_certificate_ends: session.peer_certificate().and_then(config::end_of),
            session,
            version: NEGOTIATION,
            agreed: self.agreed.clone(),
            credential: self.credential.clone(),
            next_item: 1,
            request: Writer::with_capacity(MAXIMUM_REQUEST),
            reply: Buffer::new(USUAL_REPLY, message::MAXIMUM_REPLY + MAXIMUM_REQUEST),
            usable: true,
            phase: Phase::FirstReply,
            head: ReplyHead::default(),
        };
        connection.version = match self.agreed.get() {
            Some(version) => version,
            // The caller's own request was not sent yet.
            None => {
                connection.negotiate(deadline, told).map_err(|failure| Failure { request_sent: false, ..failure })?
            }
        };
        self.agreed.set(connection.version);
        Ok(connection)
    }

    fn unresolved(&self, trouble: &Trouble) -> Failure {
        let server = &self.server;
        let error = match trouble {
            Trouble::Socket(error) => {
                Error::new(Code::Unreachable, format!("key server {server} {}", diagnosis::unreachable(error)))
            }
            _ => Error::new(
                Code::Deadline,
                format!(
                    "the name of key server {server} was not resolved before the deadline; check DNS or use an address"
                ),
            ),
        };
        Failure::new(error, None)
    }
}

/// An address that answered, however wrongly, says more than one that did not.
fn most_telling(failures: Vec<Failure>) -> Failure {
    let silent = |failure: &Failure| matches!(failure.code(), Code::Unreachable | Code::Deadline);
    let telling = failures.iter().position(|failure| !silent(failure)).unwrap_or(0);
    failures.into_iter().nth(telling).expect("a resolved name has an address that was tried")
}

/// Discover Versions exists since 1.1, so the question is put in that version.
const NEGOTIATION: Version = Version::new(1, 1);

/// The version that the server and we agreed on, shared by a connector and its connections.
struct AgreedVersion {
    /// Zero while unknown.
    packed: AtomicU32,
    /// By the configuration: it is never asked for.
    pinned: bool,
}

impl AgreedVersion {
    fn new(pinned_minor: Option<u16>) -> AgreedVersion {
        let agreed = AgreedVersion { packed: AtomicU32::new(0), pinned: pinned_minor.is_some() };
        if let Some(minor) = pinned_minor {
            agreed.set(Version::new(1, minor));
        }
        agreed
    }

    fn get(&self) -> Option<Version> {
        let packed = self.packed.load(Ordering::Relaxed);
        (packed != 0).then(|| Version::new((packed >> 16) as u16, packed as u16))
    }

    fn set(&self, version: Version) {
        self.packed.store(u32::from(version.major) << 16 | u32::from(version.minor), Ordering::Relaxed);
    }

    /// The server may have been replaced by one of another version: the next connection asks again.
    fn forget(&self) {
        if !self.pinned {
            self.packed.store(0, Ordering::Relaxed);
        }
    }
}

/// An open connection. After a failure of transport it is of no use any more: see `is_usable`.
pub struct Connection {
    observer: Option<Observer>,
    peer: Peer,
    local: SocketAddr,
    server_certificate_ends: Option<i64>,
    session: Session,
    version: Version,
    agreed: Arc<AgreedVersion>,
    credential: Option<Arc<Credential>>,
    next_item: u64,
    request: Writer,
    reply: Buffer,
    usable: bool,
    phase: Phase,
    head: ReplyHead,
}

impl Connection {
    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer.address
    }

    /// Our own address on this connection.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The protocol version that was agreed on.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the server said of its last reply; empty where it gave none.
    pub fn head(&self) -> &ReplyHead {
        &self.head
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub fn server_certificate_ends(&self) -> Option<i64> {
        self.server_certificate_ends
    }

    /// Whether the server knew us again from an earlier connection, which halves the cost of a new one.
    pub fn is_resumed(&self) -> bool {
        self.session.is_resumed()
    }

    /// Whether the connection still stands, as far as can be told without asking the server: servers close
    /// idle connections silently. Does not block.
    pub fn is_usable(&mut self) -> bool {
        self.usable = self.usable && self.session.is_idle();
        self.usable
    }

    /// Carries out one operation. Blocks until the deadline at most.
    pub fn call<O: Operation>(&mut self, operation: &O, deadline: Deadline) -> std::result::Result<O::Answer, Failure> {
        let mut answers = self.call_all(std::slice::from_ref(operation), deadline)?;
        answers.pop().expect("one operation has one outcome")
    }

    /// Carries out several operations in one request; the outcomes are in their order. A server goes on
    /// after one of them failed, or stops: what it did not carry out is a failure of its own. Blocks until
    /// the deadline at most.
    pub fn call_all<O: Operation>(
        &mut self,
        operations: &[O],
        deadline: Deadline,
    ) -> std::result::Result<Outcomes<O::Answer>, Failure> {
        let outcomes = self.exchange(operations, deadline);
        self.request.clear();
        self.reply.clear();
        self.reply.shrink_to(USUAL_REPLY);
        if O::CARRIES_KEY {
            memory::scrub::registers();
            memory::scrub::stack();
        }
        outcomes
    }

    /// Kept out of line: the stack is scrubbed from its caller's frame, and so covers its own.
    #[inline(never)]
    fn exchange<O: Operation>(
        &mut self,
        operations: &[O],
        deadline: Deadline,
    ) -> std::result::Result<Outcomes<O::Answer>, Failure> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        self.head = ReplyHead::default();
        self.check_version(operations)?;
        let first_item = self.next_item;
        self.next_item += operations.len() as u64;
        let head = Head { version: self.version, credential: self.credential.as_deref(), first_item };
        message::write_request(&mut self.request, &head, operations);
        if let (Some(observer), Ok(request)) = (&self.observer, self.request.written()) {
            observer(Direction::Request, request);
        }
        self.transfer(deadline)?;
        if let Some(observer) = &self.observer {
            observer(Direction::Reply, self.reply.filled());
        }
        self.head = message::read_head(self.reply.filled());
        let outcomes = match message::read_reply(self.reply.filled(), first_item, operations.len()) {
            Ok(outcomes) => outcomes,
            Err(error) => return Err(self.answered(diagnosis::answer(&self.peer, O::NAME, &error))),
        };
        // A reply that is complete and ours leaves the connection in order, whatever it says.
        self.usable = true;
        self.phase = Phase::Reply;
        Ok(operations.iter().zip(outcomes).map(|(operation, outcome)| self.judge(operation, outcome)).collect())
    }

    /// Whether the server's protocol version has what is asked.
    fn check_version<O: Operation>(&self, operations: &[O]) -> std::result::Result<(), Failure> {
        match operations.iter().map(O::since).max() {
            Some(needed) if needed > self.version => {
                let error = diagnosis::too_old(&self.peer, O::NAME, self.version, needed, self.agreed.pinned);
                Err(Failure::new(error, Some(self.peer.address)))
            }
            _ => Ok(()),
        }
    }

    /// Sends the request and receives the bytes of its reply. The connection is usable again only after
    /// its reply was understood.
    fn transfer(&mut self, deadline: Deadline) -> std::result::Result<(), Failure> {
        let address = Some(self.peer.address);
        if !std::mem::replace(&mut self.usable, false) {
            let trouble = Trouble::Closed;
            return Err(Failure::new(diagnosis::explain(&self.peer, Phase::Reply, &trouble), address));
        }
        let mut sent = false;
        let transferred = match self.request.written() {
            Ok(request) => self.session.send(request, deadline, &mut sent),
            Err(error) => {
                self.usable = true;
                return Err(Failure::new(error, address));
            }
        };
        let failed = |error| Failure { request_sent: sent, ..Failure::new(error, address) };
        let explain = |trouble: Trouble| failed(diagnosis::explain(&self.peer, self.phase, &trouble));
        transferred.map_err(explain)?;
        loop {
            match message::reply_length(self.reply.filled()) {
                Ok(Some(length)) if length <= self.reply.filled().len() => return Ok(()),
                Ok(_) => self.session.receive(&mut self.reply, deadline).map_err(explain)?,
                Err(malformed) => return Err(failed(diagnosis::answer(&self.peer, "a request", &malformed.into()))),
            }
        }
    }

    /// What one outcome means to the caller.
    fn judge<O: Operation>(
        &self,
        operation: &O,
        outcome: Option<Outcome<'_>>,
    ) -> std::result::Result<O::Answer, Failure> {
        let Some(outcome) = outcome else {
            let message = format!("{} stopped before {}, because an operation before it failed", self.peer, O::NAME);
            return Err(self.answered(Error::new(Code::ServerRefused, message)));
        };
        let answer = match outcome.result {
            _ if !outcome.is_about(O::CODE) => Err(Error::new(Code::ReplyMalformed, "it is about another operation")),
            Ok(payload) => operation.read(payload),
            Err(refusal) => {
                let mut error = diagnosis::refusal(&self.peer, O::NAME, &refusal);
                if may_be_about_version(refusal.reason) {
                    self.agreed.forget();
                    if self.agreed.pinned {
                        error = diagnosis::pinned(&error, self.version);
                    }
                }
                let failure = self.answered(error);
                return Err(Failure { reason: refusal.reason, server_message: refusal.message, ..failure });
            }
        };
        answer.map_err(|error| self.answered(diagnosis::answer(&self.peer, O::NAME, &error)))
    }

    /// A failure after the server answered.
    fn answered(&self, error: Error) -> Failure {
        Failure { request_sent: true, ..Failure::new(error, Some(self.peer.address)) }
    }

    /// The highest version that both sides speak. A server that does not know the question speaks 1.0; one that
    /// does not know the version it is put in may know a later one.
    fn negotiate(&mut self, deadline: Deadline, told: OnNegotiation<'_>) -> std::result::Result<Version, Failure> {
        let mut asked = NEGOTIATION;
        let offered = loop {
            self.version = asked;
            let start = Instant::now();
            let answer = self.call(&DiscoverVersions, deadline);
            let (peer, duration) = (self.peer.address, start.elapsed());
            let (answered, head) = (answer.as_ref(), &self.head);
            let negotiation = Negotiation { peer, version: asked, answer: answered, head, duration };
            told(&negotiation).map_err(|error| self.answered(error))?;
            match answer {
                Ok(offered) => break offered,
                Err(failure) if may_be_about_version(failure.reason) && asked < Version::SPOKEN[0] => {
                    asked.minor += 1;
                }
                Err(failure) if may_be_about_version(failure.reason) || failure.code() == Code::Unsupported => {
                    return Ok(Version::new(1, 0));
                }
                Err(failure) => return Err(failure),
            }
        };
        let common = Version::SPOKEN.into_iter().find(|version| offered.contains(version));
        common.ok_or_else(|| {
            let message = format!("{} speaks none of KMIP 1.0 to 1.4; enable one of them on the server", self.peer);
            self.answered(Error::new(Code::Unsupported, message))
        })
    }
}

/// Whether the server may mean the protocol version in the header by that.
fn may_be_about_version(reason: Option<ResultReason>) -> bool {
    matches!(reason, Some(ResultReason::INVALID_MESSAGE | ResultReason::UNSUPPORTED_PROTOCOL_VERSION))
}
