//! Memory that does not come from the allocator: no call site of the heap is to blame.

use std::hint::black_box;

use memmap2::MmapMut;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};

const PIECE_BYTES: usize = 100_000;

/// Threads that used their stack once.
pub(crate) fn thread_stacks(_: &'static Ground) {
    let pace = Pace::new(LEAK_BYTES_PER_SECOND);
    loop {
        if pace.is_due(PIECE_BYTES) {
            let spawned = std::thread::Builder::new().stack_size(256 << 10).spawn(|| {
                black_box([1_u8; PIECE_BYTES]);
                loop {
                    std::thread::park();
                }
            });
            black_box(spawned.is_ok());
        }
        rest();
    }
}

pub(crate) fn mapped_memory(_: &'static Ground) {
    let (pace, mut maps) = (Pace::new(LEAK_BYTES_PER_SECOND), Vec::new());
    loop {
        if pace.is_due(PIECE_BYTES)
            && let Ok(mut map) = MmapMut::map_anon(PIECE_BYTES)
        {
            map.fill(1);
            maps.push(map);
        }
        rest();
    }
}
