//! Whether a series climbs, how fast, and how sure that is.
//!
//! Pure: floors in, slopes out. Several windows from minutes to a day, each with a slope, a 95% interval, and what a
//! verdict needs to tell a climb from a step, a cache that fills, or a sawtooth.

pub mod blocks;
pub mod slope;
pub mod structure;

use crate::history::{History, Series};

pub use slope::{Estimate, estimate};

/// What a process allocates in its first minute is warm-up and no evidence of anything.
pub const WARM_UP_SECONDS: f64 = 60.0;

/// A window says nothing before this share of it holds data: the shortest one after a minute.
const COVERAGE_MIN: f64 = 0.2;

/// Points that a window needs.
const POINTS_MIN: usize = 7;

/// A stretch of time over which a slope is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Its length.
    pub seconds: f64,
    /// As the metrics' label `window` names it.
    pub label: &'static str,
    /// Tier of the history that it reads, an index into [`crate::history::TIERS`].
    pub tier: usize,
}

/// The windows, shortest first.
pub const WINDOWS: [Window; 6] = [
    Window { seconds: 300.0, label: "5m", tier: 0 },
    Window { seconds: 900.0, label: "15m", tier: 0 },
    Window { seconds: 3_600.0, label: "1h", tier: 1 },
    Window { seconds: 21_600.0, label: "6h", tier: 2 },
    Window { seconds: 86_400.0, label: "24h", tier: 2 },
    Window { seconds: 604_800.0, label: "7d", tier: 3 },
];

/// The trend of one series over one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// The window.
    pub window: Window,
    /// What its points say.
    pub estimate: Estimate,
}

/// The trend of one series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trend {
    /// Windows with enough data, shortest first; the others are absent.
    pub slopes: Vec<Slope>,
}

/// The trend of a series at `now_seconds` after the start of the process. About 0.2 ms with a full history.
pub fn trend(history: &History, series: Series, now_seconds: f64) -> Trend {
    let slopes = WINDOWS
        .iter()
        .filter_map(|window| {
            let since = (now_seconds - window.seconds).max(WARM_UP_SECONDS);
            let points: Vec<_> = history.floors(window.tier, series, since).collect();
            let span = points.last()?.0 - points.first()?.0;
            let enough = points.len() >= POINTS_MIN && span >= COVERAGE_MIN * window.seconds;
            enough.then(|| estimate(&points)).flatten().map(|estimate| Slope { window: *window, estimate })
        })
        .collect();
    Trend { slopes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Observation;

    fn history_of(seconds_max: u32, live: impl Fn(f64) -> f64) -> History {
        let mut history = History::new();
        for second in 0..seconds_max {
            let seconds = f64::from(second);
            let live_bytes = Some(live(seconds) as i64);
            history.observe(&Observation { seconds, live_bytes, ..Observation::default() });
        }
        history
    }

    #[test]
    fn windows_appear_when_they_have_data() {
        let labels = |seconds: u32| {
            let trend = trend(&history_of(seconds, |_| 1e6), Series::Live, f64::from(seconds));
            trend.slopes.iter().map(|slope| slope.window.label).collect::<Vec<_>>()
        };
        assert!(labels(110).is_empty());
        assert_eq!(labels(141), ["5m"]);
        assert_eq!(labels(400), ["5m", "15m"]);
        assert_eq!(labels(3_600), ["5m", "15m", "1h"]);
        assert_eq!(labels(40_000), ["5m", "15m", "1h", "6h", "24h"]);
    }

    #[test]
    fn a_slope_is_told_over_every_window() {
        let trend = trend(&history_of(40_000, |t| 1e6 + 512.0 * t), Series::Live, 40_000.0);
        for slope in trend.slopes {
            let got = slope.estimate.bytes_per_second;
            assert!((got - 512.0).abs() < 1.0, "{} {got}", slope.window.label);
        }
    }

    #[test]
    fn warm_up_does_not_count() {
        let filling = |t: f64| if t < 55.0 { t * 1e6 } else { 55e6 };
        let trend = trend(&history_of(200, filling), Series::Live, 200.0);
        assert_eq!(trend.slopes.len(), 1);
        assert_eq!(trend.slopes[0].estimate.bytes_per_second, 0.0);
    }
}
