//! One look at a window: whether what it shows is a climb.

use super::rivals;
use super::shape::{self, Shape};
use crate::history::{History, Point, Series, Statistic, TIERS};
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
    /// Part of the data that must lie on one line, up to its end.
    straight: f64,
    /// See [`rivals::Rivals::filling`].
    filling_min: f64,
    /// Looks that a floor must rest on.
    looks_per_floor: u32,
}

const HOUR: f64 = 3_600.0;

/// Shortest first. The first is for a process that is looked at many times a second, the next tells rockets.
pub(super) const LOOKS: [Look; 11] = [
    Look {
        seconds: 150.0,
        rise_share: 0.014,
        limit_seconds: 2.0 * HOUR,
        coverage: 0.5,
        straight: 0.0,
        filling_min: f64::NEG_INFINITY,
        looks_per_floor: 25,
    },
    Look {
        seconds: 480.0,
        rise_share: 0.022,
        limit_seconds: 4.6 * HOUR,
        coverage: 0.78,
        straight: 0.82,
        filling_min: 0.3,
        looks_per_floor: 0,
    },
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
const SLOW_RISE_SHARE: f64 = 0.05;

/// At this rise a line that is as good as a healthy explanation is a leak.
const PATIENCE_SHARE: f64 = 0.07;

const fn slow(seconds: f64) -> Look {
    Look {
        seconds,
        rise_share: SLOW_RISE_SHARE,
        limit_seconds: 30.0 * 86_400.0,
        coverage: 0.55,
        straight: 0.4,
        filling_min: 4.0,
        looks_per_floor: 0,
    }
}

/// Blocks of a window.
const BLOCKS: f64 = 48.0;

/// What lies before a window is looked at, too: this many times its length, itself included.
const CONTEXT: f64 = 3.0;

/// Standard deviations that the slope must be above 0.
const SIGNIFICANCE_MIN: f64 = 1.1;

/// The rise in standard deviations of the noise around it.
const NOISE_MULTIPLE_MIN: f64 = 7.0;

/// The rise in multiples of the largest fall within two windows' length, in the last day or twelve windows.
const FALL_MULTIPLE_MIN: f64 = 1.5;
const FALL_SECONDS: (f64, f64) = (26.0 * HOUR, 7.0 * 86_400.0);

/// What a healthy process may still take, as a share of the limit: a young one, and one that was level before.
const FILLING_MAX: (f64, f64) = (0.35, 0.3);

/// A difference of log likelihoods times two that leaves little doubt.
const CLEARLY: f64 = 5.0;

/// In longer windows a daily wave may be part of the slope.
const WAVE_SECONDS: f64 = 9_000.0;

/// The plain line's slope as a share of the one that allows for warm-up and wave.
const AGREEMENT: (f64, f64) = (0.6, 1.7);

/// The lower bound of the plain line's slope as a share of it.
const PRECISION: f64 = 0.1;

/// Floors over this many blocks, where sawteeth force it.
const LONG_FLOORS: [usize; 2] = [4, 12];

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Opinion {
    Unremarkable,
    /// It rises as a healthy process does.
    Healthy,
    Climbs(Estimate),
}

impl Look {
    pub(super) fn every_seconds(&self) -> f64 {
        if self.looks_per_floor > 0 { 10.0 } else { (self.seconds / BLOCKS).max(30.0) }
    }

    /// The slope where the window shows a climb.
    pub(super) fn climbs(&self, history: &History, series: Series, since: f64, limit_bytes: f64) -> Opinion {
        let now = history.now_seconds();
        let Some(first) = history.first_seconds().map(|first| first.max(since)) else { return Opinion::Unremarkable };
        let too_soon = now - first < self.coverage * self.seconds || history.looks_per_floor() < self.looks_per_floor;
        let learning = self.looks_per_floor == 0 && history.is_learning(series);
        if too_soon || learning || !self.may_climb(history, series, first, limit_bytes) {
            return Opinion::Unremarkable;
        }
        let views = [Statistic::Middle, Statistic::Floor].map(|statistic| {
            let view = View { series, statistic, block_seconds: self.seconds / BLOCKS };
            blocks(history, view, (now - CONTEXT * self.seconds).max(first), self.skip_seconds())
        });
        let [middles, floors] = views;
        for view in 0..2 + LONG_FLOORS.len() {
            let longer = view.checked_sub(2).map(|place| longer_floors(&floors, LONG_FLOORS[place]));
            let points = longer.as_deref().unwrap_or(if view == 0 { &middles } else { &floors });
            match self.judge(history, series, points, limit_bytes) {
                Opinion::Unremarkable => {}
                Opinion::Healthy => return Opinion::Healthy,
                Opinion::Climbs(estimate) => return Opinion::Climbs(estimate),
            }
        }
        Opinion::Unremarkable
    }

    fn skip_seconds(&self) -> f64 {
        if self.looks_per_floor > 0 { 60.0 } else { (self.seconds / 20.0).clamp(96.0, 1_200.0) }
    }

    /// Cheap, so that the rest is seldom done.
    fn may_climb(&self, history: &History, series: Series, first: f64, limit_bytes: f64) -> bool {
        let tier = TIERS.iter().rposition(|(width, _)| *width <= self.seconds / BLOCKS).unwrap_or(0);
        let start = (history.now_seconds() - self.seconds).max(first);
        history.rise_bytes(tier, series, start) >= 0.6 * self.rise_share * limit_bytes
    }

    fn judge(&self, history: &History, series: Series, points: &[Point], limit_bytes: f64) -> Opinion {
        self.stands_out(history, series, points, limit_bytes).unwrap_or(Opinion::Unremarkable)
    }

    fn stands_out(&self, history: &History, series: Series, points: &[Point], limit_bytes: f64) -> Option<Opinion> {
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
            || rise < NOISE_MULTIPLE_MIN * structure.residual_bytes
        {
            return None;
        }
        let line = line(inside)?;
        let onset = shape::onset(points);
        let reborn = points[0].born_seconds != points[points.len() - 1].born_seconds;
        let newborn = reborn || onset - points[0].born_seconds < 0.5 * (newest - onset);
        let filling_max = if newborn { FILLING_MAX.0 } else { FILLING_MAX.1 };
        let rivals = rivals::rivals(points, onset, filling_max * limit_bytes, limit_bytes);
        if rivals.filling < -CLEARLY {
            return Some(Opinion::Healthy);
        }
        // What a person sees in the data as they are must agree.
        let agrees = line.low >= PRECISION * line.bytes_per_second
            && line.bytes_per_second * self.limit_seconds >= limit_bytes
            && line.span_seconds >= self.straight * (newest - inside[0].seconds)
            && line.bytes_per_second >= AGREEMENT.0 * rate
            && line.bytes_per_second <= AGREEMENT.1 * rate
            && line.bytes_per_second * line.span_seconds >= 0.8 * self.rise_share * limit_bytes;
        let rest = &structure.rest[structure.rest.partition_point(|point| point.seconds < start)..];
        if !agrees || !Shape::of(rest, rate).is_even() {
            return None;
        }
        let fall = shape::largest_fall(&structure.rest, 2.0 * self.seconds).max(self.earlier_fall(history, series));
        if rise < FALL_MULTIPLE_MIN * fall {
            return None;
        }
        // The more has gone, the less doubt is waited for.
        let patience = ((PATIENCE_SHARE - rise / limit_bytes) / (PATIENCE_SHARE - SLOW_RISE_SHARE)).clamp(-0.1, 1.0);
        if rivals.filling < self.filling_min * patience || rivals.wave < -CLEARLY / 2.0 {
            return Some(Opinion::Healthy);
        }
        let margin = if self.seconds > WAVE_SECONDS { 1.0 } else { 0.5 };
        Some(Opinion::Climbs(line.widened(margin * structure.deviation)))
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
fn line(points: &[Point]) -> Option<Estimate> {
    let joined = shape::joined(points);
    let from = shape::bend(&joined);
    estimate(&joined[from..])
}
