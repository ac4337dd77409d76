//! Allocations by as many stacks as are wanted.

use std::hint::black_box;

/// Stacks of the large heap.
pub const STACKS: u64 = 10_000;
/// Calls between `main` and the allocation.
pub const DEPTH: u32 = 40;
/// Larger than the sampling period several times over: each is sampled with a chance of 99.97%. Never touched.
const BLOCK_BYTES: usize = 4 << 20;

/// Allocates by the path of that number: `DEPTH` times left or right.
pub fn allocate(path: u64) -> Vec<u8> {
    allocate_bytes(path, BLOCK_BYTES)
}

/// As [`allocate`], of another size.
pub fn allocate_bytes(path: u64, bytes: usize) -> Vec<u8> {
    descend(path, DEPTH, bytes)
}

/// All of them.
pub fn heap() -> Vec<Vec<u8>> {
    (0..STACKS).map(allocate).collect()
}

#[inline(never)]
fn left(path: u64, depth: u32, bytes: usize) -> Vec<u8> {
    black_box(descend(path >> 1, depth - 1, bytes))
}

#[inline(never)]
fn right(path: u64, depth: u32, bytes: usize) -> Vec<u8> {
    black_box(descend(path >> 1, depth - 1, bytes))
}

fn descend(path: u64, depth: u32, bytes: usize) -> Vec<u8> {
    match (depth, path & 1) {
        (0, _) => Vec::with_capacity(bytes),
        (_, 0) => left(path, depth, bytes),
        (_, _) => right(path, depth, bytes),
    }
}
