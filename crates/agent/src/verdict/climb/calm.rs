//! A series that stays within so narrow a range that no window can show a rise: the cheapest test of all.

use crate::history::{History, Series};

/// How often the past is looked through again; in between, what is new is added.
const REFRESH_SECONDS: f64 = 4.0 * 3_600.0;

/// The finest tier, for what the other may not have yet, and one that reaches back as far as any window.
const TIERS: [(usize, f64); 2] = [(0, 1_800.0), (2, f64::INFINITY)];

/// The least that was, as far back as any window reaches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calm {
    series: Series,
    reach_seconds: f64,
    due_seconds: f64,
    /// Of the finest tier's buckets.
    read: u64,
    low_bytes: f64,
    /// Of all that was read; NaN of several lives, of which a range says nothing.
    born_seconds: f64,
}

impl Calm {
    pub(super) fn new(series: Series, reach_seconds: f64) -> Self {
        let (low_bytes, born_seconds) = (f64::INFINITY, f64::NAN);
        Self { series, reach_seconds, due_seconds: 0.0, read: 0, low_bytes, born_seconds }
    }

    /// The most that any window can have gained.
    pub(super) fn gained_max(&mut self, history: &History) -> f64 {
        const NEIGHBOURS: u64 = 4;
        let now = history.now_seconds();
        let [(finest, _), _] = TIERS;
        let completed = history.completed(finest);
        if now >= self.due_seconds {
            self.due_seconds = now + REFRESH_SECONDS;
            self.low_bytes = f64::INFINITY;
            self.born_seconds = f64::INFINITY;
            // A bucket that began before is still part of the window.
            for (tier, reach_seconds) in TIERS {
                let from = history.completed_before(tier, now - self.reach_seconds.min(reach_seconds));
                self.add(history, tier, from.saturating_sub(1));
            }
        } else {
            self.add(history, finest, self.read);
        }
        self.read = completed;
        if self.born_seconds.is_nan() {
            return f64::INFINITY;
        }
        let newest = history.pairs_after(finest, self.series, completed.saturating_sub(NEIGHBOURS));
        newest.map(|pair| pair.middle.max(pair.floor)).fold(f64::NEG_INFINITY, f64::max) - self.low_bytes
    }

    fn add(&mut self, history: &History, tier: usize, from: u64) {
        for pair in history.pairs_after(tier, self.series, from) {
            self.low_bytes = self.low_bytes.min(pair.floor).min(pair.middle);
            if self.born_seconds == f64::INFINITY {
                self.born_seconds = pair.born_seconds;
            } else if self.born_seconds != pair.born_seconds {
                self.born_seconds = f64::NAN;
            }
        }
    }
}
