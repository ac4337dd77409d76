//! Many threads that do nothing but make sampled allocations and free them.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use crate::figures::{milliseconds, quantile, tell};
use crate::stacks;

const THREADS: usize = 64;
const PAIRS: u64 = 2_000;
/// Paths of each thread.
const PATHS: u64 = 100;

/// Tells how long a sampled allocation and its end take, and how many there are a second.
pub fn measure() {
    let started = Instant::now();
    let pair = |path: u64| {
        let began = Instant::now();
        black_box(stacks::allocate(path % PATHS));
        began.elapsed()
    };
    let threads: Vec<_> =
        (0..THREADS).map(|_| thread::spawn(move || (0..PAIRS).map(pair).collect::<Vec<Duration>>())).collect();
    let mut times: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
    tell("threads_pairs_per_second", times.len() as f64 / started.elapsed().as_secs_f64());
    tell("threads_median_us", milliseconds(quantile(&mut times, 0.5)) * 1e3);
    tell("threads_p99_us", milliseconds(quantile(&mut times, 0.99)) * 1e3);
}
