//! Stacks, each once: a hash table that is never rehashed and needs no lock.
//!
//! A slot's `state` holds a generation and the number of pins. Whoever uses a slot pins it first, by a compare-exchange
//! that fails if the generation moved since the key was seen; a slot without pins may be given to another stack, which
//! raises the generation. So a sample that pinned its slot is never counted on another stack. Two threads that meet a
//! new stack at the same moment may give it two slots: readers add equal stacks up.

use super::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::atomic::{AtomicU64, fence};
use super::layout::{Regions, STACK_WORDS, word};
use super::prefetch::prefetch;
use super::weight::Weighted;

/// Slots that are looked at for one stack. At 90% full, one stack in a thousand finds none free.
const PROBES_MAX: usize = 64;
/// Attempts at a word that other threads change at the same moment; then the sample is lost, and counted.
const CONTENDED_MAX: usize = 1_000;
/// The longest stack: jemalloc keeps no more than 256 frames.
pub(super) const DEPTH_MAX: usize = 256;

const EMPTY: u64 = 0;
/// A slot that is being filled.
const CLAIMED: u64 = 1;

const KEY: usize = 0;
const STATE: usize = 1;
/// Offset << 32 | room << 16 | depth.
const FRAMES: usize = 2;
const ALLOC_OBJECTS: usize = 3;
const ALLOC_BYTES: usize = 4;
const LIVE_OBJECTS: usize = 5;
const LIVE_BYTES: usize = 6;
/// Of the allocated bytes. A slot is a cache line.
const ALLOC_VARIANCE: usize = 7;

const PINS: u64 = u32::MAX as u64;

/// Of the hash of stacks.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A slot, as it was when it was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What a slot holds. Its frames are where the reader wanted them.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackRecord {
    pub(super) id: StackId,
    pub(super) allocated: Weighted,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stacks<'a> {
    header: &'a [AtomicU64],
    slots: &'a [AtomicU64],
    frames: &'a [AtomicU64],
    /// From a file: frames count only where they have their hash.
    is_adopted: bool,
}

impl StackId {
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self { slot: word as u32, generation: (word >> 32) as u32 }
    }
}

impl<'a> Stacks<'a> {
    pub(super) fn new(regions: &Regions<'a>) -> Self {
        Self { header: regions.header, slots: regions.stacks, frames: regions.frames, is_adopted: false }
    }

    /// Of a process that is gone: nothing in it is taken on trust.
    pub(super) fn of_file(regions: &Regions<'a>) -> Self {
        Self { is_adopted: true, ..Self::new(regions) }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len() / STACK_WORDS
    }

    /// The slot of a stack, pinned once; a new one where the stack is new. `None` where there is no room.
    pub(super) fn pin(&self, stack: &[usize]) -> Option<StackId> {
        let stack = stack.get(..DEPTH_MAX).unwrap_or(stack);
        let hash = hash(stack.iter().map(|&address| address as u64));
        self.find(hash, stack).or_else(|| self.reuse(hash, stack))
    }

    /// Takes a pin back.
    pub(super) fn unpin(&self, id: StackId) {
        if let Some(state) = self.word(id.slot as usize, STATE) {
            state.fetch_sub(1, Release);
        }
    }

    /// Pins a slot once more, if it has pins and is the same still.
    pub(super) fn pin_again(&self, slot: usize) -> Option<StackId> {
        let state = self.word(slot, STATE)?;
        let mut seen = state.load(Acquire);
        for _ in 0..CONTENDED_MAX {
            if seen & PINS == 0 || seen & PINS == PINS {
                return None;
            }
            match state.compare_exchange_weak(seen, seen + 1, AcqRel, Acquire) {
                Ok(_) => return Some(StackId { slot: slot as u32, generation: (seen >> 32) as u32 }),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Counts an allocation. The slot must be pinned.
    pub(super) fn allocated(&self, id: StackId, weighted: Weighted) {
        let slot = id.slot as usize;
        self.add(slot, ALLOC_OBJECTS, weighted.objects);
        self.add(slot, ALLOC_BYTES, weighted.bytes);
        self.add(slot, ALLOC_VARIANCE, weighted.variance);
        self.add(slot, LIVE_OBJECTS, weighted.objects);
        self.add(slot, LIVE_BYTES, weighted.bytes);
    }

    /// Counts its end. The slot must be pinned.
    pub(super) fn freed(&self, id: StackId, weighted: Weighted) {
        let slot = id.slot as usize;
        self.add(slot, LIVE_OBJECTS, weighted.objects.wrapping_neg());
        self.add(slot, LIVE_BYTES, weighted.bytes.wrapping_neg());
    }

    /// Live objects and bytes of a slot; their variance is not kept.
    pub(super) fn live(&self, slot: usize) -> Weighted {
        let load = |field| self.word(slot, field).map_or(0, |word| word.load(Relaxed));
        Weighted { objects: load(LIVE_OBJECTS), bytes: load(LIVE_BYTES), variance: 0 }
    }

    /// Live samples and peaks that hold a slot.
    #[cfg(test)]
    pub(super) fn pins(&self, slot: usize) -> u64 {
        self.word(slot, STATE).map_or(0, |state| state.load(Relaxed) & PINS)
    }

    /// Whether a slot was ever used.
    pub(super) fn is_used(&self, slot: usize) -> bool {
        self.word(slot, KEY).is_some_and(|key| key.load(Relaxed) > CLAIMED)
    }

    /// Where a slot's frames begin.
    pub(super) fn first_frame(&self, slot: usize) -> u64 {
        self.word(slot, FRAMES).map_or(0, |extent| extent.load(Relaxed) >> 32)
    }

    /// Has a slot fetched that is read soon.
    pub(super) fn prefetch(&self, slot: usize) {
        if let Some(key) = self.word(slot, KEY) {
            prefetch(key);
        }
    }

    /// What a slot holds, with its frames in place of what the buffer held; `None` where it is empty, changes at this
    /// moment, or is damaged.
    pub(super) fn read(&self, slot: usize, frames: &mut Vec<u64>) -> Option<StackRecord> {
        for _ in 0..CONTENDED_MAX {
            let state = self.word(slot, STATE)?.load(Acquire);
            let key = self.word(slot, KEY)?.load(Acquire);
            if key <= CLAIMED {
                return None;
            }
            let extent = self.word(slot, FRAMES)?.load(Relaxed);
            let (offset, depth) = ((extent >> 32) as usize, (extent & 0xffff) as usize);
            let words = self.frames.get(offset..offset + depth.min(DEPTH_MAX))?;
            frames.clear();
            frames.extend(words.iter().map(|frame| frame.load(Relaxed)));
            let load = |field| self.word(slot, field).map_or(0, |word| word.load(Relaxed));
            let allocated =
                Weighted { objects: load(ALLOC_OBJECTS), bytes: load(ALLOC_BYTES), variance: load(ALLOC_VARIANCE) };
            fence(Acquire);
            let same_generation = self.word(slot, STATE)?.load(Relaxed) >> 32 == state >> 32;
            if same_generation && self.word(slot, KEY)?.load(Relaxed) == key {
                let id = StackId { slot: slot as u32, generation: (state >> 32) as u32 };
                let is_whole = !self.is_adopted || hash(frames.iter().copied()) == key;
                return is_whole.then_some(StackRecord { id, allocated });
            }
        }
        None
    }

    /// The slot that has the stack, else the first empty one.
    fn find(&self, hash: u64, stack: &[usize]) -> Option<StackId> {
        for slot in self.probes(hash) {
            let key = self.word(slot, KEY)?;
            let mut seen = key.load(Acquire);
            if seen == EMPTY {
                match self.claim(slot, EMPTY, hash, stack) {
                    Ok(id) => return Some(id),
                    Err(Refused::NoFrames) => return None,
                    Err(Refused::Taken) => seen = key.load(Acquire),
                }
            }
            if seen == hash
                && let Some(id) = self.pin_found(slot, hash)
            {
                return Some(id);
            }
        }
        None
    }

    fn pin_found(&self, slot: usize, hash: u64) -> Option<StackId> {
        for _ in 0..CONTENDED_MAX {
            let state = self.word(slot, STATE)?;
            let seen = state.load(Acquire);
            if self.word(slot, KEY)?.load(Acquire) != hash || seen & PINS == PINS {
                return None;
            }
            if state.compare_exchange_weak(seen, seen + 1, AcqRel, Relaxed).is_ok() {
                return Some(StackId { slot: slot as u32, generation: (seen >> 32) as u32 });
            }
        }
        None
    }

    /// Gives the stack the slot of another one of which nothing lives.
    fn reuse(&self, hash: u64, stack: &[usize]) -> Option<StackId> {
        for slot in self.probes(hash) {
            let key = self.word(slot, KEY)?.load(Acquire);
            let is_idle = self.word(slot, STATE)?.load(Acquire) & PINS == 0;
            if key > CLAIMED
                && is_idle
                && let Ok(id) = self.claim(slot, key, hash, stack)
            {
                self.header_add(word::REUSED_STACKS, 1);
                return Some(id);
            }
        }
        None
    }

    /// Fills a slot that is empty, or that holds `from` and has no pins.
    fn claim(&self, slot: usize, from: u64, hash: u64, stack: &[usize]) -> Result<StackId, Refused> {
        let taken = || Refused::Taken;
        let key = self.word(slot, KEY).ok_or_else(taken)?;
        let state = self.word(slot, STATE).ok_or_else(taken)?;
        let extent = self.word(slot, FRAMES).ok_or_else(taken)?;
        // First the key, so that nobody finds the slot any more, then the pins, which tell whether somebody had.
        key.compare_exchange(from, CLAIMED, AcqRel, Relaxed).map_err(|_| Refused::Taken)?;
        let seen = state.load(Acquire);
        let generation = ((seen >> 32) as u32).wrapping_add(1);
        let pinned = u64::from(generation) << 32 | 1;
        if seen & PINS != 0 || state.compare_exchange(seen, pinned, AcqRel, Relaxed).is_err() {
            key.store(from, Release);
            return Err(Refused::Taken);
        }
        let Some((offset, room)) = self.room(extent.load(Relaxed), stack.len()) else {
            state.fetch_sub(1, Release);
            key.store(from, Release);
            return Err(Refused::NoFrames);
        };
        fence(Release);
        if from == EMPTY {
            self.header_add(word::STACKS_USED, 1);
        } else {
            self.forget(slot);
        }
        for (word, &address) in self.frames.iter().skip(offset).zip(stack) {
            word.store(address as u64, Relaxed);
        }
        extent.store((offset as u64) << 32 | (room as u64) << 16 | stack.len() as u64, Relaxed);
        key.store(hash, Release);
        Ok(StackId { slot: slot as u32, generation })
    }

    /// Room for so many frames: the slot's own, else new.
    fn room(&self, extent: u64, depth: usize) -> Option<(usize, usize)> {
        let (offset, room) = ((extent >> 32) as usize, (extent >> 16 & 0xffff) as usize);
        if room >= depth {
            return Some((offset, room));
        }
        let used = self.header.get(word::FRAMES_USED)?;
        let mut seen = used.load(Relaxed);
        for _ in 0..CONTENDED_MAX {
            let end = seen + depth as u64;
            if end > self.frames.len() as u64 {
                return None;
            }
            match used.compare_exchange_weak(seen, end, Relaxed, Relaxed) {
                Ok(_) => return Some((seen as usize, depth)),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Moves what the slot's last stack had allocated to the header, so that totals stay.
    fn forget(&self, slot: usize) {
        let take = |field| self.word(slot, field).map_or(0, |word| word.swap(0, Relaxed));
        self.header_add(word::FORGOTTEN_OBJECTS, take(ALLOC_OBJECTS));
        self.header_add(word::FORGOTTEN_BYTES, take(ALLOC_BYTES));
        take(ALLOC_VARIANCE);
    }

    fn probes(&self, hash: u64) -> impl Iterator<Item = usize> {
        // Triangular steps visit every slot of a power of two once.
        let mask = self.slots() - 1;
        (0..PROBES_MAX.min(mask + 1)).map(move |probe| (hash as usize).wrapping_add(probe * (probe + 1) / 2) & mask)
    }

    fn word(&self, slot: usize, field: usize) -> Option<&'a AtomicU64> {
        self.slots.get(slot * STACK_WORDS + field)
    }

    fn add(&self, slot: usize, field: usize, amount: u64) {
        if let Some(word) = self.word(slot, field) {
            word.fetch_add(amount, Relaxed);
        }
    }

    fn header_add(&self, field: usize, amount: u64) {
        if let Some(word) = self.header.get(field) {
            word.fetch_add(amount, Relaxed);
        }
    }
}

enum Refused {
    Taken,
    NoFrames,
}

/// Of return addresses; never one of the two reserved keys. Equal hashes are taken for equal stacks: among 10,000
/// stacks that goes wrong once in 10^11 tables.
fn hash(stack: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = StackHasher::default();
    stack.for_each(|address| hasher.add(address));
    hasher.finish()
}

struct StackHasher(u64);

impl Default for StackHasher {
    fn default() -> Self {
        Self(ODD)
    }
}

impl StackHasher {
    #[inline]
    fn add(&mut self, address: u64) {
        self.0 = (self.0.rotate_left(25) ^ address).wrapping_mul(ODD);
    }

    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
        hash.max(CLAIMED + 1)
    }
}
