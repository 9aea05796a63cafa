//! TLS over a blocking socket, through rustls' unbuffered interface: every byte passes through buffers of
//! ours, which are wiped, and every wait ends at the deadline.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ClientConnectionData, Resumption, Tls12Resumption, UnbufferedClientConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, ReadTraffic, UnbufferedStatus};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::{CertificateDer, ServerName};

use super::buffer::{Buffer, Full};
use super::deadline::Deadline;
use super::resumption::Tickets;
use crate::config;
use crate::error::Result;
use crate::platform;

/// Holds one TLS record, which is a little more than 16 KiB.
const RECORD: usize = 17 << 10;
/// A handshake message may have 64 KiB and stays in the buffer until it is complete.
const INCOMING_LIMIT: usize = 128 << 10;
/// Requests and handshake messages are small.
const OUTGOING_LIMIT: usize = 256 << 10;
/// A waiting socket wakes up so often to look at the deadline: one time limit serves many waits, and costs one system call.
const WAKE: Duration = Duration::from_secs(1);

/// Why bytes could not be exchanged.
#[derive(Debug)]
pub enum Trouble {
    Deadline,
    Socket(io::Error),
    /// The peer ended the connection.
    Closed,
    /// The peer's first bytes are not TLS.
    NotTls,
    Tls(rustls::Error),
    /// The peer sent more than may be buffered.
    Full,
}

impl From<rustls::Error> for Trouble {
    fn from(error: rustls::Error) -> Trouble {
        Trouble::Tls(error)
    }
}

impl From<Full> for Trouble {
    fn from(_: Full) -> Trouble {
        Trouble::Full
    }
}

/// The rules of every connection to one server, with the tickets that it gave us.
pub fn rules(tls: &config::Tls, tickets: Arc<Tickets>) -> Result<Arc<ClientConfig>> {
    let mut rules = tls.rules()?;
    rules.resumption = Resumption::store(tickets).tls12_resumption(Tls12Resumption::Disabled);
    Ok(Arc::new(rules))
}

/// A TLS connection.
pub struct Session {
    socket: TcpStream,
    engine: UnbufferedClientConnection,
    /// Records as they came. The engine decrypts them in place.
    incoming: Buffer,
    /// Records to be sent.
    outgoing: Buffer,
    heard: bool,
    /// Something came since we sent something, and was not enough.
    wants_more: bool,
    /// The time limits that the socket has.
    read_limit: Duration,
    write_limit: Duration,
    /// The engine gave up; it must not be fed again.
    failed: bool,
}

/// What the engine made of the bytes so far.
#[derive(PartialEq, Eq)]
enum Step {
    Progress,
    NeedsBytes,
    /// The handshake is done and everything that came was read.
    Ready,
}

impl Session {
    /// Shakes hands over a connected socket.
    pub fn open(
        socket: TcpStream,
        rules: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Deadline,
    ) -> std::result::Result<Session, Trouble> {
        let mut session = Session {
            socket,
            engine: UnbufferedClientConnection::new(rules, name)?,
            incoming: Buffer::new(RECORD, INCOMING_LIMIT),
            outgoing: Buffer::new(4 << 10, OUTGOING_LIMIT),
            heard: false,
            wants_more: false,
            read_limit: Duration::ZERO,
            write_limit: Duration::ZERO,
            failed: false,
        };
        // Before the handshake is done no plaintext can come.
        let mut nothing = Buffer::new(0, 0);
        loop {
            match session.step(deadline, &mut nothing)? {
                Step::Progress => {}
                Step::NeedsBytes => session.fill(deadline)?,
                Step::Ready => {
                    session.incoming.shrink_to(RECORD);
                    return Ok(session);
                }
            }
        }
    }

    /// Whether the server knew us again, from an earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.engine.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The server's own certificate, also where it knew us again and did not show it.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.engine.peer_certificates()?.first()
    }

    /// Sends a request. `sent` becomes true once a byte of it may have left.
    pub fn send(&mut self, request: &[u8], deadline: Deadline, sent: &mut bool) -> std::result::Result<(), Trouble> {
        self.settle(deadline)?;
        self.encrypt(request)?;
        *sent = true;
        let outcome = self.flush(deadline);
        match outcome {
            // A server that refuses our certificate says so and closes: its alert explains the broken pipe.
            Err(Trouble::Socket(error)) => Err(self.last_words().unwrap_or(Trouble::Socket(error))),
            outcome => outcome,
        }
    }

    /// Appends what comes next to `plain`; returns once there is something.
    pub fn receive(&mut self, plain: &mut Buffer, deadline: Deadline) -> std::result::Result<(), Trouble> {
        let before = plain.filled().len();
        loop {
            let step = self.step(deadline, plain)?;
            if plain.filled().len() > before {
                return Ok(());
            }
            if step != Step::Progress {
                self.fill(deadline)?;
            }
        }
    }

    /// Whether the connection stands and is silent, as it should be between two requests. Does not block.
    pub fn is_idle(&mut self) -> bool {
        self.look().unwrap_or(false)
    }

    fn look(&mut self) -> std::result::Result<bool, Trouble> {
        let received = platform::receive_now(&self.socket, self.incoming.spare(1)?);
        match received {
            Err(error) if is_pause(&error) => return Ok(true),
            received => self.take_in(received)?,
        }
        // Session tickets and key updates are no reason to part; data that nobody asked for is.
        self.settle(Deadline::after(Duration::from_millis(100)))?;
        Ok(true)
    }

    /// Lets the engine work through what has come, which must hold no plaintext.
    fn settle(&mut self, deadline: Deadline) -> std::result::Result<(), Trouble> {
        let mut nothing = Buffer::new(0, 0);
        while self.step(deadline, &mut nothing)? == Step::Progress {}
        Ok(())
    }

    /// Says that we are leaving, as TLS wants it. Best effort, without waiting.
    fn bid_farewell(&mut self) {
        let Session { engine, incoming, outgoing, socket, .. } = self;
        if let UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } =
            engine.process_tls_records(incoming.filled_mut())
            && let Ok(room) = outgoing.spare(256)
            && let Ok(length) = traffic.queue_close_notify(room)
        {
            outgoing.advance(length);
            let _ = socket.set_nonblocking(true).and_then(|()| socket.write(outgoing.filled()));
        }
    }

    fn step(&mut self, deadline: Deadline, plain: &mut Buffer) -> std::result::Result<Step, Trouble> {
        let Session { engine, incoming, outgoing, socket, write_limit, wants_more, .. } = self;
        let UnbufferedStatus { mut discard, state } = engine.process_tls_records(incoming.filled_mut());
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let taken = take(&mut traffic, plain);
                discard += taken.as_ref().copied().unwrap_or(0);
                taken.map(|_| Step::Progress)
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                put(outgoing, |room| data.encode(room).map_err(room_to_encode)).map(|()| Step::Progress)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                let written = write_all(socket, outgoing.filled(), deadline, write_limit);
                *wants_more = false;
                outgoing.clear();
                data.done();
                written.map(|()| Step::Progress)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::NeedsBytes),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Ready),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(Trouble::Closed),
            // Early data comes to servers only.
            Ok(_) => Err(Trouble::Tls(rustls::Error::General("a state that a client cannot reach".into()))),
            Err(error) => Err(Trouble::Tls(error)),
        };
        incoming.discard(discard);
        if let Err(Trouble::Tls(error)) = &step {
            self.failed = true;
            // A peer that gave up first needs no alert.
            if !matches!(error, rustls::Error::AlertReceived(_)) {
                self.send_alert(deadline);
            }
        }
        step
    }

    /// Tells the peer why the engine gave up: the alert is the one thing it still has to say, and comes
    /// before it would look at its input again. Best effort.
    fn send_alert(&mut self, deadline: Deadline) {
        let Session { engine, incoming, outgoing, socket, write_limit, .. } = self;
        if let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            engine.process_tls_records(incoming.filled_mut())
            && put(outgoing, |room| data.encode(room).map_err(room_to_encode)).is_ok()
        {
            let _ = write_all(socket, outgoing.filled(), deadline, write_limit);
        }
        outgoing.clear();
    }

    fn encrypt(&mut self, request: &[u8]) -> std::result::Result<(), Trouble> {
        let Session { engine, incoming, outgoing, .. } = self;
        match engine.process_tls_records(incoming.filled_mut()).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                put(outgoing, |room| traffic.encrypt(request, room).map_err(room_to_encrypt))
            }
            Ok(_) => Err(Trouble::Closed),
            Err(error) => {
                self.failed = true;
                Err(Trouble::Tls(error))
            }
        }
    }

    fn flush(&mut self, deadline: Deadline) -> std::result::Result<(), Trouble> {
        let written = write_all(&mut self.socket, self.outgoing.filled(), deadline, &mut self.write_limit);
        self.wants_more = false;
        self.outgoing.clear();
        written
    }

    /// What the peer said before it closed, if it was an alert.
    fn last_words(&mut self) -> Option<Trouble> {
        let mut plain = Buffer::new(0, RECORD);
        let moment = Deadline::after(Duration::from_millis(50));
        match self.receive(&mut plain, moment) {
            Err(alert @ Trouble::Tls(rustls::Error::AlertReceived(_))) => Some(alert),
            _ => None,
        }
    }

    /// Waits for more bytes from the peer.
    fn fill(&mut self, deadline: Deadline) -> std::result::Result<(), Trouble> {
        loop {
            let left = deadline.remaining().ok_or(Trouble::Deadline)?;
            limit(&mut self.read_limit, left, |limit| self.socket.set_read_timeout(limit))?;
            if self.wants_more {
                // The server may hold back the rest until it knows that the beginning has arrived.
                platform::acknowledge_quickly(&self.socket);
            }
            match self.socket.read(self.incoming.spare(1)?) {
                // A socket's time limit shows as an operation that would block; a signal starts it anew.
                Err(error) if is_pause(&error) => {}
                received => return self.take_in(received),
            }
        }
    }

    /// Judges what a read brought, which lies in the spare room of `incoming`.
    fn take_in(&mut self, received: io::Result<usize>) -> std::result::Result<(), Trouble> {
        self.wants_more = true;
        match received {
            Ok(0) => return Err(Trouble::Closed),
            Ok(count) => self.incoming.advance(count),
            Err(error) => return Err(Trouble::Socket(error)),
        }
        if !std::mem::replace(&mut self.heard, true) && !is_tls(self.incoming.filled()) {
            return Err(Trouble::NotTls);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.failed {
            self.bid_farewell();
        }
    }
}

/// Whether a server's first bytes can start a TLS record: a handshake or an alert, version 3.x.
fn is_tls(bytes: &[u8]) -> bool {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    matches!(bytes, [ALERT | HANDSHAKE] | [ALERT | HANDSHAKE, 3, ..])
}

/// Whether a read or write ended without a result: its time is up, or a signal came.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Gives a socket a time limit that ends with the deadline, or a little earlier: whoever waits then looks again.
fn limit(
    current: &mut Duration,
    left: Duration,
    set: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> std::result::Result<(), Trouble> {
    let wanted = left.min(WAKE);
    if *current > wanted || *current < wanted / 2 {
        set(Some(wanted)).map_err(Trouble::Socket)?;
        *current = wanted;
    }
    Ok(())
}

fn write_all(
    socket: &mut TcpStream,
    mut bytes: &[u8],
    deadline: Deadline,
    write_limit: &mut Duration,
) -> std::result::Result<(), Trouble> {
    while !bytes.is_empty() {
        let left = deadline.remaining().ok_or(Trouble::Deadline)?;
        limit(write_limit, left, |limit| socket.set_write_timeout(limit))?;
        match socket.write(bytes) {
            Ok(0) => return Err(Trouble::Closed),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(Trouble::Socket(error)),
        }
    }
    Ok(())
}

/// Moves what was decrypted to `plain`; returns how many more bytes of input that used up.
fn take(
    traffic: &mut ReadTraffic<'_, '_, ClientConnectionData>,
    plain: &mut Buffer,
) -> std::result::Result<usize, Trouble> {
    let mut discard = 0;
    while let Some(record) = traffic.next_record() {
        let record = record?;
        discard += record.discard;
        plain.append(record.payload)?;
    }
    Ok(discard)
}

/// Appends what `into` writes; it answers how much room it needs where there is too little.
fn put(
    outgoing: &mut Buffer,
    mut into: impl FnMut(&mut [u8]) -> std::result::Result<usize, Option<usize>>,
) -> std::result::Result<(), Trouble> {
    let mut wanted = 1 << 10;
    loop {
        match into(outgoing.spare(wanted)?) {
            Ok(length) => {
                outgoing.advance(length);
                return Ok(());
            }
            Err(Some(needed)) if needed > wanted => wanted = needed,
            Err(_) => return Err(Trouble::Tls(rustls::Error::EncryptError)),
        }
    }
}

fn room_to_encode(error: EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn room_to_encrypt(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}
