//! The fault matrix: what a machine, a network and a neighbour do to an upload server in its life, each for real, and after
//! each the same questions: is every acknowledged file there with its event, is nothing torn visible, are the
//! temporary files gone, is the memory within its bound, is the processor at rest, and does the service go on when
//! the fault has gone?
//!
//! Elsewhere: `kill -9` in `upload_crash`, Kafka away, hung and restarted in `kafka`, bodies that end early in
//! `upload_bodies`.

mod clients;
mod clock;
mod descriptors;
mod disk;
mod flags;
mod outbox;
mod removed;
mod signals;

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{exposition, http};

type Outcome = Result<(), Box<dyn Error>>;

/// How long the service may take to notice that a fault has gone.
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);

/// How long one read or write may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection on which anything can be said.
struct Connection(TcpStream);

impl Connection {
    fn open(service: &Service) -> io::Result<Self> {
        let stream = TcpStream::connect(service.listen())?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// The head of a PUT of so many bytes.
    fn begin_put(&mut self, bytes: usize) -> io::Result<()> {
        write!(
            self.0,
            "PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n"
        )
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The status of the answer.
    fn status(&mut self) -> io::Result<u16> {
        let mut line = [0; 12];
        self.0.read_exact(&mut line)?;
        let status = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.parse().ok());
        status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no status line"))
    }
}

/// What `/metrics` says of the store.
fn store_available(service: &Service) -> Option<f64> {
    exposition::value(&http::get(service.admin(), "/metrics").ok()?.text(), "upload_store_available")
}

/// `/readyz` of the public port.
fn readiness(service: &Service) -> Option<u16> {
    service.ask("GET", "/readyz", &[]).ok().map(|answer| answer.status)
}
