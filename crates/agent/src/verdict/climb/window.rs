//! One look at a window: whether what it shows is a climb.

use std::cell::LazyCell;
use std::ops::Deref;

use super::plain;
use super::shape::{self, Shape};
use super::signs::{Rise, Signs};
use super::weights;
use crate::history::{History, Point, Series, Statistic, TIERS};
use crate::trend::blocks::{View, blocks, longer_floors};
use crate::trend::structure::structure;
use crate::trend::{Estimate, estimate};

/// A window and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Its length.
    pub(super) seconds: f64,
    /// What the series must have gained in it to be weighed, as a share of the limit.
    rise_share: f64,
    /// The limit must be this near at that slope: of a rocket from where memory is, else from nothing.
    limit_seconds: f64,
    /// Part of the window that must hold data.
    coverage: f64,
    /// Where three times what it takes was gained, shorter windows tell as much, and only every fourth is looked at.
    is_between: bool,
}

const HOUR: f64 = 3_600.0;

/// Shortest first. The first tells rockets.
pub(super) const LOOKS: [Look; 1 + SLOW_LOOKS] = {
    let mut looks = [slow(SLOW_SECONDS_MIN); 1 + SLOW_LOOKS];
    looks[0] = Look { seconds: 480.0, rise_share: 0.011, limit_seconds: 4.4 * HOUR, coverage: 0.94, is_between: false };
    let mut place = 2;
    while place < looks.len() {
        looks[place] = slow(SLOW_RATIO * looks[place - 1].seconds);
        looks[place].is_between = !(place + 1).is_multiple_of(4);
        place += 1;
    }
    looks
};

/// Windows of the patient tier: so close that one of them is nearly as long as the climb is old.
const SLOW_LOOKS: usize = 33;
const SLOW_SECONDS_MIN: f64 = 1_200.0;
const SLOW_RATIO: f64 = 1.189_207;

/// See [`Look::rise_share`].
const SLOW_RISE_SHARE: f64 = 0.0375;

const fn slow(seconds: f64) -> Look {
    Look { seconds, rise_share: SLOW_RISE_SHARE, limit_seconds: 30.0 * 86_400.0, coverage: 0.55, is_between: false }
}

/// Points that a rocket's window must hold, and any other.
const POINTS_MIN: (usize, usize) = (6, 8);

/// Blocks of a window.
const BLOCKS: f64 = 48.0;

/// What lies before a window is looked at, too: this many times its length, itself included.
const CONTEXT: f64 = 3.0;

/// The rise in standard deviations of the noise around it, below which nothing is weighed.
const NOISE_MULTIPLE_MIN: f64 = 5.0;

/// The rise in multiples of the largest fall within two windows' length, in the last day or twelve windows.
const FALL_MULTIPLE_MIN: f64 = 1.2;
const FALL_SECONDS: (f64, f64) = (26.0 * HOUR, 7.0 * 86_400.0);

/// Falls are looked for in parts of a window, and again after as long, or after this for the cheap test.
const PARTS_A_FALL: f64 = 12.0;
const FALLEN_SECONDS_MIN: f64 = 600.0;

/// A slope over a window is no more than this multiple of what was gained from its start to its end.
const SLOPE_OF_GAIN_MAX: f64 = 2.0;

/// Part of the rise that the plain line must show.
const LINE_SHARE_MIN: f64 = 0.5;

/// The plain slope counts up to this multiple of the one that allows for a warm-up, which takes part of any young climb.
const PLAIN_MULTIPLE_MAX: f64 = 2.0;

/// In longer windows a daily wave may be part of the slope.
const WAVE_SECONDS: f64 = 9_000.0;

/// Floors over this many blocks, where sawteeth force it.
const LONG_FLOORS: [usize; 2] = [4, 12];

/// What fell before, as it was when it was last looked for: a first, cheap test.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fallen {
    due_seconds: f64,
    bytes: f64,
}

/// A rise on the scales.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) signs: Signs,
    pub(super) log_odds: f64,
    pub(super) line: Estimate,
}

impl Look {
    pub(super) fn every_seconds(&self) -> f64 {
        if self.is_rocket() { 10.0 } else { (self.seconds / BLOCKS).max(30.0) }
    }

    /// The slope where the window shows a climb.
    pub(super) fn climbs(
        &self,
        history: &History,
        series: Series,
        since: f64,
        limit_bytes: f64,
        fallen: &mut Fallen,
    ) -> Option<Estimate> {
        let Found { signs, log_odds, line } = self.weigh(history, series, since, limit_bytes, fallen)?;
        let told = log_odds >= if plain::may_be_a_day(&signs) { weights::CERTAIN } else { weights::TELLING };
        let plain = plain::is_straight(&signs) || (self.is_rocket() && plain::is_rocket(&signs));
        (told || plain).then_some(line)
    }

    /// What there is to weigh, and the line with its bounds.
    pub(super) fn weigh(
        &self,
        history: &History,
        series: Series,
        since: f64,
        limit_bytes: f64,
        fallen: &mut Fallen,
    ) -> Option<Found> {
        let now = history.now_seconds();
        let first = history.first_seconds()?.max(since);
        let too_soon = now - first < self.coverage * self.seconds || history.is_learning(series);
        let gained = if too_soon { None } else { self.gained(history, series, first, limit_bytes) }?;
        if now >= fallen.due_seconds {
            let bytes = self.earlier_fall(history, series);
            *fallen = Fallen { due_seconds: now + (self.seconds / PARTS_A_FALL).max(FALLEN_SECONDS_MIN), bytes };
        }
        if SLOPE_OF_GAIN_MAX * gained < FALL_MULTIPLE_MIN * fallen.bytes {
            return None;
        }
        let views = [Statistic::Middle, Statistic::Floor].map(|statistic| {
            let view = View { series, statistic, block_seconds: self.seconds / BLOCKS };
            blocks(history, view, (now - CONTEXT * self.seconds).max(first), self.skip_seconds())
        });
        let [middles, floors] = views;
        let earlier_fall = LazyCell::new(|| self.earlier_fall(history, series));
        (0..2 + LONG_FLOORS.len()).find_map(|view| {
            let longer = view.checked_sub(2).map(|place| longer_floors(&floors, LONG_FLOORS[place]));
            let points = longer.as_deref().unwrap_or(if view == 0 { &middles } else { &floors });
            self.rise(history, series, (view, points), first, limit_bytes, &earlier_fall)
        })
    }

    fn is_rocket(&self) -> bool {
        self.seconds < SLOW_SECONDS_MIN
    }

    fn skip_seconds(&self) -> f64 {
        (self.seconds / 20.0).clamp(96.0, 1_200.0)
    }

    /// What was gained from the start to the end, if it may be a climb's. Cheap, so that the rest is seldom done.
    fn gained(&self, history: &History, series: Series, first: f64, limit_bytes: f64) -> Option<f64> {
        let tier = TIERS.iter().rposition(|(width, _)| *width <= self.seconds / BLOCKS).unwrap_or(0);
        let start = (history.now_seconds() - self.seconds).max(first);
        let gained = history.rise_bytes(tier, series, start);
        let share = gained / limit_bytes;
        let is_elsewhere = self.is_between && share.is_finite() && share > 3.0 * self.rise_share;
        (share >= 0.8 * self.rise_share && !is_elsewhere).then_some(gained)
    }

    /// A rise that stands out of the noise and of what fell before.
    fn rise(
        &self,
        history: &History,
        series: Series,
        (view, points): (usize, &[Point]),
        first: f64,
        limit_bytes: f64,
        earlier_fall: &impl Deref<Target = f64>,
    ) -> Option<Found> {
        let newest = points.last()?.seconds;
        let start = newest - self.seconds;
        let inside = &points[points.partition_point(|point| point.seconds < start)..];
        if inside.len() < if self.is_rocket() { POINTS_MIN.0 } else { POINTS_MIN.1 } {
            return None;
        }
        let covered_seconds = covered_seconds(inside, self.seconds);
        if covered_seconds < 0.75 * self.coverage * self.seconds {
            return None;
        }
        // Cheap, so that the rest is seldom done.
        let exposed_seconds = (newest - start.max(first)).max(covered_seconds);
        let stitched = shape::joined(inside);
        let plain = shape::plain_slope(&stitched);
        let room = if self.is_rocket() { limit_bytes - points.last()?.bytes } else { limit_bytes };
        if plain * exposed_seconds < self.rise_share * limit_bytes || plain * self.limit_seconds < room {
            return None;
        }
        let line = line(inside)?;
        let line_rise = line.bytes_per_second * line.span_seconds;
        // Eight minutes of noise that wanders are few independent points: a rocket's bounds may be wide.
        let is_doubtful = line.low <= 0.0 && !self.is_rocket();
        if line_rise < LINE_SHARE_MIN * self.rise_share * limit_bytes || is_doubtful {
            return None;
        }
        // What is gone counts whether it was seen to go or not; what stands out of falls and noise must have been seen.
        let seen = plain * covered_seconds;
        let earlier = **earlier_fall;
        if seen.max(line_rise) < FALL_MULTIPLE_MIN * earlier {
            return None;
        }
        let structure = structure(points, inside[0].seconds, limit_bytes)?;
        if seen < NOISE_MULTIPLE_MIN * structure.residual_bytes {
            return None;
        }
        let fall_bytes = shape::largest_fall(&structure.rest, 2.0 * self.seconds).max(earlier);
        if seen.max(line_rise) < FALL_MULTIPLE_MIN * fall_bytes {
            return None;
        }
        // Besides the heap nothing warms up for hours.
        let stands_alone = matches!(series, Series::Outside | Series::Slack);
        let warm = plain.min(PLAIN_MULTIPLE_MAX * structure.bytes_per_second);
        let rise = Rise {
            series,
            view,
            window_seconds: self.seconds,
            limit_bytes,
            interval_seconds: history.interval_seconds(),
            first_seconds: first,
            points,
            inside,
            plain,
            exposed_seconds,
            covered_seconds,
            structure: &structure,
            trusted: if stands_alone { plain } else { warm },
            line: &line,
            shape: Shape::of(&stitched, plain),
            stop: shape::stop(&stitched),
            fall_bytes,
        };
        let margin = if self.seconds > WAVE_SECONDS { 1.0 } else { 0.5 };
        let signs = rise.signs();
        let log_odds = weights::weigh(&signs);
        Some(Found { signs, log_odds, line: line.widened(margin * structure.deviation) })
    }

    fn earlier_fall(&self, history: &History, series: Series) -> f64 {
        let horizon = (12.0 * self.seconds).clamp(FALL_SECONDS.0, FALL_SECONDS.1);
        let block_seconds = (self.seconds / PARTS_A_FALL).max(60.0);
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
