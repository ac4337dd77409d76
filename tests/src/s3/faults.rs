//! A proxy that spoils what passes, as told.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{deadline, port};

/// Longer than any head: what is read in one piece of this length is content.
const CONTENT_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES: usize = 64 << 10;
const DELAY: Duration = Duration::from_millis(50);

/// What happens to requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    None,
    /// Each request is answered with 503.
    Unavailable,
    /// Content on its way to the store loses a bit.
    DamageUp,
    /// Content on its way back loses a bit.
    DamageDown,
    /// Each piece waits.
    Slow,
    /// Connections are closed at once.
    Gone,
    /// The next write of a commit record is refused for a conflict, once.
    ConflictOnce,
    /// From the next write of a commit record on as `Unavailable`.
    UnavailableFromRecord,
}

/// Ends with its owner; connections end with their ends.
#[derive(Debug)]
pub struct Faults {
    address: SocketAddr,
    fault: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
}

impl Faults {
    pub fn before(store: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(port::any())?;
        let address = listener.local_addr()?;
        let (fault, stop) = (Arc::new(AtomicU8::new(Fault::None as u8)), Arc::new(AtomicBool::new(false)));
        let (shared, stopping) = (Arc::clone(&fault), Arc::clone(&stop));
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), fault) = (client, Arc::clone(&shared)) else { continue };
                // An error is the connection's end, which both ends see.
                thread::spawn(move || drop(serve(client, store, &fault)));
            }
        });
        Ok(Self { address, fault, stop })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::Relaxed);
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut client: TcpStream, store: SocketAddr, fault: &Arc<AtomicU8>) -> io::Result<()> {
    if is(fault, Fault::Gone) {
        return Ok(());
    }
    let mut server = TcpStream::connect(store)?;
    let (mut answers, mut to_client, back) = (server.try_clone()?, client.try_clone()?, Arc::clone(fault));
    thread::spawn(move || drop(pass(&mut answers, &mut to_client, &back, Fault::DamageDown)));
    pass(&mut client, &mut server, fault, Fault::DamageUp)
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, fault: &AtomicU8, damage: Fault) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk)?;
        if bytes == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut refusal = None;
        if is_record(&chunk[..bytes]) {
            if is(fault, Fault::ConflictOnce) {
                fault.store(Fault::None as u8, Ordering::Relaxed);
                refusal = Some("409 Conflict");
            } else if is(fault, Fault::UnavailableFromRecord) {
                fault.store(Fault::Unavailable as u8, Ordering::Relaxed);
            }
        }
        if is(fault, Fault::Unavailable) && damage == Fault::DamageUp {
            refusal = Some("503 Slow Down");
        }
        if let Some(status) = refusal {
            write!(from, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            from.shutdown(Shutdown::Both)?;
            return to.shutdown(Shutdown::Both);
        }
        if is(fault, Fault::Gone) {
            from.shutdown(Shutdown::Both)?;
            return to.shutdown(Shutdown::Both);
        }
        if is(fault, damage) && bytes >= CONTENT_BYTES_MIN {
            chunk[bytes - 1] ^= 1;
        }
        if is(fault, Fault::Slow) {
            deadline::pace(Instant::now() + DELAY, || false);
        }
        to.write_all(&chunk[..bytes])?;
    }
}

/// Whether a piece begins with the head of a commit record's write.
fn is_record(piece: &[u8]) -> bool {
    let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.starts_with(b"PUT ") && String::from_utf8_lossy(line).contains("/outbox/")
}

fn is(fault: &AtomicU8, wanted: Fault) -> bool {
    fault.load(Ordering::Relaxed) == wanted as u8
}
