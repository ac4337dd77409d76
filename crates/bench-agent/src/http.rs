//! Requests to the admin server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Asks on a connection of its own; the bytes of the answer.
///
/// # Errors
///
/// No connection, or another status than 200.
pub fn get(admin: SocketAddr, target: &str) -> io::Result<usize> {
    request(admin, &format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
}

/// As [`get`].
///
/// # Errors
///
/// As [`get`].
pub fn post(admin: SocketAddr, target: &str, body: &str) -> io::Result<usize> {
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    request(admin, &(head + body))
}

fn request(admin: SocketAddr, text: &str) -> io::Result<usize> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") { Ok(answer.len()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
