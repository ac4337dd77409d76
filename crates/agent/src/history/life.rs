//! One process after another: a value far below all that a life has shown is a new life.

use super::{Bucket, Series};

/// A value below this share of the life's floor (and RSS with it, as far as [`REBORN_RSS_SHARE`]) is another process's.
const REBORN_SHARE: f64 = 0.7;
const REBORN_RSS_SHARE: f64 = 0.8;

/// A life's floor is of what it shows from the first age on, and is believed from the second on.
const FLOOR_AGES_SECONDS: (f64, f64) = (180.0, 600.0);

#[derive(Debug, Clone)]
pub(super) struct Life {
    born_seconds: Option<f64>,
    primary_floor: f64,
    rss_floor: f64,
}

impl Default for Life {
    fn default() -> Self {
        Self { born_seconds: None, primary_floor: f64::INFINITY, rss_floor: f64::INFINITY }
    }
}

impl Life {
    /// The birth of the process that shows `values`.
    pub(super) fn observe(&mut self, seconds: f64, values: &[f64; 4]) -> f64 {
        let born = *self.born_seconds.get_or_insert(seconds);
        let rss = values[Series::Rss as usize];
        let live = values[Series::Live as usize];
        let primary = if live.is_nan() { rss } else { live };
        let settled = seconds - born >= FLOOR_AGES_SECONDS.1 && self.primary_floor.is_finite();
        let fell = settled && primary < REBORN_SHARE * self.primary_floor;
        if fell && (rss.is_nan() || rss < REBORN_RSS_SHARE * self.rss_floor) {
            *self = Self { born_seconds: Some(seconds), ..Self::default() };
            return seconds;
        }
        born
    }

    /// Learns the life's floor from a completed bucket.
    pub(super) fn settle(&mut self, bucket: &Bucket, width_seconds: f64) {
        let Some(born) = self.born_seconds.filter(|born| *born == bucket.born_seconds) else { return };
        if (bucket.index as f64 + 0.5) * width_seconds - born < FLOOR_AGES_SECONDS.0 {
            return;
        }
        let live = bucket.floors[Series::Live as usize];
        let rss = bucket.floors[Series::Rss as usize];
        self.primary_floor = self.primary_floor.min(if live.is_nan() { rss } else { live });
        self.rss_floor = self.rss_floor.min(rss);
    }
}
