//! Weather on the way to a real key server: a proxy below TLS that cuts, stalls and forgets connections.

#![allow(dead_code)] // Each test uses a part of it.

#[path = "reset.rs"]
mod reset;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use reset::reset;

/// What happens to the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Fair,
    /// After so many more bytes of replies every connection is closed; then the weather is what `then` says.
    Cut { after: usize, then: Then },
    /// Nothing of a reply passes any more, and no connection ends: requests arrive, and answers do not.
    Silence,
    /// Nothing passes in either direction, and no connection ends: requests do not arrive.
    Blocked,
    /// Whoever connects is sent away.
    Down,
}

/// The weather after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Fair,
    Down,
    /// In place of the cut, too: no connection is closed.
    Silence,
    /// As for silence; and if the cut falls between two replies, the request between them does not arrive.
    Blocked,
}

/// How a server ends connections that were idle for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Fin,
    /// At once.
    Reset,
    /// Without a word: it answers the next bytes with a reset.
    Silent,
    /// As a firewall that forgot the connection: nothing ever comes back.
    Forgotten,
}

/// Listens on loopback until it is dropped.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    weather: Mutex<Weather>,
    links: Mutex<Vec<Arc<Link>>>,
    /// Bytes that servers have sent, whether or not they passed, and how many of them had come when a request did.
    replied: AtomicUsize,
    boundaries: Mutex<Vec<usize>>,
    accepted: AtomicUsize,
    ended: AtomicBool,
}

/// One connection: both of its sockets.
struct Link {
    client: TcpStream,
    server: TcpStream,
    ending: Mutex<Option<Ending>>,
}

impl Proxy {
    pub fn start(upstream_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from(([127, 0, 0, 1], upstream_port)),
            weather: Mutex::new(Weather::Fair),
            links: Mutex::default(),
            replied: AtomicUsize::new(0),
            boundaries: Mutex::default(),
            accepted: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let ours = shared.clone();
        let listener = std::thread::spawn(move || ours.listen(&listener));
        Proxy { port, shared, listener: Some(listener) }
    }

    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
        if weather == Weather::Down {
            self.shared.close_all();
        }
    }

    /// Whether the cut has come about.
    pub fn has_cut(&self) -> bool {
        !matches!(*self.shared.weather.lock().unwrap(), Weather::Cut { .. })
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The sizes of the replies to the requests of `calls`, which must use a connection that stands already.
    pub fn reply_sizes(&self, calls: impl FnOnce()) -> Vec<usize> {
        let start = self.shared.replied.load(Ordering::SeqCst);
        self.shared.boundaries.lock().unwrap().clear();
        calls();
        let mut boundaries = std::mem::take(&mut *self.shared.boundaries.lock().unwrap());
        boundaries.push(self.shared.replied.load(Ordering::SeqCst));
        boundaries.retain(|&boundary| boundary > start);
        boundaries.dedup();
        let starts = std::iter::once(start).chain(boundaries.iter().copied());
        boundaries.iter().zip(starts).map(|(end, start)| end - start).collect()
    }

    /// Ends every connection that stands now; new ones are not concerned.
    pub fn end(&self, how: Ending) {
        for link in self.shared.links.lock().unwrap().drain(..) {
            link.end(how);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.close_all();
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // Wakes the listener.
        self.listener.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn listen(self: &Arc<Shared>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let client = client.unwrap();
            if *self.weather.lock().unwrap() == Weather::Down {
                continue;
            }
            self.accepted.fetch_add(1, Ordering::SeqCst);
            let Ok(server) = TcpStream::connect(self.upstream) else { continue };
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let link = Arc::new(Link { client, server, ending: Mutex::new(None) });
            self.links.lock().unwrap().push(link.clone());
            let (requests, replies) = ((self.clone(), link.clone()), (self.clone(), link));
            std::thread::spawn(move || requests.0.pass_requests(&requests.1));
            std::thread::spawn(move || replies.0.pass_replies(&replies.1));
        }
    }

    fn pass_requests(&self, link: &Link) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = (&link.client).read(&mut bytes) {
            match *link.ending.lock().unwrap() {
                Some(Ending::Forgotten) => continue,
                Some(_) => return reset(&link.client),
                None => {}
            }
            if self.blocks() {
                continue;
            }
            self.boundaries.lock().unwrap().push(self.replied.load(Ordering::SeqCst));
            if (&link.server).write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = link.server.shutdown(Shutdown::Write);
    }

    /// Whether requests do not arrive, from this one on at the latest.
    fn blocks(&self) -> bool {
        let mut weather = self.weather.lock().unwrap();
        let blocks = matches!(*weather, Weather::Blocked | Weather::Cut { after: 0, then: Then::Blocked });
        if blocks {
            *weather = Weather::Blocked;
        }
        blocks
    }

    fn pass_replies(&self, link: &Link) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = (&link.server).read(&mut bytes) {
            self.replied.fetch_add(count, Ordering::SeqCst);
            let mut weather = self.weather.lock().unwrap();
            let passes = match *weather {
                Weather::Fair => count,
                Weather::Silence | Weather::Blocked => 0,
                Weather::Down => break,
                Weather::Cut { after, then } if count > after => {
                    let _ = (&link.client).write_all(&bytes[..after]);
                    *weather = match then {
                        Then::Fair => Weather::Fair,
                        Then::Down => Weather::Down,
                        Then::Silence => Weather::Silence,
                        Then::Blocked => Weather::Blocked,
                    };
                    if matches!(then, Then::Silence | Then::Blocked) {
                        continue;
                    }
                    drop(weather);
                    self.close_all();
                    break;
                }
                Weather::Cut { after, then } => {
                    *weather = Weather::Cut { after: after - count, then };
                    count
                }
            };
            drop(weather);
            if (&link.client).write_all(&bytes[..passes]).is_err() {
                break;
            }
        }
        if link.ending.lock().unwrap().is_none() {
            link.close();
        }
    }

    fn close_all(&self) {
        self.links.lock().unwrap().drain(..).for_each(|link| link.close());
    }
}

impl Link {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn end(&self, how: Ending) {
        *self.ending.lock().unwrap() = Some(how);
        match how {
            Ending::Fin => self.close(),
            Ending::Reset => reset(&self.client),
            Ending::Silent | Ending::Forgotten => {}
        }
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
