//! Growth of call sites over a series of moments, and which of it is beyond the sampler's noise.
//!
//! A sampled object of size `s` was kept with the chance `p = 1 - exp(-s / period)` and stands for `s / p` bytes; the
//! variance of that estimate is `s² (1 - p) / p²`, which sums to `B s / (exp(s / period) - 1)` over a site that holds
//! `B` bytes in objects of `s` (Horvitz-Thompson; jemalloc's doc_internal/PROFILING_INTERNALS.md has the chance).
//!
//! Two moments share the objects that lived through both, so that the variance of a difference lies between that of the
//! growth alone and that of both moments. A series says where: see [`variance`].

use std::collections::HashMap;

use super::State;
use crate::profile::model::Count;

/// Standard errors at which growth is named: beyond what chance does among hundreds of sites that only churn.
const NAMING_SIGMA: f64 = 3.5;
/// Standard errors of the bounds that are told: 95%.
const TOLD_SIGMA: f64 = 1.96;
/// Less growth than this is not named, bytes.
const GROWTH_BYTES_MIN: f64 = 65_536.0;
/// The share of the growth that must lie in the second half of the time: what filled up and stopped is no culprit.
const RECENT_SHARE_MIN: f64 = 0.2;
/// The share of the growth that must be left without its largest step: a table that was resized once is no culprit.
const STEADY_SHARE_MIN: f64 = 0.25;
/// The share of what was named that the whole heap must have grown by: bytes that move are no growth.
const HEAP_SHARE_MIN: f64 = 0.3;
/// Moments in a series that is judged as one: fewer are two profiles compared.
const SERIES_MIN: usize = 5;
/// The assumed period of a profile that does not say it, bytes.
const PERIOD_BYTES_DEFAULT: u64 = 512 << 10;

/// What a site holds at one moment: estimates, and the variance of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) bytes: f64,
    objects: f64,
    variance: f64,
    /// Of what was ever allocated, where that is counted.
    alloc: Option<(f64, f64)>,
    /// Bytes squared that one more sample would have added.
    sample_variance: f64,
}

/// All sites at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) seconds: f64,
    /// Exact, where the allocator says it.
    live_bytes: Option<u64>,
    held: HashMap<u32, Held>,
}

/// What a series of moments says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ranking {
    pub(crate) state: State,
    pub(crate) window_seconds: f64,
    /// The culprits, the one whose lower bound is highest first.
    pub(crate) culprits: Vec<Growth>,
    /// By how much the sites that grew did, together.
    pub(crate) grown_bytes: f64,
}

/// By how much a site grew, with 95% bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    pub(crate) site: u32,
    pub(crate) bytes: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ranking {
    /// The same over another time.
    pub(crate) fn over(self, window_seconds: f64) -> Ranking {
        Ranking { window_seconds, ..self }
    }
}

impl Held {
    pub(super) fn add(&mut self, inuse: Count, alloc: Option<Count>, period_bytes: u64) {
        let sampled = variance_of(inuse, period_bytes);
        self.bytes += inuse.bytes;
        self.objects += inuse.objects;
        self.variance += sampled;
        if let Some(alloc) = alloc {
            let (bytes, variance) = self.alloc.unwrap_or_default();
            self.alloc = Some((bytes + alloc.bytes, variance + variance_of(alloc, period_bytes)));
        }
        if inuse.bytes > 0.0 && sampled > 0.0 {
            let of_one = sampled * sample_share(inuse, period_bytes);
            self.sample_variance = self.sample_variance.max(of_one);
        }
    }
}

impl Held {
    /// Where what was ever allocated cannot be compared.
    pub(super) fn forget_allocations(&mut self) {
        self.alloc = None;
    }
}

impl Moment {
    pub(crate) fn new(seconds: f64, live_bytes: Option<u64>, held: HashMap<u32, Held>) -> Moment {
        Moment { seconds, live_bytes, held }
    }

    fn of(&self, site: u32) -> Held {
        self.held.get(&site).copied().unwrap_or_default()
    }

    fn sites(&self) -> impl Iterator<Item = u32> {
        self.held.keys().copied()
    }

    fn sum(&self, of: impl Fn(&Held) -> f64) -> f64 {
        self.held.values().map(of).sum()
    }

    /// About the memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Moment>() + self.held.capacity() * (size_of::<(u32, Held)>() + 1)
    }
}

/// Ranks the sites by their growth from the first moment to the last; what lies between says how steady it was.
/// The cost is linear in moments and sites.
pub(crate) fn rank(series: &[&Moment]) -> Ranking {
    let (Some(first), Some(last)) = (series.first(), series.last()) else { return nothing(0.0) };
    let window_seconds = (last.seconds - first.seconds).max(0.0);
    if series.len() < 2 {
        return nothing(window_seconds);
    }
    let mut ranking = Ranking { state: State::Flat, ..nothing(window_seconds) };
    let mut is_doubtful = false;
    for site in last.sites() {
        let bytes = last.of(site).bytes - first.of(site).bytes;
        if bytes <= 0.0 {
            continue;
        }
        ranking.grown_bytes += bytes;
        if bytes < GROWTH_BYTES_MIN {
            continue;
        }
        let error = variance(series, site, bytes).sqrt();
        if bytes <= NAMING_SIGMA * error {
            is_doubtful |= bytes > TOLD_SIGMA * error;
        } else if lasts(series, site, bytes) && site != u32::MAX {
            let told = TOLD_SIGMA * error;
            ranking.culprits.push(Growth { site, bytes, low: bytes - told, high: bytes + told });
        }
    }
    ranking.culprits.sort_by(|one, other| other.low.total_cmp(&one.low).then(one.site.cmp(&other.site)));
    let named: f64 = ranking.culprits.iter().map(|growth| growth.bytes).sum();
    let heap = heap_growth(first, last);
    if ranking.culprits.is_empty() {
        // The heap grows and no site of it can be told from noise yet.
        let grows = heap > GROWTH_BYTES_MIN && heap > HEAP_SHARE_MIN * ranking.grown_bytes;
        if is_doubtful && grows {
            ranking.state = State::NotEnoughEvidence;
        }
    } else if heap + heap_error(series) < HEAP_SHARE_MIN * named {
        ranking.culprits.clear();
    } else {
        ranking.state = State::Ok;
    }
    ranking
}

fn nothing(window_seconds: f64) -> Ranking {
    Ranking { state: State::NotEnoughEvidence, window_seconds, culprits: Vec::new(), grown_bytes: 0.0 }
}

/// Exact where both moments are.
fn heap_growth(first: &Moment, last: &Moment) -> f64 {
    match (first.live_bytes, last.live_bytes) {
        (Some(first), Some(last)) => last as f64 - first as f64,
        _ => last.sum(|held| held.bytes) - first.sum(|held| held.bytes),
    }
}

/// One standard error of [`heap_growth`]: what load does to an exact number, sampling to an estimate.
fn heap_error(series: &[&Moment]) -> f64 {
    let exact: Option<Vec<f64>> = series.iter().map(|moment| moment.live_bytes.map(|bytes| bytes as f64)).collect();
    let variance = match exact {
        Some(bytes) => scatter(series, &bytes).map_or(0.0, |scatter| 2.0 * scatter.of_a_moment),
        None => series[0].sum(|held| held.variance) + series[series.len() - 1].sum(|held| held.variance),
    };
    variance.sqrt()
}

/// The variance of a site's growth.
///
/// At most that of both ends, taken as independent. At least that of what grew, were nothing ever freed. In between, the
/// series decides: for a site that only grows, the scatter of its increments is the variance of their sum; for one
/// that comes and goes (by sampling or by load), scatter is twice that of one moment. One more sample than was seen
/// is added, since none seen does not mean none there.
fn variance(series: &[&Moment], site: u32, growth: f64) -> f64 {
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

struct Scatter {
    /// Of the sum of all increments, were they independent.
    of_increments: f64,
    /// Of one moment, were moments independent.
    of_a_moment: f64,
}

/// From each moment's distance to the line between its neighbours.
fn scatter(series: &[&Moment], bytes: &[f64]) -> Option<Scatter> {
    if series.len() < SERIES_MIN {
        return None;
    }
    let (mut per_second, mut of_a_moment, mut count) = (0.0, 0.0, 0.0);
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
        of_a_moment += square / (1.0 + weight.powi(2) + (1.0 - weight).powi(2));
        count += 1.0;
    }
    let seconds = series[series.len() - 1].seconds - series[0].seconds;
    (count > 0.0).then(|| Scatter { of_increments: per_second / count * seconds, of_a_moment: of_a_moment / count })
}

/// Whether the growth went on to the end, in more than one step.
fn lasts(series: &[&Moment], site: u32, growth: f64) -> bool {
    if series.len() < SERIES_MIN {
        return true;
    }
    let (first, last) = (series[0], series[series.len() - 1]);
    let half = (first.seconds + last.seconds) / 2.0;
    let nearest =
        |one: &&&Moment, other: &&&Moment| (one.seconds - half).abs().total_cmp(&(other.seconds - half).abs());
    let middle = series.iter().min_by(nearest).unwrap_or(&first);
    let recent = last.of(site).bytes - middle.of(site).bytes;
    let steps = series.windows(2).map(|two| two[1].of(site).bytes - two[0].of(site).bytes);
    let largest = steps.fold(0.0, f64::max);
    recent >= RECENT_SHARE_MIN * growth && growth - largest >= STEADY_SHARE_MIN * growth
}

fn period(period_bytes: u64) -> f64 {
    if period_bytes <= 1 { PERIOD_BYTES_DEFAULT as f64 } else { period_bytes as f64 }
}

fn variance_of(count: Count, period_bytes: u64) -> f64 {
    let period = period(period_bytes);
    let bytes = count.bytes.abs();
    if count.objects.abs() < f64::MIN_POSITIVE {
        return bytes * period;
    }
    let mean = bytes / count.objects.abs();
    let exponent = (mean / period).exp_m1();
    if exponent > 0.0 { bytes * mean / exponent } else { bytes * period }
}

/// One sample's share of a count's variance.
fn sample_share(count: Count, period_bytes: u64) -> f64 {
    (1.0 / count.sampled(period_bytes).objects.max(1.0)).min(1.0)
}

#[cfg(test)]
#[path = "growth/tests.rs"]
mod tests;
