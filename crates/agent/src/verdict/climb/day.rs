//! What a day does to a slope that was measured in a part of it: traffic comes and goes, and memory with it.

use super::daily::{DAY_SECONDS, TIER, differences};
use super::shape::plain_slope;
use crate::history::{History, Point, Series, Statistic};
use crate::trend::Estimate;

const HOUR_SECONDS: f64 = 3_600.0;

/// Below, a wave of a day adds little to what climbs fast enough to be told.
const WINDOW_SECONDS_MIN: f64 = 0.9 * HOUR_SECONDS;

/// A process's first minutes are no measure.
const SETTLING_SECONDS: f64 = 600.0;

/// Differences from yesterday, and the time that they span, from which on they tell anything.
const DIFFERENCES_MIN: usize = 12;
const SPAN_SECONDS_MIN: f64 = HOUR_SECONDS;

/// A line that differs by less from what the days say has no wave in it.
const ALIKE_SHARE: f64 = 0.2;

/// What yesterday rose at the same hours, as a share of the line's slope, from which on there is a wave.
const WAVE_SHARE_MIN: f64 = 0.15;

/// By how much a day's mean differs from yesterday's in any case, and that of a few hours from a day's, as shares of the slope.
const DAY_SHARE: f64 = 0.12;
const HOURS_SHARE: f64 = 0.6;

/// What a rise that began within a day leaves of what one leaves that is older.
const YOUNG_REST_MAX: f64 = 0.15;

/// The slope over a day where a line over a part of one shows the day's wave, too: from the differences to yesterday. The
/// line's own on a first day.
pub(super) fn over_a_day(
    history: &History,
    series: Series,
    since: f64,
    window_seconds: f64,
    line: Estimate,
) -> Estimate {
    let follows_traffic = matches!(series, Series::Live | Series::Rss);
    let is_part_of_day = (WINDOW_SECONDS_MIN..DAY_SECONDS).contains(&window_seconds);
    if !follows_traffic || !is_part_of_day || line.bytes_per_second <= 0.0 {
        return line;
    }
    let points = newest_life(history, series, since);
    if !rose_yesterday(&points, window_seconds, line.bytes_per_second) {
        return line;
    }
    match since_yesterday(&points) {
        Some(day) if (day.bytes_per_second / line.bytes_per_second - 1.0).abs() > ALIKE_SHARE => day.of(line),
        _ => line,
    }
}

/// Whether yesterday at these hours it rose as a wave would have it, as far as that was seen.
fn rose_yesterday(points: &[Point], window_seconds: f64, slope: f64) -> bool {
    let Some(newest) = points.last() else { return false };
    let end = newest.seconds - DAY_SECONDS;
    let within = points.iter().filter(|point| point.seconds > end - window_seconds && point.seconds <= end);
    let then: Vec<(f64, f64)> = within.map(|point| (point.seconds, point.bytes)).collect();
    let span_seconds = then.first().zip(then.last()).map_or(0.0, |(first, last)| last.0 - first.0);
    span_seconds < 0.5 * window_seconds || plain_slope(&then) > WAVE_SHARE_MIN * slope
}

/// The slope of what is more than yesterday, where that began within a day: the difference is then less than a day's gain.
pub(super) fn since_its_start(history: &History, series: Series, since: f64, mean: Estimate) -> Estimate {
    match since_yesterday(&newest_life(history, series, since)) {
        Some(day) if day.is_young && day.bytes_per_second > (1.0 + ALIKE_SHARE) * mean.bytes_per_second => day.of(mean),
        _ => mean,
    }
}

struct Day {
    bytes_per_second: f64,
    low: f64,
    high: f64,
    /// It began within a day, for all that can be told.
    is_young: bool,
}

impl Day {
    fn of(self, line: Estimate) -> Estimate {
        Estimate { bytes_per_second: self.bytes_per_second, low: self.low, high: self.high, ..line }
    }
}

/// What is more than yesterday at the same hour, as something that began at some time and rises evenly since: it stops to
/// grow when a day is over.
fn since_yesterday(points: &[Point]) -> Option<Day> {
    let newest = points.last()?.seconds;
    let late = &points[points.partition_point(|point| point.seconds < newest - DAY_SECONDS)..];
    let differences: Vec<(f64, f64)> = differences(late, points).collect();
    let span_seconds = differences.last()?.0 - differences.first()?.0;
    if differences.len() < DIFFERENCES_MIN || span_seconds < SPAN_SECONDS_MIN {
        return None;
    }
    let ramp = |start: f64| {
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (seconds, bytes) in &differences {
            let since = (seconds - start).clamp(0.0, DAY_SECONDS);
            xx += since * since;
            xy += since * bytes;
            yy += bytes * bytes;
        }
        let slope = xy / xx.max(f64::MIN_POSITIVE);
        ((yy - xy * slope).max(0.0), slope, start)
    };
    let starts = (1..=48).map(|hours| ramp(newest - f64::from(hours) * HOUR_SECONDS));
    let (squares, slope, start) = starts.min_by(|a, b| a.0.total_cmp(&b.0))?;
    if slope <= 0.0 {
        return None;
    }
    let (old_squares, ..) = ramp(newest - 2.0 * DAY_SECONDS);
    let is_young = squares < YOUNG_REST_MAX * old_squares;
    let risen_seconds = (newest - start).min(DAY_SECONDS);
    let noise = (squares / differences.len() as f64).sqrt() / risen_seconds;
    let unseen = HOURS_SHARE * (1.0 - risen_seconds / DAY_SECONDS);
    let margin = (slope * DAY_SHARE.hypot(unseen)).hypot(2.0 * noise);
    Some(Day { bytes_per_second: slope, low: slope - margin, high: slope + margin, is_young })
}

fn newest_life(history: &History, series: Series, since: f64) -> Vec<Point> {
    let from = (history.now_seconds() - 2.0 * DAY_SECONDS - HOUR_SECONDS).max(since);
    let points = history.points(TIER, series, Statistic::Middle, from);
    let mut points: Vec<Point> = points.filter(|point| point.seconds - point.born_seconds > SETTLING_SECONDS).collect();
    if let Some(born) = points.last().map(|point| point.born_seconds) {
        points.retain(|point| point.born_seconds == born);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAK: f64 = 500.0;

    /// A point every five minutes over so many hours: a daily wave, and a leak that is as fast as the traffic of its hour, from
    /// an hour on.
    fn points(hours: u32, onset_hours: f64) -> Vec<Point> {
        let mut leaked = 0.0;
        let point = |place: u32| {
            let seconds = f64::from(place) * 300.0;
            let traffic = 1.0 - 0.6 * (seconds / DAY_SECONDS * std::f64::consts::TAU).cos();
            if seconds >= onset_hours * HOUR_SECONDS {
                leaked += LEAK * traffic * 300.0;
            }
            Point { seconds, bytes: 4e8 + 3e8 * traffic + leaked, born_seconds: -1e4 }
        };
        (0..hours * 12).map(point).collect()
    }

    #[test]
    fn a_leak_under_a_wave_has_the_slope_of_its_days() {
        // At noon, while the wave alone rises by ten times as much as the leak.
        let points = points(60, 2.0);
        assert!(plain_slope(&points[700..].iter().map(|p| (p.seconds, p.bytes)).collect::<Vec<_>>()) > 5.0 * LEAK);
        assert!(rose_yesterday(&points, 3.0 * HOUR_SECONDS, 5.0 * LEAK));
        let day = since_yesterday(&points).expect("two days");
        assert!((day.bytes_per_second / LEAK - 1.0).abs() < 0.05, "{}", day.bytes_per_second);
        assert!(!day.is_young && day.low < LEAK && LEAK < day.high);
        assert!(day.high < 1.3 * LEAK, "{}", day.high);
    }

    #[test]
    fn one_that_began_today_has_the_slope_since_then_and_wider_bounds() {
        let day = since_yesterday(&points(60, 50.0)).expect("two days");
        assert!(day.is_young && day.low < LEAK && LEAK < day.high, "{} to {}", day.low, day.high);
        assert!(day.low > 0.0 && day.bytes_per_second < 2.0 * LEAK, "{}", day.bytes_per_second);
    }

    #[test]
    fn without_a_yesterday_nothing_is_said() {
        assert!(since_yesterday(&[]).is_none());
        assert!(since_yesterday(&points(20, 0.0)).is_none());
        let flat: Vec<Point> = points(60, 99.0).iter().map(|point| Point { bytes: 4e8, ..*point }).collect();
        assert!(since_yesterday(&flat).is_none(), "nothing rises");
        assert!(!rose_yesterday(&flat, 3.0 * HOUR_SECONDS, LEAK));
    }
}
