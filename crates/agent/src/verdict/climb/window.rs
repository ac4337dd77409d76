//! One look at a window: whether what it shows is a climb.

use super::shape::{self, Shape};
use crate::history::{History, Point, Series, Statistic};
use crate::trend::blocks::{View, blocks, longer_floors};
use crate::trend::structure::structure;
use crate::trend::{Estimate, estimate};

/// A window and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Its length.
    pub(super) seconds: f64,
    /// What the series must have gained in it, as a share of the limit.
    rise_share: f64,
    /// The limit must be this near at that slope, from nothing.
    limit_seconds: f64,
    /// Part of the window that must hold data.
    coverage: f64,
    /// Looks that a floor must rest on.
    looks_per_floor: u32,
}

const HOUR: f64 = 3_600.0;

/// Shortest first. The first is for a process that is looked at many times a second, the next two tell rockets.
pub(super) const LOOKS: [Look; 12] = [
    Look { seconds: 150.0, rise_share: 0.014, limit_seconds: 2.0 * HOUR, coverage: 0.5, looks_per_floor: 25 },
    Look { seconds: 300.0, rise_share: 0.03, limit_seconds: 2.4 * HOUR, coverage: 0.9, looks_per_floor: 0 },
    Look { seconds: 450.0, rise_share: 0.022, limit_seconds: 4.6 * HOUR, coverage: 0.85, looks_per_floor: 0 },
    slow(1_200.0),
    slow(2_400.0),
    slow(4_800.0),
    slow(9_600.0),
    slow(19_200.0),
    slow(38_400.0),
    slow(76_800.0),
    slow(153_600.0),
    slow(307_200.0),
];

/// See [`Look::rise_share`].
const SLOW_RISE_SHARE: f64 = 0.045;

const fn slow(seconds: f64) -> Look {
    Look { seconds, rise_share: SLOW_RISE_SHARE, limit_seconds: 30.0 * 86_400.0, coverage: 0.55, looks_per_floor: 0 }
}

/// Blocks of a window.
const BLOCKS: f64 = 48.0;

/// What lies before a window is looked at, too: this many times its length, itself included.
const CONTEXT: f64 = 3.0;

/// Standard deviations that the slope must be above 0.
const SIGNIFICANCE_MIN: f64 = 2.6;

/// The rise in multiples of the largest fall within two windows' length, in the last day or twelve windows.
const FALL_MULTIPLE_MIN: f64 = 1.5;
const FALL_SECONDS: (f64, f64) = (26.0 * HOUR, 7.0 * 86_400.0);

/// Floors over this many blocks, where sawteeth force it.
const LONG_FLOORS: [usize; 2] = [4, 12];

impl Look {
    pub(super) fn every_seconds(&self) -> f64 {
        if self.looks_per_floor > 0 { 10.0 } else { (self.seconds / BLOCKS).max(20.0) }
    }

    /// The slope where the window shows a climb.
    pub(super) fn climbs(&self, history: &History, series: Series, since: f64, limit_bytes: f64) -> Option<Estimate> {
        let now = history.now_seconds();
        let first = history.first_seconds()?.max(since);
        if history.looks_per_floor() < self.looks_per_floor || now - first < self.coverage * self.seconds {
            return None;
        }
        if !self.may_climb(history, series, first, limit_bytes) {
            return None;
        }
        let views = [Statistic::Middle, Statistic::Floor].map(|statistic| {
            let view = View { series, statistic, block_seconds: self.seconds / BLOCKS };
            blocks(history, view, (now - CONTEXT * self.seconds).max(first), self.skip_seconds())
        });
        let [middles, floors] = views;
        self.judge(history, series, &middles, limit_bytes)
            .or_else(|| self.judge(history, series, &floors, limit_bytes))
            .or_else(|| {
                LONG_FLOORS
                    .iter()
                    .find_map(|width| self.judge(history, series, &longer_floors(&floors, *width), limit_bytes))
            })
    }

    fn skip_seconds(&self) -> f64 {
        (self.seconds / 20.0).clamp(60.0, 1_200.0)
    }

    /// Cheap, so that the rest is seldom done: the newest values against those where the window begins.
    fn may_climb(&self, history: &History, series: Series, first: f64, limit_bytes: f64) -> bool {
        const NEIGHBOURS: usize = 4;
        let tier = crate::history::TIERS.iter().rposition(|(width, _)| *width <= self.seconds / BLOCKS).unwrap_or(0);
        let start = (history.now_seconds() - self.seconds).max(first);
        let rise = [Statistic::Middle, Statistic::Floor].map(|statistic| {
            let mut points = history.points(tier, series, statistic, start);
            let mut newest = f64::NEG_INFINITY;
            let mut born = f64::NAN;
            for point in points.by_ref().rev().take(NEIGHBOURS) {
                newest = newest.max(point.bytes);
                born = point.born_seconds;
            }
            let mut oldest = f64::INFINITY;
            for point in history.points(tier, series, statistic, start).take(NEIGHBOURS) {
                // Across a restart the levels say nothing.
                if point.born_seconds != born {
                    return f64::INFINITY;
                }
                oldest = oldest.min(point.bytes);
            }
            newest - oldest
        });
        rise[0].max(rise[1]) >= 0.6 * self.rise_share * limit_bytes
    }

    fn judge(&self, history: &History, series: Series, points: &[Point], limit_bytes: f64) -> Option<Estimate> {
        let newest = points.last()?.seconds;
        let start = newest - self.seconds;
        let inside = &points[points.partition_point(|point| point.seconds < start)..];
        if inside.len() < 6 {
            return None;
        }
        let covered = covered_seconds(inside, self.seconds);
        if covered < 0.8 * self.coverage * self.seconds {
            return None;
        }
        let structure = structure(points, inside[0].seconds, limit_bytes)?;
        let rate = structure.bytes_per_second;
        let rise = rate * covered;
        if rise < self.rise_share * limit_bytes
            || rate * self.limit_seconds < limit_bytes
            || rate < SIGNIFICANCE_MIN * structure.deviation
        {
            return None;
        }
        let rest = &structure.rest[structure.rest.partition_point(|point| point.seconds < start)..];
        if !Shape::of(rest, rate).is_even() {
            return None;
        }
        let fall = shape::largest_fall(&structure.rest, 2.0 * self.seconds).max(self.earlier_fall(history, series));
        if rise < FALL_MULTIPLE_MIN * fall {
            return None;
        }
        line(inside, rate)
    }

    fn earlier_fall(&self, history: &History, series: Series) -> f64 {
        let horizon = (12.0 * self.seconds).clamp(FALL_SECONDS.0, FALL_SECONDS.1);
        let block_seconds = (self.seconds / 12.0).max(60.0);
        let view = View { series, statistic: Statistic::Middle, block_seconds };
        let past = blocks(history, view, history.now_seconds() - horizon, self.skip_seconds());
        shape::largest_fall(&past, 2.0 * self.seconds)
    }
}

/// The recent slope over about `seconds`, of the life that is lived now or of all lives together.
pub(super) fn recent(history: &History, series: Series, seconds: f64) -> Option<Estimate> {
    let view = View { series, statistic: Statistic::Middle, block_seconds: seconds / 30.0 };
    let skip = (seconds / 20.0).clamp(60.0, 1_200.0);
    let points = blocks(history, view, history.now_seconds() - seconds, skip);
    if points.len() < 6 || covered_seconds(&points, seconds) < 0.5 * seconds {
        return None;
    }
    estimate(&shape::joined(&points))
}

/// Time that the points cover without gaps and restarts.
fn covered_seconds(points: &[Point], window_seconds: f64) -> f64 {
    points
        .windows(2)
        .filter(|pair| pair[0].born_seconds == pair[1].born_seconds)
        .map(|pair| (pair[1].seconds - pair[0].seconds).min(window_seconds / 4.0))
        .sum()
}

/// The slope of the part of a window that climbs: from the bend on, where there is one.
fn line(points: &[Point], _rate: f64) -> Option<Estimate> {
    let joined = shape::joined(points);
    let from = shape::bend(&joined);
    estimate(&joined[from..])
}
