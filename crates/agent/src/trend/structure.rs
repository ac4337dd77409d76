//! A straight climb told from what only looks like one.
//!
//! Memory is taken as the sum of a level for each life of the process, a straight line that may bend once (where the
//! window begins), and what a healthy process does: a warm-up that settles (exponentials in the age of the process,
//! several time constants at once) and a daily wave (two harmonics). The healthy parts have a prior size, a share of the
//! limit; the line has none. What is left is the posterior of the slope (Bayesian linear regression with Gaussian
//! priors: Bishop, Pattern Recognition and Machine Learning, 2006, 3.3): where a warm-up or a wave of ordinary size
//! would explain the data as well as the line does, its standard deviation says so.

use crate::history::Point;

/// Standard deviation of a warm-up's part, as a share of the limit.
const WARM_UP_SHARE: f64 = 0.05;

/// Time constants of warm-ups, as multiples of the window.
const WARM_UP_WINDOWS: [f64; 4] = [0.25, 1.0, 3.0, 9.0];

/// No warm-up is slower, and none is told apart from a step faster.
const WARM_UP_SECONDS: (f64, f64) = (20.0, 10.0 * 3_600.0);

/// Standard deviation of a daily wave's coefficients, by harmonic, as a share of the limit.
const WAVE_SHARES: [f64; 2] = [0.014, 0.0056];

/// A wave is a matter of windows at least this long.
const WAVE_WINDOW_SECONDS: f64 = 3_000.0;

/// Lives with a level of their own; points of older ones are left out.
const LIVES_MAX: usize = 12;

/// Fewer are no structure.
const POINTS_MIN: usize = 6;

const DAY_SECONDS: f64 = 86_400.0;
const COLUMNS_MAX: usize = 2 + WARM_UP_WINDOWS.len() + 2 * WAVE_SHARES.len() + LIVES_MAX;

/// The line in the points, and how well it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// Slope after the bend.
    pub bytes_per_second: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// Standard deviation of the points around the whole model.
    pub residual_bytes: f64,
    /// The points without the levels of their lives and without the healthy parts.
    pub rest: Vec<Point>,
}

/// Fits points, in order of time, whose line may bend at `bend_seconds`. `None` for fewer than six.
pub fn structure(points: &[Point], bend_seconds: f64, limit_bytes: f64) -> Option<Structure> {
    let newest = points.last()?;
    let points = newest_lives(points);
    if points.len() < POINTS_MIN {
        return None;
    }
    let design = Design::new(points, bend_seconds, newest.seconds);
    let values: Vec<f64> = points.iter().map(|point| (point.bytes - newest.bytes) / limit_bytes).collect();
    let rough = difference_variance(points, &values).max(1e-13);
    let products = design.products(&values);
    let first = design.solve(&products, rough)?;
    let (variance, correlation) = design.residuals(points, &values, &first);
    let variance = variance.max(1e-13);
    let inflated = variance * (1.0 + correlation) / (1.0 - correlation);
    let solution = design.solve(&products, inflated)?;
    let scale = limit_bytes / design.length_seconds;
    let rest = points
        .iter()
        .zip(&design.rows)
        .map(|(point, row)| {
            let healthy: f64 = (2..design.columns).map(|column| row[column] * solution.coefficients[column]).sum();
            Point { bytes: point.bytes - healthy * limit_bytes, ..*point }
        })
        .collect();
    Some(Structure {
        bytes_per_second: (solution.coefficients[0] + solution.coefficients[1]) * scale,
        deviation: solution.slope_variance.max(0.0).sqrt() * scale,
        residual_bytes: variance.sqrt() * limit_bytes,
        rest,
    })
}

fn newest_lives(points: &[Point]) -> &[Point] {
    let mut lives = 1;
    for (place, pair) in points.windows(2).enumerate().rev() {
        if pair[0].born_seconds != pair[1].born_seconds {
            lives += 1;
            if lives > LIVES_MAX {
                return &points[place + 1..];
            }
        }
    }
    points
}

type Row = [f64; COLUMNS_MAX];

struct Design {
    rows: Vec<Row>,
    precisions: Row,
    columns: usize,
    length_seconds: f64,
}

struct Solution {
    coefficients: Row,
    slope_variance: f64,
}

impl Design {
    fn new(points: &[Point], bend_seconds: f64, now_seconds: f64) -> Self {
        let length = (now_seconds - bend_seconds.max(points[0].seconds)).max(1.0);
        let waves = length >= WAVE_WINDOW_SECONDS;
        let mut precisions = [0.0; COLUMNS_MAX];
        let mut columns = 2;
        precisions[0] = 1e-8;
        let bends = points[0].seconds < bend_seconds;
        precisions[1] = if bends { 1e-8 } else { 1e12 };
        let constants = WARM_UP_WINDOWS.map(|share| (share * length).clamp(WARM_UP_SECONDS.0, WARM_UP_SECONDS.1));
        for _ in constants {
            precisions[columns] = WARM_UP_SHARE.powi(-2);
            columns += 1;
        }
        for share in WAVE_SHARES.into_iter().filter(|_| waves) {
            precisions[columns..columns + 2].fill(f64::powi(share, -2));
            columns += 2;
        }
        let levels = columns;
        let mut life = levels;
        let mut rows = Vec::with_capacity(points.len());
        for (place, point) in points.iter().enumerate() {
            if place > 0 && point.born_seconds != points[place - 1].born_seconds {
                life += 1;
            }
            let mut row = [0.0; COLUMNS_MAX];
            row[0] = (point.seconds - now_seconds) / length;
            row[1] = if bends { ((point.seconds - bend_seconds) / length).max(0.0) } else { 0.0 };
            let age = point.seconds - point.born_seconds;
            let mut column = 2;
            for constant in constants {
                row[column] = -(-age / constant).exp();
                column += 1;
            }
            if waves {
                let angle = std::f64::consts::TAU * (point.seconds - now_seconds) / DAY_SECONDS;
                for harmonic in 1..=WAVE_SHARES.len() {
                    let (sine, cosine) = (angle * harmonic as f64).sin_cos();
                    row[column] = sine;
                    row[column + 1] = cosine;
                    column += 2;
                }
            }
            row[life] = 1.0;
            rows.push(row);
        }
        precisions[levels..=life].fill(0.01);
        Self { rows, precisions, columns: life + 1, length_seconds: length }
    }

    /// Of the columns with each other, below the diagonal, and with the values.
    fn products(&self, values: &[f64]) -> (Matrix, Row) {
        let n = self.columns;
        let mut matrix = [[0.0; COLUMNS_MAX]; COLUMNS_MAX];
        let mut right = [0.0; COLUMNS_MAX];
        for (row, value) in self.rows.iter().zip(values) {
            for i in 0..n {
                if row[i] != 0.0 {
                    right[i] += row[i] * value;
                    matrix[i].iter_mut().zip(&row[..=i]).for_each(|(sum, value)| *sum += row[i] * value);
                }
            }
        }
        (matrix, right)
    }

    /// The posterior where each value has this variance.
    fn solve(&self, (matrix, right): &(Matrix, Row), variance: f64) -> Option<Solution> {
        let n = self.columns;
        let mut matrix = *matrix;
        for (i, row) in matrix.iter_mut().enumerate().take(n) {
            row[i] += self.precisions[i] * variance;
        }
        let factor = cholesky(matrix, n)?;
        let coefficients = backward(&factor, forward(&factor, *right, n), n);
        let mut slope = [0.0; COLUMNS_MAX];
        slope[..2].fill(1.0);
        let half = forward(&factor, slope, n);
        let slope_variance = variance * half[..n].iter().map(|value| value * value).sum::<f64>();
        Some(Solution { coefficients, slope_variance })
    }

    /// Variance of what is left and the correlation of neighbours in it.
    fn residuals(&self, points: &[Point], values: &[f64], solution: &Solution) -> (f64, f64) {
        let left: Vec<f64> = self
            .rows
            .iter()
            .zip(values)
            .map(|(row, value)| value - (0..self.columns).map(|i| row[i] * solution.coefficients[i]).sum::<f64>())
            .collect();
        let count = left.len() as f64;
        let squares: f64 = left.iter().map(|value| value * value).sum();
        if squares <= 0.0 {
            return (0.0, 0.0);
        }
        let lagged: f64 = (1..left.len())
            .filter(|place| points[*place].born_seconds == points[place - 1].born_seconds)
            .map(|place| left[place] * left[place - 1])
            .sum();
        let fitted = 4.0_f64.min(0.4 * count);
        let correlation = lagged / squares + (1.0 + fitted) / count;
        (squares / (count - fitted), correlation.clamp(0.0, 0.96))
    }
}

/// Half the mean square of the middle of the neighbours' differences: the noise, whatever the shape.
fn difference_variance(points: &[Point], values: &[f64]) -> f64 {
    let mut squares: Vec<f64> = (1..values.len())
        .filter(|place| points[*place].born_seconds == points[place - 1].born_seconds)
        .map(|place| (values[place] - values[place - 1]).powi(2))
        .collect();
    if squares.is_empty() {
        return 0.0;
    }
    squares.sort_unstable_by(f64::total_cmp);
    let kept = squares.len().div_ceil(10) * 9;
    let kept = &squares[..kept.min(squares.len())];
    0.5 * kept.iter().sum::<f64>() / kept.len() as f64
}

type Matrix = [[f64; COLUMNS_MAX]; COLUMNS_MAX];

fn cholesky(mut matrix: Matrix, n: usize) -> Option<Matrix> {
    for j in 0..n {
        for i in j..n {
            let known: f64 = matrix[i][..j].iter().zip(&matrix[j][..j]).map(|(a, b)| a * b).sum();
            let sum = matrix[i][j] - known;
            if i == j {
                if sum.is_nan() || sum <= 0.0 {
                    return None;
                }
                matrix[j][j] = sum.sqrt();
            } else {
                matrix[i][j] = sum / matrix[j][j];
            }
        }
    }
    Some(matrix)
}

fn forward(factor: &Matrix, mut right: Row, n: usize) -> Row {
    for i in 0..n {
        for k in 0..i {
            right[i] -= factor[i][k] * right[k];
        }
        right[i] /= factor[i][i];
    }
    right
}

fn backward(factor: &Matrix, mut right: Row, n: usize) -> Row {
    for i in (0..n).rev() {
        for k in i + 1..n {
            right[i] -= factor[k][i] * right[k];
        }
        right[i] /= factor[i][i];
    }
    right
}
