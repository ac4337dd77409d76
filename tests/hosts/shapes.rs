//! Where the line that allocates stands.

use std::collections::HashMap;
use std::hash::Hash;
use std::hint::black_box;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, Random, rest};

struct Registry<K, V> {
    entries: HashMap<K, Vec<V>>,
}

impl<K: Hash + Eq, V: Clone> Registry<K, V> {
    #[inline(never)]
    fn register(&mut self, key: K, value: &V, times: usize) {
        self.entries.insert(key, vec![value.clone(); times]);
    }
}

/// One instance grows, another replaces what it has.
pub(crate) fn generics(ground: &'static Ground) {
    let mut growing: Registry<u64, u64> = Registry { entries: HashMap::new() };
    let mut steady: Registry<String, u32> = Registry { entries: HashMap::new() };
    ground.every(1_024, |number| {
        growing.register(number, &number, 128);
        steady.register(format!("{}", number % 100), &7, 256);
    });
}

pub(crate) fn closure(ground: &'static Ground) {
    let (mut kept, mut passed) = (Vec::new(), Vec::new());
    let mut pass = |bytes: usize| {
        passed.push(vec![2_u8; bytes]);
        if passed.len() > 1_000 {
            passed.clear();
        }
    };
    let mut keep = |bytes: usize| kept.push(black_box(vec![1_u8; bytes]));
    ground.every(1_024, |_| {
        keep(1_024);
        pass(1_024);
    });
}

trait Stage {
    fn apply(&mut self, input: &[u8]);
}

struct Audit {
    seen: Vec<Box<[u8]>>,
}

struct Count {
    last: Vec<u8>,
}

impl Stage for Audit {
    fn apply(&mut self, input: &[u8]) {
        self.seen.push(input.into());
    }
}

impl Stage for Count {
    fn apply(&mut self, input: &[u8]) {
        self.last = input.to_vec();
    }
}

pub(crate) fn trait_objects(ground: &'static Ground) {
    let mut stages: Vec<Box<dyn Stage>> =
        vec![Box::new(Count { last: Vec::new() }), Box::new(Audit { seen: Vec::new() })];
    let input = [6; 768];
    ground.every(input.len(), |_| stages.iter_mut().for_each(|stage| stage.apply(black_box(&input))));
}

#[inline(always)]
fn copy_of(input: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(input.len());
    copy.extend_from_slice(input);
    copy
}

#[inline(never)]
fn hoard(kept: &mut Vec<Vec<u8>>, input: &[u8]) {
    kept.push(copy_of(input));
}

pub(crate) fn inlined_helper(ground: &'static Ground) {
    let mut kept = Vec::with_capacity(1 << 20);
    ground.every(512, |_| hoard(&mut kept, &[1; 512]));
}

#[inline(never)]
fn descend(kept: &mut Vec<Vec<u8>>, depth: u64) {
    if depth == 0 {
        kept.push(vec![4; 2_048]);
    } else if depth.is_multiple_of(2) {
        descend(kept, depth - 1);
        black_box(&kept);
    } else {
        descend(kept, black_box(depth) - 1);
        black_box((&kept, depth));
    }
}

/// One line, on sixty stacks.
pub(crate) fn many_callers(ground: &'static Ground) {
    let mut kept = Vec::with_capacity(1 << 20);
    ground.every(2_048, |number| descend(&mut kept, number % 60));
}

#[inline(never)]
fn receive(random: &mut Random) -> Vec<u8> {
    Vec::with_capacity(2_000 + random.below(12_000) as usize)
}

/// A function whose buffers come and go at 20 MB/s, and one in a hundred stays.
pub(crate) fn leak_within_churn(ground: &'static Ground) {
    let (mut random, mut kept, mut in_use) = (Random(3), Vec::new(), Vec::new());
    let (leak, churn) = (Pace::new(LEAK_BYTES_PER_SECOND), Pace::new(20_000_000));
    loop {
        while churn.is_due(8_000) {
            let buffer = receive(&mut random);
            if leak.is_due(buffer.capacity()) {
                ground.leaked(buffer.capacity());
                kept.push(buffer);
            } else {
                in_use.push(buffer);
            }
            if in_use.len() > 300 {
                in_use.clear();
            }
        }
        rest();
    }
}
