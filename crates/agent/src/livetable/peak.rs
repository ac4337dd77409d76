//! The live table as it was at the highest live bytes so far.
//!
//! The sample that lifts live bytes a twentieth above the last copy makes the next one: it copies the live counts of
//! each stack into the buffer that is not the current one, pins those stacks, so that their frames stay, and unpins the
//! former copy's. A heap that grows to ten thousand times its size is copied 190 times; below the peak, all it costs is
//! one comparison. Measured: 0.1 ms for 10,000 stacks.

use super::atomic::AtomicU64;
use super::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::layout::{PEAK_WORDS, Regions, word};
use super::stacks::{StackId, Stacks};
use super::weight::Weighted;

/// A copy is made when live bytes are above the last one's by this share of it...
const STEP_SHARE: u64 = 20;
/// ...and by this many sample periods: a smaller step is noise of the sampler.
const STEP_PERIODS: u64 = 4;
/// Attempts of a reader while a copy is being made.
const READ_ATTEMPTS_MAX: usize = 10_000;

/// One stack's part in the peak.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeakRecord {
    pub(super) stack: StackId,
    pub(super) live: Weighted,
}

/// The copy, and when it was made.
#[derive(Clone, Debug)]
pub(super) struct PeakCopy {
    pub(super) records: Vec<PeakRecord>,
    pub(super) ticks: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Peak<'a> {
    header: &'a [AtomicU64],
    buffers: [&'a [AtomicU64]; 2],
    stacks: Stacks<'a>,
}

impl<'a> Peak<'a> {
    pub(super) fn new(regions: &Regions<'a>, stacks: Stacks<'a>) -> Self {
        Self { header: regions.header, buffers: regions.peaks, stacks }
    }

    /// Live bytes are now so many. Makes a copy if they are that much higher than at the last one, unless one is being
    /// made.
    pub(super) fn passed(&self, live_bytes: u64, period_bytes: u64) {
        // A sum that went below zero for a moment, between two threads, is no peak.
        if live_bytes < self.load(word::PEAK_NEXT_BYTES) || live_bytes > u64::MAX / 2 || !self.try_hold() {
            return;
        }
        if live_bytes >= self.load(word::PEAK_NEXT_BYTES) {
            self.copy();
            let step = (live_bytes / STEP_SHARE).max(period_bytes.saturating_mul(STEP_PERIODS));
            self.store(word::PEAK_NEXT_BYTES, live_bytes.saturating_add(step));
        }
        self.release();
    }

    /// The last copy. `None` where there is none, or one is being made for all too long.
    pub(super) fn read(&self) -> Option<PeakCopy> {
        for _ in 0..READ_ATTEMPTS_MAX {
            if self.try_hold() {
                let copy = self.selected();
                self.release();
                return copy;
            }
            std::thread::yield_now();
        }
        None
    }

    /// The last whole copy, whether or not one is being made: for the file of a process that is gone.
    pub(super) fn selected(&self) -> Option<PeakCopy> {
        let index = self.load_selected()?;
        let len = usize::try_from(self.load(word::PEAK_LEN + index)).ok()?;
        let records = self.buffers[index].chunks_exact(PEAK_WORDS).take(len).filter_map(|record| {
            let [stack, objects, bytes] = record else { return None };
            Some(PeakRecord {
                stack: StackId::from_word(stack.load(Relaxed)),
                live: Weighted { objects: objects.load(Relaxed), bytes: bytes.load(Relaxed), variance: 0 },
            })
        });
        Some(PeakCopy { records: records.collect(), ticks: self.load(word::PEAK_TICKS + index) })
    }

    fn copy(&self) {
        let former = self.load_selected();
        let index = former.map_or(0, |former| 1 - former);
        let mut records = self.buffers[index].chunks_exact(PEAK_WORDS);
        let mut len = 0;
        for slot in (0..self.stacks.slots()).filter(|&slot| self.stacks.is_used(slot)) {
            if self.stacks.live(slot).bytes == 0 {
                continue;
            }
            let Some(id) = self.stacks.pin_again(slot) else { continue };
            let live = self.stacks.live(slot);
            let Some([stack, objects, bytes]) = records.next() else {
                self.stacks.unpin(id);
                break;
            };
            stack.store(id.to_word(), Relaxed);
            objects.store(live.objects, Relaxed);
            bytes.store(live.bytes, Relaxed);
            len += 1;
        }
        self.store(word::PEAK_LEN + index, len);
        self.store(word::PEAK_TICKS + index, self.load(word::TICKS));
        self.header[word::PEAK_SELECT].store(index as u64 + 1, Release);
        if let Some(former) = former {
            let len = self.load(word::PEAK_LEN + former) as usize;
            for record in self.buffers[former].chunks_exact(PEAK_WORDS).take(len) {
                self.stacks.unpin(StackId::from_word(record[0].load(Relaxed)));
            }
        }
    }

    fn load_selected(&self) -> Option<usize> {
        match self.header[word::PEAK_SELECT].load(Acquire) {
            select @ (1 | 2) => Some(select as usize - 1),
            _ => None,
        }
    }

    fn try_hold(&self) -> bool {
        self.header[word::PEAK_BUSY].compare_exchange(0, 1, AcqRel, Relaxed).is_ok()
    }

    fn release(&self) {
        self.header[word::PEAK_BUSY].store(0, Release);
    }

    fn load(&self, field: usize) -> u64 {
        self.header[field].load(Relaxed)
    }

    fn store(&self, field: usize, value: u64) {
        self.header[field].store(value, Relaxed);
    }
}
