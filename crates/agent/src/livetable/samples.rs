//! Live samples by address: a hash table of buckets with two choices, without locks and without tombstones.
//!
//! An address can be there twice: jemalloc tells of a `realloc`'s new sample before it tells of the old one's end, in
//! place with the same address; and an address that a moving `realloc` gave up may be sampled by another thread before
//! the end of the old sample is told. The end names the size: of those that match, the oldest goes.

use super::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::atomic::{AtomicU64, fence};
use super::layout::{BUCKET, Regions, SAMPLE_WORDS};
use super::prefetch::prefetch;
use super::stacks::StackId;

/// Attempts at an address that other threads free at the same moment.
const CONTENDED_MAX: usize = 100;

/// Keys that a walk looks at ahead, to have what belongs to them fetched.
const KEYS_AHEAD: usize = 64;

const EMPTY: u64 = 0;
/// A slot that is being filled or emptied. No allocation has this address.
const CLAIMED: u64 = 1;

/// Size, and above it the interval.
const BYTES: usize = 0;
const ORDER: usize = 1;
const STACK: usize = 2;
const BIRTH: usize = 3;

const INTERVAL_SHIFT: u32 = 56;
/// No allocation is larger.
const SIZE_MASK: u64 = (1 << INTERVAL_SHIFT) - 1;

/// A sampled allocation that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiveSample {
    pub(super) address: u64,
    /// As the allocator rounded it up.
    pub(super) bytes: u64,
    /// It was one each 2^this bytes, on average.
    pub(super) interval_lg: u8,
    /// Grows with each sample.
    pub(super) order: u64,
    pub(super) stack: StackId,
    /// Tenths of a second since the start.
    pub(super) birth_ticks: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Samples<'a> {
    keys: &'a [AtomicU64],
    samples: &'a [AtomicU64],
}

impl<'a> Samples<'a> {
    pub(super) fn new(regions: &Regions<'a>) -> Self {
        Self { keys: regions.keys, samples: regions.samples }
    }

    /// False where both buckets are full.
    pub(super) fn insert(&self, sample: &LiveSample) -> bool {
        let [first, second] = self.buckets(sample.address);
        let room = |bucket: usize| self.slots(bucket).filter(|(_, key)| key.load(Relaxed) == EMPTY).count();
        let in_order = if room(second) > room(first) { [second, first] } else { [first, second] };
        in_order.into_iter().flat_map(|bucket| self.slots(bucket)).any(|(slot, key)| {
            let free = key.load(Relaxed) == EMPTY;
            if !free || key.compare_exchange(EMPTY, CLAIMED, AcqRel, Relaxed).is_err() {
                return false;
            }
            // A reader that sees a word of the new sample sees that the key was claimed, too.
            fence(Release);
            self.store(slot, BYTES, u64::from(sample.interval_lg) << INTERVAL_SHIFT | sample.bytes & SIZE_MASK);
            self.store(slot, ORDER, sample.order);
            self.store(slot, STACK, sample.stack.to_word());
            self.store(slot, BIRTH, sample.birth_ticks);
            key.store(sample.address, Release);
            true
        })
    }

    /// Takes out the oldest sample with this address and size.
    pub(super) fn remove(&self, address: u64, bytes: u64) -> Option<LiveSample> {
        for _ in 0..CONTENDED_MAX {
            let [first, second] = self.buckets(address);
            let slots = self.slots(first).chain(self.slots(second));
            let matching = slots
                .filter(|(slot, key)| key.load(Acquire) == address && self.load(*slot, BYTES) & SIZE_MASK == bytes);
            let (slot, key) = matching.min_by_key(|(slot, _)| self.load(*slot, ORDER))?;
            let order = self.load(slot, ORDER);
            if key.compare_exchange(address, CLAIMED, AcqRel, Relaxed).is_err() {
                continue;
            }
            let sample = self.sample(slot, address);
            if sample.bytes == bytes && sample.order == order {
                key.store(EMPTY, Release);
                return Some(sample);
            }
            key.store(address, Release);
        }
        None
    }

    /// All that live, each as a whole; those that come or go meanwhile may be in it or not.
    pub(super) fn live(&self) -> impl Iterator<Item = LiveSample> {
        self.keys.iter().enumerate().filter_map(|(slot, key)| {
            let ahead = slot + KEYS_AHEAD;
            if let Some(word) = self.samples.get(ahead * SAMPLE_WORDS)
                && self.keys.get(ahead).is_some_and(|key| key.load(Relaxed) > CLAIMED)
            {
                prefetch(word);
            }
            let address = key.load(Acquire);
            if address <= CLAIMED {
                return None;
            }
            let sample = self.sample(slot, address);
            fence(Acquire);
            let is_whole = key.load(Relaxed) == address && self.load(slot, ORDER) == sample.order;
            is_whole.then_some(sample)
        })
    }

    /// Slots taken. Looks at each key.
    pub(super) fn used(&self) -> usize {
        self.keys.iter().filter(|key| key.load(Relaxed) != EMPTY).count()
    }

    fn sample(&self, slot: usize, address: u64) -> LiveSample {
        let size = self.load(slot, BYTES);
        LiveSample {
            address,
            bytes: size & SIZE_MASK,
            interval_lg: (size >> INTERVAL_SHIFT) as u8,
            order: self.load(slot, ORDER),
            stack: StackId::from_word(self.load(slot, STACK)),
            birth_ticks: self.load(slot, BIRTH),
        }
    }

    /// The first slots of an address's two buckets.
    fn buckets(&self, address: u64) -> [usize; 2] {
        // Sampled small objects are aligned to pages: the low bits say nothing.
        let mixed = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let buckets = self.keys.len() / BUCKET;
        let bucket = |bits: u64| (bits as usize & (buckets - 1)) * BUCKET;
        [bucket(mixed >> 40), bucket(mixed >> 16)]
    }

    fn slots(&self, bucket: usize) -> impl Iterator<Item = (usize, &'a AtomicU64)> {
        self.keys.iter().enumerate().skip(bucket).take(BUCKET)
    }

    fn load(&self, slot: usize, field: usize) -> u64 {
        self.samples.get(slot * SAMPLE_WORDS + field).map_or(0, |word| word.load(Relaxed))
    }

    fn store(&self, slot: usize, field: usize, value: u64) {
        if let Some(word) = self.samples.get(slot * SAMPLE_WORDS + field) {
            word.store(value, Relaxed);
        }
    }
}
