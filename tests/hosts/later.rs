//! Leaks that start later, two of them, and leaks beside what is none.

use std::collections::VecDeque;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};
use crate::level;

/// When what starts later does.
const ONSET_SECONDS: f64 = 60.0;
/// What a warm-up takes, in bytes, over half a minute.
const WARM_UP_BYTES: usize = 60_000_000;

#[inline(never)]
fn leak_one(kept: &mut Vec<Vec<u8>>) {
    kept.push(vec![1; 1_024]);
}

#[inline(never)]
fn leak_other(kept: &mut Vec<Vec<u8>>) {
    kept.push(vec![2; 20_480]);
}

#[inline(never)]
fn load_table(table: &mut Vec<Vec<u8>>) {
    table.push(vec![3; 10_240]);
}

pub(crate) fn later(ground: &'static Ground) {
    wait(ground);
    let mut kept = Vec::new();
    ground.every(1_024, |_| leak_one(&mut kept));
}

pub(crate) fn after_warm_up(ground: &'static Ground) {
    let (warming, mut table) = (Pace::new(WARM_UP_BYTES as u64 / 30), Vec::new());
    while table.len() * 10_240 < WARM_UP_BYTES {
        if warming.is_due(10_240) {
            load_table(&mut table);
        } else {
            rest();
        }
    }
    let mut kept = Vec::new();
    ground.every(1_024, |_| leak_one(&mut kept));
}

pub(crate) fn two_at_once(ground: &'static Ground) {
    both(ground, 0.0);
}

pub(crate) fn one_after_the_other(ground: &'static Ground) {
    both(ground, ONSET_SECONDS);
}

/// Each at the whole rate, the other from a moment on.
fn both(ground: &'static Ground, other_from_seconds: f64) {
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    let (one, mut other) = (Pace::new(LEAK_BYTES_PER_SECOND), None);
    loop {
        while one.is_due(1_024) {
            leak_one(&mut kept);
            ground.leaked(1_024);
        }
        if ground.seconds() >= other_from_seconds {
            let pace = other.get_or_insert_with(|| Pace::new(LEAK_BYTES_PER_SECOND));
            while pace.is_due(20_480) {
                leak_other(&mut others);
                ground.leaked(20_480);
            }
        }
        rest();
    }
}

/// While sessions come and go.
pub(crate) fn under_a_wave(ground: &'static Ground) {
    let (mut sessions, mut kept) = (VecDeque::new(), Vec::new());
    let pace = Pace::new(LEAK_BYTES_PER_SECOND);
    loop {
        while pace.is_due(1_024) {
            leak_one(&mut kept);
            ground.leaked(1_024);
        }
        level::follow(&mut sessions, level::wave(ground.seconds(), 100.0));
        rest();
    }
}

fn wait(ground: &Ground) {
    while ground.seconds() < ONSET_SECONDS {
        rest();
    }
}
