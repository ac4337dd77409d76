//! What people use today, on the same data: resident memory, a sample a minute, looked at every five minutes.

use crate::corpus::{Row, Trace};
use crate::score::Alarm;

const STEP_SECONDS: f64 = 60.0;
const LOOK_EVERY: usize = 5;
const HOUR: usize = 60;

/// A detector in use.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    /// Samples that it looks back on.
    window: usize,
    /// Looks in a row, as an alert's `for`.
    looks: u32,
    /// The slope in shares of the limit a second, where it alarms.
    judge: fn(&[f64]) -> Option<Line>,
}

#[derive(Clone, Copy)]
struct Line {
    slope: f64,
    interval: Option<(f64, f64)>,
}

pub(crate) const RIVALS: [Rival; 6] = [
    Rival { name: "`deriv` over 10 min reaches the limit in 4 h", window: 10, looks: 2, judge: deriv_minutes },
    Rival { name: "`deriv` over 1 h above 1% of the limit an hour", window: HOUR, looks: 2, judge: deriv_hour },
    Rival { name: "`predict_linear` over 1 h, 4 h ahead", window: HOUR, looks: 2, judge: predict_hour },
    Rival { name: "`predict_linear` over 6 h, 24 h ahead", window: 6 * HOUR, looks: 2, judge: predict_six_hours },
    Rival { name: "Linear regression with R², as Precog", window: 24 * HOUR, looks: 2, judge: precog },
    Rival { name: "Mann-Kendall with Theil-Sen on floors", window: 24 * HOUR, looks: 2, judge: mann_kendall },
];

impl Rival {
    pub(crate) fn alarms(&self, trace: &Trace, samples: &[f64]) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let (mut seen, mut firing) = (0, false);
        for end in (LOOK_EVERY..=samples.len()).step_by(LOOK_EVERY) {
            let window = &samples[end.saturating_sub(self.window)..end];
            let line = (window.len() * 2 > self.window).then(|| (self.judge)(window)).flatten();
            seen = if line.is_some() { seen + 1 } else { 0 };
            let (Some(line), true) = (line, seen >= self.looks) else {
                firing &= line.is_some();
                continue;
            };
            if !firing {
                let limit = trace.limit_bytes as f64;
                let room = limit * (1.0 - samples[end - 1]);
                let first = trace.rows.first().map_or(0.0, |row| row.at_seconds);
                alarms.push(Alarm {
                    seconds: first + (end - 1) as f64 * STEP_SECONDS,
                    class: None,
                    bytes_per_second: Some(line.slope * limit),
                    interval: line.interval.map(|(low, high)| (low * limit, high * limit)),
                    time_to_limit_seconds: Some(room / (line.slope * limit)),
                    held_bytes: Some((limit * samples[end - 1]) as i64),
                    note: String::new(),
                });
            }
            firing = true;
        }
        alarms
    }
}

/// Resident memory (or live bytes, where that is all there is) as shares of the limit, a sample a minute, the last one held over gaps.
pub(crate) fn samples(trace: &Trace) -> Vec<f64> {
    let Some(first) = trace.rows.first() else { return Vec::new() };
    let mut samples: Vec<f64> = Vec::new();
    let mut due = first.at_seconds;
    let resident = |row: &Row| row.rss_bytes.or(row.allocated_bytes).unwrap_or_default();
    let mut held = resident(first);
    for row in &trace.rows {
        while due < row.at_seconds {
            samples.push(held as f64 / trace.limit_bytes as f64);
            due += STEP_SECONDS;
        }
        held = resident(row);
    }
    samples
}

struct Regression {
    slope: f64,
    margin: f64,
    end: f64,
    determination: f64,
}

fn regression(values: &[f64]) -> Regression {
    let count = values.len() as f64;
    let (mx, my) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (place, value) in values.iter().enumerate() {
        let (dx, dy) = (place as f64 - mx, value - my);
        xx += dx * dx;
        xy += dx * dy;
        yy += dy * dy;
    }
    let slope = xy / xx;
    let error = ((yy - slope * xy).max(0.0) / (count - 2.0) / xx).sqrt();
    Regression {
        slope: slope / STEP_SECONDS,
        margin: 1.96 * error / STEP_SECONDS,
        end: my + slope * (count - 1.0 - mx),
        determination: if yy > 0.0 { xy * xy / xx / yy } else { 0.0 },
    }
}

impl Regression {
    fn line(&self) -> Line {
        Line { slope: self.slope, interval: Some((self.slope - self.margin, self.slope + self.margin)) }
    }

    fn reaches_limit_in(&self, hours: f64) -> bool {
        self.end + self.slope * hours * 3_600.0 > 1.0
    }
}

fn deriv_minutes(values: &[f64]) -> Option<Line> {
    let fit = regression(values);
    (fit.slope * 4.0 * 3_600.0 > 1.0).then(|| fit.line())
}

fn deriv_hour(values: &[f64]) -> Option<Line> {
    let fit = regression(values);
    (fit.slope * 3_600.0 > 0.01).then(|| fit.line())
}

fn predict_hour(values: &[f64]) -> Option<Line> {
    let fit = regression(values);
    fit.reaches_limit_in(4.0).then(|| fit.line())
}

fn predict_six_hours(values: &[f64]) -> Option<Line> {
    let fit = regression(values);
    fit.reaches_limit_in(24.0).then(|| fit.line())
}

/// The longest of windows from an hour to a day whose line explains 80% and reaches the limit within a week.
fn precog(values: &[f64]) -> Option<Line> {
    [24, 12, 6, 3, 1].into_iter().filter(|hours| hours * HOUR <= values.len()).find_map(|hours| {
        let fit = regression(&values[values.len() - hours * HOUR..]);
        (fit.slope > 0.0 && fit.determination > 0.8 && fit.reaches_limit_in(7.0 * 24.0)).then(|| fit.line())
    })
}

/// Floors of half an hour: a rank test at 1%, and a robust slope of 2% of the limit a day.
fn mann_kendall(values: &[f64]) -> Option<Line> {
    const FLOOR_SAMPLES: usize = 30;
    let floors: Vec<f64> =
        values.rchunks(FLOOR_SAMPLES).map(|part| part.iter().copied().fold(f64::INFINITY, f64::min)).rev().collect();
    let count = floors.len() as f64;
    let mut score = 0.0;
    let mut slopes = Vec::new();
    for (place, later) in floors.iter().enumerate() {
        for (before, earlier) in floors[..place].iter().enumerate() {
            score += f64::from(later > earlier) - f64::from(later < earlier);
            slopes.push((later - earlier) / ((place - before) * FLOOR_SAMPLES) as f64 / STEP_SECONDS);
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let deviation = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    let slope = slopes[slopes.len() / 2];
    // The ranks of the slopes that bound the median at 95% (Sen, 1968).
    let half = 1.96 * deviation / 2.0;
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    let middle = slopes.len() as f64 / 2.0;
    let interval = Some((at(middle - half), at(middle + half)));
    (score / deviation > 2.58 && slope * 86_400.0 > 0.02).then_some(Line { slope, interval })
}
