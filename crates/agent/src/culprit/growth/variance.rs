//! The error of a growth where nothing is known of ages: two files, or jemalloc's dumps.

use crate::culprit::held::Moment;

/// Moments in a series that is judged as one: fewer are two profiles compared.
pub(super) const SERIES_MIN: usize = 5;
/// The median of the square of a standard normal number.
const SQUARE_MEDIAN: f64 = 0.4549;

/// The variance of a site's growth.
///
/// At most that of both ends, taken as independent. At least that of what grew, were nothing ever freed. In between, the
/// series decides: for a site that only grows, the scatter of its increments is the variance of their sum; for one
/// that comes and goes (by sampling or by load), scatter is twice that of one moment. One more sample than was seen
/// is added, since none seen does not mean none there.
pub(super) fn without_ages(series: &[&Moment], site: u32, growth: f64) -> f64 {
    let (first, last) = (series[0].of(site), series[series.len() - 1].of(site));
    let mut ends = first.variance + last.variance;
    if let (Some((before, before_variance)), Some((after, after_variance))) = (first.alloc, last.alloc) {
        // What was allocated meanwhile, and what was freed of it or of older things.
        let allocated = (after_variance - before_variance).max(0.0);
        let freed_share = ((after - before - growth) / (after - before)).clamp(0.0, 1.0);
        ends = ends.min(allocated * (1.0 + freed_share));
    }
    let grown = last.variance * (growth / last.bytes).min(1.0);
    let one_more = first.sample_variance.max(last.sample_variance);
    let bytes: Vec<f64> = series.iter().map(|moment| moment.of(site).bytes).collect();
    match scatter(series, &bytes) {
        None => ends + one_more,
        Some(scatter) => {
            scatter.of_increments.max(grown).min(ends.max(grown)).max(2.0 * scatter.of_a_moment) + one_more
        }
    }
}

pub(super) struct Scatter {
    /// Of the sum of all increments, were they independent.
    of_increments: f64,
    /// Of one moment, were moments independent.
    pub(super) of_a_moment: f64,
    /// The same, of what half of the moments stay within.
    pub(super) of_most_moments: f64,
}

/// From each moment's distance to the line between its neighbours.
pub(super) fn scatter(series: &[&Moment], bytes: &[f64]) -> Option<Scatter> {
    if series.len() < SERIES_MIN {
        return None;
    }
    let (mut per_second, mut squares) = (0.0, Vec::with_capacity(series.len()));
    for (three, bytes) in series.windows(3).zip(bytes.windows(3)) {
        let [before, here, after] = three else { continue };
        let (left, right) = (here.seconds - before.seconds, after.seconds - here.seconds);
        if left <= 0.0 || right <= 0.0 {
            continue;
        }
        let weight = left / (left + right);
        let line = bytes[0] * (1.0 - weight) + bytes[2] * weight;
        let square = (bytes[1] - line).powi(2);
        per_second += square * (left + right) / (left * right);
        squares.push(square / (1.0 + weight.powi(2) + (1.0 - weight).powi(2)));
    }
    if squares.is_empty() {
        return None;
    }
    let count = squares.len() as f64;
    let seconds = series[series.len() - 1].seconds - series[0].seconds;
    squares.sort_by(f64::total_cmp);
    Some(Scatter {
        of_increments: per_second / count * seconds,
        of_a_moment: squares.iter().sum::<f64>() / count,
        of_most_moments: squares[squares.len() / 2] / SQUARE_MEDIAN,
    })
}
