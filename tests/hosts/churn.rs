//! A hundred megabytes a second that come and go: requests, answers, and a pool of buffers in use.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;

use crate::ground::{Ground, Pace, Random, rest};

/// What is allocated and freed a second, bytes.
const CHURN_BYTES_PER_SECOND: u64 = 100_000_000;
/// One turn's worth, about.
const TURN_BYTES: usize = 60_000;
/// Buffers in use at a time: 4 MB.
const POOL_BUFFERS: usize = 250;

/// Starts the thread.
pub(crate) fn start(_: &'static Ground) -> io::Result<()> {
    std::thread::Builder::new().name("churn".to_owned()).spawn(run).map(drop)
}

fn run() {
    let (pace, mut random, mut pool) = (Pace::new(CHURN_BYTES_PER_SECOND), Random(7), VecDeque::new());
    loop {
        while pace.is_due(TURN_BYTES) {
            let request = parse_request(&mut random);
            render_answer(&request, &mut random);
            take_buffer(&mut pool, &mut random);
        }
        rest();
    }
}

/// Some 16 KB in small pieces.
#[inline(never)]
fn parse_request(random: &mut Random) -> Vec<String> {
    (0..64).map(|_| String::with_capacity(64 + random.below(384) as usize)).collect()
}

/// Some 28 KB in one piece.
#[inline(never)]
fn render_answer(request: &[String], random: &mut Random) {
    black_box(Vec::<u8>::with_capacity(request.len() + 12_000 + random.below(32_000) as usize));
}

/// Some 16 KB that stay in use for a seventh of a second.
#[inline(never)]
fn take_buffer(pool: &mut VecDeque<Vec<u8>>, random: &mut Random) {
    pool.push_back(Vec::with_capacity(1_000 + random.below(30_000) as usize));
    if pool.len() > POOL_BUFFERS {
        pool.pop_front();
    }
}
