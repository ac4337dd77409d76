//! A stand-in for GrowthBook's feature endpoint: `GET /api/features/<client key>` with entity tags, and answers as bad as
//! one likes.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::port;

/// The client key that is answered; another gets 404.
pub const CLIENT_KEY: &str = "sdk-tests";
/// The flag of the contract.
pub const FLAG: &str = "request-parse-multipart-form";

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200, these features, and an entity tag that follows from them; 304 to who has it.
    Features(Value),
    /// These bytes.
    Raw(String),
    /// Nothing, for as long as the client stays.
    Silence,
    /// A body without end.
    Endless,
}

/// A server; it ends when dropped.
#[derive(Debug)]
pub struct GrowthBook {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    not_modified: AtomicUsize,
    asked: AtomicUsize,
    ended: AtomicBool,
}

impl Reply {
    /// The flag with this value.
    pub fn flag(value: impl Into<Value>) -> Self {
        Self::Features(json!({FLAG: {"defaultValue": value.into()}, "another": {"defaultValue": [1]}}))
    }

    /// 200 with this body.
    pub fn body(body: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
    }

    /// A status and an empty object.
    pub fn status(line: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"))
    }
}

impl GrowthBook {
    pub fn start(reply: Reply) -> io::Result<Self> {
        let listener = TcpListener::bind(port::any())?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            not_modified: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        thread::Builder::new().name("growthbook".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                if served.ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that gave up is no failure of the server's.
                let _ = serve(stream, &served);
            }
        })?;
        Ok(Self { address, shared })
    }

    /// For `--growthbook-url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn answer(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }

    /// How often it was asked, and how often 304 was the answer.
    pub fn asked(&self) -> (usize, usize) {
        (self.shared.asked.load(Ordering::Relaxed), self.shared.not_modified.load(Ordering::Relaxed))
    }
}

impl Drop for GrowthBook {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread; it may be gone already.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head)? > 0 {}
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let reply = shared.reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !head.starts_with(&format!("GET /api/features/{CLIENT_KEY} HTTP/1.1\r\n")) {
        return stream.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    match reply {
        Reply::Features(features) => {
            let body =
                json!({"status": 200, "features": features, "dateUpdated": "2025-01-01T00:00:00.000Z"}).to_string();
            let etag = format!("\"{}\"", &crate::digest::sha256_hex(body.as_bytes())[..16]);
            let known = head.lines().any(|line| line.to_ascii_lowercase() == format!("if-none-match: {etag}"));
            if known {
                shared.not_modified.fetch_add(1, Ordering::Relaxed);
                return write!(
                    stream.get_mut(),
                    "HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\nConnection: close\r\n\r\n"
                );
            }
            let length = body.len();
            write!(
                stream.get_mut(),
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: {etag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        Reply::Raw(answer) => stream.get_mut().write_all(answer.as_bytes()),
        Reply::Silence => stream.read_line(&mut String::new()).map(drop),
        Reply::Endless => {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"features\": {\"")?;
            loop {
                stream.get_mut().write_all(&[b'x'; 64 << 10])?;
            }
        }
    }
}
