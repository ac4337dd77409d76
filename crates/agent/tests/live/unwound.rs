//! Stacks of samples are looked up step by step, and are the ones that jemalloc's own unwinder finds. The hook itself
//! compares the two for some dozen walks after it learnt of an address, and gives up for good where they differ:
//! then `/metrics` says so.

use std::cell::RefCell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use heapline::Agent;

use super::agent::{get, start};
use super::child::alone;
use super::metric;

/// Sampled with a chance of 99.97%; never touched.
const BLOCK_BYTES: usize = 4 << 20;
/// In valgrind (`tests/sanitize`) everything takes thirty times as long.
const LEARNT_MAX: Duration = Duration::from_secs(90);

/// Stacks unwound by the agent, and by jemalloc's own unwinder.
fn unwound(agent: &Agent) -> (u64, u64) {
    let text = get(agent.admin_addr(), "/doctor?format=json").1;
    let doctor: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let of = |name: &str| doctor["unwinder"]["unwound"][name].as_u64().expect("a number");
    (of("here"), of("built_in"))
}

#[inline(never)]
fn block() -> Vec<u8> {
    black_box(Vec::with_capacity(BLOCK_BYTES))
}

#[inline(never)]
fn recursive(depth: u32) -> usize {
    if depth == 0 { black_box(block()).capacity() } else { black_box(recursive(depth - 1)) + 1 }
}

/// A frame whose size is not known before it runs would be told by the frame pointer; a large one by the stack pointer.
#[inline(never)]
fn by_a_large_frame() -> usize {
    let mut large = [0_u8; 40_000];
    large[black_box(7)] = 1;
    let block = block();
    black_box(&mut large).iter().map(|&byte| usize::from(byte)).sum::<usize>() + block.capacity()
}

struct AtTheEnd;

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        drop(black_box(block()));
    }
}

thread_local! {
    static AT_THE_THREADS_END: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

fn round() {
    let calls: [Box<dyn Fn() -> usize>; 4] = [
        Box::new(|| recursive(3)),
        Box::new(|| recursive(300)),
        Box::new(by_a_large_frame),
        Box::new(|| {
            let mut numbers: Vec<u32> = (0..8).rev().collect();
            numbers.sort_by(|one, other| {
                drop(black_box(block()));
                one.cmp(other)
            });
            numbers.len()
        }),
    ];
    for call in &calls {
        black_box(call());
    }
    // A destructor that runs while a panic unwinds, and one that the C library calls as a thread ends.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _at_the_end = AtTheEnd;
        std::panic::resume_unwind(Box::new(()));
    }));
    let thread = thread::spawn(|| AT_THE_THREADS_END.with(|end| *end.borrow_mut() = Some(AtTheEnd)));
    thread.join().expect("no panic");
}

#[test]
fn stacks_are_looked_up_and_are_what_jemallocs_unwinder_finds() {
    alone("unwound::stacks_are_looked_up_and_are_what_jemallocs_unwinder_finds", |state| {
        let agent = start(state);
        if cfg!(not(target_arch = "x86_64")) {
            assert_eq!(metric(&agent, "heap_profile_unwinder{unwinder=\"heapline\"}"), 0.0);
            return;
        }
        let began = Instant::now();
        // Until a whole round leaves nothing to jemalloc's unwinder.
        loop {
            let (_, before) = unwound(&agent);
            (0..10).for_each(|_| round());
            let (here, after) = unwound(&agent);
            assert_eq!(metric(&agent, "heap_profile_unwinder{unwinder=\"heapline\"}"), 1.0, "the two differ");
            if after - before < 10 && here > 100 {
                break;
            }
            assert!(began.elapsed() < LEARNT_MAX, "{here} here, {before} to {after} by jemalloc's");
        }
    });
}
