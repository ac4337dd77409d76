//! Moments kept in memory: close together lately, further apart long ago.

use super::held::Moment;

/// Moments kept. The older half is thinned out when one more comes, so that the time covered doubles each time.
pub(crate) const MOMENTS_MAX: usize = 48;
/// Memory that moments may take together.
pub(crate) const MOMENTS_BYTES_MAX: usize = 2 << 20;
/// Moments that stay however large they are: the oldest, and enough for a series.
const MOMENTS_MIN: usize = 8;

/// A bounded series of moments, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    moments: Vec<Moment>,
}

impl Ring {
    /// Keeps a moment that is later than all before it.
    pub(crate) fn push(&mut self, moment: Moment) {
        self.moments.push(moment);
        while self.moments.len() > MOMENTS_MAX
            || (self.memory_bytes() > MOMENTS_BYTES_MAX && self.moments.len() > MOMENTS_MIN)
        {
            self.thin();
        }
    }

    /// Moments of the last `seconds` before `now`, the oldest first. Where none is old enough, all there are.
    pub(crate) fn since(&self, now: f64, seconds: f64) -> &[Moment] {
        let from = now - seconds;
        // The last one before the window stands for its start.
        let after = self.moments.partition_point(|moment| moment.seconds <= from);
        &self.moments[after.saturating_sub(1)..]
    }

    /// About the memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.moments.iter().map(Moment::memory_bytes).sum()
    }

    /// Every second one of the older half goes, the oldest never.
    fn thin(&mut self) {
        let half = self.moments.len() / 2;
        let mut place = 0;
        self.moments.retain(|_| {
            place += 1;
            place > half || place % 2 == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn ring(moments: u32) -> Ring {
        let mut ring = Ring::default();
        for step in 0..moments {
            ring.push(Moment::new(f64::from(step), None, HashMap::new()));
        }
        ring
    }

    #[test]
    fn old_moments_are_thinned_out_and_the_first_stays() {
        let ring = ring(10_000);
        let seconds: Vec<f64> = ring.moments.iter().map(|moment| moment.seconds).collect();
        assert!(seconds.len() <= MOMENTS_MAX && seconds.len() > MOMENTS_MAX / 2);
        assert_eq!((seconds[0], seconds[seconds.len() - 1]), (0.0, 9_999.0));
        assert!(seconds.is_sorted());
        assert!(seconds[seconds.len() - 2] == 9_998.0 && seconds[1] - seconds[0] > 100.0);
    }

    #[test]
    fn memory_is_bounded_for_heaps_of_many_sites() {
        let mut ring = Ring::default();
        for step in 0..200_u32 {
            let held = (0..2_000).map(|site| (site, Default::default())).collect();
            ring.push(Moment::new(step.into(), None, held));
        }
        assert!(ring.memory_bytes() <= MOMENTS_BYTES_MAX);
        assert!(ring.moments.len() >= MOMENTS_MIN);
    }

    #[test]
    fn a_window_starts_at_the_moment_before_it() {
        let ring = ring(40);
        let first = |seconds| ring.since(39.0, seconds).first().map(|moment| moment.seconds);
        assert_eq!(first(10.0), Some(29.0));
        assert_eq!(first(9.5), Some(29.0));
        assert_eq!(first(500.0), Some(0.0));
        assert!(Ring::default().since(1.0, 1.0).is_empty());
    }
}
