//! The table against a plain model of it, against threads, and against damage. No file, no jemalloc: Miri runs these.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use proptest::prelude::*;

use super::layout::{Sizes, word};
use super::table::{Identity, Table};
use super::weight::Weighted;

const INTERVAL_LG: u8 = 19;
const PERIOD: u64 = 1 << INTERVAL_LG;
const SMALL: Sizes = Sizes { stacks: 64, frames: 512, samples: 256 };
/// Miri is a thousand times slower.
const ROUNDS: u64 = if cfg!(miri) { 200 } else { 200_000 };

fn words(sizes: Sizes) -> Vec<AtomicU64> {
    (0..sizes.words()).map(|_| AtomicU64::new(0)).collect()
}

fn identity() -> Identity {
    Identity {
        pid: 7,
        start_unix_nanos: 1,
        period_bytes: PERIOD,
        boot_id: "0c0ffee0-1234-5678-9abc-def012345678".to_owned(),
        build_id: "ab".repeat(20),
        cgroup_oom_kills: 3,
    }
}

fn table(words: &[AtomicU64], sizes: Sizes) -> Table<'_> {
    Table::create(words, sizes, &identity()).expect("the words are as many as the sizes say")
}

/// Every test's stacks: told apart by their number, of different depths.
fn stack(number: u64) -> Vec<usize> {
    (0..=number % 7).map(|depth| (number * 1_000 + depth) as usize + 1).collect()
}

/// Pseudo-random numbers, the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn live_by_stack(table: &Table<'_>) -> HashMap<Vec<u64>, f64> {
    let mut live = HashMap::new();
    for sample in table.walk().samples.iter().filter(|sample| sample.inuse.bytes != 0.0) {
        *live.entry(sample.stack.to_vec()).or_default() += sample.inuse.bytes;
    }
    live
}

fn weighted_bytes(bytes: u64) -> f64 {
    weighted_bytes_at(bytes, INTERVAL_LG)
}

fn weighted_bytes_at(bytes: u64, interval_lg: u8) -> f64 {
    Weighted::of(bytes, 1 << interval_lg).bytes as f64
}

#[test]
fn what_was_written_is_read_back() {
    let words = words(SMALL);
    let table = table(&words, SMALL);
    table.set_maps("- 1000-2000 r-xp 0 00:00 0 /srv/shop\n");
    let again = Table::open(&words).expect("a table");
    assert_eq!(again.identity(), identity());
    assert_eq!(again.maps(), "- 1000-2000 r-xp 0 00:00 0 /srv/shop\n");
    let long = "- 1000-2000 r-xp 0 00:00 0 /srv/shop\n".repeat(2_000);
    table.set_maps(&long);
    let kept = again.maps();
    assert!(long.starts_with(&kept) && kept.ends_with("shop\n") && kept.len() > 32_000, "{}", kept.len());
    assert!(!again.has_clean_end());
    table.set_clean_end(true);
    assert!(again.has_clean_end());
}

#[test]
fn of_two_samples_at_one_address_the_oldest_of_that_size_ends() {
    let words = words(SMALL);
    let table = table(&words, SMALL);
    // In place, to another size, and to the same size by another stack.
    table.sampled(0x1000, &stack(1), 4096, INTERVAL_LG);
    table.sampled(0x1000, &stack(2), 8192, INTERVAL_LG);
    table.freed(0x1000, 4096);
    assert_eq!(live_by_stack(&table), HashMap::from([(vec![2001, 2002, 2003], weighted_bytes(8192))]));
    table.sampled(0x1000, &stack(3), 8192, INTERVAL_LG);
    table.freed(0x1000, 8192);
    assert_eq!(live_by_stack(&table).into_keys().collect::<Vec<_>>(), [[3001, 3002, 3003, 3004]]);
    table.freed(0x1000, 8192);
    table.freed(0x1000, 8192);
    let tally = table.tally();
    assert_eq!((tally.sampled, tally.freed, tally.unknown_frees, tally.live_bytes), (3, 3, 1, 0));
}

#[test]
fn a_full_table_counts_what_it_cannot_keep() {
    let sizes = Sizes { stacks: 16, frames: 64, samples: 32 };
    let words = words(sizes);
    let table = table(&words, sizes);
    for address in 1..=100 {
        table.sampled(address << 12, &stack(address % 4), 4096, INTERVAL_LG);
    }
    let walk = table.walk();
    let tally = table.tally();
    assert!((24..=32).contains(&walk.live_samples), "{}", walk.live_samples);
    assert_eq!(tally.lost_samples, 100 - walk.live_samples as u64);
    let allocated: f64 = walk.samples.iter().filter_map(|sample| sample.alloc).map(|count| count.bytes).sum();
    assert_eq!(allocated, 100.0 * weighted_bytes(4096), "allocations are counted all the same");

    for address in 1..=100 {
        table.freed(address << 12, 4096);
    }
    let tally = table.tally();
    assert_eq!(tally.unknown_frees, 100 - walk.live_samples as u64);
    assert!(table.stacks_are_idle_but_for_the_living());
}

#[test]
fn stacks_that_live_are_not_displaced_by_others() {
    let sizes = Sizes { stacks: 16, frames: 64, samples: 256 };
    let words = words(sizes);
    let table = table(&words, sizes);
    for number in 0..60 {
        table.sampled((number + 1) << 12, &stack(number), 64, INTERVAL_LG);
    }
    // Sixteen slots, 64 frames: 0 to 15 have 58 frames, so that all slots are taken.
    let live = live_by_stack(&table);
    assert_eq!(live.len(), 16);
    assert!((0..16).all(|number| live.contains_key(&stack(number).into_iter().map(|f| f as u64).collect::<Vec<_>>())));
    let tally = table.tally();
    assert_eq!((tally.lost_stacks, tally.stacks_used, tally.reused_stacks), (44, 16, 0));
    assert!(table.stacks_are_idle_but_for_the_living());
}

#[test]
fn a_stack_of_which_nothing_lives_gives_its_slot_away_when_the_table_is_full() {
    let sizes = Sizes { stacks: 16, frames: 1 << 10, samples: 64 };
    let words = words(sizes);
    let table = table(&words, sizes);
    // Below the step of a peak, which would keep its stacks.
    table.sampled(1 << 12, &stack(1), 64, INTERVAL_LG);
    for number in 2..200 {
        table.sampled(number << 12, &stack(number), 64, INTERVAL_LG);
        table.freed(number << 12, 64);
    }
    let tally = table.tally();
    assert_eq!((tally.stacks_used, tally.lost_stacks), (16, 0), "{tally:?}");
    assert_eq!(tally.reused_stacks, 199 - 16);
    assert!(live_by_stack(&table).contains_key(&vec![1001, 1002]), "what lives is not given away");
    let walk = table.walk();
    let kept: f64 = walk.samples.iter().filter_map(|sample| sample.alloc).map(|count| count.bytes).sum();
    let forgotten = words[word::FORGOTTEN_BYTES].load(Relaxed) as f64;
    assert_eq!(kept + forgotten, 199.0 * weighted_bytes(64));
}

#[test]
fn the_peak_is_kept_within_a_twentieth_also_when_its_stacks_are_long_gone() {
    let sizes = Sizes { stacks: 64, frames: 1 << 10, samples: 1 << 12 };
    let words = words(sizes);
    let table = table(&words, sizes);
    assert!(table.visit_peak(|_| panic!("there is none")).is_none());
    for address in 1..=1_000 {
        table.set_ticks(address);
        table.sampled(address << 20, &stack(address % 10), 1 << 20, INTERVAL_LG);
    }
    let live_bytes =
        |samples: &[crate::profile::model::Sample]| samples.iter().map(|sample| sample.inuse.bytes).sum::<f64>();
    let truth = live_bytes(&table.walk().samples);
    for address in 1..=1_000 {
        table.freed(address << 20, 1 << 20);
    }
    for number in 100..400 {
        table.sampled(number << 20, &stack(number), 4096, INTERVAL_LG);
        table.freed(number << 20, 4096);
    }
    let mut live_at_peak = 0.0;
    let (seen, _) = table.visit_peak(|found| live_at_peak += found.inuse.bytes).expect("a peak");
    assert_eq!((seen.without_stack, seen.live_samples), (0, 10));
    let (peak, seconds) = table.at_last_peak().expect("a peak");
    assert_eq!(live_bytes(&peak.samples), live_at_peak);
    let share = live_bytes(&peak.samples) / truth;
    assert!((0.95..=1.0).contains(&share), "{share}");
    assert!((95.0..=100.0).contains(&seconds), "{seconds}");
    assert_eq!(peak.samples.len(), 10);
    assert!(live_by_stack(&table).is_empty());
}

#[test]
fn survivors_are_those_that_are_old_enough() {
    let words = words(SMALL);
    let table = table(&words, SMALL);
    for (address, ticks) in [(1, 0), (2, 100), (3, 6_000)] {
        table.set_ticks(ticks);
        table.sampled(address << 12, &stack(address), 4096, INTERVAL_LG);
    }
    table.set_ticks(6_100);
    let stacks = |age| table.survivors(age).samples.iter().map(|sample| sample.stack[0] / 1_000).collect::<Vec<_>>();
    let sorted = |mut stacks: Vec<u64>| {
        stacks.sort_unstable();
        stacks
    };
    assert_eq!(sorted(stacks(0)), [1, 2, 3]);
    assert_eq!(sorted(stacks(600)), [1, 2]);
    assert_eq!(sorted(stacks(601)), [1]);
    assert!(stacks(611).is_empty() && stacks(u64::MAX).is_empty());
}

/// Threads allocate and free, some of it each other's, in a table that is too small for them, while one walks.
#[test]
fn threads_leave_nothing_behind_and_nothing_is_told_of_the_wrong_stack() {
    let sizes = Sizes { stacks: 32, frames: 256, samples: 128 };
    let words = words(sizes);
    let table = table(&words, sizes);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                scope.spawn(move || {
                    let mut state = worker + 1;
                    let mut live = Vec::new();
                    for round in 0..ROUNDS {
                        // The number of the stack is in the address, so that a walk can tell.
                        let number = random(&mut state) % 60;
                        let address = ((worker * ROUNDS + round) << 16 | number) << 12;
                        table.sampled(address, &stack(number), 64 << (number % 20), INTERVAL_LG);
                        live.push((address, 64 << (number % 20)));
                        if live.len() > (random(&mut state) % 50) as usize {
                            let (address, bytes) = live.swap_remove(random(&mut state) as usize % live.len());
                            table.freed(address, bytes);
                        }
                    }
                    live
                })
            })
            .collect();
        let walker = scope.spawn(|| {
            let (mut looked_at, mut wrong, mut frames) = (0, 0, Vec::new());
            while !done.load(Relaxed) {
                for sample in table.samples.live() {
                    let Some(stack_there) = table.stacks.read(sample.stack.slot as usize, &mut frames) else {
                        continue;
                    };
                    // It may have ended meanwhile; then its slot has another generation, or it is gone.
                    if stack_there.id == sample.stack {
                        looked_at += 1;
                        let number = sample.address >> 12 & 0xffff;
                        let same = frames.iter().map(|&frame| frame as usize).eq(stack(number));
                        wrong += usize::from(!same);
                    }
                }
                table.walk();
                table.visit_peak(|_| ());
            }
            (looked_at, wrong)
        });
        let live: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        done.store(true, Relaxed);
        let (looked_at, wrong) = walker.join().expect("no panic");
        assert!(looked_at > 0);
        assert_eq!(wrong, 0, "of {looked_at}");
        // Each by another thread than the one that allocated it.
        for (address, bytes) in live.into_iter().flatten() {
            table.freed(address, bytes);
        }
    });
    let tally = table.tally();
    assert_eq!(tally.sampled, 4 * ROUNDS);
    assert_eq!(tally.sampled, tally.freed + tally.lost());
    assert_eq!(tally.unknown_frees, tally.lost());
    assert_eq!((tally.live_bytes, table.samples.used()), (0, 0));
    assert!(tally.reused_stacks > 0 && tally.lost() > 0, "the table was too small: {tally:?}");
    assert!(table.stacks_are_idle_but_for_the_living());
    assert!(live_by_stack(&table).is_empty());
}

/// All threads meet each new stack at the same time.
#[test]
fn threads_that_meet_a_new_stack_together_count_it_whole() {
    let sizes = Sizes { stacks: 1 << 10, frames: 1 << 13, samples: 1 << 12 };
    let words = words(sizes);
    let table = table(&words, sizes);
    let rounds = 300;
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let barrier = &barrier;
            scope.spawn(move || {
                for round in 1..=rounds {
                    barrier.wait();
                    table.sampled((round * 8 + worker) << 12, &stack(round), 1 << 21, INTERVAL_LG);
                }
            });
        }
    });
    let live = live_by_stack(&table);
    assert_eq!(live.len(), rounds as usize);
    assert!(live.values().all(|&bytes| bytes == 4.0 * weighted_bytes(1 << 21)));
    assert_eq!(table.tally().lost(), 0);
}

impl Table<'_> {
    /// Each slot's pins are those of its live samples and of the peak, and its live counts are theirs.
    fn stacks_are_idle_but_for_the_living(&self) -> bool {
        let mut expected: HashMap<u32, (u64, Weighted)> = HashMap::new();
        for sample in self.samples.live() {
            let (pins, live) = expected.entry(sample.stack.slot).or_default();
            *pins += 1;
            *live = live.plus(Weighted { variance: 0, ..Weighted::of(sample.bytes, 1 << sample.interval_lg) });
        }
        for record in self.peak().read().map(|copy| copy.records).unwrap_or_default() {
            expected.entry(record.stack.slot).or_default().0 += 1;
        }
        (0..self.stacks.slots()).all(|slot| {
            let (pins, live) = expected.get(&(slot as u32)).copied().unwrap_or_default();
            self.stacks.pins(slot) == pins && self.stacks.live(slot) == live
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate { stack: u64, bytes: u64 },
    Free { which: usize },
    Reallocate { which: usize, stack: u64, bytes: u64, moves: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || (3_u32..28).prop_map(|power| 1_u64 << power);
    let step =
        prop_oneof![
            (0_u64..40, bytes()).prop_map(|(stack, bytes)| Step::Allocate { stack, bytes }),
            any::<usize>().prop_map(|which| Step::Free { which }),
            (any::<usize>(), 0_u64..40, bytes(), any::<bool>())
                .prop_map(|(which, stack, bytes, moves)| Step::Reallocate { which, stack, bytes, moves }),
        ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// With room for all, the table and a list of what lives say the same.
    #[test]
    fn the_table_says_what_a_list_says(steps in steps()) {
        let sizes = Sizes { stacks: 256, frames: 1 << 12, samples: 1 << 12 };
        let words = words(sizes);
        let table = table(&words, sizes);
        let (mut list, mut next) = (Vec::<(u64, u64, u64, u8)>::new(), 1_u64);
        // The interval changes all the time.
        let lg_of = |number: u64| INTERVAL_LG + (number % 5) as u8;
        let mut allocated = 0.0;
        for step in steps {
            match step {
                Step::Allocate { stack: number, bytes } => {
                    let lg = lg_of(next);
                    table.sampled(next << 12, &stack(number), bytes, lg);
                    list.push((next << 12, number, bytes, lg));
                    allocated += weighted_bytes_at(bytes, lg);
                    next += 1;
                }
                Step::Free { which } if !list.is_empty() => {
                    let (address, _, bytes, _) = list.swap_remove(which % list.len());
                    table.freed(address, bytes);
                }
                Step::Reallocate { which, stack: number, bytes, moves } if !list.is_empty() => {
                    let (old_address, _, old_bytes, _) = list.swap_remove(which % list.len());
                    let address = if moves { next << 12 } else { old_address };
                    let lg = lg_of(next);
                    next += 1;
                    // In jemalloc's order.
                    table.sampled(address, &stack(number), bytes, lg);
                    table.freed(old_address, old_bytes);
                    list.push((address, number, bytes, lg));
                    allocated += weighted_bytes_at(bytes, lg);
                }
                Step::Free { .. } | Step::Reallocate { .. } => {}
            }
        }
        let mut expected: HashMap<Vec<u64>, f64> = HashMap::new();
        for (_, number, bytes, lg) in &list {
            let frames = stack(*number).into_iter().map(|frame| frame as u64).collect();
            *expected.entry(frames).or_default() += weighted_bytes_at(*bytes, *lg);
        }
        prop_assert_eq!(live_by_stack(&table), expected);
        let total: f64 = table.walk().samples.iter().filter_map(|sample| sample.alloc).map(|count| count.bytes).sum();
        prop_assert_eq!(total, allocated);
        prop_assert_eq!(table.tally().lost(), 0);
        prop_assert!(table.stacks_are_idle_but_for_the_living());
    }

    /// Any damage, anywhere, is refused or borne: no panic, nothing without end, no more than fits.
    #[test]
    fn damage_is_borne(flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..64), 1..200), cut in any::<Option<prop::sample::Index>>()) {
        let words = words(SMALL);
        let whole = table(&words, SMALL);
        for address in 1..200 {
            whole.sampled(address << 20, &stack(address % 30), 1 << 20, INTERVAL_LG);
        }
        for (index, bit) in flips {
            words[index.index(words.len())].fetch_xor(1 << bit, Relaxed);
        }
        let words = cut.map_or(&words[..], |cut| &words[..cut.index(words.len())]);
        if let Ok(table) = Table::open(words) {
            prop_assert_eq!(words.len(), SMALL.words());
            let walks = [table.walk(), table.survivors(0), table.at_last_peak().map(|(walk, _)| walk).unwrap_or_default()];
            for walk in walks {
                prop_assert!(walk.samples.len() <= SMALL.stacks);
            }
            table.identity();
            table.maps();
        }
    }
}
