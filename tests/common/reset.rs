//! A connection that is aborted instead of closed.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Sends a reset at once (tcp(7): connecting an open socket to no address aborts its connection).
pub fn reset(socket: &TcpStream) {
    let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    let size = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address is valid for the call, and has the size that is told.
    let outcome = unsafe { libc::connect(socket.as_raw_fd(), &nowhere, size) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}
