//! Where lines go that are not kept in a file: standard error, the local syslog socket, UDP or TCP.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use syslog::{LogFormat, Logger, LoggerBackend};

use crate::config::{Format, Target};

/// So long one send may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A way to a collector, opened when it is first needed and again after it broke.
pub(super) struct Transport {
    target: Target,
    opened: Option<Opened>,
}

enum Opened {
    Stderr,
    /// The local socket, or UDP.
    Datagrams(Logger<LoggerBackend, AsItIs>),
    Tcp(TcpStream),
}

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
    pub fn new(target: Target) -> Transport {
        Transport { target, opened: None }
    }

    /// How long a line may be, in bytes: a packet of RFC 3164 §4.1 has 1024, one of RFC 5424 §6.1 2048.
    pub fn limit(target: &Target, format: Format) -> Option<usize> {
        match (target, format) {
            (Target::Syslog(_) | Target::Udp(..), Format::Syslog5424) => Some(2048),
            (Target::Syslog(_) | Target::Udp(..), _) => Some(1024),
            _ => None,
        }
    }

    /// Sends a line, without line end. After an error the next call connects anew.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        let mut opened = match self.opened.take() {
            Some(Opened::Tcp(stream)) if is_closed(&stream) => self.open()?,
            Some(opened) => opened,
            None => self.open()?,
        };
        match &mut opened {
            Opened::Stderr => writeln!(io::stderr().lock(), "{line}")?,
            Opened::Datagrams(logger) => logger.info(line).map_err(io_error)?,
            // Octet counting (RFC 6587 §3.4.1).
            Opened::Tcp(stream) => stream.write_all(format!("{} {line}", line.len()).as_bytes())?,
        }
        self.opened = Some(opened);
        Ok(())
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
            Target::File(_) => unreachable!("files are written without a queue"),
        })
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

/// Whether the collector has ended the connection: what is written after that is lost without an error.
fn is_closed(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_open = matches!(&peeked, Ok(1..)) || peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).is_err() || !is_open
}

fn io_error(error: syslog::Error) -> io::Error {
    match error {
        syslog::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
