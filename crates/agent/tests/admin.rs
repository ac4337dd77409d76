//! The admin port from outside: raw sockets against an agent in this process.

// The two lines of the host are no unsafe code of its own.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use heapline::prometheus::IntCounter;
use heapline::{Agent, Config, Readiness};
use serde_json::Value;

heapline::use_jemalloc!();

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn start(pprof: bool, state_dir: &Path) -> Agent {
    Agent::start(Config {
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        memory_limit_bytes: Some(2 << 30),
        pprof: Some(pprof),
        state_dir: Some(state_dir.to_owned()),
        ..Config::default()
    })
    .expect("the agent starts")
}

fn request(agent: &Agent, method: &str, target: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(agent.admin_addr()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("sets");
    let length = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("ASCII");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Reply { status, head, body: answer[end + 4..].to_vec() }
}

fn get(agent: &Agent, target: &str) -> Reply {
    request(agent, "GET", target, "")
}

fn metric(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// One test, since allocation sampling is switched for the whole process.
#[test]
fn with_and_without_pprof() {
    // A new one: no earlier process is told of.
    let state_dir = tempfile::tempdir().expect("a directory");
    let agent = start(true, state_dir.path());
    routes_answer(&agent);
    methods_are_checked(&agent);
    metrics_agree_with_the_kernel(&agent);
    memory_adds_up(&agent);
    profiles_have_their_form(&agent);
    idle_connections_do_not_lock_others_out_for_good(&agent);
    drop(agent);

    let agent = start(false, state_dir.path());
    for path in ["", "heap", "allocs", "flamegraph", "cmdline", "symbol"] {
        let reply = get(&agent, &format!("/debug/pprof/{path}"));
        assert_eq!(reply.status, 404, "{path}");
    }
    let metrics = get(&agent, "/metrics").text();
    assert_eq!(metric(&metrics, "heap_profile_active"), Some(0.0));
    assert!(!get(&agent, "/").text().contains("debug/pprof"));
    let admin_addr = agent.admin_addr();
    drop(agent);
    assert!(TcpStream::connect(admin_addr).is_err(), "the port is free when the agent is dropped");
}

fn routes_answer(agent: &Agent) {
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/memory", "application/json"),
        ("/culprits", "application/json"),
        ("/doctor", "text/html; charset=utf-8"),
        ("/debug/pprof/flamegraph", "text/html; charset=utf-8"),
        ("/debug/pprof/", "text/html; charset=utf-8"),
        ("/debug/pprof/heap", "application/octet-stream"),
        ("/debug/pprof/allocs", "application/octet-stream"),
        ("/debug/pprof/cmdline", "text/plain; charset=utf-8"),
        ("/debug/pprof/symbol", "text/plain; charset=utf-8"),
        ("/livez", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
    ] {
        let reply = get(agent, path);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{path}");
        let head = request(agent, "HEAD", path, "");
        assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}");
    }
    for path in ["/nothing", "/debug/pprof/goroutine", "/metrics/"] {
        let reply = get(agent, path);
        assert_eq!((reply.status, reply.header("content-type")), (404, Some("text/plain; charset=utf-8")), "{path}");
    }
    let moved = get(agent, "/debug/pprof");
    assert_eq!((moved.status, moved.header("location")), (301, Some("pprof/")));
    let page = get(agent, "/").text();
    for shown in ["warming up", "Resident memory", "live heap", "Call sites that grow", "debug/pprof/flamegraph"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    agent.readiness().set(false);
    assert_eq!(get(agent, "/readyz").status, 503);
    assert_eq!(get(agent, "/livez").status, 200);
    agent.readiness().set(true);
    assert_eq!(get(agent, "/readyz").status, 200);
}

fn methods_are_checked(agent: &Agent) {
    for (path, allow) in [("/metrics", "GET, HEAD"), ("/debug/pprof/symbol", "GET, HEAD, POST")] {
        let reply = request(agent, "DELETE", path, "");
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{path}");
    }
    assert_eq!(request(agent, "POST", "/memory", "{}").status, 405);
}

fn metrics_agree_with_the_kernel(agent: &Agent) {
    let counter = IntCounter::new("host_things_total", "Things of the host.").expect("valid");
    counter.inc_by(3);
    agent.registry().register(Box::new(counter)).expect("registers");

    let text = get(agent, "/metrics").text();
    assert_eq!(metric(&text, "host_things_total"), Some(3.0));
    for name in [
        "jemalloc_allocated_bytes",
        "jemalloc_active_bytes",
        "jemalloc_metadata_bytes",
        "jemalloc_resident_bytes",
        "jemalloc_mapped_bytes",
        "jemalloc_retained_bytes",
        "memory_floor_bytes",
        "memory_time_to_limit_seconds",
        "memory_trajectory_degrees",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
        "heap_profile_lost_samples_total",
        "heap_profile_failures_total",
        "heap_profile_duration_seconds_count",
    ] {
        assert!(metric(&text, name).is_some(), "{name} in\n{text}");
    }
    assert_eq!(metric(&text, "memory_limit_bytes"), Some(2_147_483_648.0));
    assert_eq!(metric(&text, "heap_profile_active"), Some(1.0));
    assert_eq!(metric(&text, "heap_profile_sample_interval_bytes"), Some(524_288.0));
    assert_eq!(metric(&text, "memory_verdict{verdict=\"warming_up\"}"), Some(1.0));
    assert_eq!(metric(&text, "memory_verdict{verdict=\"climbing\"}"), Some(0.0));
    assert!(text.contains(&format!("heapline_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    assert!(!text.contains("memory_slope_bytes_per_second"), "no slope before there is one");

    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .expect("VmRSS");
    let rss = metric(&text, "process_resident_memory_bytes").expect("present");
    assert!((rss - kib * 1024.0).abs() < 4e6, "{rss} against {kib} KiB");
}

fn memory_adds_up(agent: &Agent) {
    let live_before = memory(agent)["equation"]["live_heap_bytes"].as_i64().expect("a number");
    let kept = vec![7_u8; 64 << 20];
    let memory = memory(agent);
    let rss = memory["rss_bytes"].as_i64().expect("a number");
    let terms = memory["equation"].as_object().expect("an object");
    assert_eq!(terms.len(), 4);
    assert_eq!(terms.values().map(|term| term.as_i64().expect("a number")).sum::<i64>(), rss);
    let live = memory["equation"]["live_heap_bytes"].as_i64().expect("a number");
    assert!((live - live_before - (64 << 20)).abs() < 4 << 20, "{live} after {live_before}");

    assert_eq!(memory["limit_bytes"], 2_u64 << 30);
    assert_eq!(memory["limit_source"], "configured");
    assert_eq!(memory["verdict"], "warming_up");
    assert_eq!(memory["slopes"], Value::Array(Vec::new()));
    assert_eq!(memory["trajectory_degrees"], 0.0);
    for null in ["time_to_limit_seconds", "previous"] {
        assert!(memory.as_object().expect("an object").contains_key(null) && memory[null].is_null(), "{null}");
    }
    assert!(memory["floor_bytes"].as_i64().is_some_and(|floor| floor > 0));
    assert!(memory["evidence"].as_str().is_some_and(|words| words.contains("too early")));

    // What stays allocated for ten whole seconds is in the floor: the sampler watches by itself.
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(&get(agent, "/metrics").text(), "memory_floor_bytes").is_none_or(|floor| floor < 64e6) {
        assert!(Instant::now() < deadline, "the floor never rose to what is kept");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    drop(kept);
}

fn memory(agent: &Agent) -> Value {
    serde_json::from_slice(&get(agent, "/memory").body).expect("JSON")
}

fn profiles_have_their_form(agent: &Agent) {
    let heap = get(agent, "/debug/pprof/heap");
    assert_eq!(&heap.body[..2], b"\x1f\x8b", "gzip");
    assert_eq!(heap.header("content-disposition"), Some("attachment; filename=\"heap\""));
    assert_eq!(heap.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(heap.header("content-encoding"), None);

    let text = get(agent, "/debug/pprof/heap?debug=1");
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(text.text().starts_with("heap profile: "), "{}", text.text());
    assert_eq!(get(agent, "/debug/pprof/allocs?seconds=1").status, 200);

    for wrong in ["seconds=0", "seconds=3601", "seconds=x", "seconds=1&debug=1", "debug=x"] {
        let reply = get(agent, &format!("/debug/pprof/heap?{wrong}"));
        assert_eq!((reply.status, reply.header("x-go-pprof")), (400, Some("1")), "{wrong}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    }

    let arguments = get(agent, "/debug/pprof/cmdline").text();
    assert_eq!(arguments.split('\0').map(str::to_owned).collect::<Vec<_>>(), std::env::args().collect::<Vec<_>>());

    let address = with_and_without_pprof as *const () as usize;
    assert_eq!(get(agent, "/debug/pprof/symbol").text(), "num_symbols: 1\n");
    assert_eq!(request(agent, "POST", "/debug/pprof/symbol", &format!("{address:#x}+junk")).status, 200);
    let huge = "0x1+".repeat(20_000);
    assert_eq!(request(agent, "POST", "/debug/pprof/symbol", &huge).status, 413);
}

fn idle_connections_do_not_lock_others_out_for_good(agent: &Agent) {
    let connect = |_| TcpStream::connect(agent.admin_addr()).expect("connects");
    let idle: Vec<_> = (0..heapline::admin::CONNECTIONS_MAX + 10).map(connect).collect();
    let mut waiting = connect(0);
    waiting.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("sends");
    drop(idle);
    let mut answer = String::new();
    waiting.set_read_timeout(Some(Duration::from_secs(30))).expect("sets");
    waiting.read_to_string(&mut answer).expect("answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let admin = taken.local_addr().expect("an address");
    let config = Config { admin: Some(admin), readiness: Some(Readiness::new(false)), ..Config::default() };
    let error = Agent::start(config).expect_err("refused");
    assert!(error.to_string().contains(&admin.to_string()), "{error}");
}
