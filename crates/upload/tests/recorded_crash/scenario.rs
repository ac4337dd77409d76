//! What the server is asked while it is recorded: forms of one and of several files, raw files, one whose metadata needs a
//! file of its own, deletions, two clients at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::recording::Recording;

pub(crate) const UPLOADS: usize = 10;

const TOKEN: &str = "t";
const CALLS: &str =
    "openat,mkdir,mkdirat,write,writev,pwrite64,sendto,renameat,renameat2,unlinkat,fsync,fdatasync,ftruncate,fsetxattr";

/// `None` where nothing can be recorded here.
pub(crate) fn recorded() -> Option<Recording> {
    let directory = tempfile::tempdir().unwrap();
    let (store, trace) = (directory.path().join("store"), directory.path().join("trace"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-yy", "-xx", "-s", "4000000", "-e", &format!("trace={CALLS}"), "-o"]).arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_heapline-upload")).arg("--store").arg(&store);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env("HEAPLINE_TOKEN", TOKEN).env("HEAPLINE_STATE", directory.path().join("state")).env("PPROF", "false");
    let mut strace = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(strace.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Some(address) = line.split_once(" on http://").and_then(|(_, rest)| rest.split_once(',')) else {
        // It may not trace here.
        strace.wait().unwrap();
        return None;
    };
    play(address.0.parse().unwrap());
    // The server is its only child; it ends with it.
    let id = strace.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    for child in children.split_whitespace() {
        kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    strace.wait().unwrap();
    Some(Recording::read(&std::fs::read_to_string(&trace).unwrap(), &store))
}

fn play(address: SocketAddr) {
    let first = upload(address, "POST /upload", &[("a", "a.txt", 10)]);
    upload(address, "POST /upload", &[("a", "a", 5_000), ("b", "b", 1), ("c", "c", 0)]);
    upload(address, "PUT /files/raw", &[("", "", 70_000)]);
    // Longer than an extended attribute: a sidecar.
    let long = upload(address, "POST /upload", &[(&"%22".repeat(1000), "long", 300), ("b", "b", 300)]);
    delete(address, &first);
    thread::scope(|scope| {
        for client in 0..2 {
            scope.spawn(move || {
                upload(address, "POST /upload", &[("a", "a", 2_000 + client), ("b", "b", 20 + client)]);
                upload(address, "PUT /files/raw", &[("", "", 400 + client)]);
            });
        }
    });
    delete(address, &long);
    upload(address, "PUT /files/raw", &[("", "", 100)]);
    upload(address, "POST /upload", &[("a", "a", 50), ("b", "b", 60)]);
}

/// Name of the field, filename and length of each file; the first one's id.
fn upload(address: SocketAddr, line: &str, files: &[(&str, &str, usize)]) -> String {
    let content = |bytes: usize| -> Vec<u8> { (0..bytes).map(|n| (n * 7 + bytes) as u8).collect() };
    let mut body = Vec::new();
    for (field, filename, bytes) in files {
        if line.starts_with("PUT") {
            body = content(*bytes);
            continue;
        }
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{filename}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&content(*bytes));
        body.extend_from_slice(b"\r\n");
    }
    if line.starts_with("POST") {
        body.extend_from_slice(b"--b--\r\n");
    }
    let answer = ask(address, line, &body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (_, id) = answer.split_once("\"id\":\"").unwrap();
    id.split_once('"').unwrap().0.to_owned()
}

fn delete(address: SocketAddr, id: &str) {
    assert!(ask(address, &format!("DELETE /files/{id}"), &[]).starts_with("HTTP/1.1 204"));
}

fn ask(address: SocketAddr, line: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
