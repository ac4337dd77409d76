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
    /// Where twice what it takes was gained, shorter windows tell as much, and only every fourth is looked at.
    is_between: bool,
}

const HOUR: f64 = 3_600.0;

/// Shortest first. The first tells rockets.
pub(super) const LOOKS: [Look; 1 + SLOW_LOOKS] = {
    let mut looks = [slow(SLOW_SECONDS_MIN); 1 + SLOW_LOOKS];
    looks[0] = Look {
        seconds: 480.0,
        rise_share: 0.022,
        limit_seconds: 4.6 * HOUR,
        coverage: 0.94,
        straight: 0.82,
        filling_min: 1.0,
        is_between: false,
    };
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
const SLOW_RISE_SHARE: f64 = 0.075;

/// At this rise a line that is as good as a healthy explanation is a leak.
const PATIENCE_SHARE: f64 = 0.091;

const fn slow(seconds: f64) -> Look {
    Look {
        seconds,
        rise_share: SLOW_RISE_SHARE,
        limit_seconds: 30.0 * 86_400.0,
        coverage: 0.55,
        straight: 0.4,
        filling_min: 8.0,
        is_between: false,
    }
}

/// Points that a rocket's window must hold, and any other.
const POINTS_MIN: (usize, usize) = (6, 8);

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

/// The plain slope counts up to this multiple of the one that allows for a warm-up, which takes part of any young climb.
const PLAIN_MULTIPLE_MAX: f64 = 2.0;

/// The largest of eight parts of a climb: this share of the limit, within these shares of the climb.
const JUMP_SHARE: f64 = 0.04;
const LARGEST_SHARES: (f64, f64) = (0.25, 0.48);

/// Where rows are far apart there are fewer parts: each may be this much larger than an even one.
const EVEN_MULTIPLE: f64 = 1.6;

/// What the last third must rise, as a share of an even rise: of a rocket, and of anything slower.
const LATE_SHARES: (f64, f64) = (0.65, 0.5);

/// What a healthy process may still take, as a share of the limit: a young one, and one that was level before.
const FILLING_MAX: (f64, f64) = (0.35, 0.3);

/// A difference of log likelihoods times two that leaves little doubt.
const CLEARLY: f64 = 5.0;

/// Below this a healthy explanation is the better one; from here up to what is asked for, it is too early to say.
const HEALTHY_MAX: f64 = -1.0;

/// A line whose lower bound is at least this share of it is precise; another must do better than its rivals by this much.
const PRECISE: f64 = 0.5;
const DOUBT: f64 = 0.5;

/// The same against a wave, which pays for its size, too; and how long a day is watched.
const WAVE_MIN: f64 = 2.5;
const UNSEEN_SECONDS: f64 = 26.0 * HOUR;

/// In longer windows a daily wave may be part of the slope.
const WAVE_SECONDS: f64 = 9_000.0;

/// The plain line's slope as a share of the one that allows for warm-up and wave.
const AGREEMENT: (f64, f64) = (0.6, 2.2);

/// The lower bound of the plain line's slope as a share of it.
const PRECISION: f64 = 0.1;

/// Floors over this many blocks, where sawteeth force it.
const LONG_FLOORS: [usize; 2] = [4, 12];

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Opinion {
    Unremarkable,
    /// It rises, but a healthy explanation is still nearly as good.
    Early,
    /// It rises as a healthy process does.
    Healthy,
    Climbs(Estimate),
}

impl Look {
    pub(super) fn every_seconds(&self) -> f64 {
        if self.seconds < SLOW_SECONDS_MIN { 10.0 } else { (self.seconds / BLOCKS).max(30.0) }
    }

    /// How long a healthy explanation holds.
    pub(super) fn holds_seconds(&self) -> f64 {
        self.seconds / if self.seconds < SLOW_SECONDS_MIN { 20.0 } else { 10.0 }
    }

    /// The slope where the window shows a climb.
    pub(super) fn climbs(&self, history: &History, series: Series, since: f64, limit_bytes: f64) -> Opinion {
        let now = history.now_seconds();
        let Some(first) = history.first_seconds().map(|first| first.max(since)) else { return Opinion::Unremarkable };
        let too_soon = now - first < self.coverage * self.seconds || history.is_learning(series);
        if too_soon || !self.may_climb(history, series, first, limit_bytes) {
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
            match self.judge(history, series, points, first, limit_bytes) {
                Opinion::Unremarkable => {}
                said => return said,
            }
        }
        Opinion::Unremarkable
    }

    fn skip_seconds(&self) -> f64 {
        (self.seconds / 20.0).clamp(96.0, 1_200.0)
    }

    /// Cheap, so that the rest is seldom done.
    fn may_climb(&self, history: &History, series: Series, first: f64, limit_bytes: f64) -> bool {
        let tier = TIERS.iter().rposition(|(width, _)| *width <= self.seconds / BLOCKS).unwrap_or(0);
        let start = (history.now_seconds() - self.seconds).max(first);
        let rise = history.rise_bytes(tier, series, start) / limit_bytes;
        rise >= 0.75 * self.rise_share && (!self.is_between || rise.is_infinite() || rise <= 2.0 * self.rise_share)
    }

    fn judge(&self, history: &History, series: Series, points: &[Point], first: f64, limit_bytes: f64) -> Opinion {
        self.stands_out(history, series, points, first, limit_bytes).unwrap_or(Opinion::Unremarkable)
    }

    fn stands_out(
        &self,
        history: &History,
        series: Series,
        points: &[Point],
        first: f64,
        limit_bytes: f64,
    ) -> Option<Opinion> {
        let newest = points.last()?.seconds;
        let start = newest - self.seconds;
        let inside = &points[points.partition_point(|point| point.seconds < start)..];
        let is_rocket = self.seconds < SLOW_SECONDS_MIN;
        if inside.len() < if is_rocket { POINTS_MIN.0 } else { POINTS_MIN.1 } {
            return None;
        }
        let covered = covered_seconds(inside, self.seconds);
        if covered < 0.75 * self.coverage * self.seconds {
            return None;
        }
        // Cheap, so that the rest is seldom done.
        let exposed = (newest - start.max(first)).max(covered);
        let stitched = shape::joined(inside);
        let plain = shape::plain_slope(&stitched);
        if plain * exposed < 0.85 * self.rise_share * limit_bytes {
            return None;
        }
        let structure = structure(points, inside[0].seconds, limit_bytes)?;
        let rate = structure.bytes_per_second;
        // What is gone counts whether it was seen to go or not; what stands out of the noise must have been seen.
        // Besides the heap nothing warms up for hours.
        let stands_alone = matches!(series, Series::Outside | Series::Slack);
        let trusted = if stands_alone { plain } else { plain.min(PLAIN_MULTIPLE_MAX * rate) };
        let (gone, seen) = (trusted * exposed, trusted * covered);
        if gone < self.rise_share * limit_bytes
            || trusted * self.limit_seconds < limit_bytes
            || (rate < SIGNIFICANCE_MIN * structure.deviation && !stands_alone)
            || seen < NOISE_MULTIPLE_MIN * structure.residual_bytes
        {
            return None;
        }
        let line = line(inside)?;
        let onset = shape::onset(points);
        let reborn = points[0].born_seconds != points[points.len() - 1].born_seconds;
        let newborn = reborn || onset - points[0].born_seconds < 0.5 * (newest - onset);
        let filling_max = if newborn { FILLING_MAX.0 } else { FILLING_MAX.1 } * limit_bytes;
        let rivals = rivals::rivals(points, onset, filling_max, limit_bytes);
        if rivals.filling < -CLEARLY {
            return Some(Opinion::Healthy);
        }
        // What a person sees in the data as they are must agree.
        let line_rise = line.bytes_per_second * line.span_seconds;
        let agrees = line.low >= PRECISION * line.bytes_per_second
            && line.bytes_per_second * self.limit_seconds >= limit_bytes
            && line.span_seconds >= self.straight * (newest - inside[0].seconds)
            && (stands_alone || (AGREEMENT.0 * rate..=AGREEMENT.1 * rate).contains(&line.bytes_per_second))
            && line_rise >= 0.7 * self.rise_share * limit_bytes;
        if !agrees {
            return None;
        }
        let shape = Shape::of(&stitched, plain);
        let even = EVEN_MULTIPLE * shape.even_share();
        let largest = (JUMP_SHARE * limit_bytes / gone).clamp(LARGEST_SHARES.0.max(even), LARGEST_SHARES.1.max(even));
        let precise = line.low >= PRECISE * line.bytes_per_second;
        if !shape.is_even(largest, if is_rocket { LATE_SHARES.0 } else { LATE_SHARES.1 })
            || (!precise && (is_rocket || shape.is_coarse()))
        {
            return None;
        }
        let earlier = self.earlier_fall(history, series);
        let fall = shape::largest_fall(&structure.rest, 2.0 * self.seconds).max(earlier);
        if seen.max(line_rise) < FALL_MULTIPLE_MIN * fall {
            return None;
        }
        // The more has gone, the less doubt is waited for.
        let patience = ((PATIENCE_SHARE - gone / limit_bytes) / (PATIENCE_SHARE - SLOW_RISE_SHARE)).clamp(-0.05, 1.0);
        let late_rocket = is_rocket && newborn && newest - onset > 900.0;
        let filling_min = if late_rocket { CLEARLY } else { self.filling_min * patience };
        let filling_min = if precise { filling_min } else { filling_min.max(DOUBT) };
        // Until a whole day was seen, what begins to rise in the middle of it is first of all the day.
        let unseen = !newborn && newest - first < UNSEEN_SECONDS;
        let wave_min = if precise && !unseen { -CLEARLY / 2.0 } else { WAVE_MIN };
        let filling = rivals.filling.min(rivals::filling_from_birth(points, onset, filling_max));
        // A wave is a matter of traffic, which neither fragments nor maps much.
        let waves = rivals.wave < wave_min && !stands_alone;
        if filling < if stands_alone { -CLEARLY } else { HEALTHY_MAX } || waves {
            return Some(Opinion::Healthy);
        }
        if filling < filling_min {
            return Some(Opinion::Early);
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
