//! The floor of the machine: a thread a connection reads a request's bytes and writes them to a file. Nothing but
//! `Content-Length` is looked at, so what it leaves on the table is the kernel's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Read and write in pieces of this size; the best of 8 KiB to 1 MiB where this was tried.
const BUFFER_BYTES: usize = 256 * 1024;
/// A request's head must fit the first reads up to this size.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Serves until the process is ended; prints the address it listens on first.
pub(crate) fn serve(dir: &Path, sync: bool) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    let dir: Arc<Path> = dir.into();
    let next = Arc::new(AtomicU64::new(0));
    for connection in listener.incoming() {
        let (connection, dir, next) = (connection?, Arc::clone(&dir), Arc::clone(&next));
        thread::spawn(move || {
            // A client that goes away ends its own connection only.
            let _ = answer_all(connection, &dir, &next, sync);
        });
    }
    Ok(())
}

fn answer_all(mut connection: TcpStream, dir: &Path, next: &AtomicU64, sync: bool) -> io::Result<()> {
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
        let path = dir.join(next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut file = File::create_new(&path)?;
        file.write_all(&buffer[head..filled])?;
        left -= filled - head;
        while left > 0 {
            let want = left.min(BUFFER_BYTES);
            let read = connection.read(&mut buffer[..want])?;
            if read == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..read])?;
            left -= read;
        }
        if sync {
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
