//! A profile's samples, by a walk over the table while the hooks go on.

use super::peak::PeakCopy;
use super::samples::LiveSample;
use super::stacks::StackRecord;
use super::table::{TICKS_PER_SECOND, Table};
use super::weight::Weighted;
use crate::profile::model::{Count, Sample};

/// More than an address space holds: no allocation is so large.
const ALLOCATION_BYTES_MAX: u64 = 1 << 47;
/// More than a process allocates in its life, in bytes: 30 GB a second for a year.
const ALLOCATED_BYTES_MAX: u64 = 1 << 60;

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// No two of the same stack, unless two threads met it at the same moment.
    pub(crate) samples: Vec<Sample>,
    /// Live samples whose stack is not there, and what cannot be as it says: none in a live table but for samples that
    /// ended meanwhile, any number in a damaged file.
    pub(crate) without_stack: usize,
    /// Live samples counted.
    pub(crate) live_samples: usize,
}

impl Table<'_> {
    /// All stacks: what lives, and what they ever allocated.
    ///
    /// Cost: 10,000 stacks of 40 frames take 1 ms. Memory: the samples, and 32 bytes a stack slot.
    pub(crate) fn walk(&self) -> Walk {
        self.walk_where(|_| true, true)
    }

    /// What lives and is at least so old; only the living are counted.
    pub(crate) fn survivors(&self, min_age_seconds: u64) -> Walk {
        let oldest_ticks = self.ticks().checked_sub(min_age_seconds.saturating_mul(TICKS_PER_SECOND));
        self.walk_where(|sample| oldest_ticks.is_some_and(|ticks| sample.birth_ticks <= ticks), false)
    }

    /// What lived at the peak, and when that was, in seconds since the start. `None` before the first copy.
    pub(crate) fn at_peak(&self) -> Option<(Walk, f64)> {
        self.peak().read().map(|copy| self.walk_peak(&copy))
    }

    /// The same of a table whose process is gone, perhaps in the middle of a copy.
    pub(crate) fn at_last_peak(&self) -> Option<(Walk, f64)> {
        self.peak().selected().map(|copy| self.walk_peak(&copy))
    }

    fn walk_peak(&self, copy: &PeakCopy) -> (Walk, f64) {
        let mut walk = Walk::default();
        for record in &copy.records {
            match self.stacks.read(record.stack.slot as usize).filter(|stack| stack.id == record.stack) {
                Some(stack) if record.live.bytes <= ALLOCATED_BYTES_MAX => {
                    walk.samples.push(live_only(stack, record.live))
                }
                _ => walk.without_stack += 1,
            }
        }
        walk.live_samples = walk.samples.len();
        (walk, copy.ticks as f64 / TICKS_PER_SECOND as f64)
    }

    fn walk_where(&self, counts: impl Fn(&LiveSample) -> bool, with_allocations: bool) -> Walk {
        let mut walk = Walk::default();
        let mut live = vec![(0_u32, 0_u32, Weighted::default()); self.stacks.slots()];
        for sample in self.samples.live().filter(counts) {
            let slot = live.get_mut(sample.stack.slot as usize).filter(|_| sample.bytes <= ALLOCATION_BYTES_MAX);
            let Some((generation, samples, weighted)) = slot else {
                walk.without_stack += 1;
                continue;
            };
            if *generation != sample.stack.generation {
                // The slot changed hands during the walk: the newer stack is the one that will be read.
                walk.without_stack += *samples as usize;
                (*generation, *samples, *weighted) = (sample.stack.generation, 0, Weighted::default());
            }
            *samples += 1;
            *weighted = weighted.plus(Weighted::of(sample.bytes, self.period_bytes()));
        }
        for (slot, &(generation, samples, weighted)) in live.iter().enumerate() {
            if samples == 0 && !(with_allocations && self.stacks.is_used(slot)) {
                continue;
            }
            let stack = self.stacks.read(slot);
            let same = stack.as_ref().is_some_and(|stack| stack.id.generation == generation);
            let weighted = if samples > 0 && !same {
                walk.without_stack += samples as usize;
                Weighted::default()
            } else {
                walk.live_samples += samples as usize;
                weighted
            };
            match stack {
                Some(stack) if with_allocations && stack.allocated.bytes > ALLOCATED_BYTES_MAX => {
                    walk.without_stack += 1
                }
                Some(stack) if with_allocations => {
                    let alloc = Some(count(stack.allocated));
                    walk.samples.push(Sample { stack: stack.frames, inuse: count(weighted), alloc });
                }
                Some(stack) if same => walk.samples.push(live_only(stack, weighted)),
                _ => {}
            }
        }
        walk
    }
}

fn live_only(stack: StackRecord, live: Weighted) -> Sample {
    Sample { stack: stack.frames, inuse: count(live), alloc: None }
}

fn count(weighted: Weighted) -> Count {
    Count { objects: weighted.objects(), bytes: weighted.bytes as f64 }
}
