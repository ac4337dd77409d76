//! A server that speaks as much of HTTP as GrowthBook's feature endpoint needs, and misbehaves on demand.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;

#[derive(Clone)]
pub(crate) enum Reply {
    /// An entity tag, where there is one, and a whole answer.
    Whole(Option<&'static str>, String),
    /// Nothing, for as long as the client stays.
    Silence,
    /// A body without end.
    Endless,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    reply: Option<Reply>,
    last_request: String,
    not_modified: usize,
}

impl Reply {
    pub(crate) fn ok(body: &Value) -> Self {
        Self::body(body.to_string())
    }

    pub(crate) fn body(body: String) -> Self {
        Self::Whole(None, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    pub(crate) fn tagged(etag: &'static str, body: &Value) -> Self {
        let body = body.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}\r\n\r\n", body.len());
        Self::Whole(Some(etag), head + &body)
    }

    pub(crate) fn raw(answer: &str) -> Self {
        Self::Whole(None, answer.to_owned())
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(_, answer) => write!(f, "{:?}", &answer[..answer.len().min(200)]),
            Self::Silence => f.write_str("silence"),
            Self::Endless => f.write_str("a body without end"),
        }
    }
}

impl Server {
    pub(crate) fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { reply: Some(reply), last_request: String::new(), not_modified: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if !serve(stream.unwrap(), &shared) {
                    return;
                }
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    pub(crate) fn answer(&self, reply: Reply) {
        self.state.lock().unwrap().reply = Some(reply);
    }

    pub(crate) fn last_request(&self) -> String {
        self.state.lock().unwrap().last_request.clone()
    }

    pub(crate) fn not_modified(&self) -> usize {
        self.state.lock().unwrap().not_modified
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.lock().unwrap().reply = None;
        // Wakes the thread; it may be awake already.
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// `false` once the server is to end.
fn serve(stream: TcpStream, state: &Mutex<State>) -> bool {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    // A client that gave up is no failure of the test's.
    while !head.ends_with("\r\n\r\n") && matches!(stream.read_line(&mut head), Ok(1..)) {}
    let reply = {
        let mut state = state.lock().unwrap();
        let Some(reply) = state.reply.clone() else { return false };
        let known = head.lines().find_map(|line| line.strip_prefix("if-none-match: ").map(str::to_owned));
        state.last_request = head;
        match reply {
            Reply::Whole(Some(etag), _) if known.as_deref() == Some(etag) => {
                state.not_modified += 1;
                Reply::raw(&format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n"))
            }
            other => other,
        }
    };
    match reply {
        Reply::Whole(_, answer) => drop(stream.get_mut().write_all(answer.as_bytes())),
        Reply::Silence => drop(stream.read_line(&mut String::new())),
        Reply::Endless => {
            let mut written = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"features\": {\"");
            while written.is_ok() {
                written = stream.get_mut().write_all(&[b'x'; 64 << 10]);
            }
        }
    }
    true
}
