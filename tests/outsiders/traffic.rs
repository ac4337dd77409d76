//! A service's traffic, 100 MB/s: uploads that grow as they are read, small records that live for seconds, and results
//! that are kept for a quarter of a minute.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use crate::ground::{Pace, Random, rest};

const UPLOAD_BYTES: usize = 1_300_000;

pub(crate) fn start() -> io::Result<()> {
    std::thread::Builder::new().name("uploads".into()).spawn(uploads)?;
    std::thread::Builder::new().name("records".into()).spawn(records)?;
    Ok(())
}

fn uploads() {
    let pace = Pace::new(70_000_000);
    loop {
        while pace.is_due(2 * UPLOAD_BYTES) {
            black_box(read_upload());
        }
        rest();
    }
}

fn read_upload() -> Vec<u8> {
    let mut body = Vec::with_capacity(16 << 10);
    while body.len() < UPLOAD_BYTES {
        let more = body.len().max(16 << 10);
        body.reserve_exact(more);
        // As if it were read: the first byte of each piece.
        let filled = body.len() + more;
        body.resize(filled.min(UPLOAD_BYTES), 0);
    }
    body
}

struct Record {
    name: String,
    values: Vec<u64>,
    until: Instant,
}

fn records() {
    let (pace, mut random) = (Pace::new(30_000_000), Random(99));
    let (mut live, mut results): (VecDeque<Record>, VecDeque<(Instant, Vec<u8>)>) = Default::default();
    loop {
        while pace.is_due(64_000) {
            for _ in 0..40 {
                black_box(parse_record(&mut random, Duration::ZERO));
            }
            live.push_back(parse_record(&mut random, Duration::from_secs(3)));
            if random.below(8) == 0 {
                results.push_back((Instant::now() + Duration::from_secs(15), vec![1; 8_000]));
            }
        }
        let now = Instant::now();
        while live.front().is_some_and(|record| record.until < now) {
            black_box(live.pop_front().map(|record| record.name.len() + record.values.len()));
        }
        while results.front().is_some_and(|(until, _)| *until < now) {
            results.pop_front();
        }
        rest();
    }
}

fn parse_record(random: &mut Random, life: Duration) -> Record {
    Record {
        name: format!("record number {}", random.below(1_000_000)),
        values: (0..100 + random.below(200)).collect(),
        until: Instant::now() + life,
    }
}
