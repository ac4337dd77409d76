//! What one sample stands for.

/// Binary places of [`Weighted::objects`]: fine enough for the weight of a large object, and years of small ones fit.
const OBJECT_PLACES: u32 = 10;

/// Bytes squared that [`Weighted::variance`] counts in: those of 1 KiB.
const VARIANCE_UNIT: f64 = (1_u64 << 20) as f64;

/// Objects (in units of 2^-10) and bytes that a sample stands for, or a sum of such, and the variance of the bytes. Whole
/// numbers, so that what is added at an allocation is exactly what is taken off when it is freed, in whatever order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weighted {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Bytes squared, in units of 2^20: years of samples fit.
    pub(crate) variance: u64,
}

impl Weighted {
    /// Of one sampled allocation: 1 / (1 - exp(-bytes / period)), the inverse of its chance to be sampled (jemalloc's
    /// doc_internal/PROFILING_INTERNALS.md). Over all that was sampled, (bytes × weight)² (1 - chance) adds up to the
    /// variance of the sum of bytes, without bias (Horvitz and Thompson 1952).
    pub(crate) fn of(bytes: u64, period_bytes: u64) -> Self {
        let chance = if period_bytes <= 1 { 1.0 } else { -(-(bytes as f64) / period_bytes as f64).exp_m1() };
        let weight = if chance > 0.0 { 1.0 / chance } else { 1.0 };
        // `as` saturates.
        Self {
            objects: (weight * f64::from(1_u32 << OBJECT_PLACES)).round() as u64,
            bytes: (weight * bytes as f64).round() as u64,
            variance: ((weight * bytes as f64).powi(2) * (1.0 - chance) / VARIANCE_UNIT).round() as u64,
        }
    }

    pub(crate) fn objects(self) -> f64 {
        self.objects as f64 / f64::from(1_u32 << OBJECT_PLACES)
    }

    /// Bytes squared.
    pub(crate) fn variance(self) -> f64 {
        self.variance as f64 * VARIANCE_UNIT
    }

    /// Sums only ever leave the range of `u64` in damaged files.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects.wrapping_add(other.objects),
            bytes: self.bytes.wrapping_add(other.bytes),
            variance: self.variance.wrapping_add(other.variance),
        }
    }
}

/// Weights by size and interval: most samples are of a few sizes, and an exponential is slow.
#[derive(Debug)]
pub(super) struct Weights {
    known: [(u64, u8, Weighted); Self::SLOTS],
}

impl Weights {
    const SLOTS: usize = 64;

    pub(super) fn new() -> Self {
        Self { known: [(0, 0, Weighted::of(0, 1)); Self::SLOTS] }
    }

    /// [`Weighted::of`], of a sample each 2^`interval_lg` bytes.
    pub(super) fn of(&mut self, bytes: u64, interval_lg: u8) -> Weighted {
        // Size classes differ in their first three bits and in their place.
        let place = (bytes ^ bytes >> 6 ^ bytes >> 12 ^ bytes >> 18 ^ u64::from(interval_lg)) as usize % Self::SLOTS;
        let slot = &mut self.known[place];
        if (slot.0, slot.1) != (bytes, interval_lg) {
            *slot = (bytes, interval_lg, Weighted::of(bytes, 1 << interval_lg));
        }
        slot.2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_objects_stand_for_many_and_large_ones_for_themselves() {
        for (bytes, weight) in [(64, 8_192.500_010_172_5), (1 << 20, 1.156_517_642_749_665_6), (1 << 30, 1.0)] {
            let weighted = Weighted::of(bytes, 512 << 10);
            assert!((weighted.objects() / weight - 1.0).abs() < 1e-3, "{weighted:?}");
            assert!((weighted.bytes as f64 / bytes as f64 / weight - 1.0).abs() < 1e-4, "{weighted:?}");
        }
        assert_eq!(Weighted::of(100, 1), Weighted { objects: 1024, bytes: 100, variance: 0 });
        assert_eq!(Weighted::of(0, 512 << 10).bytes, 0);
    }

    #[test]
    fn variances_are_those_of_the_sampler() {
        // Of small objects, the interval squared each; of large ones, which are sampled for sure, nothing.
        let variance = |bytes, interval: u64| Weighted::of(bytes, interval).variance();
        for interval in [512 << 10, 8 << 20] {
            assert!((variance(64, interval) / (interval as f64).powi(2) - 1.0).abs() < 1e-3);
            assert_eq!(variance(64 * interval, interval), 0.0);
        }
        // exp(-1) / (1 - exp(-1))² of 1 MiB squared, computed apart.
        assert!((variance(1 << 20, 1 << 20) / 2_f64.powi(40) - 0.920_673_594).abs() < 1e-6);
    }

    #[test]
    fn what_is_known_is_what_it_was() {
        let mut weights = Weights::new();
        for bytes in (0..4_096).chain((0..4_096).rev()).map(|step| step * 4_097) {
            let interval_lg = 19 + (bytes % 5) as u8;
            assert_eq!(weights.of(bytes, interval_lg), Weighted::of(bytes, 1 << interval_lg), "{bytes}");
        }
    }
}
