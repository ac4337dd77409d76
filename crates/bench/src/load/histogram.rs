//! Latencies in a fixed memory: an HDR histogram's layout, every value within one part in 128.

use std::time::Duration;

/// Buckets of each doubling.
const BUCKETS: u64 = 128;
/// Microseconds are counted up to 2^36 (19 hours).
const DOUBLINGS: usize = 30;

/// Counts of microseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; DOUBLINGS * BUCKETS as usize], total: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let at = bucket(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)).min(self.counts.len() - 1);
        self.counts[at] += 1;
        self.total += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.total += other.total;
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The latency that this share of all do not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_micros(at.map_or(0, highest))
    }
}

fn bucket(micros: u64) -> usize {
    if micros < 2 * BUCKETS {
        return micros as usize;
    }
    let doublings = u64::from(micros.ilog2() - BUCKETS.ilog2());
    (doublings * BUCKETS + (micros >> doublings)) as usize
}

/// The highest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * BUCKETS {
        return bucket;
    }
    let doublings = bucket / BUCKETS - 1;
    ((bucket - doublings * BUCKETS + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_found_within_one_part_in_a_hundred_and_twenty_eight() {
        for micros in (0..100_000).chain((0..35).map(|power| (1 << power) + 12_345)) {
            let found = highest(bucket(micros));
            assert!(found >= micros && found - micros <= micros / BUCKETS, "{micros}: {found}");
        }
    }

    #[test]
    fn quantiles_are_of_all_that_was_recorded() {
        let (mut one, mut other) = (Histogram::new(), Histogram::new());
        (1..=50).for_each(|ms| one.record(Duration::from_millis(ms)));
        (51..=100).for_each(|ms| other.record(Duration::from_millis(ms)));
        one.add(&other);
        for (share, ms) in [(0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = one.quantile(share).as_secs_f64() * 1e3;
            assert!((found / ms - 1.0).abs() < 0.01, "{share}: {found}");
        }
        assert_eq!(Histogram::new().quantile(0.5), Duration::ZERO);
    }
}
