//! What one sample stands for.

/// Binary places of [`Weighted::objects`]: fine enough for the weight of a large object, and years of small ones fit.
const OBJECT_PLACES: u32 = 10;

/// Objects (in units of 2^-10) and bytes that a sample stands for, or a sum of such. Whole numbers, so that what is
/// added at an allocation is exactly what is taken off when it is freed, in whatever order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weighted {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl Weighted {
    /// Of one sampled allocation: 1 / (1 - exp(-bytes / period)), the inverse of its chance to be sampled (jemalloc's
    /// doc_internal/PROFILING_INTERNALS.md).
    pub(crate) fn of(bytes: u64, period_bytes: u64) -> Self {
        let chance = if period_bytes <= 1 { 1.0 } else { -(-(bytes as f64) / period_bytes as f64).exp_m1() };
        let weight = if chance > 0.0 { 1.0 / chance } else { 1.0 };
        // `as` saturates.
        Self {
            objects: (weight * f64::from(1_u32 << OBJECT_PLACES)).round() as u64,
            bytes: (weight * bytes as f64).round() as u64,
        }
    }

    pub(crate) fn objects(self) -> f64 {
        self.objects as f64 / f64::from(1_u32 << OBJECT_PLACES)
    }

    /// Sums only ever leave the range of `u64` in damaged files.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { objects: self.objects.wrapping_add(other.objects), bytes: self.bytes.wrapping_add(other.bytes) }
    }
}

/// Weights of one period by size: most samples are of a few sizes, and an exponential is slow.
#[derive(Debug)]
pub(super) struct Weights {
    period_bytes: u64,
    known: [(u64, Weighted); Self::SLOTS],
}

impl Weights {
    const SLOTS: usize = 64;

    pub(super) fn new(period_bytes: u64) -> Self {
        let nothing = Weighted::of(0, period_bytes);
        Self { period_bytes, known: [(0, nothing); Self::SLOTS] }
    }

    /// [`Weighted::of`].
    pub(super) fn of(&mut self, bytes: u64) -> Weighted {
        // Size classes differ in their first three bits and in their place.
        let place = (bytes ^ bytes >> 6 ^ bytes >> 12 ^ bytes >> 18) as usize % Self::SLOTS;
        let slot = &mut self.known[place];
        if slot.0 != bytes {
            *slot = (bytes, Weighted::of(bytes, self.period_bytes));
        }
        slot.1
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
        assert_eq!(Weighted::of(100, 1), Weighted { objects: 1024, bytes: 100 });
        assert_eq!(Weighted::of(0, 512 << 10).bytes, 0);
    }
    #[test]
    fn what_is_known_is_what_it_was() {
        let mut weights = Weights::new(512 << 10);
        for bytes in (0..4_096).chain((0..4_096).rev()).map(|step| step * 4_097) {
            assert_eq!(weights.of(bytes), Weighted::of(bytes, 512 << 10), "{bytes}");
        }
    }
}
