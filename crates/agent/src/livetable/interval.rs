//! How far apart samples are to be, so that they cost little whatever the program allocates.
//!
//! What sampling costs goes with samples a second, and these with the bytes allocated. Up to so many a second, the
//! interval is the one the program was started with; where there are more for some seconds, it is doubled until they are
//! within the bound. It comes back by halves when there have been much fewer for a while. What counts is samples that
//! *ended*: a heap that is being filled is bounded by memory, and is wanted in full; what comes and goes is bounded by
//! nothing. Pure: it is told the time and the samples.

use std::num::NonZero;
use std::thread;

/// Samples a second for each core: at 20 to 30 µs each, what they cost in caches and pages included, a quarter of a percent.
const PER_CORE_SECOND: u32 = 100;
/// And at least: what allocates 100 MB/s, of which there are 200 samples at the usual interval, is sampled in full
/// everywhere.
const PER_SECOND_MIN: u32 = 250;
/// How long samples are counted before it is decided, seconds.
const WINDOW_SECONDS: f64 = 1.0;
/// So many times in a row must they have been too many: a start is no flood.
const FLOODED_MIN: u32 = 3;
/// Half the interval makes twice the samples: well within the bound must mean half of it even so.
const CALM_SHARE: f64 = 0.25;
/// So long must it have been calm for each step back, seconds.
const CALM_SECONDS: f64 = 10.0;
/// By how many doublings the interval is longer than at the start, at most: 512 KiB become 64 MiB.
const DOUBLINGS_MAX: u8 = 7;

/// The bound on samples a second where nobody sets one: 100 for each core that the process may use, at least 250.
pub fn samples_per_second_default() -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores).map_or(u32::MAX, |cores| cores.saturating_mul(PER_CORE_SECOND)).max(PER_SECOND_MIN)
}

/// Watches samples, and decides.
#[derive(Debug)]
pub(crate) struct Governor {
    per_second_max: u32,
    /// As at the start: never less.
    least_lg: u8,
    lg: u8,
    /// Since when, and from how many samples on, it counts.
    window: Option<(f64, u64)>,
    /// How often in a row they were too many, and the least by which they were.
    flooded: (u32, f64),
    calm_since: Option<f64>,
}

impl Governor {
    pub(crate) fn new(least_lg: u8, per_second_max: u32) -> Governor {
        Governor { per_second_max, least_lg, lg: least_lg, window: None, flooded: (0, f64::INFINITY), calm_since: None }
    }

    /// The interval at the start.
    pub(crate) fn least_lg(&self) -> u8 {
        self.least_lg
    }

    pub(crate) fn per_second_max(&self) -> u32 {
        self.per_second_max
    }

    /// So many samples ended until now. The interval to go on with, where it is another than so far.
    pub(crate) fn look(&mut self, seconds: f64, ended: u64) -> Option<u8> {
        let (since, before) = *self.window.get_or_insert((seconds, ended));
        let elapsed = seconds - since;
        if elapsed < WINDOW_SECONDS {
            return None;
        }
        self.window = Some((seconds, ended));
        let share = ended.saturating_sub(before) as f64 / elapsed / f64::from(self.per_second_max);
        let (times, least) = self.flooded;
        self.flooded = if share > 1.0 { (times + 1, least.min(share)) } else { (0, f64::INFINITY) };
        let lg = if share > 1.0 {
            self.calm_since = None;
            let (times, least) = self.flooded;
            if times < FLOODED_MIN {
                return None;
            }
            self.flooded = (0, f64::INFINITY);
            // `as` saturates; at most a few.
            self.lg.saturating_add(least.log2().ceil() as u8).min(self.least_lg + DOUBLINGS_MAX)
        } else if share < CALM_SHARE && self.lg > self.least_lg {
            let calm_since = *self.calm_since.get_or_insert(since);
            if seconds - calm_since < CALM_SECONDS {
                return None;
            }
            self.calm_since = Some(seconds);
            self.lg - 1
        } else {
            self.calm_since = None;
            self.lg
        };
        let is_new = lg != self.lg;
        self.lg = lg;
        is_new.then_some(lg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interval over time of a program that allocates and frees so many bytes a second, looked at five times a second.
    fn follow(governor: &mut Governor, from: f64, seconds: u32, bytes_per_second: f64) -> Vec<(f64, u8)> {
        let (mut ended, mut lg, mut changes) = (0.0, governor.lg, Vec::new());
        for look in 0..seconds * 5 {
            let now = from + f64::from(look) / 5.0;
            if let Some(next) = governor.look(now, ended as u64) {
                lg = next;
                changes.push((now - from, lg));
            }
            ended += bytes_per_second / 5.0 / f64::from(1_u32 << lg);
        }
        changes
    }

    const MB: f64 = 1e6;

    #[test]
    fn what_allocates_little_is_sampled_as_it_was_started() {
        let mut governor = Governor::new(19, 1_000);
        for megabytes in [0.0, 100.0, 500.0] {
            assert_eq!(follow(&mut governor, megabytes * 100.0, 60, megabytes * MB), []);
        }
    }

    #[test]
    fn a_flood_is_within_the_bound_some_seconds_later_and_stays_so() {
        let mut governor = Governor::new(19, 1_000);
        let changes = follow(&mut governor, 0.0, 600, 6_000.0 * MB);
        let [(after, lg)] = changes[..] else { panic!("{changes:?}") };
        assert!((3.0..4.0).contains(&after) && lg == 23, "{changes:?}");
    }

    #[test]
    fn a_short_flood_is_sampled_in_full() {
        let mut governor = Governor::new(19, 1_000);
        for start in [0.0, 100.0, 200.0] {
            assert_eq!(follow(&mut governor, start, 2, 6_000.0 * MB), []);
            assert_eq!(follow(&mut governor, start + 2.0, 60, 10.0 * MB), []);
        }
    }

    #[test]
    fn it_comes_back_by_halves_when_the_flood_is_over() {
        let mut governor = Governor::new(19, 1_000);
        follow(&mut governor, 0.0, 20, 6_000.0 * MB);
        let changes = follow(&mut governor, 20.0, 120, 100.0 * MB);
        assert_eq!(changes.iter().map(|(_, lg)| *lg).collect::<Vec<_>>(), [22, 21, 20, 19]);
        assert!(changes[3].0 < 50.0, "{changes:?}");
        assert_eq!(follow(&mut governor, 140.0, 120, 100.0 * MB), []);
    }

    #[test]
    fn a_rate_between_changes_nothing_whichever_way_it_was_reached() {
        let mut governor = Governor::new(19, 1_000);
        follow(&mut governor, 0.0, 20, 6_000.0 * MB);
        assert_eq!(follow(&mut governor, 20.0, 600, 3_000.0 * MB), []);
    }

    #[test]
    fn it_is_never_longer_than_its_bound() {
        let mut governor = Governor::new(19, 1);
        follow(&mut governor, 0.0, 60, 1e12);
        assert_eq!(governor.lg, 26);
    }
}
