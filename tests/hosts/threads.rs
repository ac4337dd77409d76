//! Threads that never end.

use std::cell::RefCell;
use std::hint::black_box;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};

const BUFFER_BYTES: usize = 128 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[inline(never)]
fn fill_buffer() -> Vec<u8> {
    vec![2; BUFFER_BYTES]
}

#[inline(never)]
fn prepare_scratch() {
    SCRATCH.with_borrow_mut(|scratch| scratch.resize(BUFFER_BYTES, 3));
}

pub(crate) fn with_buffers(ground: &'static Ground) {
    spawn_each(ground, || {
        let buffer = fill_buffer();
        park_for_ever();
        black_box(buffer);
    });
}

pub(crate) fn locals(ground: &'static Ground) {
    spawn_each(ground, || {
        prepare_scratch();
        park_for_ever();
    });
}

fn spawn_each(ground: &'static Ground, work: fn()) {
    let pace = Pace::new(LEAK_BYTES_PER_SECOND);
    loop {
        if pace.is_due(BUFFER_BYTES) && std::thread::Builder::new().stack_size(64 << 10).spawn(work).is_ok() {
            ground.leaked(BUFFER_BYTES);
        }
        rest();
    }
}

fn park_for_ever() {
    loop {
        std::thread::park();
    }
}
