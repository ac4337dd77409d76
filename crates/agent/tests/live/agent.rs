//! The agent in this process, and a client of its admin port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use heapline::{Agent, Config};

use crate::pprof::Decoded;

pub(crate) fn start(state: &Path) -> Agent {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config { admin, pprof: Some(true), state_dir: Some(state.to_owned()), ..Config::default() };
    Agent::start(config).expect("the agent starts")
}

pub(crate) fn get(admin: SocketAddr, target: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(admin).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("sets");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let status = str::from_utf8(&answer[9..12]).ok().and_then(|code| code.parse().ok()).expect("a status");
    (status, answer.split_off(end + 4))
}

pub(crate) fn profile(agent: &Agent, target: &str) -> Decoded {
    let (status, body) = get(agent.admin_addr(), target);
    assert_eq!(status, 200, "{target}: {}", String::from_utf8_lossy(&body));
    Decoded::from_gzip(&body)
}
