//! Since when a site grows as it does now, and whether that is how a leak does.

use super::variance::SERIES_MIN;
use super::window::Change;
use crate::culprit::held::Moment;

/// Twice the logarithm of the likelihood ratio at which a rate has changed: once in some hundred series by chance.
const CHANGED_LIKELIHOOD: f64 = 14.0;
/// A lesser change of rate than to so many times as much, or as little, does not matter.
const CHANGED_FACTOR: f64 = 1.5;
/// Moments that a rate is told from, at least.
const STRETCH_MOMENTS_MIN: usize = 3;
/// The share of the growth that must lie in the second half of the time: what filled up and stopped is no culprit.
const RECENT_SHARE_MIN: f64 = 0.2;
/// The share of the growth that must be left without its largest step: a table that was resized once is no culprit.
const STEADY_SHARE_MIN: f64 = 0.25;
/// The share of the growth that must have come in the first half of the time and live still: half of a leak's has.
const OLD_SHARE_MIN: f64 = 0.2;
/// So few objects are one container that is allocated anew as it grows.
const CONTAINERS_MAX: f64 = 4.0;
/// How much larger than the former the new ones of a container that grows are, at least.
const REGROWN_FACTOR_MIN: f64 = 1.5;

/// Where the latest stretch of one rate begins: the number of a moment.
///
/// `quantum_bytes` is what comes at a time, so that increments are about as regular as rain is: a sample, or an object
/// larger than that. The split with the greatest likelihood under Poisson's law is taken, then the same is asked of
/// what follows it.
pub(super) fn steady_from(series: &[&Moment], bytes: &[f64], quantum_bytes: f64) -> usize {
    let mut from = 0;
    while let Some(split) = change(&series[from..], &bytes[from..], quantum_bytes) {
        from += split;
    }
    from
}

fn change(series: &[&Moment], bytes: &[f64], quantum_bytes: f64) -> Option<usize> {
    let last = series.len().checked_sub(1)?;
    let count = |from: usize, to: usize| ((bytes[to] - bytes[from]) / quantum_bytes).max(0.0);
    let seconds = |from: usize, to: usize| (series[to].seconds - series[from].seconds).max(f64::MIN_POSITIVE);
    let mut best = (CHANGED_LIKELIHOOD, None);
    for split in 1..(last + 2).saturating_sub(STRETCH_MOMENTS_MIN) {
        let stretches = [(count(0, split), seconds(0, split)), (count(split, last), seconds(split, last))];
        let [before, after] = stretches.map(|(count, seconds)| count / seconds);
        let whole = (stretches[0].0 + stretches[1].0) / (stretches[0].1 + stretches[1].1);
        let gain = |(count, rate): (f64, f64)| if count > 0.0 { count * (rate / whole).ln() } else { 0.0 };
        let likelihood = 2.0 * (gain((stretches[0].0, before)) + gain((stretches[1].0, after)));
        let differs = before > CHANGED_FACTOR * after || after > CHANGED_FACTOR * before;
        if differs && likelihood > best.0 {
            best = (likelihood, Some(split));
        }
    }
    best.1
}

/// Whether the growth went on to the end, in more than one step.
pub(super) fn lasts(series: &[&Moment], bytes: &[f64], growth: f64) -> bool {
    if series.len() < SERIES_MIN {
        return true;
    }
    let recent = bytes[bytes.len() - 1] - bytes[middle(series)];
    // A container that is allocated anew is away for a moment: what counts is the most there was so far.
    let mut most = bytes[0];
    let largest_step = bytes[1..].iter().fold(0.0_f64, |largest, &now| {
        let step = (now - most).max(0.0);
        most = most.max(now);
        largest.max(step)
    });
    recent >= RECENT_SHARE_MIN * growth && growth - largest_step >= STEADY_SHARE_MIN * growth
}

/// The number of the moment nearest to half of the time.
pub(super) fn middle(series: &[&Moment]) -> usize {
    let half = (series[0].seconds + series[series.len() - 1].seconds) / 2.0;
    let distance = |place: &usize| (series[*place].seconds - half).abs();
    (0..series.len()).min_by(|one, other| distance(one).total_cmp(&distance(other))).unwrap_or(0)
}

/// Whether what makes the growth has come to stay. `older_bytes` is what lives of what came in the first half of the
/// time. Work in flight grows with the load, and none of it is old.
pub(super) fn stays(change: &Change, older_bytes: f64) -> bool {
    let (arrived, departed) = (change.arrived, change.departed);
    let is_container = arrived.objects <= CONTAINERS_MAX
        || (departed.objects >= arrived.objects / 2.0
            && arrived.mean_bytes() >= REGROWN_FACTOR_MIN * departed.mean_bytes());
    is_container || older_bytes >= OLD_SHARE_MIN * change.bytes
}
