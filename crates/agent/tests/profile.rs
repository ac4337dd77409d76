//! Profiles of this very process, as a client gets them: a leak is found where it was made, in Rust and through a C
//! library, with numbers that agree with another converter's.

use std::ffi::{CString, c_char, c_void};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heapline::{Agent, Config};

#[path = "profile/pprof.rs"]
mod pprof;

use pprof::Decoded;

heapline::use_jemalloc!();

const MIB: usize = 1 << 20;

unsafe extern "C" {
    fn strdup(text: *const c_char) -> *mut c_char;
    fn realloc(pointer: *mut c_void, bytes: usize) -> *mut c_void;
}

#[inline(never)]
fn leak_in_rust(kept: &mut Vec<Vec<u8>>) {
    for _ in 0..25 {
        kept.push(black_box(vec![1; 2 * MIB]));
    }
}

#[inline(never)]
fn leak_through_c() {
    let text = CString::new(vec![b'x'; 8191]).expect("no NUL");
    for _ in 0..20 * MIB / 8192 {
        // SAFETY: `text` ends in NUL and lives on; what strdup returns is leaked on purpose.
        black_box(unsafe { strdup(text.as_ptr()) });
    }
}

#[inline(never)]
fn leak_by_realloc() {
    for _ in 0..10 {
        // SAFETY: from null, realloc allocates; then it gets what it returned, once. Leaked on purpose.
        black_box(unsafe { realloc(realloc(std::ptr::null_mut(), 64), 2 * MIB) });
    }
}

async fn leak_in_async(kept: &mut Vec<String>) {
    for _ in 0..10 {
        kept.push(black_box("y".repeat(MIB)));
        tokio::task::yield_now().await;
    }
}

#[inline(never)]
fn grow_meanwhile(kept: &mut Vec<Vec<u8>>) {
    for _ in 0..30 {
        kept.push(black_box(vec![2; MIB]));
    }
}

fn start() -> Agent {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let state_dir = Some(env!("CARGO_TARGET_TMPDIR").into());
    Agent::start(Config { admin, pprof: Some(true), state_dir, ..Config::default() }).expect("the agent starts")
}

fn get(admin: SocketAddr, target: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(admin).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("sets");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let status = str::from_utf8(&answer[9..12]).ok().and_then(|code| code.parse().ok()).expect("a status");
    (status, answer.split_off(end + 4))
}

fn profile(admin: SocketAddr, target: &str) -> Decoded {
    let (status, body) = get(admin, target);
    assert_eq!(status, 200, "{target}: {}", String::from_utf8_lossy(&body));
    Decoded::from_gzip(&body)
}

/// Over all stacks in which a function occurs.
fn live_bytes(profile: &Decoded, function: &str) -> i64 {
    assert_eq!(profile.sample_types[3], "inuse_space/bytes");
    let with = profile.samples.iter().filter(|sample| profile.functions(sample).contains(&function));
    with.map(|sample| sample.values[3]).sum()
}

fn assert_near(estimate: i64, truth: usize, share: f64) {
    let (estimate, truth) = (estimate as f64, truth as f64);
    assert!((estimate / truth - 1.0).abs() <= share, "{estimate} for {truth}");
}

/// One test: they all look at the same heap.
#[test]
fn leaks_are_found() {
    let agent = start();
    let admin = agent.admin_addr();
    let (mut kept, mut texts) = (Vec::new(), Vec::new());
    leak_in_rust(&mut kept);
    leak_through_c();
    leak_by_realloc();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(leak_in_async(&mut texts));

    let heap = profile(admin, "/debug/pprof/heap");
    the_leaks_are_there(&heap);
    its_form_is_right(&heap);
    another_converter_agrees(&heap);
    symbols_answer_for_the_profiles_addresses(admin, &heap);
    a_difference_shows_what_grew_and_holds_nobody_off(admin, &mut kept);
    text_and_purge(admin);
    let (_, metrics) = get(admin, "/metrics");
    let metrics = String::from_utf8(metrics).expect("text");
    assert!(metrics.contains("heap_profile_failures_total 0"), "{metrics}");
    assert!(metrics.contains("heap_profile_duration_seconds_count"), "{metrics}");
    black_box((kept, texts));
}

fn the_leaks_are_there(heap: &Decoded) {
    // Standard errors: 3% for 25 objects of 2 MiB, 16% for 2,560 of 8 KiB, 4% and 12% for the other two.
    assert_near(live_bytes(heap, "profile::leak_in_rust"), 50 * MIB, 0.2);
    assert_near(live_bytes(heap, "profile::leak_through_c"), 20 * MIB, 0.6);
    assert_near(live_bytes(heap, "profile::leak_by_realloc"), 20 * MIB, 0.4);
    assert_near(live_bytes(heap, "profile::leak_in_async::{{closure}}"), 10 * MIB, 0.5);
    let largest = heap.samples.iter().max_by_key(|sample| sample.values[3]).expect("samples");
    assert_eq!(heap.functions(largest)[0], "profile::leak_in_rust", "the leak is first, as the leaf");
    let through_c = heap.samples.iter().map(|sample| heap.functions(sample)).find(|stack| stack.contains(&"strdup"));
    assert_eq!(through_c.expect("C is there")[..2], ["strdup", "profile::leak_through_c"]);
    for sample in &heap.samples {
        let leaf = heap.functions(sample).first().copied().unwrap_or_default();
        let is_plumbing =
            ["prof_", "malloc", "do_rallocx", "alloc::", "__rust"].iter().any(|name| leaf.starts_with(name));
        assert!(!is_plumbing, "{:?}", heap.functions(sample));
    }
}

fn its_form_is_right(heap: &Decoded) {
    let types = ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"];
    assert_eq!(heap.sample_types, types);
    assert_eq!((heap.period_type.as_str(), heap.period), ("space/bytes", 512 << 10));
    assert_eq!(heap.default_sample_type, "inuse_space");
    let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_nanos(heap.time_nanos.cast_unsigned()));
    assert!(age.expect("taken in the past") < Duration::from_secs(60));
    let program = &heap.mappings[0];
    assert!(program.build_id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", program.build_id);
    let exe = std::fs::read_link("/proc/self/exe").expect("a program");
    assert_eq!(program.filename, exe.to_string_lossy());
    let code = leak_through_c as fn() as usize as u64;
    assert!((program.start..program.limit).contains(&code) && program.offset > 0);
    assert_eq!(program.has, [true; 4]);
    assert!(heap.locations.values().all(|location| location.address != 0));
    let own = heap.locations.values().filter(|location| location.mapping_id == 1);
    assert!(own.clone().all(|location| (program.start..program.limit).contains(&location.address)));
    assert!(own.flat_map(|location| &location.lines).any(|(_, file, line)| file.ends_with("profile.rs") && *line > 0));
}

/// jemalloc_pprof makes its own dump: of stacks that did not change meanwhile it must say the same.
fn another_converter_agrees(heap: &Decoded) {
    let control = jemalloc_pprof::PROF_CTL.as_ref().expect("profiling is on");
    let theirs = control.blocking_lock().dump_profile().expect("a profile");
    for function in ["profile::leak_in_rust", "profile::leak_by_realloc", "profile::leak_in_async::{{closure}}"] {
        for sample in heap.samples.iter().filter(|sample| heap.functions(sample).contains(&function)) {
            // Theirs are return addresses from the root to the leaf, with the allocator's frames.
            let stack: Vec<u64> = sample.location_ids.iter().map(|id| heap.locations[id].address + 1).collect();
            let root_first = |weighted: &jemalloc_pprof::WeightedStack| {
                let root_first = stack.iter().rev().copied();
                weighted.addrs.iter().map(|&address| address as u64).zip(root_first).filter(|(a, b)| a == b).count()
                    == stack.len()
            };
            let same = theirs.iter().map(|(weighted, _)| weighted).filter(|weighted| root_first(weighted));
            let their_bytes: f64 = same.map(|weighted| weighted.weight).sum();
            // The dump rounds a stack to whole objects, which moves their mean size and with it their weight.
            let difference = (their_bytes / sample.values[3] as f64 - 1.0).abs();
            assert!(difference <= 0.03, "{function}: {their_bytes} {:?}", sample.values);
        }
    }
}

fn symbols_answer_for_the_profiles_addresses(admin: SocketAddr, heap: &Decoded) {
    let mut asked = 0;
    for location in heap.locations.values().filter(|location| location.mapping_id == 1).take(50) {
        let (function, _, _) = location.lines.last().expect("the program's own code has names");
        let (_, answer) = get(admin, &format!("/debug/pprof/symbol?{:#x}", location.address));
        let expected = format!("num_symbols: 1\n{:#x} {function}\n", location.address);
        assert_eq!(String::from_utf8_lossy(&answer), expected);
        asked += 1;
    }
    assert!(asked > 10);
}

fn a_difference_shows_what_grew_and_holds_nobody_off(admin: SocketAddr, kept: &mut Vec<Vec<u8>>) {
    let started = Instant::now();
    let delta = thread::scope(|scope| {
        let waiting = scope.spawn(|| profile(admin, "/debug/pprof/allocs?seconds=3"));
        // Busy only for as long as the first half takes, at most.
        let deadline = Instant::now() + Duration::from_secs(2);
        while get(admin, "/debug/pprof/heap").0 != 200 {
            assert!(Instant::now() < deadline, "a waiting difference holds others off");
        }
        while started.elapsed() < Duration::from_secs(1) {
            thread::yield_now();
        }
        grow_meanwhile(kept);
        assert_eq!(get(admin, "/debug/pprof/heap").0, 200);
        waiting.join().expect("a difference")
    });
    assert!(delta.duration_nanos >= 2_900_000_000, "{}", delta.duration_nanos);
    assert_near(live_bytes(&delta, "profile::grow_meanwhile"), 30 * MIB, 0.35);
    assert_eq!(live_bytes(&delta, "profile::leak_by_realloc"), 0, "unchanged stacks are left out");
}

fn text_and_purge(admin: SocketAddr) {
    let (status, text) = get(admin, "/debug/pprof/heap?debug=1&gc=1");
    let text = String::from_utf8(text).expect("text");
    assert_eq!(status, 200);
    let first = text.lines().next().expect("a first line");
    assert!(first.starts_with("heap profile: ") && first.ends_with(" @ heap/1048576"), "{first}");
    assert!(
        text.lines().any(|line| line.starts_with("#\t0x") && line.contains("\tprofile::leak_through_c+0x")),
        "{text}"
    );
}
