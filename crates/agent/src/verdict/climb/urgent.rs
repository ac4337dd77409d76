//! A climb that is told before the patient windows have seen it: by a process that is looked at many times a second,
//! where the limit is so near, or the heap grew so much, that waiting costs more than a false alarm.
//!
//! The evidence asked for grows with the time that is left. What settles within minutes slackens, what comes in one
//! piece has one part that stands out, and a sawtooth has fallen before; a ramp that stays straight for as long as
//! this looks is called a climb, and cleared when it stops.

use super::shape;
use crate::history::{History, Point, Series, Statistic};
use crate::trend::{Estimate, estimate};

/// How often this is looked at.
pub(super) const EVERY_SECONDS: f64 = 10.0;

/// Floors of fewer looks do not stand still enough for so short a stretch: three a second in buckets of ten.
const LOOKS_PER_FLOOR_MIN: u32 = 15;

/// The limit must be this near.
const LIMIT_SECONDS: f64 = 4.0 * 3_600.0;

/// Share of the time left to the limit that a rise must have been watched: of a young process that rises from birth on,
/// and of one that was level before, in which a job may have begun.
const WATCHED_SHARES: (f64, f64) = (1.0 / 60.0, 0.25);

/// Shortest and longest stretch, for both.
const WATCHED_SECONDS: [(f64, f64); 2] = [(70.0, 180.0), (120.0, 420.0)];

/// A process is young for a quarter of an hour, as long as it rose for this share of its life.
const YOUNG_SECONDS: f64 = 900.0;
const FROM_BIRTH_SHARE: f64 = 0.6;

/// What a process does in its first minute is no evidence.
const SKIP_SECONDS: f64 = 60.0;

/// What is gone, of a young process since its birth, as a share of the limit; where it is as much as all that was there
/// before, a lesser one.
const RISE_SHARE: f64 = 0.025;
const DOUBLING_SHARE: f64 = 0.012;

/// The rise in standard deviations of the floors around the line, and in multiples of any fall before.
const NOISE_MULTIPLE_MIN: f64 = 7.0;
const FALL_MULTIPLE_MIN: f64 = 1.5;
const FALL_SECONDS: f64 = 26.0 * 3_600.0;

/// Parts of the stretch; the least that each rises on the one before as a share of an even rise, and the last on the
/// one before it.
const PARTS: usize = 4;
const PART_SHARE_MIN: f64 = 0.45;
const LAST_SHARE_MIN: f64 = 0.7;

/// The slope of the second half as a share of that of the first, below which it slackens, and what it may still add,
/// slackening on like that, as a share of the limit.
const SLACKENING: f64 = 0.93;
const FILLING_SHARE_MAX: f64 = 0.35;

/// The largest step between neighbouring floors, as a share of the rise.
const STEP_SHARE_MAX: f64 = 0.4;

/// Between looks at [`rises`]: what a minute and a half of floors gains as a share of the limit, in standard deviations
/// of them, and how long a process may take to settle.
const VISIBLE_SECONDS: f64 = 90.0;
const VISIBLE_SHARE: f64 = 0.002;
const VISIBLE_MULTIPLE: f64 = 5.0;
const SETTLING_SECONDS_MAX: f64 = 1_800.0;

/// The slope, where a rise leaves little doubt and little time.
pub(super) fn climbs(history: &History, series: Series, since: f64, limit_bytes: f64) -> Option<Estimate> {
    if history.looks_per_floor() < LOOKS_PER_FLOOR_MIN {
        return None;
    }
    let now = history.now_seconds();
    let [young, grown] = WATCHED_SECONDS;
    let longest = young.1.max(grown.1) + EVERY_SECONDS;
    // Cheap, so that the rest is seldom done.
    if history.rise_bytes(0, series, now - longest, &mut 0) < 0.5 * limit_bytes * young.0 / LIMIT_SECONDS {
        return None;
    }
    let points = floors(history, series, since.max(now - longest));
    let newest = points.last()?;
    let first = history
        .points(0, series, Statistic::Floor, newest.born_seconds.max(since))
        .find(|point| point.born_seconds == newest.born_seconds)?;
    let age = newest.seconds - first.seconds;
    let mut seconds = young.0;
    // The shortest stretch that is as long as its own slope asks for.
    loop {
        let stretch = &points[points.partition_point(|point| point.seconds < newest.seconds - seconds - 1.0)..];
        let span = newest.seconds - stretch.first()?.seconds;
        if span < seconds - 1.0 {
            return None;
        }
        let line = straight(stretch, limit_bytes)?;
        let left = (limit_bytes - newest.bytes).max(0.0) / line.bytes_per_second;
        let from_birth = newest.bytes - first.bytes >= FROM_BIRTH_SHARE * line.bytes_per_second * age;
        let (base, bounds, share) = if age < YOUNG_SECONDS && from_birth {
            (first.bytes, young, WATCHED_SHARES.0)
        } else {
            (stretch[0].bytes, grown, WATCHED_SHARES.1)
        };
        let gone = newest.bytes - base;
        let enough = if gone >= base { DOUBLING_SHARE } else { RISE_SHARE };
        if left.is_nan() || left > LIMIT_SECONDS || gone < enough * limit_bytes {
            return None;
        }
        let asked = (share * left).clamp(bounds.0, bounds.1);
        if span + 1.0 >= asked {
            let rise = line.bytes_per_second * span;
            return (rise >= FALL_MULTIPLE_MIN * earlier_fall(history, series, now)).then_some(line);
        }
        // Floors are that far apart.
        seconds = ((asked / EVERY_SECONDS).ceil() * EVERY_SECONDS).max(seconds + EVERY_SECONDS);
    }
}

/// Whether the newest floors rise so that nobody would call them flat.
pub(super) fn rises(history: &History, series: Series, limit_bytes: f64) -> bool {
    let now = history.now_seconds();
    let Some(first) = history.first_seconds().filter(|first| now - first < SETTLING_SECONDS_MAX) else { return false };
    let points = floors(history, series, (now - VISIBLE_SECONDS - EVERY_SECONDS).max(first));
    let points: Vec<(f64, f64)> = points.iter().map(|point| (point.seconds, point.bytes)).collect();
    let Some(line) = estimate(&points) else { return false };
    let rise = line.bytes_per_second * line.span_seconds;
    rise >= VISIBLE_SHARE * limit_bytes && rise >= VISIBLE_MULTIPLE * line.residual_bytes
}

/// Finest floors of the life that is lived now, without its first minute.
fn floors(history: &History, series: Series, since: f64) -> Vec<Point> {
    let points: Vec<Point> = history.points(0, series, Statistic::Floor, since).collect();
    let Some(newest) = points.last().copied() else { return points };
    let of_this_life =
        |point: &Point| point.born_seconds == newest.born_seconds && point.seconds - point.born_seconds >= SKIP_SECONDS;
    points.into_iter().filter(of_this_life).collect()
}

/// The line through a stretch that rises evenly, far above its noise, and by much.
fn straight(stretch: &[Point], limit_bytes: f64) -> Option<Estimate> {
    let points: Vec<(f64, f64)> = stretch.iter().map(|point| (point.seconds, point.bytes)).collect();
    if points.len() < 2 * PARTS - 1 {
        return None;
    }
    let line = estimate(&points)?;
    let rise = line.bytes_per_second * line.span_seconds;
    if rise < NOISE_MULTIPLE_MIN * line.residual_bytes {
        return None;
    }
    let largest = points.windows(2).map(|pair| pair[1].1 - pair[0].1).fold(0.0, f64::max);
    let parts = shape::middles(&points, PARTS);
    let shares =
        parts.windows(2).map(|pair| (pair[1].1 - pair[0].1) / (line.bytes_per_second * (pair[1].0 - pair[0].0)));
    let shares: Vec<f64> = shares.collect();
    let even = shares.iter().all(|share| *share >= PART_SHARE_MIN)
        && shares.last().is_some_and(|share| *share >= LAST_SHARE_MIN);
    (even && largest <= STEP_SHARE_MAX * rise && !settles(&points, line.residual_bytes, limit_bytes)).then_some(line)
}

/// Whether the second half is slower than the first by more than the noise explains, so that it will come to rest at a
/// healthy size.
fn settles(points: &[(f64, f64)], noise_bytes: f64, limit_bytes: f64) -> bool {
    let (early, late) = points.split_at(points.len() / 2);
    let (before, after) = (shape::plain_slope(early), shape::plain_slope(late));
    let seconds = late[0].0 - early[0].0;
    let ratio = after / before;
    let middle = late.iter().map(|point| point.0).sum::<f64>() / late.len() as f64;
    let spread = late.iter().map(|point| (point.0 - middle).powi(2)).sum::<f64>();
    let doubt = (2.0 / spread).sqrt() * noise_bytes / before;
    if ratio.is_nan() || ratio + doubt >= SLACKENING || before <= 0.0 {
        return false;
    }
    let constant_seconds = -seconds / ratio.max(f64::MIN_POSITIVE).ln();
    after.max(0.0) * constant_seconds <= FILLING_SHARE_MAX * limit_bytes
}

fn earlier_fall(history: &History, series: Series, now: f64) -> f64 {
    let tier = if now > FALL_SECONDS / 13.0 { 1 } else { 0 };
    let points: Vec<Point> = history.points(tier, series, Statistic::Middle, now - FALL_SECONDS).collect();
    shape::largest_fall(&points, FALL_SECONDS)
}
