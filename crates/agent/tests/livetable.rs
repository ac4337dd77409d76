//! The live table of a real process: against jemalloc's own dump, its statistics, threads and `fork`.

use std::collections::HashMap;
use std::io::Read;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use heapline::{Agent, Config, livetable};

#[path = "live/agent.rs"]
mod agent;
#[path = "live/child.rs"]
mod child;
#[path = "live/churn.rs"]
mod churn;
#[path = "profile/pprof.rs"]
mod pprof;
#[path = "live/unwound.rs"]
mod unwound;

use agent::{get, profile, start};
use child::alone;
use churn::{Block, allocate, churn, free};

heapline::use_jemalloc!();

fn metric(agent: &Agent, name: &str) -> f64 {
    let (_, text) = get(agent.admin_addr(), "/metrics");
    let text = String::from_utf8(text).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
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
        // Every sample that jemalloc would take, each of the same weight: its dump knows no other.
        let admin = Some(([127, 0, 0, 1], 0).into());
        let config =
            Config { admin, state_dir: Some(state.into()), samples_per_second_max: Some(0), ..Config::default() };
        let agent = Agent::start(config).expect("the agent starts");
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
        assert!(heap.samples.iter().any(|sample| !heap.functions(sample).is_empty()), "the peak has names, too");
        let peak: i64 = heap.samples.iter().map(|sample| sample.values[1]).sum();
        assert!((peak as f64 / live_bytes - 1.0).abs() < 0.08, "{peak} {live_bytes}");
        assert!(heap.samples.iter().any(|sample| !heap.functions(sample).is_empty()), "with names");
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

/// The gate of what a sample costs, by count: were a hook to allocate, each sample would, and this thread's counter knows.
#[test]
fn a_sample_allocates_nothing() {
    const SAMPLES: usize = 200;
    // Sixteen intervals: one in nine million is not sampled.
    const BLOCK_BYTES: usize = 8 << 20;
    alone("a_sample_allocates_nothing", |state| {
        let _agent = start(state);
        let allocated = tikv_jemalloc_ctl::thread::allocatedp::read().expect("a counter of this thread");
        let mut live = Vec::with_capacity(SAMPLES);
        let mut cost = |what: &str| {
            let (samples, bytes) = (livetable::fill().expect("a table").samples.0, allocated.get());
            live.extend((0..SAMPLES).map(|_| allocate(BLOCK_BYTES, 8)));
            let own_bytes = allocated.get() - bytes - (SAMPLES * BLOCK_BYTES) as u64;
            let taken = livetable::fill().expect("a table").samples.0 - samples;
            live.drain(..).for_each(free);
            println!("{what}: {own_bytes} bytes in {taken} samples");
            (own_bytes, taken)
        };
        // The thread's first samples make what it keeps.
        cost("the first");
        let (own_bytes, taken) = cost("later");
        // Other threads of the process free some of theirs meanwhile.
        assert!(taken > SAMPLES as u64 / 2, "{taken} samples");
        assert_eq!(own_bytes, 0);
    });
}

/// A flood of allocations is sampled less than a quiet program, each sample with its own weight: what lives from before, from
/// the flood and from after it is told as one number, and when the flood is over, the interval comes back by halves.
#[test]
fn a_flood_is_sampled_less_and_counted_all_the_same() {
    const START: f64 = 524_288.0;
    const BLOCK_BYTES: usize = 4096;
    const PART_BYTES: usize = 96 << 20;
    alone("a_flood_is_sampled_less_and_counted_all_the_same", |state| {
        let agent = start(state);
        let interval = || metric(&agent, "heap_profile_sample_interval_bytes");
        let live_bytes = || livetable::live_stacks().expect("a live table").values().sum::<f64>();
        let deadline = Instant::now() + Duration::from_secs(100);
        let waits = |what: &str| assert!(Instant::now() < deadline, "{what}: {} bytes apart", interval());
        let keep = || -> Vec<Block> { (0..PART_BYTES / BLOCK_BYTES).map(|_| allocate(BLOCK_BYTES, 8)).collect() };
        let before = live_bytes();
        assert_eq!(interval(), START);
        let mut live = keep();
        while interval() < 4.0 * START {
            waits("the flood raises it");
            (0..100).for_each(|_| free(allocate(1 << 20, 8)));
        }
        let longest = interval();
        live.extend(keep());
        while interval() >= longest {
            waits("rest brings it back");
            thread::park_timeout(Duration::from_millis(50));
        }
        live.extend(keep());
        // Of each part, the variance is its bytes times the interval.
        let error = (PART_BYTES as f64 * (START + 1.5 * longest)).sqrt();
        let grown = live_bytes() - before;
        let asked = (live.len() * (BLOCK_BYTES + size_of::<Block>())) as f64;
        assert!((grown - asked).abs() < 4.0 * error, "{grown} for {asked}, error {error}, {longest} apart at most");
        let (_, doctor) = get(agent.admin_addr(), "/doctor?format=json");
        assert!(String::from_utf8_lossy(&doctor).contains("\"samples_per_second_max\":"));
        live.into_iter().for_each(free);
        assert!(live_bytes() - before < grown / 20.0, "each end takes off what its beginning added");
    });
}
