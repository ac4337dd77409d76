//! Containers that only grow.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::ground::{Ground, Pace, rest};

static SEEN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

pub(crate) fn static_vector(ground: &'static Ground) {
    ground.every(1_024, |_| remember(vec![1; 1_024]));
}

/// The vector is the caller's: it is the closure that allocates.
fn remember(seen: Vec<u8>) {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
}

#[derive(Default)]
struct Cache {
    pages: HashMap<u64, Box<[u8]>>,
}

impl Cache {
    #[inline(never)]
    fn put(&mut self, key: u64, page: &[u8]) {
        self.pages.insert(key, page.into());
    }
}

pub(crate) fn cache(ground: &'static Ground) {
    let mut cache = Cache::default();
    let page = [7; 2_048];
    ground.every(page.len(), |number| cache.put(number, &page));
}

#[inline(never)]
fn index(by_time: &mut BTreeMap<u64, [u64; 16]>, number: u64) {
    by_time.insert(number, [number; 16]);
}

pub(crate) fn ordered_map(ground: &'static Ground) {
    let mut by_time = BTreeMap::new();
    // Keys that only rise leave nodes of 11 places with 6 taken: 1,504 bytes in a class of 1,536, and inner nodes.
    ground.every(270, |number| index(&mut by_time, number));
}

#[expect(clippy::vec_box, reason = "the box is the leak")]
#[inline(never)]
fn note(notes: &mut Vec<Box<[u8; 16]>>) {
    notes.push(Box::new([3; 16]));
}

pub(crate) fn tiny_objects(ground: &'static Ground) {
    // Room for all, so that only what is noted grows.
    let mut notes = Vec::with_capacity(16 << 20);
    ground.every(16, |_| note(&mut notes));
}

#[inline(never)]
fn reserve_block(blocks: &mut Vec<Vec<u8>>) {
    blocks.push(vec![0; 64 << 20]);
}

/// A block each twenty seconds; its pages are never touched.
pub(crate) fn huge_objects(ground: &'static Ground) {
    const BLOCK_BYTES: usize = 64 << 20;
    let (pace, mut blocks) = (Pace::new(BLOCK_BYTES as u64 / 20), Vec::new());
    loop {
        if pace.is_due(BLOCK_BYTES) {
            reserve_block(&mut blocks);
            ground.leaked(BLOCK_BYTES);
        }
        rest();
    }
}

#[inline(never)]
fn store_image(images: &mut Vec<Vec<u8>>) {
    images.push(vec![9; 67_000]);
}

/// Not a size that the allocator has.
pub(crate) fn odd_large_objects(ground: &'static Ground) {
    let mut images = Vec::new();
    ground.every(67_000, |_| store_image(&mut images));
}

#[inline(never)]
fn append_to_log(log: &mut Vec<u8>, line: &[u8]) {
    log.extend_from_slice(line);
}

pub(crate) fn one_buffer(ground: &'static Ground) {
    let (mut log, line) = (Vec::new(), [b'x'; 500]);
    ground.every(line.len(), |_| append_to_log(&mut log, &line));
}

#[inline(never)]
fn count_visit(visits: &mut HashMap<u64, u64>, number: u64) {
    // Its last call, which takes its frame.
    visits.insert(number, 1);
}

/// A table that doubles: 17 bytes a place, of which 7/8 are used at most.
pub(crate) fn small_entries(ground: &'static Ground) {
    let mut visits = HashMap::new();
    ground.every(26, |number| count_visit(&mut visits, number));
}

#[inline(never)]
fn label(number: u64) -> String {
    let mut text = format!("{number:0200}");
    let _ = write!(text, "{number:056}");
    text
}

pub(crate) fn formatted_strings(ground: &'static Ground) {
    let mut labels = Vec::with_capacity(1 << 20);
    // 256 characters, which the string has room for at once.
    ground.every(256, |number| labels.push(label(number)));
}
