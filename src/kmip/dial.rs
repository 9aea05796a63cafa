//! From a host name to a connected socket, within a deadline.

#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::deadline::Deadline;
use super::tls::Trouble;

/// Finds the addresses of one host.
///
/// The system's resolver knows no deadline, so a name is looked up by a thread of its own. There is one at a time:
/// whoever comes while it works waits for the same answer.
pub struct Resolver {
    host: String,
    port: u16,
    find: Find,
    look_up: Arc<LookUp>,
}

/// How a name is looked up.
pub type Find = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;
type Found = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

#[derive(Default)]
struct LookUp {
    progress: Mutex<Progress>,
    done: Condvar,
}

#[derive(Default)]
struct Progress {
    is_running: bool,
    /// How many look-ups are over.
    finished: u64,
    /// By the last of them.
    found: Option<Found>,
}

impl Resolver {
    pub fn new(host: &str, port: u16) -> Resolver {
        let find: Find = |host, port| (host, port).to_socket_addrs().map(Iterator::collect);
        Resolver { host: host.to_owned(), port, find, look_up: Arc::default() }
    }

    /// Looks names up in another way than the system's.
    pub fn by(self, find: Find) -> Resolver {
        Resolver { find, ..self }
    }

    /// The addresses, in the resolver's order and without repetition; at least one.
    pub fn resolve(&self, deadline: Deadline) -> Result<Vec<SocketAddr>, Trouble> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let found = self.await_answer(deadline)?;
        let found = found.map_err(|(kind, text)| Trouble::Socket(io::Error::new(kind, text)))?;
        let mut addresses = Vec::with_capacity(found.len());
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        match addresses.is_empty() {
            true => Err(Trouble::Socket(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))),
            false => Ok(addresses),
        }
    }

    fn await_answer(&self, deadline: Deadline) -> Result<Found, Trouble> {
        let mut progress = self.look_up.progress();
        let awaited = progress.finished + 1;
        if !progress.is_running {
            self.begin().map_err(Trouble::Socket)?;
            progress.is_running = true;
        }
        loop {
            match &progress.found {
                Some(found) if progress.finished >= awaited => return Ok(found.clone()),
                _ => {}
            }
            let left = deadline.remaining().ok_or(Trouble::Deadline)?;
            let waited = self.look_up.done.wait_timeout(progress, left);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn begin(&self) -> io::Result<()> {
        let (host, port, find, look_up) = (self.host.clone(), self.port, self.find, self.look_up.clone());
        let run = move || {
            let found = find(&host, port).map_err(|error| (error.kind(), error.to_string()));
            let mut progress = look_up.progress();
            progress.is_running = false;
            progress.finished += 1;
            progress.found = Some(found);
            look_up.done.notify_all();
        };
        std::thread::Builder::new().name("keystead-resolve".into()).spawn(run).map(drop)
    }
}

impl LookUp {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to one address.
pub fn connect(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, Trouble> {
    let left = deadline.remaining().ok_or(Trouble::Deadline)?;
    let socket = TcpStream::connect_timeout(&address, left).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Trouble::Deadline,
        _ => Trouble::Socket(error),
    })?;
    socket.set_nodelay(true).map_err(Trouble::Socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_resolver_that_hangs_holds_one_thread_however_many_ask() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static GATE: Mutex<()> = Mutex::new(());
        fn hang(_: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            drop(GATE.lock().unwrap());
            Ok(vec![SocketAddr::from(([192, 0, 2, 1], port)), SocketAddr::from(([192, 0, 2, 1], port))])
        }
        let resolver = Resolver::new("kms1.example.com", 5696).by(hang);
        let closed = GATE.lock().unwrap();
        for _ in 0..8 {
            let answer = resolver.resolve(Deadline::after(Duration::from_millis(5)));
            assert!(matches!(answer, Err(Trouble::Deadline)));
        }
        assert!(ASKED.load(Ordering::SeqCst) <= 1, "{ASKED:?}");
        let (answer, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (answer, resolver) = (answer.clone(), &resolver);
                scope.spawn(move || answer.send(resolver.resolve(Deadline::after(Duration::from_secs(60))).unwrap()));
            }
            drop(closed);
        });
        let expected = SocketAddr::from(([192, 0, 2, 1], 5696));
        assert!(answers.try_iter().all(|addresses| addresses == [expected]));
    }
}
