//! Under a daily wave: today against the same hour yesterday.

use super::rivals::fill_under_wave;
use crate::history::{History, Point, Series, Statistic};
use crate::trend::Estimate;

/// How often this is looked at.
pub(super) const EVERY_SECONDS: f64 = 600.0;

pub(super) const DAY_SECONDS: f64 = 86_400.0;
pub(super) const TIER: usize = 2;

/// Hours of differences that must agree.
const STRETCH_SECONDS: f64 = 6.5 * 3_600.0;

/// A day's gain, as a share of the limit.
const RISE_SHARE: f64 = 0.038;

/// Each quarter of the stretch, as a share of the mean.
const QUARTERS: (f64, f64) = (0.82, 1.22);

/// The largest step in half an hour, as a share of the day's gain.
const STEP_SHARE_MAX: f64 = 0.4;

/// Time in which the day's gain came.
const RAMP_SECONDS_MIN: f64 = 10.0 * 3_600.0;

/// How far back it is looked for.
const RAMP_HISTORY_SECONDS: f64 = 2.0 * DAY_SECONDS;

/// The gain in multiples of any day's loss in the last week.
const LOSS_MULTIPLE_MIN: f64 = 1.5;

/// A line under a wave against something that fills once: see [`fill_under_wave`].
const FILLING_MIN: f64 = 2.0;

/// The day's floor must have risen by this share of the gain.
const FLOOR_SHARE_MIN: f64 = 0.35;

pub(super) fn climbs(history: &History, series: Series, since: f64, limit_bytes: f64) -> Option<Estimate> {
    let now = history.now_seconds();
    let first = history.first_seconds()?.max(since);
    if now - first < DAY_SECONDS + STRETCH_SECONDS {
        return None;
    }
    // Cheap, so that the rest is seldom done.
    if history.rise_bytes(TIER, series, now - DAY_SECONDS, &mut 0) < 0.5 * RISE_SHARE * limit_bytes {
        return None;
    }
    let points: Vec<Point> = history
        .points(TIER, series, Statistic::Middle, (now - 8.0 * DAY_SECONDS).max(first))
        .filter(|point| point.seconds - point.born_seconds > 600.0)
        .collect();
    let newest = points.last()?;
    let recent = &points[points.partition_point(|point| point.seconds < newest.seconds - STRETCH_SECONDS)..];
    let recent: Vec<_> = differences(recent, &points).collect();
    let estimate = agreement(&recent)?;
    let gain = estimate.bytes_per_second * DAY_SECONDS;
    if gain < RISE_SHARE * limit_bytes {
        return None;
    }
    let before = &points[..points.partition_point(|point| point.seconds < newest.seconds - STRETCH_SECONDS)];
    let loss = differences(before, &points).map(|(_, difference)| -difference).fold(0.0, f64::max);
    if gain < LOSS_MULTIPLE_MIN * loss
        || largest_step(&points, newest.seconds - 1.5 * DAY_SECONDS) > STEP_SHARE_MAX * gain
    {
        return None;
    }
    // A leak's gain takes a day to come. One that came within hours was a step, or a cache that filled.
    let all: Vec<_> =
        differences(&points[points.partition_point(|p| p.seconds < newest.seconds - RAMP_HISTORY_SECONDS)..], &points)
            .collect();
    if ramp_seconds(&all).is_some_and(|ramp| ramp < RAMP_SECONDS_MIN) {
        return None;
    }
    if now - first >= 2.0 * DAY_SECONDS {
        let floor = |from: f64, to: f64| {
            let within = points.iter().filter(|point| point.seconds > from && point.seconds <= to);
            within.map(|point| point.bytes).fold(f64::INFINITY, f64::min)
        };
        let today = floor(newest.seconds - DAY_SECONDS, newest.seconds);
        let yesterday = floor(newest.seconds - 2.0 * DAY_SECONDS, newest.seconds - DAY_SECONDS);
        if today - yesterday < FLOOR_SHARE_MIN * gain {
            return None;
        }
    }
    let recent = &points[points.partition_point(|point| point.seconds < newest.seconds - 2.0 * DAY_SECONDS)..];
    (fill_under_wave(recent) > FILLING_MIN).then_some(estimate)
}

/// How long the differences took to come up, where that was seen: of all ramps the one that fits best.
fn ramp_seconds(differences: &[(f64, f64)]) -> Option<f64> {
    const HOUR_SECONDS: f64 = 3_600.0;
    const RAMPS_HOURS: [f64; 9] = [0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 13.0, 18.0, 24.0];
    let (first, last) = (differences.first()?.0, differences.last()?.0);
    let mut best = (f64::INFINITY, None);
    let mut start = first - 24.0 * HOUR_SECONDS;
    while start < last {
        for ramp in RAMPS_HOURS.map(|hours| hours * HOUR_SECONDS) {
            let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
            for (seconds, difference) in differences {
                let share = ((seconds - start) / ramp).clamp(0.0, 1.0);
                xx += share * share;
                xy += share * difference;
                yy += difference * difference;
            }
            let squares = yy - xy * xy / xx.max(f64::MIN_POSITIVE);
            if squares < best.0 {
                best = (squares, (start + 0.5 * ramp >= first).then_some(ramp));
            }
        }
        start += 1.5 * HOUR_SECONDS;
    }
    best.1
}

/// The slope by the last three hours against yesterday's.
pub(super) fn recent(history: &History, series: Series) -> Option<Estimate> {
    let now = history.now_seconds();
    let points: Vec<Point> =
        history.points(TIER, series, Statistic::Middle, now - DAY_SECONDS - STRETCH_SECONDS).collect();
    let late = &points[points.partition_point(|point| point.seconds < now - STRETCH_SECONDS / 3.0)..];
    let recent: Vec<_> = differences(late, &points).collect();
    if recent.len() < 8 {
        return None;
    }
    quarters(&recent)
}

/// Each point less the one of the same life a day before.
pub(super) fn differences<'a>(late: &'a [Point], all: &'a [Point]) -> impl Iterator<Item = (f64, f64)> + 'a {
    let mut place = 0;
    late.iter().filter_map(move |point| {
        let then = point.seconds - DAY_SECONDS;
        while all.get(place).is_some_and(|earlier| earlier.seconds < then - 300.0) {
            place += 1;
        }
        let earlier = all.get(place)?;
        let same = (earlier.seconds - then).abs() <= 300.0 && earlier.born_seconds == point.born_seconds;
        same.then_some((point.seconds, point.bytes - earlier.bytes))
    })
}

fn agreement(differences: &[(f64, f64)]) -> Option<Estimate> {
    const POINTS_MIN: usize = 24;
    if differences.len() < POINTS_MIN {
        return None;
    }
    let estimate = quarters(differences)?;
    let mean = estimate.bytes_per_second * DAY_SECONDS;
    let agrees =
        quarter_means(differences).iter().all(|quarter| *quarter >= QUARTERS.0 * mean && *quarter <= QUARTERS.1 * mean);
    (agrees && estimate.low > 0.0).then_some(estimate)
}

fn quarter_means(differences: &[(f64, f64)]) -> [f64; 4] {
    [0, 1, 2, 3].map(|quarter| {
        let count = differences.len();
        let part = &differences[quarter * count / 4..(quarter + 1) * count / 4];
        part.iter().map(|difference| difference.1).sum::<f64>() / part.len() as f64
    })
}

fn quarters(differences: &[(f64, f64)]) -> Option<Estimate> {
    /// Student's 97.5% at three degrees of freedom, over the root of four.
    const MARGIN: f64 = 3.182 / 2.0;
    /// Quarters of one day share what that day's traffic was more or less than yesterday's.
    const DAY_SHARE: f64 = 0.1;
    let means = quarter_means(differences);
    let mean = means.iter().sum::<f64>() / 4.0;
    let variance = means.iter().map(|quarter| (quarter - mean).powi(2)).sum::<f64>() / 3.0;
    let margin = (MARGIN * variance.sqrt()).hypot(DAY_SHARE * mean);
    Some(Estimate {
        bytes_per_second: mean / DAY_SECONDS,
        low: (mean - margin) / DAY_SECONDS,
        high: (mean + margin) / DAY_SECONDS,
        span_seconds: DAY_SECONDS,
        residual_bytes: variance.sqrt(),
        evenness: 1.0,
        persistence: 1.0,
    })
}

fn largest_step(points: &[Point], since: f64) -> f64 {
    let late = &points[points.partition_point(|point| point.seconds < since)..];
    let steps = late.windows(3).filter(|three| three[2].seconds - three[0].seconds < 1_900.0);
    steps.map(|three| three[2].bytes - three[0].bytes).fold(0.0, f64::max)
}
