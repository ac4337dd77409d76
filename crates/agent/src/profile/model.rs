//! A heap profile, independent of where its samples came from and of the form in which it is shown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The live heap at one moment, or what changed between two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    /// Bytes allocated between two samples, on average.
    pub(crate) period_bytes: u64,
    pub(crate) taken_unix_nanos: i64,
    /// Zero for one moment, else the time that a difference spans.
    pub(crate) duration_nanos: i64,
    /// The executable parts of the process's address space, the program itself first.
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) samples: Vec<Sample>,
}

/// What one stack allocated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Return addresses, the leaf first.
    pub(crate) stack: Box<[u64]>,
    /// Still live.
    pub(crate) inuse: Count,
    /// Ever allocated, where the source counts that.
    pub(crate) alloc: Option<Count>,
}

/// Objects and bytes, estimated from the samples (unbiased). Negative in a difference that shrank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count {
    pub(crate) objects: i64,
    pub(crate) bytes: i64,
}

/// One executable mapping of an object file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) start_address: u64,
    /// One past the last.
    pub(crate) limit_address: u64,
    pub(crate) file_offset: u64,
    /// A path, or a name in brackets such as `[vdso]`.
    pub(crate) filename: String,
    /// The file that was mapped is no longer at its path.
    pub(crate) is_deleted: bool,
    /// Lower-case hex; empty where it is not known.
    pub(crate) build_id: String,
}

impl Mapping {
    pub(crate) fn contains(&self, address: u64) -> bool {
        (self.start_address..self.limit_address).contains(&address)
    }
}

impl Count {
    /// The number of objects and bytes that `sampled` ones stand for: both divided by the chance that an allocation
    /// of their mean size is sampled, `1 - exp(-mean / period)` (jemalloc's doc_internal/PROFILING_INTERNALS.md).
    pub(crate) fn unbiased(sampled: Count, period_bytes: u64) -> Count {
        let chance = sampled.chance(period_bytes);
        Count { objects: scaled(sampled.objects, 1.0 / chance), bytes: scaled(sampled.bytes, 1.0 / chance) }
    }

    /// The inverse of [`Count::unbiased`]: what the sampler saw.
    pub(crate) fn sampled(self, period_bytes: u64) -> Count {
        // Both counts were divided by the same number, so that the mean, and with it the chance, is what it was.
        let chance = self.chance(period_bytes);
        Count { objects: scaled(self.objects, chance), bytes: scaled(self.bytes, chance) }
    }

    fn chance(self, period_bytes: u64) -> f64 {
        if self.objects == 0 || self.bytes == 0 || period_bytes <= 1 {
            return 1.0;
        }
        let mean_bytes = self.bytes as f64 / self.objects as f64;
        -(-mean_bytes / period_bytes as f64).exp_m1()
    }

    fn plus(self, other: Count) -> Count {
        Count {
            objects: self.objects.saturating_add(other.objects),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Count) -> Count {
        Count {
            objects: self.objects.saturating_sub(other.objects),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn is_zero(self) -> bool {
        self == Count::default()
    }
}

impl Profile {
    /// Whether allocations since the start are counted next to live ones.
    pub(crate) fn counts_allocations(&self) -> bool {
        self.samples.iter().any(|sample| sample.alloc.is_some())
    }

    /// Adds samples of equal stacks up. The order of first appearance is kept.
    pub(crate) fn merge_equal_stacks(&mut self) {
        let mut places: HashMap<Box<[u64]>, usize> = HashMap::with_capacity(self.samples.len());
        let mut merged: Vec<Sample> = Vec::with_capacity(self.samples.len());
        for sample in self.samples.drain(..) {
            match places.entry(sample.stack.clone()) {
                Entry::Occupied(place) => {
                    let into = &mut merged[*place.get()];
                    into.inuse = into.inuse.plus(sample.inuse);
                    into.alloc = either(into.alloc, sample.alloc, Count::plus);
                }
                Entry::Vacant(place) => {
                    place.insert(merged.len());
                    merged.push(sample);
                }
            }
        }
        self.samples = merged;
    }

    /// What changed since `before`, which must be of the same process. Stacks that did not change are left out.
    /// Both must have no two samples of the same stack.
    pub(crate) fn delta(mut self, before: &Profile) -> Profile {
        let mut earlier: HashMap<&[u64], &Sample> =
            before.samples.iter().map(|sample| (&*sample.stack, sample)).collect();
        for sample in &mut self.samples {
            if let Some(then) = earlier.remove(&*sample.stack) {
                sample.inuse = sample.inuse.minus(then.inuse);
                sample.alloc = either(sample.alloc, then.alloc, Count::minus);
            }
        }
        for then in before.samples.iter().filter(|then| earlier.contains_key(&*then.stack)) {
            self.samples.push(Sample {
                stack: then.stack.clone(),
                inuse: Count::default().minus(then.inuse),
                // The source forgot the stack: what it had allocated before is not a negative allocation.
                alloc: then.alloc.map(|_| Count::default()),
            });
        }
        self.samples.retain(|sample| !sample.inuse.is_zero() || sample.alloc.is_some_and(|count| !count.is_zero()));
        self.duration_nanos = self.taken_unix_nanos.saturating_sub(before.taken_unix_nanos).max(0);
        self
    }

    /// The sum over all samples: live, and ever allocated.
    pub(crate) fn totals(&self) -> (Count, Option<Count>) {
        self.samples.iter().fold((Count::default(), None), |(inuse, alloc), sample| {
            (inuse.plus(sample.inuse), either(alloc, sample.alloc, Count::plus))
        })
    }
}

fn scaled(value: i64, by: f64) -> i64 {
    // `as` saturates, and what an address space holds is far below 2^63.
    (value as f64 * by).round() as i64
}

fn either(one: Option<Count>, other: Option<Count>, both: fn(Count, Count) -> Count) -> Option<Count> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(stack: &[u64], objects: i64, bytes: i64) -> Sample {
        Sample { stack: stack.into(), inuse: Count { objects, bytes }, alloc: None }
    }

    fn profile(taken_unix_nanos: i64, samples: Vec<Sample>) -> Profile {
        Profile { period_bytes: 512 << 10, taken_unix_nanos, samples, ..Profile::default() }
    }

    #[test]
    fn small_objects_stand_for_many_and_large_ones_for_themselves() {
        let period = 512 << 10;
        // 1 - exp(-64 / 524288) = 1.2206e-4
        let small = Count::unbiased(Count { objects: 3, bytes: 192 }, period);
        assert_eq!(small, Count { objects: 24_578, bytes: 1_572_960 });
        // 1 - exp(-2) = 0.864665
        let mebibytes = Count::unbiased(Count { objects: 10, bytes: 10 << 20 }, period);
        assert_eq!(mebibytes, Count { objects: 12, bytes: 12_126_967 });
        let huge = Count { objects: 1, bytes: 1 << 30 };
        assert_eq!(Count::unbiased(huge, period), huge);
    }

    #[test]
    fn nothing_live_stays_nothing() {
        for period in [0, 1, 512 << 10] {
            assert_eq!(Count::unbiased(Count::default(), period), Count::default());
            let no_objects = Count { objects: 0, bytes: 17 };
            assert_eq!(Count::unbiased(no_objects, period), no_objects);
        }
    }

    #[test]
    fn what_was_sampled_comes_back_from_the_estimate() {
        for sampled in [(1, 16), (3, 192), (7, 7 * 8192), (100, 640_000), (2, 4 << 20), (0, 0)] {
            let sampled = Count { objects: sampled.0, bytes: sampled.1 };
            let back = Count::unbiased(sampled, 512 << 10).sampled(512 << 10);
            assert_eq!(back.objects, sampled.objects);
            assert!((back.bytes - sampled.bytes).abs() <= sampled.bytes / 1000 + 1, "{back:?} {sampled:?}");
        }
    }

    #[test]
    fn equal_stacks_add_up() {
        let mut merged = profile(0, vec![sample(&[1, 2], 1, 10), sample(&[3], 1, 5), sample(&[1, 2], 2, 20)]);
        merged.merge_equal_stacks();
        assert_eq!(merged.samples, [sample(&[1, 2], 3, 30), sample(&[3], 1, 5)]);
    }

    #[test]
    fn a_delta_has_growth_loss_and_the_time_between() {
        let before = profile(1_000, vec![sample(&[1], 1, 10), sample(&[2], 2, 20), sample(&[3], 3, 30)]);
        let after = profile(5_000, vec![sample(&[1], 1, 10), sample(&[2], 5, 50), sample(&[4], 4, 40)]);
        let delta = after.delta(&before);
        assert_eq!(delta.samples, [sample(&[2], 3, 30), sample(&[4], 4, 40), sample(&[3], -3, -30)]);
        assert_eq!(delta.duration_nanos, 4_000);
        assert_eq!(delta.taken_unix_nanos, 5_000);
    }

    #[test]
    fn a_delta_of_allocations_never_goes_below_zero_for_a_forgotten_stack() {
        let count = |objects, bytes| Count { objects, bytes };
        let counted = |inuse, alloc| Sample { stack: [9].into(), inuse, alloc: Some(alloc) };
        let before = profile(0, vec![counted(count(1, 10), count(7, 70))]);
        let later = profile(1, vec![counted(count(1, 10), count(9, 90))]);
        assert_eq!(later.delta(&before).samples, [counted(count(0, 0), count(2, 20))]);
        assert_eq!(profile(1, vec![]).delta(&before).samples, [counted(count(-1, -10), count(0, 0))]);
    }
}
