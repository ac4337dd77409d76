//! Programs that do not leak.

use std::collections::{HashMap, VecDeque};
use std::f64::consts::TAU;

use crate::ground::{Ground, Pace, Random, idle, rest};

const PAGE_BYTES: usize = 4_096;
/// What caches and the like hold in the end: 40 MB.
const PAGES: u64 = 10_000;
/// How long a cache takes to fill.
const FILL_SECONDS: u64 = 75;
/// Work in flight at the top of a wave: 24 MB in pieces of 16 KB.
const WAVE_PIECES: f64 = 1_500.0;
/// How long a session lasts.
const SESSION_SECONDS: f64 = 20.0;
/// The time between two flushes of what was batched.
const BATCH_SECONDS: f64 = 45.0;

pub(crate) fn churn_only(_: &'static Ground) {
    idle();
}

#[inline(never)]
fn put_page(pages: &mut HashMap<u64, Vec<u8>>, key: u64) {
    pages.insert(key, vec![1; PAGE_BYTES]);
}

/// Full after a while; from then on each page takes another's place.
pub(crate) fn cache_that_fills(_: &'static Ground) {
    let (pace, mut pages) = (Pace::new(PAGES * PAGE_BYTES as u64 / FILL_SECONDS), HashMap::new());
    for number in 0.. {
        while !pace.is_due(PAGE_BYTES) {
            rest();
        }
        put_page(&mut pages, number % PAGES);
    }
}

/// Fills ever more slowly.
pub(crate) fn cache_of_random_keys(_: &'static Ground) {
    let (pace, mut pages, mut random) = (Pace::new(1_500_000), HashMap::new(), Random(11));
    loop {
        while pace.is_due(PAGE_BYTES) {
            put_page(&mut pages, random.below(PAGES));
        }
        rest();
    }
}

pub(crate) fn warm_up(_: &'static Ground) {
    let (pace, mut pages) = (Pace::new(2_000_000), HashMap::new());
    while (pages.len() as u64) < 2 * PAGES {
        if pace.is_due(PAGE_BYTES) {
            let key = pages.len() as u64;
            put_page(&mut pages, key);
        } else {
            rest();
        }
    }
    idle();
}

#[inline(never)]
fn sort_in(sorted: &mut Vec<Vec<u8>>, page: Vec<u8>) {
    let mut copy = Vec::with_capacity(page.len());
    copy.extend_from_slice(&page);
    sorted.push(copy);
}

/// What one function allocated is replaced by what another does; the heap stays level.
pub(crate) fn bytes_that_move(_: &'static Ground) {
    let (mut pages, mut sorted) = (HashMap::new(), Vec::new());
    (0..2 * PAGES).for_each(|key| put_page(&mut pages, key));
    let pace = Pace::new(300_000);
    while let Some(&key) = pages.keys().next() {
        while !pace.is_due(PAGE_BYTES) {
            rest();
        }
        sorted.extend(pages.remove(&key).map(|page| (key, page)).map(|(_, page)| page));
        if let Some(page) = sorted.pop() {
            sort_in(&mut sorted, page);
        }
    }
    idle();
}

#[inline(never)]
fn begin_work(work: &mut VecDeque<Vec<u8>>) {
    work.push_back(vec![5; 16_384]);
}

/// How much is in flight at a moment.
pub(crate) fn wave(seconds: f64, period_seconds: f64) -> usize {
    (WAVE_PIECES * 0.5 * (1.0 - (TAU * seconds / period_seconds).cos())) as usize
}

/// As much work as that, the oldest ends first; a twentieth of it is new each time.
pub(crate) fn follow(work: &mut VecDeque<Vec<u8>>, pieces: usize) {
    let ended = work.len() / 20;
    work.drain(..ended);
    while work.len() < pieces {
        begin_work(work);
    }
    work.truncate(pieces);
}

pub(crate) fn load_up_and_down(ground: &'static Ground) {
    in_waves(ground, 90.0);
}

/// A day in ten minutes: it rises for five.
pub(crate) fn long_wave(ground: &'static Ground) {
    in_waves(ground, 600.0);
}

fn in_waves(ground: &Ground, period_seconds: f64) -> ! {
    let mut work = VecDeque::new();
    loop {
        follow(&mut work, wave(ground.seconds(), period_seconds));
        rest();
    }
}

#[inline(never)]
fn open_session(sessions: &mut VecDeque<(f64, Vec<u8>)>, seconds: f64) {
    sessions.push_back((seconds, vec![6; 8_192]));
}

/// More and more of them for four minutes, each of the same length.
pub(crate) fn sessions_that_end(ground: &'static Ground) {
    let (mut sessions, mut opened) = (VecDeque::new(), 0.0);
    loop {
        let seconds = ground.seconds();
        // The integral of a rate that rises to 100 a second in 300 seconds.
        while opened < seconds.min(300.0) * seconds / 6.0 {
            open_session(&mut sessions, seconds);
            opened += 1.0;
        }
        while sessions.front().is_some_and(|(since, _)| since + SESSION_SECONDS < seconds) {
            sessions.pop_front();
        }
        rest();
    }
}

#[inline(never)]
fn add_to_batch(batch: &mut Vec<Vec<u8>>) {
    batch.push(vec![7; 2_048]);
}

pub(crate) fn batches(ground: &'static Ground) {
    let (pace, mut batch, mut flushed) = (Pace::new(500_000), Vec::new(), 0.0);
    loop {
        while pace.is_due(2_048) {
            add_to_batch(&mut batch);
        }
        if ground.seconds() > flushed + BATCH_SECONDS {
            flushed = ground.seconds();
            batch.clear();
        }
        rest();
    }
}

/// Another table is loaded after a minute, and stays.
pub(crate) fn step(ground: &'static Ground) {
    let mut pages = HashMap::new();
    while ground.seconds() < 60.0 {
        rest();
    }
    (0..PAGES).for_each(|key| put_page(&mut pages, key));
    idle();
}
