//! A daily wave, of two harmonics, against the line of a leak.
//!
//! Each is fitted by least squares to the same points, with a level of its own for each life, and compared by what it
//! leaves, in units of the noise (a likelihood ratio, the noise inflated for its autocorrelation).

use super::fit::{Column, Fit};
use crate::history::Point;

const DAY_SECONDS: f64 = 86_400.0;

/// A wave is told from a line only over a stretch at least this long.
const WAVE_STRETCH_SECONDS: f64 = 3.0 * 3_600.0;

/// Ordinary sizes of a daily wave's coefficients, by harmonic, as shares of the limit.
const WAVE_SHARES: [f64; 2] = [0.06, 0.02];

/// What a wave may leave of what a line leaves.
const WAVE_REST_MAX: f64 = 0.7;

/// What a wave that leaves more is worth at most.
const PLIABLE: f64 = -2.0;

/// What any process does in its first minutes.
const SETTLING_SECONDS: f64 = 300.0;

/// What the best daily wave leaves beyond what the line, or a line that bends once, leaves: positive where the line is
/// better, as a difference of log likelihoods times two.
pub(super) fn wave(points: &[Point], onset_seconds: f64, newest: f64, limit_bytes: f64) -> f64 {
    if newest - points[0].seconds < WAVE_STRETCH_SECONDS {
        return f64::INFINITY;
    }
    let settling = Column::of(points, |point| (-(point.seconds - point.born_seconds) / SETTLING_SECONDS).exp());
    let bytes = Column::of(points, |point| point.bytes);
    let even = Column::of(points, |point| (point.seconds - newest) / DAY_SECONDS);
    let bent = Column::of(points, |point| (point.seconds - onset_seconds).max(0.0) / DAY_SECONDS);
    let line = Fit::of(&bytes, &[&even, &bent, &settling]);
    let [a, b, c, d] = &harmonics(points, newest);
    let columns = [a, b, c, d, &settling];
    let sizes = [WAVE_SHARES[0], WAVE_SHARES[0], WAVE_SHARES[1], WAVE_SHARES[1], 1.0].map(|share| share * limit_bytes);
    // Each alone is too sure of itself: what is left around a wrong line is smooth, and a pliable wave leaves too little.
    let noise = (line.noise(points) * Fit::of(&bytes, &columns).noise(points)).sqrt();
    let wave = Fit::ridged(&bytes, &columns, &sizes.map(|size| noise / (size * size)));
    let cost: f64 = wave.coefficients.iter().zip(sizes).map(|(c, size)| (c / size).powi(2)).sum();
    let difference = (wave.squares - line.squares) / noise + cost;
    // A wave explains nearly everything, or it is only more pliable than a line.
    if wave.squares > WAVE_REST_MAX * line.squares { difference.max(PLIABLE) } else { difference }
}

/// What a daily wave with something that fills once, quickly or slowly, leaves beyond what it leaves with a line:
/// positive where the line is better.
pub(super) fn fill_under_wave(points: &[Point]) -> f64 {
    const HOUR_SECONDS: f64 = 3_600.0;
    let (Some(first), Some(newest)) = (points.first(), points.last()) else { return 0.0 };
    let bytes = Column::of(points, |point| point.bytes);
    let [a, b, c, d] = &harmonics(points, newest.seconds);
    let with = |value: &dyn Fn(&Point) -> f64| Fit::of(&bytes, &[a, b, c, d, &Column::of(points, value)]);
    let mut line = with(&|point| (point.seconds - newest.seconds) / DAY_SECONDS);
    let mut filled = f64::INFINITY;
    let mut start = first.seconds + HOUR_SECONDS;
    while start < newest.seconds - 2.0 * HOUR_SECONDS {
        for constant in [0.2, 1.0, 3.0, 6.0].map(|hours| hours * HOUR_SECONDS) {
            let fit = with(&|point| 1.0 - (-(point.seconds - start).max(0.0) / constant).exp());
            filled = filled.min(fit.squares);
        }
        let late = with(&|point| (point.seconds - start).max(0.0) / DAY_SECONDS);
        if late.squares < line.squares {
            line = late;
        }
        start += 3.0 * HOUR_SECONDS;
    }
    (filled - line.squares) / line.noise(points)
}

/// Cosine and sine of the day and of half a day.
fn harmonics(points: &[Point], newest: f64) -> [Column; 4] {
    let angle = |point: &Point| std::f64::consts::TAU * (point.seconds - newest) / DAY_SECONDS;
    [
        Column::of(points, |point| angle(point).cos()),
        Column::of(points, |point| angle(point).sin()),
        Column::of(points, |point| (2.0 * angle(point)).cos()),
        Column::of(points, |point| (2.0 * angle(point)).sin()),
    ]
}
