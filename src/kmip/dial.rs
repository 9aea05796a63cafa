//! From a host name to a connected socket, within a deadline.

#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;

use super::deadline::Deadline;
use super::tls::Trouble;

/// The addresses of a host, in the resolver's order and without repetition.
///
/// The system's resolver knows no deadline, so a name is looked up by a thread of its own, which is left
/// behind when it takes too long.
pub fn resolve(host: &str, port: u16, deadline: Deadline) -> Result<Vec<SocketAddr>, Trouble> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let left = deadline.remaining().ok_or(Trouble::Deadline)?;
    let (answer, answers) = mpsc::channel();
    let name = host.to_owned();
    std::thread::Builder::new()
        .name("keystead-resolve".into())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(|found| found.collect::<Vec<_>>());
            // Nobody waits any more after the deadline.
            let _ = answer.send(found);
        })
        .map_err(Trouble::Socket)?;
    let found = answers.recv_timeout(left).map_err(|_| Trouble::Deadline)?.map_err(Trouble::Socket)?;
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

/// Connects to one address, leaving its share of the time to the `others` that come after it.
pub fn connect(address: SocketAddr, others: usize, deadline: Deadline) -> Result<TcpStream, Trouble> {
    let left = deadline.remaining().ok_or(Trouble::Deadline)?;
    let share = left / (others as u32 + 1);
    let socket = TcpStream::connect_timeout(&address, share).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Trouble::Deadline,
        _ => Trouble::Socket(error),
    })?;
    socket.set_nodelay(true).map_err(Trouble::Socket)?;
    Ok(socket)
}
