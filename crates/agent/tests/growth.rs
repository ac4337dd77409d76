//! Growth of this very process, as a client asks for it: leaks are named, in Rust code, through a library and through C,
//! and what only churns is not; the flame graph and the doctor look at the same heap.

use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heapline::{Agent, Config};
use serde_json::Value;

heapline::use_jemalloc!();

unsafe extern "C" {
    fn strdup(text: *const c_char) -> *mut c_char;
}

#[inline(never)]
fn remember(kept: &mut Vec<Vec<u8>>) {
    kept.push(black_box(vec![1; 20_000]));
}

#[inline(never)]
fn parse_and_keep(kept: &mut Vec<Value>) {
    let items: Vec<String> = (0..200).map(|item| format!("{{\"item\":\"{item:030}\"}}")).collect();
    kept.push(serde_json::from_str(&format!("[{}]", items.join(","))).expect("JSON"));
}

#[inline(never)]
fn leak_in_c(text: &CString) {
    // SAFETY: `text` ends in NUL and lives on; the copy is leaked on purpose.
    black_box(unsafe { strdup(text.as_ptr()) });
}

#[inline(never)]
fn churn(pool: &mut HashMap<u64, Vec<u8>>, step: u64) {
    pool.insert(step % 1_000, black_box(vec![2; 8_000]));
}

/// Leaks 2 MB/s at each of three sites, amid 80 MB/s of churn, until told to stop.
#[expect(clippy::disallowed_methods, reason = "the pace of the leak, not a wait for a result")]
fn work(stop: &AtomicBool) {
    let text = CString::new(vec![b'x'; 10_000]).expect("no NUL");
    let (mut kept, mut values, mut pool) = (Vec::new(), Vec::new(), HashMap::new());
    for step in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        remember(&mut kept);
        parse_and_keep(&mut values);
        leak_in_c(&text);
        leak_in_c(&text);
        for turn in 0..100 {
            churn(&mut pool, step * 100 + turn);
        }
        thread::sleep(Duration::from_millis(10));
    }
    black_box((kept, values, pool));
}

fn get(admin: SocketAddr, target: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(admin).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("sets");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answers");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head[9..12].parse().expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

fn json(admin: SocketAddr, target: &str) -> Value {
    let (status, _, body) = get(admin, target);
    assert_eq!(status, 200, "{target}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// One test: they all look at the same heap.
#[test]
fn growth_is_named() {
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let agent = Agent::start(Config { admin: address, pprof: Some(true), ..Config::default() }).expect("starts");
    let admin = agent.admin_addr();
    assert_eq!(json(admin, "/culprits")["state"], "not_enough_evidence");
    let stop = Arc::new(AtomicBool::new(false));
    let worker = thread::spawn({
        let stop = Arc::clone(&stop);
        move || work(&stop)
    });
    the_leaks_are_named(&culprits(admin));
    let (_, head, text) = get(admin, "/culprits?format=text&since=10m");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(text.contains("growth::remember (") && text.contains("KiB/s"), "{text}");
    for wrong in ["since=x", "format=xml", "base=unknown"] {
        assert_eq!(get(admin, &format!("/culprits?{wrong}")).0, 400, "{wrong}");
    }
    the_flame_graph_shows_them(admin);
    the_doctor_finds_nothing_wrong(admin);
    stop.store(true, Ordering::Relaxed);
    worker.join().expect("it works until then");
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition with a deadline")]
fn culprits(admin: SocketAddr) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        // A time that is asked for is not waited with, as growth from the start is.
        let report = json(admin, "/culprits?since=30m");
        let enough = report["window_seconds"].as_f64().expect("a number") > 40.0;
        if enough && report["culprits"].as_array().is_some_and(|named| named.len() >= 3) {
            return report;
        }
        assert!(Instant::now() < deadline, "{report:#}");
        thread::sleep(Duration::from_secs(1));
    }
}

fn the_leaks_are_named(report: &Value) {
    assert_eq!(report["state"], "ok");
    let culprits = report["culprits"].as_array().expect("an array");
    let names: Vec<_> = culprits.iter().map(|culprit| culprit["function"].as_str().expect("a name")).collect();
    for expected in ["growth::remember", "growth::parse_and_keep", "growth::leak_in_c"] {
        assert!(names[..3].contains(&expected), "{names:?}");
    }
    assert!(!names.contains(&"growth::churn"), "{names:?}");
    for (place, culprit) in culprits.iter().enumerate() {
        let number = |key: &str| culprit[key].as_f64().unwrap_or_else(|| panic!("{key}: {culprit}"));
        assert_eq!(culprit["rank"], place + 1);
        assert!(number("growth_low") > 0.0 && number("growth_low") < number("growth_bytes"));
        assert!(number("growth_high") > number("growth_bytes") && (0.0..=1.0).contains(&number("share")));
        let file = culprit["file"].as_str().expect("a file");
        assert!(file.ends_with("tests/growth.rs") && number("line") > 0.0, "{culprit}");
        let stack = culprit["stack"].as_array().expect("a stack");
        assert!(stack.iter().any(|frame| frame["function"] == culprit["function"]), "{culprit}");
    }
}

fn the_flame_graph_shows_them(admin: SocketAddr) {
    let (status, head, page) = get(admin, "/debug/pprof/flamegraph");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html") && head.contains("content-security-policy: default-src 'none'"));
    assert!(page.contains("growth::remember") && !page.contains("http://") && !page.contains("https://"));
    let (_, head, svg) = get(admin, "/debug/pprof/flamegraph?format=svg&type=inuse_objects");
    assert!(head.contains("content-type: image/svg+xml") && !svg.contains("<script"), "{head}");
    let (_, _, folded) = get(admin, "/debug/pprof/flamegraph?format=folded");
    assert!(folded.lines().any(|line| {
        let (stack, bytes) = line.rsplit_once(' ').expect("a stack and a number");
        stack.ends_with("growth::remember") && bytes.parse::<u64>().expect("a number") > 20 << 20
    }));
    let (_, _, grown) = get(admin, "/debug/pprof/flamegraph?format=folded&seconds=3");
    let total = |text: &str| text.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>();
    assert!(grown.contains("growth::remember") && total(&grown) < total(&folded), "{grown}");
    assert_eq!(get(admin, "/debug/pprof/flamegraph?type=cpu").0, 400);
}

fn the_doctor_finds_nothing_wrong(admin: SocketAddr) {
    let diagnosis = json(admin, "/doctor?format=json");
    assert_eq!(diagnosis["problems"], Value::Array(Vec::new()), "{diagnosis:#}");
    assert_eq!(diagnosis["sampling"]["interval_bytes"], 512 << 10);
    assert_eq!(diagnosis["self_test"]["named"], true);
    let profiled = diagnosis["self_test"]["profiled_bytes"].as_f64().expect("a number");
    let leaked = diagnosis["self_test"]["leaked_bytes"].as_f64().expect("a number");
    assert!((profiled / leaked - 1.0).abs() < 0.6, "{profiled} for {leaked}");
    assert_eq!(diagnosis["c_allocations_seen"], true);
    let prof = &diagnosis["settings"][0];
    assert_eq!(
        (&prof["key"], &prof["effective"], &prof["decided_by"]),
        (&"prof".into(), &"true".into(), &"symbol".into())
    );
    let (_, head, page) = get(admin, "/doctor");
    assert!(head.contains("text/html") && page.contains("nothing is wrong"), "{page}");
}
