//! The floor of the machine: a thread a connection reads a request's bytes and writes them to a file. Nothing but
//! `Content-Length` is looked at, so what it leaves on the table is the kernel's. The null server does not even write.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Read and write in pieces of this size; the best of 8 KiB to 1 MiB where this was tried.
const BUFFER_BYTES: usize = 256 * 1024;
/// A request's head must fit the first reads up to this size.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where the bytes go; `None`: nowhere.
pub(crate) struct Destination {
    pub dir: Option<PathBuf>,
    /// fdatasync each file before the answer.
    pub sync: bool,
}

/// Serves until the process is ended; prints the address it listens on first.
pub(crate) fn serve(destination: Destination) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    let shared = Arc::new((destination, AtomicU64::new(0)));
    for connection in listener.incoming() {
        let (connection, shared) = (connection?, Arc::clone(&shared));
        thread::spawn(move || {
            // A client that goes away ends its own connection only.
            let _ = answer_all(connection, &shared.0, &shared.1);
        });
    }
    Ok(())
}

fn answer_all(mut connection: TcpStream, destination: &Destination, next: &AtomicU64) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let mut filled = 0;
        let (head, mut left) = loop {
            let read = connection.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break (end + 4, content_length(&buffer[..end])?);
            }
            if filled > HEAD_BYTES_MAX {
                return Err(io::Error::other("the head is too long"));
            }
        };
        let file = destination.dir.as_ref().map(|dir| {
            let path = dir.join(next.fetch_add(1, Ordering::Relaxed).to_string());
            File::create_new(path)
        });
        let mut file = file.transpose()?;
        let mut write = |bytes: &[u8]| file.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
        write(&buffer[head..filled])?;
        left -= filled - head;
        while left > 0 {
            let want = left.min(BUFFER_BYTES);
            let read = connection.read(&mut buffer[..want])?;
            if read == 0 {
                return Ok(());
            }
            write(&buffer[..read])?;
            left -= read;
        }
        if let Some(file) = file.filter(|_| destination.sync) {
            file.sync_data()?;
        }
        connection.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")?;
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    String::from_utf8_lossy(head)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| io::Error::other("a request without Content-Length"))
}
