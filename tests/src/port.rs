//! Free ports of the loopback interface.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Port 0 of the loopback interface: whichever is free.
pub fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A loopback address that was free a moment ago, for a program that has to be told one. No two are the same: what is started
/// by two threads at once would find the other's port taken, and be taken for ready by what answers there. Another process may
/// take it in between: see [`process::retried`](crate::process::retried).
pub fn free() -> io::Result<SocketAddr> {
    static GIVEN: LazyLock<Mutex<HashSet<SocketAddr>>> = LazyLock::new(Mutex::default);
    loop {
        let address = TcpListener::bind(any())?.local_addr()?;
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address) {
            return Ok(address);
        }
    }
}
