//! Healthy explanations of a rise, against the line of a leak.
//!
//! A warm-up or a cache that fills is an exponential that settles; a daily wave has two harmonics. Each is fitted by least
//! squares to the same points, with a level of its own for each life, and compared by what it leaves, in units of the
//! noise (a likelihood ratio, the noise inflated for its autocorrelation). The points at hand decide as far as they can:
//! a straight line over a tenth of what a warm-up will come to looks the same as the warm-up.

use crate::history::Point;

/// Time constants tried, in lengths of the stretch.
pub(super) const CONSTANTS: [f64; 10] = [0.07, 0.15, 0.25, 0.4, 0.65, 1.0, 1.6, 2.6, 4.2, 7.0];

/// Nothing healthy settles more slowly.
pub(super) const CONSTANT_SECONDS_MAX: f64 = 8.0 * 3_600.0;

const DAY_SECONDS: f64 = 86_400.0;

/// A wave is told from a line only over a stretch at least this long.
const WAVE_STRETCH_SECONDS: f64 = 3.0 * 3_600.0;

/// Ordinary sizes of a daily wave's coefficients, by harmonic, as shares of the limit.
const WAVE_SHARES: [f64; 2] = [0.06, 0.02];

/// What a wave may leave of what a line leaves.
const WAVE_REST_MAX: f64 = 0.7;

/// What a wave that leaves more is worth at most.
const PLIABLE: f64 = -2.0;

/// A quick part of any start, which neither explanation is asked to follow.
pub(super) const QUICK_SECONDS: f64 = 150.0;

/// Fewer say nothing of a bend.
pub(super) const POINTS_MIN: usize = 6;

/// What any process does in its first minutes.
const SETTLING_SECONDS: f64 = 300.0;

/// What the best daily wave leaves beyond what the line, or a line that bends once, leaves: positive where the line is
/// better, as a difference of log likelihoods times two.
pub(super) fn wave(points: &[Point], onset_seconds: f64, newest: f64, limit_bytes: f64) -> f64 {
    if newest - points[0].seconds < WAVE_STRETCH_SECONDS {
        return f64::INFINITY;
    }
    let angle = |point: &Point| std::f64::consts::TAU * (point.seconds - newest) / DAY_SECONDS;
    let settling = |point: &Point| -(-(point.seconds - point.born_seconds) / SETTLING_SECONDS).exp();
    let line = Fit::of(
        points,
        &[&|p| (p.seconds - newest) / DAY_SECONDS, &|p| (p.seconds - onset_seconds).max(0.0) / DAY_SECONDS, &settling],
    );
    let columns: [&dyn Fn(&Point) -> f64; 5] =
        [&|p| angle(p).cos(), &|p| angle(p).sin(), &|p| (2.0 * angle(p)).cos(), &|p| (2.0 * angle(p)).sin(), &settling];
    let sizes = [WAVE_SHARES[0], WAVE_SHARES[0], WAVE_SHARES[1], WAVE_SHARES[1], 1.0].map(|share| share * limit_bytes);
    // Each alone is too sure of itself: what is left around a wrong line is smooth, and a pliable wave leaves too little.
    let noise = (line.noise(points) * Fit::of(points, &columns).noise(points)).sqrt();
    let wave = Fit::ridged(points, &columns, &sizes.map(|size| noise / (size * size)));
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
    let angle = |point: &Point| std::f64::consts::TAU * (point.seconds - newest.seconds) / DAY_SECONDS;
    let with = |column: &dyn Fn(&Point) -> f64| {
        Fit::of(
            points,
            &[
                &|p| angle(p).cos(),
                &|p| angle(p).sin(),
                &|p| (2.0 * angle(p)).cos(),
                &|p| (2.0 * angle(p)).sin(),
                column,
            ],
        )
    };
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

/// A least squares fit with a level for each life.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    pub(super) coefficients: [f64; 5],
    pub(super) squares: f64,
    residuals: Vec<f64>,
}

impl Fit {
    pub(super) fn of(points: &[Point], columns: &[&dyn Fn(&Point) -> f64]) -> Self {
        Self::ridged(points, columns, &[0.0; 5])
    }

    fn ridged(points: &[Point], columns: &[&dyn Fn(&Point) -> f64], ridge: &[f64; 5]) -> Self {
        let n = columns.len();
        let mut rows: Vec<[f64; 6]> = points
            .iter()
            .map(|point| {
                let mut row = [0.0; 6];
                for (place, column) in columns.iter().enumerate() {
                    row[place] = column(point);
                }
                row[5] = point.bytes;
                row
            })
            .collect();
        level_lives(points, &mut rows);
        let mut matrix = [[0.0; 6]; 5];
        for row in &rows {
            for i in 0..n {
                for j in 0..n {
                    matrix[i][j] += row[i] * row[j];
                }
                matrix[i][5] += row[i] * row[5];
            }
        }
        for i in 0..n {
            matrix[i][i] += ridge[i];
        }
        let coefficients = solve(matrix, n);
        let residuals: Vec<f64> =
            rows.iter().map(|row| row[5] - (0..n).map(|i| row[i] * coefficients[i]).sum::<f64>()).collect();
        let squares = residuals.iter().map(|residual| residual * residual).sum();
        Self { coefficients, squares, residuals }
    }

    /// Variance of a point, as if points were independent.
    pub(super) fn noise(&self, points: &[Point]) -> f64 {
        let count = points.len() as f64;
        let lagged: f64 = (1..points.len())
            .filter(|place| points[*place].born_seconds == points[place - 1].born_seconds)
            .map(|place| self.residuals[place] * self.residuals[place - 1])
            .sum();
        if self.squares <= 0.0 {
            return f64::MIN_POSITIVE;
        }
        let correlation = (lagged / self.squares + 4.0 / count).clamp(0.0, 0.95);
        self.squares / (count - 3.0).max(1.0) * (1.0 + correlation) / (1.0 - correlation)
    }
}

/// Takes each life's mean off its rows.
fn level_lives(points: &[Point], rows: &mut [[f64; 6]]) {
    let mut from = 0;
    for to in 1..=points.len() {
        if to == points.len() || points[to].born_seconds != points[from].born_seconds {
            for column in 0..6 {
                let mean = rows[from..to].iter().map(|row| row[column]).sum::<f64>() / (to - from) as f64;
                rows[from..to].iter_mut().for_each(|row| row[column] -= mean);
            }
            from = to;
        }
    }
}

/// Gauss's elimination with a little ridge, for columns that nearly coincide over a short stretch.
fn solve(mut matrix: [[f64; 6]; 5], n: usize) -> [f64; 5] {
    for (i, row) in matrix.iter_mut().enumerate().take(n) {
        row[i] = row[i] * (1.0 + 1e-9) + f64::MIN_POSITIVE;
    }
    for i in 0..n {
        for k in i + 1..n {
            let pivot = matrix[i];
            let factor = matrix[k][i] / pivot[i];
            matrix[k].iter_mut().zip(pivot).skip(i).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut solution = [0.0; 5];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| matrix[i][j] * solution[j]).sum();
        solution[i] = (matrix[i][5] - known) / matrix[i][i];
    }
    solution
}
