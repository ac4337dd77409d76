//! What must hold however threads meet.

use loom::sync::Arc;
use loom::thread;

use super::atomic::AtomicU64;
use super::layout::{Regions, Sizes};
use super::samples::{LiveSample, Samples};
use super::stacks::{StackId, Stacks};
use super::weight::Weighted;

/// Switches of threads at places where nothing forces one.
const PREEMPTIONS_MAX: usize = 3;

struct Words(Vec<AtomicU64>, Sizes);

impl Words {
    fn new(sizes: Sizes) -> Arc<Words> {
        Arc::new(Words((0..sizes.words()).map(|_| AtomicU64::new(0)).collect(), sizes))
    }

    fn stacks(&self) -> Stacks<'_> {
        Stacks::new(&Regions::split(&self.0, self.1).expect("as many words as the sizes say"))
    }

    fn samples(&self) -> Samples<'_> {
        Samples::new(&Regions::split(&self.0, self.1).expect("as many words as the sizes say"))
    }
}

fn check(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.max_branches = 100_000;
    builder.check(body);
}

const ONE: Weighted = Weighted { objects: 1 << 10, bytes: 64, variance: 1 };

/// Two threads meet a new stack: each counts once, in one slot or two.
#[test]
fn a_new_stack_met_twice_is_counted_twice() {
    check(|| {
        let words = Words::new(Sizes { stacks: 2, frames: 8, samples: 16 });
        let meet = |words: &Words| {
            let id = words.stacks().pin(&[7, 8]).expect("there is room");
            words.stacks().allocated(id, ONE);
            id
        };
        let other = words.clone();
        let there = thread::spawn(move || meet(&other));
        let here = meet(&words);
        let there = there.join().expect("no panic");
        let stacks = words.stacks();
        let (mut live, mut slots) = (0, 0);
        let mut frames = Vec::new();
        for slot in 0..2 {
            if stacks.read(slot, &mut frames).is_some() {
                assert_eq!(frames, [7, 8]);
                live += stacks.live(slot).bytes;
                slots += 1;
            }
        }
        assert_eq!(live, 2 * ONE.bytes);
        assert_eq!(slots, if here == there { 1 } else { 2 });
    });
}

/// The one slot is idle: a thread that finds its stack there and one that wants the place never both have it.
#[test]
fn a_slot_is_never_two_stacks_at_once() {
    check(|| {
        let words = Words::new(Sizes { stacks: 1, frames: 8, samples: 16 });
        let first = words.stacks().pin(&[1, 2]).expect("there is room");
        words.stacks().allocated(first, ONE);
        words.stacks().freed(first, ONE);
        words.stacks().unpin(first);
        let use_it = |words: &Words, stack: &[usize]| -> Option<StackId> {
            let stacks = words.stacks();
            let id = stacks.pin(stack)?;
            stacks.allocated(id, ONE);
            // While it is pinned, it is this stack and no other. For the moment in which somebody tries in vain to take
            // the slot, a reader passes it over.
            let mut frames = Vec::new();
            if let Some(record) = stacks.read(id.slot as usize, &mut frames) {
                assert!(record.id == id && frames.iter().map(|&frame| frame as usize).eq(stack.iter().copied()));
            }
            Some(id)
        };
        let other = words.clone();
        let there = thread::spawn(move || use_it(&other, &[3, 4]));
        let here = use_it(&words, &[1, 2]);
        let there = there.join().expect("no panic");
        assert!(here.is_none() || there.is_none(), "{here:?} {there:?}");
        let pinned = u64::from(here.is_some()) + u64::from(there.is_some());
        assert_eq!(words.stacks().pins(0), pinned, "whoever has it has one pin, whoever has not has none");
        assert_eq!(words.stacks().live(0).bytes, pinned * ONE.bytes);
    });
}

fn sample(address: u64, bytes: u64, order: u64) -> LiveSample {
    LiveSample {
        address,
        bytes,
        interval_lg: order as u8,
        order,
        stack: StackId { slot: order as u32, generation: 9 },
        birth_ticks: bytes + order,
    }
}

/// A reader sees whole samples only, while slots are emptied and filled again.
#[test]
fn a_sample_is_read_whole_or_not_at_all() {
    check(|| {
        let words = Words::new(Sizes { stacks: 1, frames: 1, samples: 16 });
        let all = [sample(4096, 10, 1), sample(8192, 20, 2)];
        assert!(words.samples().insert(&all[0]));
        let other = words.clone();
        let writer = thread::spawn(move || {
            let samples = other.samples();
            assert_eq!(samples.remove(4096, 10), Some(all[0]));
            assert!(samples.insert(&all[1]));
        });
        for seen in words.samples().live().take(2) {
            assert!(all.contains(&seen), "{seen:?}");
        }
        writer.join().expect("no panic");
        assert_eq!(words.samples().live().collect::<Vec<_>>(), [all[1]]);
    });
}

/// Of two ends of samples of one address and size, each takes one.
#[test]
fn no_sample_ends_twice() {
    check(|| {
        let words = Words::new(Sizes { stacks: 1, frames: 1, samples: 16 });
        let all = [sample(4096, 10, 1), sample(4096, 10, 2)];
        assert!(all.iter().all(|sample| words.samples().insert(sample)));
        let other = words.clone();
        let there = thread::spawn(move || other.samples().remove(4096, 10));
        let here = words.samples().remove(4096, 10).expect("there are two");
        let there = there.join().expect("no panic").expect("there are two");
        assert!(here != there && all.contains(&here) && all.contains(&there), "{here:?} {there:?}");
        assert_eq!(words.samples().used(), 0);
    });
}
