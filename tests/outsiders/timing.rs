//! When what leaks does.

use std::collections::HashMap;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};

fn import_row(rows: &mut Vec<Vec<u8>>) {
    rows.push(vec![4; 10_240]);
}

/// Ten megabytes each fifty seconds.
pub(crate) fn bursts(ground: &'static Ground) {
    let (mut rows, mut next) = (Vec::new(), 0.0);
    loop {
        if ground.seconds() >= next {
            next += 50.0;
            for _ in 0..1_000 {
                import_row(&mut rows);
            }
            ground.leaked(1_000 * 10_240);
        }
        rest();
    }
}

fn keep_cookie(jar: &mut HashMap<u64, Vec<u8>>, number: u64) {
    jar.insert(number, vec![5; 512]);
}

pub(crate) fn after_two_minutes(ground: &'static Ground) {
    while ground.seconds() < 120.0 {
        rest();
    }
    let mut jar = HashMap::with_capacity(200_000);
    ground.every(512, |number| keep_cookie(&mut jar, number));
}

fn large_leak(kept: &mut Vec<Vec<u8>>) {
    kept.push(vec![1; 1_536]);
}

#[expect(clippy::vec_box, reason = "the box is the leak")]
fn small_leak(kept: &mut Vec<Box<[u64; 16]>>) {
    kept.push(Box::new([2; 16]));
}

/// 150 KB/s and 50 KB/s.
pub(crate) fn three_to_one(ground: &'static Ground) {
    let (large, small) = (Pace::new(150_000), Pace::new(50_000));
    let (mut blocks, mut boxes) = (Vec::new(), Vec::with_capacity(200_000));
    loop {
        while large.is_due(1_536) {
            large_leak(&mut blocks);
            ground.leaked(1_536);
        }
        while small.is_due(128) {
            small_leak(&mut boxes);
            ground.leaked(128);
        }
        rest();
    }
}

fn load_catalogue(catalogue: &mut HashMap<u64, Vec<u8>>, number: u64) {
    catalogue.insert(number, vec![6; 4_096]);
}

fn keep_request(log: &mut Vec<String>, number: u64) {
    log.push(format!("{number:01024}"));
}

/// A hundred megabytes of catalogue in the first minute, and a leak all the time.
pub(crate) fn cold_start(ground: &'static Ground) {
    let (warming, leaking) = (Pace::new(100_000_000 / 60), Pace::new(LEAK_BYTES_PER_SECOND));
    let (mut catalogue, mut log) = (HashMap::new(), Vec::new());
    for number in 0.. {
        while catalogue.len() * 4_096 < 100_000_000 && warming.is_due(4_096) {
            let key = catalogue.len() as u64;
            load_catalogue(&mut catalogue, key);
        }
        while leaking.is_due(1_024) {
            keep_request(&mut log, number);
            ground.leaked(1_024);
        }
        rest();
    }
}

fn cache_page(pages: &mut HashMap<u64, Vec<u8>>, number: u64) {
    pages.insert(number, vec![7; 8_192]);
}

/// The cache is filled with what is known, and from then on takes in all that comes.
pub(crate) fn warmed_by_the_leaker(ground: &'static Ground) {
    let (warming, mut pages) = (Pace::new(100_000_000 / 60), HashMap::new());
    let mut number = 0;
    while ground.seconds() < 60.0 {
        while warming.is_due(8_192) {
            cache_page(&mut pages, number);
            number += 1;
        }
        rest();
    }
    ground.every(8_192, |more| cache_page(&mut pages, number + more));
}

fn new_buffer(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(bytes)
}

/// Everything, in use or forgotten, is allocated by the same function.
pub(crate) fn shared_helper(ground: &'static Ground) {
    let (leak, churn) = (Pace::new(LEAK_BYTES_PER_SECOND), Pace::new(50_000_000));
    let (mut forgotten, mut in_use) = (Vec::new(), std::collections::VecDeque::new());
    loop {
        while churn.is_due(32_768) {
            in_use.push_back(new_buffer(32_768));
            if in_use.len() > 1_500 {
                in_use.pop_front();
            }
        }
        while leak.is_due(2_048) {
            forgotten.push(new_buffer(2_048));
            ground.leaked(2_048);
        }
        rest();
    }
}
