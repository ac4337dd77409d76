//! Allocations of all sizes that come, move and go.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::hint::black_box;

/// Pseudo-random numbers, the same in each run.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// An allocation that may be freed by another thread.
pub(crate) struct Block(pub(crate) usize, pub(crate) Layout);

/// Kinds of blocks: small, aligned and huge ones.
pub(crate) const KINDS: u64 = 24;

pub(crate) fn layout(kind: u64) -> (usize, usize) {
    match kind {
        0..10 => (16 << kind, 8),
        10..20 => (1 << kind, 1 << (kind - 4)),
        _ => (1 << kind, 16),
    }
}

/// Each kind by a stack of its own: of one size, jemalloc's dump and the table must agree to the last object.
#[inline(never)]
pub(crate) fn by_own_stack(kind: u64, depth: u64) -> Block {
    if depth > 0 {
        return black_box(by_own_stack(kind, depth - 1));
    }
    let (bytes, align) = layout(kind);
    allocate(bytes, align)
}

pub(crate) fn allocate(bytes: usize, align: usize) -> Block {
    let layout = Layout::from_size_align(bytes, align).expect("a layout");
    // SAFETY: the layout's size is not zero.
    Block(black_box(unsafe { alloc(layout) }) as usize, layout)
}

#[inline(never)]
pub(crate) fn resized(block: Block, bytes: usize) -> Block {
    // SAFETY: the block was allocated with this layout, and is used no more but as what this returns.
    let moved = unsafe { realloc(block.0 as *mut u8, block.1, bytes) };
    Block(moved as usize, Layout::from_size_align(bytes, block.1.align()).expect("a layout"))
}

#[inline(never)]
pub(crate) fn shrunk_or_grown(block: Block) -> Block {
    resized(block, 80 << 10)
}

/// To the size that it has.
#[inline(never)]
pub(crate) fn in_place(block: Block) -> Block {
    let bytes = block.1.size();
    if bytes == 1 << 20 { resized(block, bytes) } else { block }
}

pub(crate) fn free(block: Block) {
    // SAFETY: the block was allocated with this layout, and is given up here.
    unsafe { dealloc(block.0 as *mut u8, block.1) };
}

/// Allocates, resizes and frees; what is left of it.
pub(crate) fn churn(rounds: u64, mut seed: u64) -> Vec<Block> {
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
