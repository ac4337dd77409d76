//! Least squares with a level of its own for each life.

use crate::history::Point;

/// Columns of a fit, at most.
pub(super) const COLUMNS_MAX: usize = 5;

/// One value a point, its life's mean taken off.
#[derive(Debug, Clone)]
pub(super) struct Column(Vec<f64>);

/// What a sum of columns leaves of the points.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    pub(super) coefficients: [f64; COLUMNS_MAX],
    pub(super) squares: f64,
    residuals: Vec<f64>,
}

impl Column {
    pub(super) fn of(points: &[Point], value: impl Fn(&Point) -> f64) -> Self {
        let mut values: Vec<f64> = points.iter().map(value).collect();
        let mut from = 0;
        for life in points.chunk_by(|a, b| a.born_seconds == b.born_seconds) {
            let values = &mut values[from..from + life.len()];
            let mean = values.iter().sum::<f64>() / life.len() as f64;
            values.iter_mut().for_each(|value| *value -= mean);
            from += life.len();
        }
        Self(values)
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.0
    }

    fn times(&self, other: &Self) -> f64 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }
}

impl Fit {
    /// Of at most [`COLUMNS_MAX`] columns.
    pub(super) fn of(bytes: &Column, columns: &[&Column]) -> Self {
        Self::ridged(bytes, columns, &[0.0; COLUMNS_MAX])
    }

    pub(super) fn ridged(bytes: &Column, columns: &[&Column], ridge: &[f64; COLUMNS_MAX]) -> Self {
        let n = columns.len();
        let mut matrix = [[0.0; COLUMNS_MAX + 1]; COLUMNS_MAX];
        for (i, column) in columns.iter().enumerate() {
            for (j, other) in columns.iter().enumerate().take(i + 1) {
                matrix[i][j] = column.times(other);
                matrix[j][i] = matrix[i][j];
            }
            matrix[i][i] += ridge[i];
            matrix[i][COLUMNS_MAX] = column.times(bytes);
        }
        let coefficients = solve(matrix, n);
        let mut residuals = bytes.0.clone();
        for (column, coefficient) in columns.iter().zip(coefficients) {
            residuals.iter_mut().zip(&column.0).for_each(|(rest, value)| *rest -= coefficient * value);
        }
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

/// Gauss's elimination with a little ridge, for columns that nearly coincide over a short stretch.
fn solve(mut matrix: [[f64; COLUMNS_MAX + 1]; COLUMNS_MAX], n: usize) -> [f64; COLUMNS_MAX] {
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
    let mut solution = [0.0; COLUMNS_MAX];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| matrix[i][j] * solution[j]).sum();
        solution[i] = (matrix[i][COLUMNS_MAX] - known) / matrix[i][i];
    }
    solution
}
