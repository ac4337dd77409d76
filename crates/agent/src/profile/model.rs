//! A heap profile, independent of where its samples came from and of the form in which it is shown.

use std::collections::HashMap;

use super::compact::Compact;

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
    /// The source counts allocations, also where none were.
    pub(crate) has_allocations: bool,
    /// What a reader should know: what is not in it, and why.
    pub(crate) comments: Vec<String>,
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

/// Objects and bytes, estimated from the samples (unbiased), so that neither is whole. Negative in a difference that
/// shrank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count {
    pub(crate) objects: f64,
    pub(crate) bytes: f64,
    /// Of the bytes, in bytes squared, where the source knows it: the live table, whose samples may be of several
    /// intervals. Else it follows from the period.
    pub(crate) variance: Option<f64>,
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
        sampled.scaled(1.0 / sampled.chance(period_bytes))
    }

    /// The inverse of [`Count::unbiased`]: what the sampler saw. Exact for one stack; for some added up, close.
    pub(crate) fn sampled(self, period_bytes: u64) -> Count {
        // Both numbers were divided by the same chance, so that the mean, and with it the chance, is what it was.
        self.scaled(self.chance(period_bytes))
    }

    fn chance(self, period_bytes: u64) -> f64 {
        if self.objects == 0.0 || self.bytes == 0.0 || period_bytes <= 1 {
            return 1.0;
        }
        -(-self.bytes / self.objects / period_bytes as f64).exp_m1()
    }

    fn scaled(self, by: f64) -> Count {
        Count { objects: self.objects * by, bytes: self.bytes * by, variance: None }
    }

    pub(super) fn plus(self, other: Count) -> Count {
        let variance = self.variance.zip(other.variance).map(|(one, other)| one + other);
        Count { objects: self.objects + other.objects, bytes: self.bytes + other.bytes, variance }
    }

    fn minus(self, other: Count) -> Count {
        Count { objects: self.objects - other.objects, bytes: self.bytes - other.bytes, variance: None }
    }

    /// Exact: an estimate that did not change was computed from the same numbers.
    pub(crate) fn is_zero(self) -> bool {
        self.objects == 0.0 && self.bytes == 0.0
    }
}

impl Sample {
    /// Nothing lives, and nothing was ever allocated.
    pub(crate) fn is_nothing(&self) -> bool {
        self.inuse.is_zero() && self.alloc.is_none_or(Count::is_zero)
    }
}

impl Profile {
    /// Whether allocations since the start are counted next to live ones.
    pub(crate) fn counts_allocations(&self) -> bool {
        self.has_allocations || self.samples.iter().any(|sample| sample.alloc.is_some())
    }

    /// The address of every call in it, with repetitions.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> {
        let stacks = self.samples.iter().flat_map(|sample| &sample.stack);
        stacks.map(|return_address| return_address.saturating_sub(1))
    }

    /// Adds samples of equal stacks up. The order of first appearance is kept.
    pub(crate) fn merge_equal_stacks(&mut self) {
        let mut compact = Compact::from(std::mem::take(self));
        compact.merge_equal_stacks();
        *self = compact.into_profile();
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
        self.samples.retain(|sample| !sample.is_nothing());
        self.duration_nanos = self.taken_unix_nanos.saturating_sub(before.taken_unix_nanos).max(0);
        self
    }
}

pub(super) fn either(one: Option<Count>, other: Option<Count>, both: fn(Count, Count) -> Count) -> Option<Count> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(objects: f64, bytes: f64) -> Count {
        Count { objects, bytes, variance: None }
    }

    fn sample(stack: &[u64], objects: f64, bytes: f64) -> Sample {
        Sample { stack: stack.into(), inuse: count(objects, bytes), alloc: None }
    }

    fn profile(taken_unix_nanos: i64, samples: Vec<Sample>) -> Profile {
        Profile { period_bytes: 512 << 10, taken_unix_nanos, samples, ..Profile::default() }
    }

    #[test]
    fn small_objects_stand_for_many_and_large_ones_for_themselves() {
        // 1 / (1 - exp(-64 / 524288)), 1 / (1 - exp(-2)) and 1 / (1 - exp(-2048)), computed apart.
        for (sampled, factor) in [
            (count(3.0, 192.0), 8_192.500_010_172_5),
            (count(10.0, 10.0 * 1_048_576.0), 1.156_517_642_749_665_6),
            (count(1.0, 1_073_741_824.0), 1.0),
        ] {
            let estimate = Count::unbiased(sampled, 512 << 10);
            assert!((estimate.objects / sampled.objects / factor - 1.0).abs() < 1e-9, "{estimate:?}");
            assert!((estimate.bytes / sampled.bytes / factor - 1.0).abs() < 1e-9, "{estimate:?}");
        }
    }

    #[test]
    fn nothing_live_stays_nothing() {
        for period in [0, 1, 512 << 10] {
            assert_eq!(Count::unbiased(Count::default(), period), Count::default());
            assert_eq!(Count::unbiased(count(0.0, 17.0), period), count(0.0, 17.0));
        }
    }

    #[test]
    fn what_was_sampled_comes_back_from_the_estimate() {
        for (objects, bytes) in [(1.0, 16.0), (3.0, 192.0), (100.0, 640_000.0), (2.0, 2_097_152.0), (0.0, 0.0)] {
            let back = Count::unbiased(count(objects, bytes), 512 << 10).sampled(512 << 10);
            assert!((back.objects - objects).abs() < 1e-6 && (back.bytes - bytes).abs() < 1e-3, "{back:?}");
        }
    }

    #[test]
    fn equal_stacks_add_up() {
        let samples = vec![sample(&[1, 2], 1.0, 10.0), sample(&[3], 1.0, 5.0), sample(&[1, 2], 2.0, 20.0)];
        let mut merged = profile(0, samples);
        merged.merge_equal_stacks();
        assert_eq!(merged.samples, [sample(&[1, 2], 3.0, 30.0), sample(&[3], 1.0, 5.0)]);
    }

    #[test]
    fn a_delta_has_growth_loss_and_the_time_between() {
        let before = [sample(&[1], 1.0, 10.0), sample(&[2], 2.0, 20.0), sample(&[3], 3.0, 30.0)];
        let after = [sample(&[1], 1.0, 10.0), sample(&[2], 5.0, 50.0), sample(&[4], 4.0, 40.0)];
        let delta = profile(5_000, after.into()).delta(&profile(1_000, before.into()));
        let expected = [sample(&[2], 3.0, 30.0), sample(&[4], 4.0, 40.0), sample(&[3], -3.0, -30.0)];
        assert_eq!(delta.samples, expected);
        assert_eq!((delta.taken_unix_nanos, delta.duration_nanos), (5_000, 4_000));
    }

    #[test]
    fn a_delta_of_allocations_never_goes_below_zero_for_a_forgotten_stack() {
        let counted = |inuse, alloc| Sample { stack: [9].into(), inuse, alloc: Some(alloc) };
        let before = profile(0, vec![counted(count(1.0, 10.0), count(7.0, 70.0))]);
        let later = profile(1, vec![counted(count(1.0, 10.0), count(9.0, 90.0))]);
        assert_eq!(later.delta(&before).samples, [counted(count(0.0, 0.0), count(2.0, 20.0))]);
        let forgotten = profile(1, vec![]).delta(&before).samples;
        assert_eq!(forgotten, [counted(count(-1.0, -10.0), count(0.0, 0.0))]);
    }
}
