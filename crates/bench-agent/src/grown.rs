//! A program as large as it is asked to be: so much memory, so many stacks, so many threads.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::stacks;

/// After which unused pages have gone back to the kernel.
pub const SETTLE_TIME: Duration = Duration::from_millis(1_500);

/// A heap's blocks: small enough for a thousand of them in 64 MiB, large enough that one in nine is sampled.
const BLOCK_BYTES: usize = 64 << 10;
/// Places that allocate, where their number is not what grows.
const PLACES: u64 = 100;
const PAGE_BYTES: usize = 4 << 10;

/// Stays as large for as long as it is there; its threads for as long as the process.
#[derive(Debug)]
pub struct Host {
    _blocks: Vec<Vec<u8>>,
}

impl Host {
    /// `heap` so many MiB, every page touched; `stacks`, so many, a sampled block that is never touched each; `threads`,
    /// so many, each with a block and then at rest. `None` of anything else.
    pub fn of(asked: &[String]) -> Option<Self> {
        let [what, size] = asked else { return None };
        let size: u64 = size.parse().ok()?;
        let blocks = match what.as_str() {
            "heap" => (0..(size << 20) / BLOCK_BYTES as u64).map(block).collect(),
            "stacks" => (0..size).map(stacks::allocate).collect(),
            "threads" => return threads(size),
            _ => return None,
        };
        Some(Self { _blocks: blocks })
    }
}

fn threads(count: u64) -> Option<Host> {
    let (ready, is_ready) = mpsc::channel();
    for number in 0..count {
        let ready = ready.clone();
        let work = move || {
            let block = block(number);
            let _ = ready.send(());
            drop(ready);
            loop {
                thread::park();
                std::hint::black_box(&block);
            }
        };
        thread::Builder::new().spawn(work).ok()?;
    }
    drop(ready);
    (is_ready.iter().count() as u64 == count).then_some(Host { _blocks: Vec::new() })
}

fn block(number: u64) -> Vec<u8> {
    let mut block = stacks::allocate_bytes(number % PLACES, BLOCK_BYTES);
    block.resize(BLOCK_BYTES, 0);
    for page in block.chunks_mut(PAGE_BYTES) {
        page[0] = 1;
    }
    block
}
