//! What memory was, at three resolutions, in fixed memory.
//!
//! Each series is kept as the *floor* of its bucket: the least value seen in it. Live bytes under load swing by the
//! work in hand; their floor is what stays, and the signal that a leak moves.

use std::collections::VecDeque;
use std::mem::size_of;

/// Width and number of the buckets of each tier: one hour of 10 s, six hours of 1 min, seven days of 10 min.
pub const TIERS: [(f64, usize); 3] = [(10.0, 360), (60.0, 360), (600.0, 1008)];

/// What the history occupies at most, in bytes.
pub const MEMORY_BYTES: usize = (TIERS[0].1 + TIERS[1].1 + TIERS[2].1) * size_of::<Bucket>();

/// A series of the history, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Allocated by the program and not freed.
    Live,
    /// Held by the allocator in pages in use, beyond what is live: active less allocated.
    Slack,
    /// Resident without the allocator's knowledge: RSS less the allocator's resident pages.
    Outside,
    /// Resident memory.
    Rss,
}

/// One look at the process. What was not looked at is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observation {
    /// Seconds since the start of the process, on a clock that never goes back.
    pub seconds: f64,
    /// [`Series::Live`].
    pub live_bytes: Option<i64>,
    /// [`Series::Slack`].
    pub slack_bytes: Option<i64>,
    /// [`Series::Outside`].
    pub outside_bytes: Option<i64>,
    /// [`Series::Rss`].
    pub rss_bytes: Option<i64>,
    /// Pieces of work in flight.
    pub in_flight: Option<u64>,
}

/// The floors of one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    index: u64,
    floors: [Option<i64>; 4],
    in_flight_sum: f64,
    in_flight_count: u32,
}

/// Observations by time, newest last.
#[derive(Debug, Clone)]
pub struct History {
    tiers: [Tier; TIERS.len()],
}

#[derive(Debug, Clone)]
struct Tier {
    width_seconds: f64,
    buckets_max: usize,
    closed: VecDeque<Bucket>,
    open: Option<Bucket>,
}

impl History {
    /// Empty, with all its memory reserved.
    pub fn new() -> Self {
        Self {
            tiers: TIERS.map(|(width_seconds, buckets_max)| Tier {
                width_seconds,
                buckets_max,
                closed: VecDeque::with_capacity(buckets_max),
                open: None,
            }),
        }
    }

    /// Takes an observation in. Returns whether a bucket of the finest tier was completed by it, so that there is
    /// something new to judge. An observation from the past is ignored.
    pub fn observe(&mut self, observation: &Observation) -> bool {
        // NaN is no time either.
        if observation.seconds.is_nan() || observation.seconds < 0.0 {
            return false;
        }
        let closed = self.tiers.each_mut().map(|tier| tier.observe(observation));
        closed[0]
    }

    /// Completed floors of a series in `tier` (an index into [`TIERS`]), oldest first, as seconds at the middle of
    /// the bucket and bytes. Only those at or after `since_seconds`.
    pub fn floors(&self, tier: usize, series: Series, since_seconds: f64) -> impl Iterator<Item = (f64, f64)> {
        let Tier { width_seconds, closed, .. } = &self.tiers[tier];
        closed
            .iter()
            .filter_map(move |bucket| {
                let middle = (bucket.index as f64 + 0.5) * width_seconds;
                Some((middle, bucket.floors[series as usize]? as f64))
            })
            .skip_while(move |(seconds, _)| *seconds < since_seconds)
    }

    /// Work in flight in `tier`, its mean over each completed bucket, as [`History::floors`].
    pub fn in_flight(&self, tier: usize, since_seconds: f64) -> impl Iterator<Item = (f64, f64)> {
        let Tier { width_seconds, closed, .. } = &self.tiers[tier];
        closed
            .iter()
            .filter(|bucket| bucket.in_flight_count > 0)
            .map(move |bucket| {
                let middle = (bucket.index as f64 + 0.5) * width_seconds;
                (middle, bucket.in_flight_sum / f64::from(bucket.in_flight_count))
            })
            .skip_while(move |(seconds, _)| *seconds < since_seconds)
    }

    /// The newest floor: of the last completed bucket of the finest tier, or of the first one while it fills.
    pub fn floor_bytes(&self, series: Series) -> Option<i64> {
        let finest = &self.tiers[0];
        finest.closed.back().or(finest.open.as_ref())?.floors[series as usize]
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl Tier {
    fn observe(&mut self, observation: &Observation) -> bool {
        let index = (observation.seconds / self.width_seconds) as u64;
        let mut completed = false;
        match &mut self.open {
            Some(open) if open.index == index => open.merge(observation),
            Some(open) if open.index > index => {}
            open => {
                if let Some(done) = open.take() {
                    if self.closed.len() == self.buckets_max {
                        self.closed.pop_front();
                    }
                    self.closed.push_back(done);
                    completed = true;
                }
                let mut fresh = Bucket { index, floors: [None; 4], in_flight_sum: 0.0, in_flight_count: 0 };
                fresh.merge(observation);
                self.open = Some(fresh);
            }
        }
        completed
    }
}

impl Bucket {
    fn merge(&mut self, observation: &Observation) {
        let values =
            [observation.live_bytes, observation.slack_bytes, observation.outside_bytes, observation.rss_bytes];
        for (floor, value) in self.floors.iter_mut().zip(values) {
            *floor = match (*floor, value) {
                (Some(floor), Some(value)) => Some(floor.min(value)),
                (floor, value) => floor.or(value),
            };
        }
        if let Some(count) = observation.in_flight {
            self.in_flight_sum += count as f64;
            self.in_flight_count = self.in_flight_count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(seconds: f64, bytes: i64) -> Observation {
        Observation { seconds, live_bytes: Some(bytes), ..Observation::default() }
    }

    #[test]
    fn a_bucket_keeps_its_least_value() {
        let mut history = History::new();
        for (seconds, bytes) in [(0.0, 50), (4.0, 20), (9.9, 70)] {
            assert!(!history.observe(&live(seconds, bytes)));
            assert!(history.floor_bytes(Series::Live) <= Some(50));
        }
        assert!(history.observe(&live(10.0, 90)));
        assert_eq!(history.floors(0, Series::Live, 0.0).collect::<Vec<_>>(), [(5.0, 20.0)]);
        assert_eq!(history.floor_bytes(Series::Live), Some(20));
        assert_eq!(history.floor_bytes(Series::Rss), None);
    }

    #[test]
    fn gaps_leave_no_points_and_the_past_is_ignored() {
        let mut history = History::new();
        for (seconds, bytes) in [(1.0, 10), (500.0, 20), (490.0, 1), (511.0, 30), (f64::NAN, 0), (-1.0, 0)] {
            history.observe(&live(seconds, bytes));
        }
        assert_eq!(history.floors(0, Series::Live, 0.0).collect::<Vec<_>>(), [(5.0, 10.0), (505.0, 20.0)]);
        assert_eq!(history.floors(0, Series::Live, 100.0).count(), 1);
    }

    #[test]
    fn memory_is_fixed_whatever_the_uptime() {
        const { assert!(MEMORY_BYTES <= 2 << 20) };
        let mut history = History::new();
        let capacities = history.tiers.each_ref().map(|tier| tier.closed.capacity());
        for step in 0..100_000 {
            history.observe(&live(f64::from(step) * 10.0, 1));
        }
        assert_eq!(history.tiers.each_ref().map(|tier| tier.closed.capacity()), capacities);
        for (tier, (_, buckets_max)) in TIERS.iter().enumerate() {
            assert_eq!(history.floors(tier, Series::Live, 0.0).count(), *buckets_max);
        }
    }

    #[test]
    fn work_in_flight_is_averaged() {
        let mut history = History::new();
        for (seconds, count) in [(1.0, 10), (2.0, 30), (10.0, 5)] {
            history.observe(&Observation { seconds, in_flight: Some(count), ..Observation::default() });
        }
        assert_eq!(history.in_flight(0, 0.0).collect::<Vec<_>>(), [(5.0, 20.0)]);
    }
}
