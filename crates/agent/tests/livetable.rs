//! The live table of a real process: against jemalloc's own dump, its statistics, `fork`, and `kill -9`.
//!
//! What a test needs a process of its own for runs in a child: this very program, told by a variable what to do.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use heapline::livetable::{self, End};
use heapline::{Agent, Config};

#[path = "profile/pprof.rs"]
mod pprof;

use pprof::Decoded;

heapline::use_jemalloc!();

const CHILD: &str = "LIVETABLE_CHILD";

fn start(state: &Path) -> Agent {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config { admin, pprof: Some(true), state_dir: Some(state.to_owned()), ..Config::default() };
    Agent::start(config).expect("the agent starts")
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

fn profile(agent: &Agent, target: &str) -> Decoded {
    let (status, body) = get(agent.admin_addr(), target);
    assert_eq!(status, 200, "{target}: {}", String::from_utf8_lossy(&body));
    Decoded::from_gzip(&body)
}

fn metric(agent: &Agent, name: &str) -> f64 {
    let (_, text) = get(agent.admin_addr(), "/metrics");
    let text = String::from_utf8(text).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

/// Killed when it goes out of scope: a test that fails leaves no process behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a test of this program in a process of its own, which starts with that role.
fn child(test: &str, role: &str, state: &Path) -> Child {
    Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, role)
        .env("HEAPLINE_STATE", state)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child")
}

fn role() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// In a child of its own, so that no other test's allocations come between.
fn alone(test: &str, body: impl FnOnce(&Path)) {
    let state = tempfile::tempdir().expect("a directory");
    if role().is_some() {
        body(state.path());
        return;
    }
    let output = child(test, "alone", state.path()).wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Pseudo-random numbers, the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// An allocation that may be freed by another thread.
struct Block(usize, Layout);

/// Kinds of blocks: small, aligned and huge ones.
const KINDS: u64 = 24;

fn layout(kind: u64) -> (usize, usize) {
    match kind {
        0..10 => (16 << kind, 8),
        10..20 => (1 << kind, 1 << (kind - 4)),
        _ => (1 << kind, 16),
    }
}

/// Each kind by a stack of its own: of one size, jemalloc's dump and the table must agree to the last object.
#[inline(never)]
fn by_own_stack(kind: u64, depth: u64) -> Block {
    if depth > 0 {
        return black_box(by_own_stack(kind, depth - 1));
    }
    let (bytes, align) = layout(kind);
    allocate(bytes, align)
}

fn allocate(bytes: usize, align: usize) -> Block {
    let layout = Layout::from_size_align(bytes, align).expect("a layout");
    // SAFETY: the layout's size is not zero.
    Block(black_box(unsafe { alloc(layout) }) as usize, layout)
}

#[inline(never)]
fn resized(block: Block, bytes: usize) -> Block {
    // SAFETY: the block was allocated with this layout, and is used no more but as what this returns.
    let moved = unsafe { realloc(block.0 as *mut u8, block.1, bytes) };
    Block(moved as usize, Layout::from_size_align(bytes, block.1.align()).expect("a layout"))
}

#[inline(never)]
fn shrunk_or_grown(block: Block) -> Block {
    resized(block, 80 << 10)
}

/// To the size that it has.
#[inline(never)]
fn in_place(block: Block) -> Block {
    let bytes = block.1.size();
    if bytes == 1 << 20 { resized(block, bytes) } else { block }
}

fn free(block: Block) {
    // SAFETY: the block was allocated with this layout, and is given up here.
    unsafe { dealloc(block.0 as *mut u8, block.1) };
}

/// Allocates, resizes and frees; what is left of it.
fn churn(rounds: u64, mut seed: u64) -> Vec<Block> {
    let mut live: Vec<Block> = Vec::new();
    for _ in 0..rounds {
        // Large ones are a few: the heap stays small.
        let kind = (random(&mut seed) % KINDS).min(random(&mut seed) % KINDS);
        let block = match (random(&mut seed) % 8, live.pop()) {
            (0, Some(block)) => shrunk_or_grown(block),
            (1, Some(block)) => in_place(block),
            (_, popped) => {
                live.extend(popped);
                by_own_stack(kind, kind)
            }
        };
        live.push(block);
        if live.len() > 300 {
            free(live.swap_remove(random(&mut seed) as usize % 300));
        }
    }
    live
}

/// Live objects and bytes by stack, as the sampler saw them: jemalloc's own dump, unweighed.
fn dumped() -> HashMap<Vec<u64>, (f64, f64)> {
    let control = jemalloc_pprof::PROF_CTL.as_ref().expect("profiling is on");
    let mut dump = control.blocking_lock().dump().expect("a dump");
    let mut text = String::new();
    dump.read_to_string(&mut text).expect("text");
    let mut stacks = HashMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(addresses) = line.strip_prefix("@ ") else { continue };
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("an address");
        let stack: Vec<u64> = addresses.split(' ').map(hex).collect();
        let counts = lines.next().and_then(|line| line.trim().strip_prefix("t*: ")).expect("counts");
        let mut counts = counts.split([':', ' ']).filter_map(|word| word.parse::<f64>().ok());
        stacks.insert(stack, (counts.next().expect("objects"), counts.next().expect("bytes")));
    }
    stacks
}

#[test]
fn the_table_says_stack_by_stack_what_jemallocs_dump_says() {
    alone("the_table_says_stack_by_stack_what_jemallocs_dump_says", |state| {
        let agent = start(state);
        let (send, receive) = sync_channel::<Block>(1_000);
        let mut live: Vec<Block> = thread::scope(|scope| {
            let workers: Vec<_> = (1..5)
                .map(|seed| {
                    let send = send.clone();
                    scope.spawn(move || {
                        let left = churn(20_000, seed);
                        for block in churn(2_000, seed + 10) {
                            send.send(block).expect("somebody frees it");
                        }
                        left
                    })
                })
                .collect();
            drop(send);
            receive.iter().for_each(free);
            workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
        });
        live.extend(churn(5_000, 99));
        let table = livetable::live_stacks().expect("a live table");
        let dump = dumped();
        let ours: Vec<_> = dump.iter().filter(|(stack, _)| table.contains_key(stack.as_slice())).collect();
        assert!(ours.len() >= 12, "{} of {}", ours.len(), dump.len());
        for (stack, &(objects, bytes)) in &dump {
            let Some(&estimate) = table.get(stack.as_slice()) else {
                continue; // sampled before the agent's start
            };
            // The dump rounds weighed objects, so that its mean size is off by as much: objects are what is exact.
            let mean = bytes / objects;
            let ours = estimate / mean * -(-mean / 524_288.0).exp_m1();
            assert_eq!(ours.round(), objects, "{objects} objects, {bytes} bytes, {estimate} estimated at {stack:x?}");
        }
        let ours: f64 = table.values().sum();
        // Whatever the table has and the dump has not would be something that was freed. (The agent's own threads free
        // between the two looks; what they freed is gone from a third.)
        let after = livetable::live_stacks().expect("a live table");
        for (stack, bytes) in table.iter().filter(|(stack, _)| after.contains_key(*stack)) {
            assert!(dump.contains_key(&stack.to_vec()), "{bytes} {stack:x?}");
        }
        assert_eq!(metric(&agent, "heap_profile_lost_samples_total"), 0.0);
        live.into_iter().for_each(free);
        let left: f64 = livetable::live_stacks().expect("a live table").values().sum();
        assert!(left < ours / 20.0, "{left} of {ours}");
    });
}

#[test]
fn live_bytes_agree_with_the_allocators_own_count() {
    alone("live_bytes_agree_with_the_allocators_own_count", |state| {
        let agent = start(state);
        let statistics = || {
            tikv_jemalloc_ctl::epoch::advance().expect("advances");
            tikv_jemalloc_ctl::stats::active::read().expect("reads") as f64
        };
        let (before, sampled_before) = (statistics(), livetable::fill().expect("a table").samples.0);
        let mut asked = 0_usize;
        let mut live = Vec::new();
        let mut fill = |bytes: usize, of: usize| {
            for _ in 0..of / bytes {
                live.push(allocate(bytes, 8));
                asked += bytes;
            }
        };
        // 24 MiB of each small size, then large ones up to 64 MiB.
        for bytes in [16, 64, 256, 1 << 10, 4 << 10, 14 << 10] {
            fill(bytes, 24 << 20);
        }
        for bytes in [1 << 20, 8 << 20, 64 << 20] {
            fill(bytes, 64 << 20);
        }
        asked += live.capacity() * size_of::<Block>();
        let grown = statistics() - before;
        let live_bytes: f64 = livetable::live_stacks().expect("a live table").values().sum();
        let samples = (livetable::fill().expect("a table").samples.0 - sampled_before) as f64;
        // The small ones' samples stand for half a MiB each; large ones are certain.
        let standard_error = (144.0 * 2.0_f64).sqrt() * 524_288.0;
        let allowed = (0.05 * asked as f64).max(3.0 * standard_error);
        assert!(asked > 200 << 20 && samples > 100.0);
        assert!((live_bytes - asked as f64).abs() < allowed, "{live_bytes} for {asked}, allowed {allowed}");
        // `active` has whole pages.
        assert!((grown / live_bytes - 1.0).abs() < 0.15, "{grown} {live_bytes}");
        live.into_iter().for_each(free);
        let heap = profile(&agent, "/debug/pprof/heap?at=peak");
        let peak: i64 = heap.samples.iter().map(|sample| sample.values[1]).sum();
        assert!((peak as f64 / live_bytes - 1.0).abs() < 0.08, "{peak} {live_bytes}");
        let now = profile(&agent, "/debug/pprof/heap");
        let sum = |index: usize| now.samples.iter().map(|sample| sample.values[index]).sum::<i64>();
        assert!(sum(3) < peak / 10 && sum(1) > peak * 9 / 10, "{} {}", sum(3), sum(1));
        let old = profile(&agent, "/debug/pprof/heap?min_age=10m");
        assert!(old.samples.is_empty());
        let (status, _) = get(agent.admin_addr(), "/debug/pprof/heap?min_age=-1");
        assert_eq!(status, 400);
        assert_eq!(metric(&agent, "heap_profile_source{source=\"live_table\"}"), 1.0);
    });
}

#[test]
fn ten_thousand_threads_leave_no_growth() {
    alone("ten_thousand_threads_leave_no_growth", |state| {
        let _agent = start(state);
        let run = |threads: usize| {
            for batch in 0..threads / 10 {
                thread::scope(|scope| {
                    for index in 0..10 {
                        scope.spawn(move || churn(20, (batch * 10 + index) as u64).into_iter().for_each(free));
                    }
                });
            }
        };
        run(1_000);
        let before = livetable::fill().expect("a table");
        let rss_before = rss_bytes();
        run(10_000);
        let after = livetable::fill().expect("a table");
        assert!(after.samples.0 <= before.samples.0 + 10, "{before:?} {after:?}");
        assert!(after.stacks.0 <= before.stacks.0 + 100, "{before:?} {after:?}");
        let grown = rss_bytes().saturating_sub(rss_before);
        assert!(grown < 24 << 20, "{grown}");
    });
}

fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
}

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

#[test]
fn a_fork_leaves_the_parents_table_right() {
    alone("a_fork_leaves_the_parents_table_right", |state| {
        let _agent = start(state);
        let kept = churn(5_000, 3);
        let before = livetable::fill().expect("a table");
        let live_before = livetable::live_stacks().expect("a table");
        // SAFETY: the child calls the allocator, which jemalloc keeps usable after fork, and ends without unwinding.
        let pid = unsafe { fork() };
        if pid == 0 {
            churn(5_000, 4).into_iter().for_each(free);
            kept.into_iter().for_each(free);
            let has_table = livetable::fill().is_some();
            // SAFETY: ends the process.
            unsafe { _exit(i32::from(has_table)) };
        }
        let mut status = -1;
        // SAFETY: `status` is written to.
        assert_eq!(unsafe { waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "the child has no table, and did not crash");
        let after = livetable::fill().expect("a table");
        assert_eq!((after.lost, after.unknown_frees), (before.lost, before.unknown_frees));
        let live_after = livetable::live_stacks().expect("a table");
        let sum = |live: &HashMap<Box<[u64]>, f64>| live.values().sum::<f64>();
        assert!((sum(&live_after) - sum(&live_before)).abs() < 4e6, "{} {}", sum(&live_before), sum(&live_after));
        kept.into_iter().for_each(free);
        let left = livetable::live_stacks().expect("a table");
        assert!(sum(&left) < sum(&live_before) / 4.0 + 4e6, "{} {}", sum(&left), sum(&live_before));
    });
}

const KILLS: u64 = 20;

/// Killed at any moment, a process leaves a table that is whole, up to what each thread had in hand.
#[test]
fn a_killed_process_leaves_its_table() {
    if role().is_some() {
        let agent = Agent::start(Config { admin: Some(([127, 0, 0, 1], 0).into()), ..Config::default() });
        let agent = agent.expect("the agent starts");
        println!("table {}", agent.live_table_path().expect("a file").display());
        thread::scope(|scope| {
            for seed in 1..5 {
                scope.spawn(move || churn(u64::MAX, seed));
            }
        });
    }
    let state = tempfile::tempdir().expect("a directory");
    let mut seed = 7;
    for round in 0..KILLS {
        let (killed, path) = churning(state.path());
        let pid = u64::from(killed.0.id());
        let until = Instant::now() + Duration::from_millis(20 + random(&mut seed) % 300);
        while Instant::now() < until {
            thread::yield_now();
        }
        drop(killed);
        let left = livetable::read(&path).expect("a whole table");
        let totals = &left.totals;
        assert_eq!((left.end, left.pid), (End::Signal, pid), "{left:?}");
        assert!(totals.sampled > 100 && totals.stacks > 10, "round {round}: {totals:?}");
        assert!(totals.without_stack <= 8 && totals.lost == 0, "round {round}: {totals:?}");
        // Each of the threads was in one hook at most.
        let live = totals.sampled - totals.freed;
        assert!(live.abs_diff(totals.live_samples) <= 8, "round {round}: {totals:?}");
        let difference = (totals.live_bytes - totals.counted_live_bytes as f64).abs();
        assert!(difference <= 8.0 * 9e6, "round {round}: {totals:?}");
    }
    // This process is the next one, and runs the same program: it has the names.
    let agent = start(state.path());
    let previous = &agent.predecessors()[0];
    assert_eq!(previous.end, End::Signal);
    let memory: serde_json::Value = serde_json::from_slice(&get(agent.admin_addr(), "/memory").1).expect("JSON");
    assert_eq!((&memory["previous"]["end"], &memory["previous"]["verdict"]), (&"signal".into(), &"warming_up".into()));
    let last_profile = memory["previous"]["last_profile"].as_str().expect("where it is");
    assert!(last_profile.starts_with("/profiles/") && last_profile.ends_with("-end"), "{last_profile}");
    assert_eq!(
        profile(&agent, last_profile).samples.len(),
        profile(&agent, "/debug/pprof/heap?process=previous").samples.len()
    );
    let heap = profile(&agent, last_profile);
    let names: Vec<_> = heap.samples.iter().flat_map(|sample| heap.functions(sample)).collect();
    assert!(names.contains(&"livetable::by_own_stack"), "{names:?}");
    assert_eq!(heap.sample_types.len(), 4);
    let live: i64 = heap.samples.iter().map(|sample| sample.values[3]).sum();
    assert!((live as f64 / previous.totals.live_bytes - 1.0).abs() < 1e-3);
    let peak = profile(&agent, "/debug/pprof/heap?process=previous&at=peak");
    assert!(!peak.samples.is_empty());

    // It keeps the newest and removes the others.
    let files = std::fs::read_dir(state.path()).expect("a directory").flatten();
    let tables = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "table")).count();
    assert!(tables <= livetable::PREDECESSORS_MAX + 1, "{tables}");
}

/// A process that allocates until it is killed, and the file of its table.
fn churning(state: &Path) -> (Running, PathBuf) {
    let mut started = Running(child("a_killed_process_leaves_its_table", "churn", state));
    let lines = BufReader::new(started.0.stdout.take().expect("piped")).lines();
    // The harness may have written to the same line.
    let path = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("table /")?.1.to_owned()));
    (started, Path::new("/").join(path.expect("the child tells")))
}

#[test]
fn two_processes_share_a_state_directory() {
    let state = tempfile::tempdir().expect("a directory");
    let (first, first_path) = churning(state.path());
    let (second, second_path) = churning(state.path());
    assert_ne!(first_path, second_path);
    assert!(first_path.exists(), "the second left the first's table alone");
    drop((first, second));
    for path in [&first_path, &second_path] {
        assert!(livetable::read(path).expect("a whole table").totals.sampled > 0);
    }
    let _third = churning(state.path());
    assert!(first_path.exists() && second_path.exists(), "both are kept for who asks");
}
