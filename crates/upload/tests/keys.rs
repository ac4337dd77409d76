//! What an Idempotency-Key stands for outlives the process, killed or not: the binary is killed between a request and
//! its repetition.
//!
//! The story behind it: keys that live in memory, so that the retry after a crash, which is the one that matters, stores
//! the file twice.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_heapline-upload"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store"])
            .arg(dir)
            .env("HEAPLINE_TOKEN", "t")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_once(" on http://").unwrap().1.split_once(',').unwrap().0.to_owned();
        Self { process, address }
    }

    fn put(&self, key: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "PUT /files/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer t\r\n\
             Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn a_key_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (first, second) = (server.put("one", "abc"), server.put("two", "def"));
    assert!(first.starts_with("HTTP/1.1 201") && second.starts_with("HTTP/1.1 201"), "{first}{second}");
    drop(server);
    for _ in 0..2 {
        let server = Server::start(dir.path());
        assert_eq!(body(&server.put("one", "abc")), body(&first));
        assert_eq!(body(&server.put("two", "def")), body(&second));
        assert!(server.put("two", "other").starts_with("HTTP/1.1 422"));
    }
    assert_eq!(std::fs::read_dir(dir.path().join("files")).unwrap().count(), 2);
}

/// The process ended between the promise and the commit: the key stands for a file that is not there, and the upload
/// that comes again is the first.
#[test]
fn a_promise_that_was_not_kept_binds_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let first = server.put("one", "abc");
    drop(server);
    let log = dir.path().join("outbox/keys.jsonl");
    let promised = std::fs::read_to_string(&log).unwrap().replace("\"committed\":true", "\"committed\":false");
    std::fs::write(&log, promised).unwrap();
    for entry in std::fs::read_dir(dir.path().join("files")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let server = Server::start(dir.path());
    let again = server.put("one", "abc");
    assert!(again.starts_with("HTTP/1.1 201") && body(&again) != body(&first), "{again}");
    assert_eq!(body(&server.put("one", "abc")), body(&again));
}
