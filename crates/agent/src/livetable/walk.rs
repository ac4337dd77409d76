//! A profile's samples, by a walk over the table while the hooks go on.

use super::peak::PeakCopy;
use super::prefetch::prefetch;
use super::samples::LiveSample;
use super::stacks::{DEPTH_MAX, StackId};
use super::table::{INTERVAL_LG_MAX, TICKS_PER_SECOND, Table};
use super::weight::{Weighted, Weights};
use crate::profile::model::{Count, Sample};

/// More than an address space holds: no allocation is so large.
const ALLOCATION_BYTES_MAX: u64 = 1 << 47;
/// More than a process allocates in its life, in bytes: 30 GB a second for a year.
const ALLOCATED_BYTES_MAX: u64 = 1 << 60;

/// Stacks whose slots a walk has fetched ahead of those that it reads.
const STACKS_AHEAD: usize = 8;

/// One stack that a walk comes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    /// For [`Table::stack`].
    pub(crate) id: u64,
    /// Return addresses, the leaf first.
    pub(crate) stack: &'a [u64],
    /// What lives.
    pub(crate) inuse: Count,
    /// What was ever allocated, where that is asked for.
    pub(crate) alloc: Option<Count>,
}

/// How much a walk came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Live samples whose stack is not there, and what cannot be as it says: none in a live table but for samples that
    /// ended meanwhile, any number in a damaged file.
    pub(crate) without_stack: usize,
    /// Live samples counted.
    pub(crate) live_samples: usize,
}

/// Of which stacks it is told what they ever allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allocations {
    None,
    OfTheLiving,
    /// Also of those of which nothing lives.
    OfAll,
}

/// A walk's finds, kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// No two of the same stack, unless two threads met it at the same moment.
    pub(crate) samples: Vec<Sample>,
    /// As in [`Seen`].
    pub(crate) without_stack: usize,
    /// As in [`Seen`].
    pub(crate) live_samples: usize,
}

impl Found<'_> {
    /// Nothing lives, and nothing was ever allocated.
    pub(crate) fn is_nothing(&self) -> bool {
        self.inuse.is_zero() && self.alloc.is_none_or(Count::is_zero)
    }
}

impl Walk {
    fn of(visit: impl FnOnce(&mut dyn FnMut(Found<'_>)) -> Seen) -> Walk {
        let mut samples = Vec::new();
        let Seen { without_stack, live_samples } =
            visit(&mut |Found { stack, inuse, alloc, .. }| samples.push(Sample { stack: stack.into(), inuse, alloc }));
        Walk { samples, without_stack, live_samples }
    }
}

impl Table<'_> {
    /// All stacks: what lives, and what they ever allocated.
    ///
    /// Cost: 10,000 stacks of 40 frames take 1 ms. Memory: 24 bytes a stack slot.
    pub(crate) fn visit(&self, each: impl FnMut(Found<'_>)) -> Seen {
        self.visit_where(|_| true, Allocations::OfAll, each)
    }

    /// What lives and is at least so old; only the living are counted.
    pub(crate) fn visit_survivors(&self, min_age_seconds: u64, each: impl FnMut(Found<'_>)) -> Seen {
        self.visit_where(self.is_older(min_age_seconds), Allocations::None, each)
    }

    /// The same, with what their stacks ever allocated.
    pub(crate) fn visit_survivors_and_allocations(&self, min_age_seconds: u64, each: impl FnMut(Found<'_>)) -> Seen {
        self.visit_where(self.is_older(min_age_seconds), Allocations::OfTheLiving, each)
    }

    fn is_older(&self, min_age_seconds: u64) -> impl Fn(&LiveSample) -> bool {
        let oldest_ticks = self.ticks().checked_sub(min_age_seconds.saturating_mul(TICKS_PER_SECOND));
        move |sample| oldest_ticks.is_some_and(|ticks| sample.birth_ticks <= ticks)
    }

    /// What lived at the peak; returns when that was as well, in seconds since the start. `None` before the first copy.
    pub(crate) fn visit_peak(&self, each: impl FnMut(Found<'_>)) -> Option<(Seen, f64)> {
        self.peak().read().map(|copy| (self.visit_copy(&copy, each), seconds(&copy)))
    }

    /// [`Table::visit`], kept.
    pub(crate) fn walk(&self) -> Walk {
        Walk::of(|each| self.visit(each))
    }

    /// [`Table::visit_survivors`], kept.
    pub(crate) fn survivors(&self, min_age_seconds: u64) -> Walk {
        Walk::of(|each| self.visit_survivors(min_age_seconds, each))
    }

    /// [`Table::visit_survivors_and_allocations`], kept.
    pub(crate) fn survivors_and_allocations(&self, min_age_seconds: u64) -> Walk {
        Walk::of(|each| self.visit_survivors_and_allocations(min_age_seconds, each))
    }

    /// What lived at the peak of a table whose process is gone, perhaps in the middle of a copy.
    pub(crate) fn at_last_peak(&self) -> Option<(Walk, f64)> {
        let copy = self.peak().selected()?;
        Some((Walk::of(|each| self.visit_copy(&copy, each)), seconds(&copy)))
    }

    /// The return addresses of a stack that a walk came by, unless its place is another's now.
    pub(crate) fn stack(&self, id: u64) -> Option<Box<[u64]>> {
        let id = StackId::from_word(id);
        let mut frames = Vec::with_capacity(DEPTH_MAX);
        let stack = self.stacks.read(id.slot as usize, &mut frames)?;
        (stack.id == id).then(|| frames.into_boxed_slice())
    }

    fn visit_copy(&self, copy: &PeakCopy, mut each: impl FnMut(Found<'_>)) -> Seen {
        let mut seen = Seen::default();
        let mut frames = Vec::with_capacity(DEPTH_MAX);
        for record in &copy.records {
            let stack = self.stacks.read(record.stack.slot as usize, &mut frames);
            let is_sound = record.live.bytes <= ALLOCATED_BYTES_MAX;
            if is_sound && stack.is_some_and(|stack| stack.id == record.stack) {
                each(Found { id: record.stack.to_word(), stack: &frames, inuse: copied(record.live), alloc: None });
                seen.live_samples += 1;
            } else {
                seen.without_stack += 1;
            }
        }
        seen
    }

    fn visit_where(
        &self,
        counts: impl Fn(&LiveSample) -> bool,
        allocations: Allocations,
        mut each: impl FnMut(Found<'_>),
    ) -> Seen {
        let mut seen = Seen::default();
        let mut weights = Weights::new();
        let mut live = vec![(0_u32, 0_u32, Weighted::default()); self.stacks.slots()];
        for sample in self.samples.live().filter(counts) {
            let is_sound = sample.bytes <= ALLOCATION_BYTES_MAX && sample.interval_lg <= INTERVAL_LG_MAX;
            let slot = live.get_mut(sample.stack.slot as usize).filter(|_| is_sound);
            let Some((generation, samples, weighted)) = slot else {
                seen.without_stack += 1;
                continue;
            };
            if *generation != sample.stack.generation {
                // The slot changed hands during the walk: the newer stack is the one that will be read.
                seen.without_stack += *samples as usize;
                (*generation, *samples, *weighted) = (sample.stack.generation, 0, Weighted::default());
            }
            *samples += 1;
            *weighted = weighted.plus(weights.of(sample.bytes, sample.interval_lg));
        }
        let shows = |slot: usize| live[slot].1 > 0 || (allocations == Allocations::OfAll && self.stacks.is_used(slot));
        // Through the frames from one end to the other: memory is read ahead in that order. One number each, offset and slot
        // of 32 bits: these are sorted in a third of the time.
        let in_order = |slot: usize| self.stacks.first_frame(slot) << 32 | slot as u64;
        let mut slots: Vec<u64> = (0..live.len()).filter(|&slot| shows(slot)).map(in_order).collect();
        slots.sort_unstable();
        let slot_of = |place: usize| slots.get(place).map(|place| (place & u64::from(u32::MAX)) as usize);
        let mut frames = Vec::with_capacity(DEPTH_MAX);
        for place in 0..slots.len() {
            let Some(slot) = slot_of(place) else { break };
            // Slots are met in no order.
            if let Some(ahead) = slot_of(place + STACKS_AHEAD) {
                self.stacks.prefetch(ahead);
                prefetch(&live[ahead]);
            }
            let (generation, samples, weighted) = live[slot];
            let stack = self.stacks.read(slot, &mut frames);
            let same = stack.is_some_and(|stack| stack.id.generation == generation);
            let weighted = if samples > 0 && !same {
                seen.without_stack += samples as usize;
                Weighted::default()
            } else {
                seen.live_samples += samples as usize;
                weighted
            };
            match stack {
                Some(stack) if allocations != Allocations::None && stack.allocated.bytes > ALLOCATED_BYTES_MAX => {
                    seen.without_stack += 1;
                }
                Some(stack) if allocations == Allocations::OfAll || same && allocations == Allocations::OfTheLiving => {
                    let alloc = Some(count(stack.allocated));
                    each(Found { id: stack.id.to_word(), stack: &frames, inuse: count(weighted), alloc });
                }
                Some(stack) if same => {
                    each(Found { id: stack.id.to_word(), stack: &frames, inuse: count(weighted), alloc: None });
                }
                _ => {}
            }
        }
        seen
    }
}

fn seconds(copy: &PeakCopy) -> f64 {
    copy.ticks as f64 / TICKS_PER_SECOND as f64
}

fn count(weighted: Weighted) -> Count {
    Count { variance: Some(weighted.variance()), ..copied(weighted) }
}

/// Of a copy, which has no variances.
fn copied(weighted: Weighted) -> Count {
    Count { objects: weighted.objects(), bytes: weighted.bytes as f64, variance: None }
}
