//! A host that says neither `use_jemalloc!` nor anything else: the agent works, and takes no profiles.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use heapline::{Agent, Config};

fn get(agent: &Agent, target: &str) -> String {
    let mut stream = TcpStream::connect(agent.admin_addr()).expect("connects");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answers");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_agent_answers() {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let agent = Agent::start(Config { admin, ..Config::default() }).expect("the agent starts");
    assert!(get(&agent, "/memory").starts_with("HTTP/1.1 200"));
    let metrics = get(&agent, "/metrics");
    assert!(metrics.contains("\nheap_profile_active 0\n"), "{metrics}");
    assert!(metrics.contains("\nprocess_resident_memory_bytes "), "{metrics}");
    // Linked in, jemalloc serves `malloc` and with it Rust's default allocator: its statistics are true.
    assert!(metrics.contains("\njemalloc_allocated_bytes "), "{metrics}");
    let heap = get(&agent, "/debug/pprof/heap");
    assert!(heap.starts_with("HTTP/1.1 404") && heap.contains("prof:true"), "{heap}");
}
