//! How many bytes a piece of work in flight holds.
//!
//! Learned from differences between neighbouring buckets: what memory does at the same moment as the work, whatever
//! both do over hours. A constant in the regression takes a leak's steady part up. Old differences are forgotten, and a
//! proportion counts only when it is certain.

/// Differences remembered, about.
const MEMORY_DIFFERENCES: f64 = 500.0;

/// Differences before anything is said.
const DIFFERENCES_MIN: f64 = 20.0;

/// A proportion must be this many of its standard errors away from 0.
const CERTAINTY_MIN: f64 = 8.0;

/// Bytes a piece of work, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proportion {
    /// Per piece of work.
    pub bytes: f64,
    /// In standard errors.
    pub certainty: f64,
}

/// Sums of a regression with a constant, one for each series.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums([Sum; 4]);

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    /// Takes the difference between two pairs of work and bytes in. Returns whether there was anything to learn.
    pub(super) fn add(&mut self, series: usize, before: (f64, f64), after: (f64, f64)) -> bool {
        let (dx, dy) = (after.0 - before.0, after.1 - before.1);
        if dx.is_nan() || dy.is_nan() {
            return false;
        }
        let sum = &mut self.0[series];
        let keep = 1.0 - 1.0 / MEMORY_DIFFERENCES;
        sum.count = keep * sum.count + 1.0;
        sum.x = keep * sum.x + dx;
        sum.y = keep * sum.y + dy;
        sum.xx = keep * sum.xx + dx * dx;
        sum.xy = keep * sum.xy + dx * dy;
        sum.yy = keep * sum.yy + dy * dy;
        dx != 0.0
    }

    /// Whether work comes and goes, but too little of it was seen yet.
    pub(super) fn is_open(&self, series: usize) -> bool {
        let sum = &self.0[series];
        sum.xx > 0.0 && sum.count < DIFFERENCES_MIN
    }

    pub(super) fn proportion(&self, series: usize) -> Option<Proportion> {
        let Sum { count, x, y, xx, xy, yy } = self.0[series];
        if count < DIFFERENCES_MIN {
            return None;
        }
        let (sxx, sxy, syy) = (xx - x * x / count, xy - x * y / count, yy - y * y / count);
        if sxx <= 0.0 || syy <= 0.0 {
            return None;
        }
        let bytes = sxy / sxx;
        let residual = (syy - bytes * sxy).max(syy * 1e-9);
        let certainty = bytes.abs() / (residual / (count - 2.0) / sxx).sqrt();
        (bytes > 0.0 && certainty >= CERTAINTY_MIN).then_some(Proportion { bytes, certainty })
    }
}
