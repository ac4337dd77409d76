//! How high a life has been: a leak goes on to where memory never was, and what only comes back does not.
//!
//! The workday after a weekend, a sawtooth that fills again and a job that begins once more all rise in a straight line,
//! and none of the signs of that line tells that memory was up there before.

use crate::history::{History, Point, Series, Statistic, TIERS};

/// How far back it is looked: a week and the day after it.
const PAST_SECONDS: f64 = 8.0 * 86_400.0;

/// A height counts where it was held for two buckets of at most this part of the window: a burst is none.
const PARTS_A_WINDOW: f64 = 12.0;

/// The tier that holds a week, where finer ones have forgotten.
const PAST_TIER: usize = 2;

/// Part of the rise that must be beyond what was.
const BEYOND_SHARE_MIN: f64 = 0.15;

/// The first minutes of a life do not count, as a part of the window and in seconds.
const SETTLING: (f64, f64, f64) = (0.05, 96.0, 1_200.0);

/// Whether what rose in the window has only come back to where the same life was before it.
pub(super) fn comes_back(history: &History, series: Series, window_seconds: f64) -> bool {
    let now = history.now_seconds();
    let start = now - window_seconds;
    let tier = TIERS.iter().rposition(|(width, _)| *width <= window_seconds / PARTS_A_WINDOW).unwrap_or(0);
    let inside: Vec<Point> = history.points(tier, series, Statistic::Middle, start).collect();
    let Some(newest) = inside.last() else { return false };
    let (share, least, most) = SETTLING;
    let settled = newest.born_seconds + (share * window_seconds).clamp(least, most);
    let height = |tier: usize| held(history, series, tier, settled.max(now - PAST_SECONDS), start);
    let before = height(tier).max(height(tier.max(PAST_TIER)));
    let level = inside.iter().rev().take(3).map(|point| point.bytes).fold(f64::NEG_INFINITY, f64::max);
    let low = inside.iter().map(|point| point.bytes).fold(f64::INFINITY, f64::min);
    level - before < BEYOND_SHARE_MIN * (level - low)
}

/// The most that two neighbouring medians of a tier held.
fn held(history: &History, series: Series, tier: usize, from: f64, to: f64) -> f64 {
    let half = 0.5 * TIERS[tier].0;
    let points: Vec<Point> =
        history.points(tier, series, Statistic::Middle, from).take_while(|point| point.seconds + half <= to).collect();
    points.windows(2).map(|pair| pair[0].bytes.min(pair[1].bytes)).fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Observation;

    const MIB: f64 = (1 << 20) as f64;

    /// Half a minute between looks; each stretch goes on to a level within its seconds.
    fn lived(from: f64, stretches: &[(f64, f64)]) -> History {
        let mut history = History::new();
        let (mut seconds, mut level) = (0.0, from);
        for (length, to) in stretches {
            let (start, base) = (seconds, level);
            while seconds < start + length {
                level = base + (to - base) * (seconds - start) / length;
                let live_bytes = Some((level * MIB) as i64);
                history.observe(&Observation { seconds, live_bytes, ..Observation::default() });
                seconds += 30.0;
            }
            level = *to;
        }
        history
    }

    #[test]
    fn the_day_after_a_weekend_comes_back() {
        const HOUR: f64 = 3_600.0;
        let weekend = [(4.0 * HOUR, 500.0), (4.0 * HOUR, 400.0), (44.0 * HOUR, 400.0), (2.0 * HOUR, 490.0)];
        assert!(comes_back(&lived(490.0, &weekend), Series::Live, 2.0 * HOUR));
        let higher = [(4.0 * HOUR, 500.0), (4.0 * HOUR, 400.0), (44.0 * HOUR, 400.0), (2.0 * HOUR, 550.0)];
        assert!(!comes_back(&lived(490.0, &higher), Series::Live, 2.0 * HOUR));
    }

    #[test]
    fn a_burst_is_no_height() {
        let burst = [(3_000.0, 400.0), (30.0, 600.0), (30.0, 400.0), (6_000.0, 400.0), (3_600.0, 500.0)];
        assert!(!comes_back(&lived(400.0, &burst), Series::Live, 3_600.0));
    }

    #[test]
    fn another_life_does_not_count() {
        let restarted = [(7_200.0, 500.0), (30.0, 100.0), (3_600.0, 300.0), (7_200.0, 400.0)];
        assert!(!comes_back(&lived(400.0, &restarted), Series::Live, 7_200.0));
    }
}
