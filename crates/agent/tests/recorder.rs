//! The flight recorder of this very process as a client sees it: profiles on request, comparisons with them, and what the
//! next process finds after each way to end.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use heapline::{Agent, Config};
use serde_json::Value;

#[path = "profile/pprof.rs"]
mod pprof;

use pprof::Decoded;

heapline::use_jemalloc!();

const CHILD: &str = "RECORDER_CHILD";

fn start(state: &Path) -> Agent {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config { admin, pprof: Some(true), state_dir: Some(state.to_owned()), ..Config::default() };
    Agent::start(config).expect("the agent starts")
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn request(agent: &Agent, method: &str, target: &str) -> Reply {
    let mut stream = TcpStream::connect(agent.admin_addr()).expect("connects");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("sets");
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("ASCII").to_lowercase();
    let status = head[9..12].parse().expect("a status");
    Reply { status, head, body: answer.split_off(end + 4) }
}

fn get(agent: &Agent, target: &str) -> Vec<u8> {
    let reply = request(agent, "GET", target);
    assert_eq!(reply.status, 200, "{target}: {}", String::from_utf8_lossy(&reply.body));
    reply.body
}

fn json(agent: &Agent, target: &str) -> Value {
    serde_json::from_slice(&get(agent, target)).expect("JSON")
}

/// Live bytes of stacks that a function of this file is in.
fn bytes_of(profile: &Decoded, function: &str) -> i64 {
    let column = profile.sample_types.iter().position(|name| name == "inuse_space/bytes").expect("a heap");
    let of_it = profile.samples.iter().filter(|sample| profile.functions(sample).contains(&function));
    of_it.map(|sample| sample.values[column]).sum()
}

#[inline(never)]
fn remember(kept: &mut Vec<Vec<u8>>, mib: usize) {
    for _ in 0..mib * 64 {
        kept.push(black_box(vec![1; 16 << 10]));
    }
    black_box(kept);
}

#[inline(never)]
fn steady(kept: &mut Vec<Vec<u8>>) {
    for _ in 0..640 {
        kept.push(black_box(vec![2; 16 << 10]));
    }
    black_box(kept);
}

#[test]
fn what_grew_since_a_recorded_profile_is_told() {
    if role().is_some() {
        return;
    }
    let state = tempfile::tempdir().expect("a directory");
    let agent = start(state.path());
    let (mut kept, mut other) = (Vec::new(), Vec::new());
    steady(&mut other);
    remember(&mut kept, 20);
    let recorded = request(&agent, "POST", "/profiles");
    assert_eq!(recorded.status, 201, "{}", String::from_utf8_lossy(&recorded.body));
    let entry: Value = serde_json::from_slice(&recorded.body).expect("JSON");
    let id = entry["id"].as_str().expect("an id").to_owned();
    assert!(recorded.head.contains(&format!("location: /profiles/{id}")), "{}", recorded.head);
    let listed = json(&agent, "/profiles");
    let found = listed.as_array().and_then(|list| list.iter().find(|found| found["id"] == id.as_str()));
    let found = found.expect("it is in the list");
    assert_eq!((&found["reason"], &found["process"]), (&"request".into(), &"current".into()), "{found}");
    assert!(found["taken_unix_seconds"].as_f64().is_some_and(|seconds| seconds > 1.7e9), "{found}");
    let content = get(&agent, &format!("/profiles/{id}"));
    assert_eq!(found["bytes"].as_u64(), Some(content.len() as u64));
    let base = Decoded::from_gzip(&content);
    assert_eq!(base.sample_types.len(), 4);
    let held = bytes_of(&base, "recorder::remember");
    assert!((held - (20 << 20)).abs() < 9 << 20, "{held}");

    remember(&mut kept, 40);
    other.truncate(100);
    for kind in ["heap", "allocs"] {
        let grown = Decoded::from_gzip(&get(&agent, &format!("/debug/pprof/{kind}?base={id}")));
        let (remembered, forgotten) = (bytes_of(&grown, "recorder::remember"), bytes_of(&grown, "recorder::steady"));
        assert!((remembered - (40 << 20)).abs() < 14 << 20, "{remembered}");
        assert!(forgotten < -(1 << 20), "{forgotten}");
        assert!(grown.duration_nanos > 0);
    }
    let culprits = json(&agent, &format!("/culprits?base={id}"));
    assert_eq!(culprits["culprits"][0]["function"], "recorder::remember", "{culprits:#}");
    let growth = culprits["culprits"][0]["growth_bytes"].as_f64().expect("a number");
    assert!((growth / f64::from(40 << 20) - 1.0).abs() < 0.35, "{growth}");
    flame_graphs_compare(&agent, &id);
    what_is_not_there_is_refused(&agent, &id);
    black_box((kept, other));
}

fn flame_graphs_compare(agent: &Agent, id: &str) {
    let text = |target: &str| String::from_utf8(get(agent, target)).expect("UTF-8");
    let page = text(&format!("/debug/pprof/flamegraph?base={id}"));
    assert!(page.contains("\"changes\":[") && page.contains("recorder::remember"));
    let svg = text(&format!("/debug/pprof/flamegraph?base={id}&format=svg"));
    assert!(svg.contains("#d64541") && svg.contains("recorder::remember") && !svg.contains("<script"));
    let folded = text(&format!("/debug/pprof/flamegraph?base={id}&format=folded"));
    let line = folded.lines().find(|line| line.contains("recorder::remember ")).expect("the stack");
    let mut numbers = line.rsplit(' ').map(|number| number.parse::<u64>().expect("a number"));
    let (after, before) = (numbers.next().expect("after"), numbers.next().expect("before"));
    assert!(after > before + (20 << 20), "{line}");
}

fn what_is_not_there_is_refused(agent: &Agent, id: &str) {
    for path in ["x", "", "..", "../ended.json", "%2e%2e/ended.json", "../../../../etc/passwd", &format!("{id}/")] {
        assert_eq!(request(agent, "GET", &format!("/profiles/{path}")).status, 404, "{path}");
    }
    for target in [
        "/culprits?base=x",
        "/debug/pprof/heap?base=x",
        "/debug/pprof/flamegraph?base=../x",
        &format!("/debug/pprof/heap?base={id}&seconds=1"),
        &format!("/debug/pprof/heap?base={id}&debug=1"),
        &format!("/debug/pprof/flamegraph?base={id}&seconds=1"),
        &format!("/culprits?base={id}&since=1m"),
    ] {
        assert_eq!(request(agent, "GET", target).status, 400, "{target}");
    }
    assert_eq!(request(agent, "DELETE", "/profiles").status, 405);
    assert_eq!(request(agent, "POST", &format!("/profiles/{id}")).status, 405);
}

/// Killed when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn role() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Runs a child that holds 30 MiB in `remember`, records a profile, and ends in its own way.
fn child(role: &str, state: &Path) -> Running {
    let mut child = Running(
        Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "each_end_is_told_by_the_next_process", "--nocapture", "--test-threads=1"])
            .env(CHILD, role)
            .env("HEAPLINE_STATE", state)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child"),
    );
    let lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.contains("recorded"));
    assert!(ready, "{role}: the child tells");
    child
}

fn in_child(role: &str) {
    let agent = Agent::start(Config { admin: Some(([127, 0, 0, 1], 0).into()), ..Config::default() });
    let agent = agent.expect("the agent starts");
    let mut kept = Vec::new();
    remember(&mut kept, 30);
    assert_eq!(request(&agent, "POST", "/profiles").status, 201);
    println!("recorded");
    black_box(&kept);
    match role {
        "drop" => return,
        // As a host that keeps it in a static does.
        _ => std::mem::forget(agent),
    }
    match role {
        "abort" => std::process::abort(),
        "exit" => std::thread::spawn(|| std::process::exit(3)).join().expect("it ends before"),
        "kill" => loop {
            std::thread::park();
        },
        // Returns, and the harness exits.
        _ => {}
    }
}

#[test]
fn each_end_is_told_by_the_next_process() {
    if let Some(role) = role() {
        in_child(&role);
        std::process::exit(0);
    }
    let ends = [("drop", "clean"), ("return", "clean"), ("exit", "clean"), ("abort", "signal"), ("kill", "signal")];
    let state = tempfile::tempdir().expect("a directory");
    for (place, (role, _)) in ends.iter().enumerate() {
        let mut running = child(role, &state.path().join(place.to_string()));
        if *role != "kill" {
            running.0.wait().expect("ends");
        }
    }
    for (place, (role, end)) in ends.iter().enumerate() {
        let agent = start(&state.path().join(place.to_string()));
        let previous = json(&agent, "/memory")["previous"].clone();
        assert_eq!(previous["end"], *end, "{role}: {previous}");
        let metrics = String::from_utf8(get(&agent, "/metrics")).expect("text");
        assert!(metrics.contains(&format!("memory_restarts_total{{end=\"{end}\"}} 1")), "{role}: {metrics}");
        let kept = json(&agent, "/profiles");
        let kept = kept.as_array().expect("a list");
        assert!(kept.iter().any(|found| found["reason"] == "request" && found["process"] == "previous"), "{kept:?}");
        let last = json(&agent, "/memory")["previous"]["last_profile"].as_str().expect("a path").to_owned();
        let heap = Decoded::from_gzip(&get(&agent, &last));
        let held = bytes_of(&heap, "recorder::remember");
        assert!((held - (30 << 20)).abs() < 12 << 20, "{role}: {held}");
        // Another process's addresses are others: what was there is taken off by name.
        let id = kept[0]["id"].as_str().expect("an id");
        let gone = Decoded::from_gzip(&get(&agent, &format!("/debug/pprof/heap?base={id}")));
        assert!(bytes_of(&gone, "recorder::remember") < -(18 << 20), "{role}");
        let graph = get(&agent, &format!("/debug/pprof/flamegraph?base={id}&format=svg"));
        assert!(String::from_utf8(graph).expect("UTF-8").contains("recorder::remember"));
    }
}

#[test]
fn without_a_state_directory_nothing_is_recorded_and_the_rest_works() {
    if role().is_some() {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    let agent = start(file.path());
    assert_eq!(json(&agent, "/profiles"), Value::Array(Vec::new()));
    assert_eq!(request(&agent, "POST", "/profiles").status, 503);
    assert_eq!(json(&agent, "/memory")["previous"], Value::Null);
    get(&agent, "/culprits");
}
