//! Free ports of the loopback interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Port 0 of the loopback interface: whichever is free.
pub fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A loopback address that was free a moment ago, for a program that has to be told one. Another process may take it
/// in between: see [`process::retried`](crate::process::retried).
pub fn free() -> io::Result<SocketAddr> {
    TcpListener::bind(any())?.local_addr()
}
