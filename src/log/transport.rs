//! Where lines go that are not kept in a file: standard error, the local syslog socket, UDP, TCP or TLS.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use syslog::{LogFormat, Logger, LoggerBackend};

use super::Record;
use super::collector::Outlet;
use crate::config::{Distrust, Format, Target};

/// So long one send may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long a collector may think about our certificate, which TLS 1.3 lets it refuse after the handshake.
const VERDICT: Duration = Duration::from_millis(200);

/// A way to a collector, opened when it is first needed and again after it broke.
pub(super) struct Transport {
    target: Target,
    /// The rules of a TLS connection.
    rules: Option<Arc<ClientConfig>>,
    opened: Option<Opened>,
}

enum Opened {
    Stderr,
    /// The local socket, or UDP.
    Datagrams(Logger<LoggerBackend, AsItIs>),
    Tcp(TcpStream),
    Tls(Box<Encrypted>),
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Lines are complete when they get here.
#[derive(Clone)]
struct AsItIs;

impl LogFormat<&str> for AsItIs {
    fn format<W: Write>(&self, w: &mut W, _: syslog::Severity, line: &str) -> syslog::Result<()> {
        w.write_all(line.as_bytes())?;
        Ok(())
    }
}

impl Transport {
    /// `rules` are those of a target over TLS.
    pub fn new(target: Target, rules: Option<Arc<ClientConfig>>) -> Transport {
        Transport { target, rules, opened: None }
    }

    /// How long a line may be, in bytes: a packet of RFC 3164 §4.1 has 1024, one of RFC 5424 §6.1 2048.
    pub fn limit(target: &Target, format: Format) -> Option<usize> {
        match (target, format) {
            (Target::Syslog(_) | Target::Udp(..), Format::Syslog5424) => Some(2048),
            (Target::Syslog(_) | Target::Udp(..), _) => Some(1024),
            _ => None,
        }
    }

    fn open(&self) -> io::Result<Opened> {
        Ok(match &self.target {
            Target::Stderr => Opened::Stderr,
            Target::Syslog(path) => {
                let opened = match path {
                    Some(path) => syslog::unix_custom(AsItIs, path),
                    None => syslog::unix(AsItIs),
                };
                let logger = opened.map_err(io_error)?;
                match &logger.backend {
                    LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(PATIENCE))?,
                    LoggerBackend::UnixStream(socket) => socket.get_ref().set_write_timeout(Some(PATIENCE))?,
                    _ => {}
                }
                Opened::Datagrams(logger)
            }
            Target::Udp(host, port) => {
                let address = resolve(host, *port)?.next().ok_or_else(|| no_address(host))?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                Opened::Datagrams(syslog::udp(AsItIs, any, address).map_err(io_error)?)
            }
            Target::Tcp(host, port) => Opened::Tcp(connect(host, *port)?),
            Target::Tls(host, port) => {
                let rules = self.rules.clone().ok_or_else(|| io::Error::other("there are no rules for TLS"))?;
                Opened::Tls(Box::new(encrypt(connect(host, *port)?, rules, host)?))
            }
            Target::File(_) => unreachable!("files are written without a queue"),
        })
    }
}

impl Outlet for Transport {
    const ENDS_WITH_LOG: bool = false;

    /// After an error the next call connects anew.
    fn send(&mut self, _: &Record<'_>, line: &str) -> io::Result<()> {
        let mut opened = match self.opened.take().and_then(Opened::if_open) {
            Some(opened) => opened,
            None => self.open()?,
        };
        match &mut opened {
            // In one write, so that nothing of other processes comes between a line and its end.
            Opened::Stderr => io::stderr().lock().write_all(format!("{line}\n").as_bytes())?,
            Opened::Datagrams(logger) => logger.info(line).map_err(io_error)?,
            // Octet counting (RFC 6587 §3.4.1).
            Opened::Tcp(stream) => {
                let frame = format!("{} {line}", line.len());
                let mut rest = frame.as_bytes();
                patiently(|| {
                    rest = &rest[stream.write(rest)?..];
                    Ok(rest.is_empty())
                })?;
            }
            // The same (RFC 5425 §4.3).
            Opened::Tls(stream) => {
                stream.conn.writer().write_all(format!("{} {line}", line.len()).as_bytes())?;
                patiently(|| {
                    stream.conn.write_tls(&mut stream.sock)?;
                    Ok(!stream.conn.wants_write())
                })?;
            }
        }
        self.opened = Some(opened);
        Ok(())
    }
}

fn resolve(host: &str, port: u16) -> io::Result<impl Iterator<Item = std::net::SocketAddr>> {
    (host, port).to_socket_addrs()
}

fn no_address(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = no_address(host);
    for address in resolve(host, port)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Shakes hands, and waits a moment for a refusal.
fn encrypt(socket: TcpStream, rules: Arc<ClientConfig>, host: &str) -> io::Result<Encrypted> {
    let explained = |error: io::Error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause.and_then(Distrust::of) {
            Some(distrust) => io::Error::new(error.kind(), format!("collector {host} {distrust}")),
            None => io::Error::new(error.kind(), format!("no TLS with collector {host}: {error}")),
        }
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut connection = ClientConnection::new(rules, name).map_err(io::Error::other)?;
    connection.set_buffer_limit(None); // A line is bounded, and leaves before the next.
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(explained)?;
    }
    stream.sock.set_read_timeout(Some(VERDICT))?;
    match hear(&mut stream) {
        Ok(true) => Ok(stream),
        Ok(false) => Err(explained(io::ErrorKind::ConnectionAborted.into())),
        Err(error) => Err(explained(error)),
    }
}

/// Takes steps until one says that it was the last. A collector that takes a little now and then is given up like one that
/// takes nothing.
fn patiently(mut step: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match step() {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() < deadline => {}
            Ok(false) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes records too slowly")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes what the collector has to say, which is about the connection. Returns whether it stands.
fn hear(stream: &mut Encrypted) -> io::Result<bool> {
    match stream.conn.read_tls(&mut stream.sock) {
        Ok(0) => return Ok(false),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(true),
        Err(error) => return Err(error),
    }
    let heard = stream.conn.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    // Text that nobody asked for would fill our buffer, and then this connection would end.
    let mut nothing = [0; 256];
    while heard.plaintext_bytes_to_read() > 0 && stream.conn.reader().read(&mut nothing).is_ok_and(|n| n > 0) {}
    Ok(!heard.peer_has_closed())
}

impl Opened {
    /// Itself, unless the collector has ended the connection: what is written after that is lost without an error.
    fn if_open(mut self) -> Option<Opened> {
        let stands = match &mut self {
            Opened::Tcp(stream) => at_once(stream, |stream| match stream.peek(&mut [0]) {
                Ok(length) => Ok(length > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
                Err(error) => Err(error),
            }),
            Opened::Tls(stream) => stream.sock.try_clone().and_then(|socket| at_once(&socket, |_| hear(stream))),
            _ => Ok(true),
        };
        stands.unwrap_or(false).then_some(self)
    }
}

/// Does something with a socket that does not wait meanwhile.
fn at_once<R>(socket: &TcpStream, work: impl FnOnce(&TcpStream) -> io::Result<R>) -> io::Result<R> {
    socket.set_nonblocking(true)?;
    let done = work(socket);
    socket.set_nonblocking(false)?;
    done
}

fn io_error(error: syslog::Error) -> io::Error {
    match error {
        syslog::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
