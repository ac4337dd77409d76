//! Since when a site grows as it does now, and whether that is how a leak does.

use super::variance::{SERIES_MIN, scatter};
use super::window::Change;
use crate::culprit::held::{Held, Moment};

/// Twice the logarithm of the likelihood ratio at which a rate has changed: once in some hundred series by chance.
const CHANGED_LIKELIHOOD: f64 = 14.0;
/// A lesser change of rate than to so many times as much, or as little, does not matter.
const CHANGED_FACTOR: f64 = 1.5;
/// A growth that became at most so many times as fast, or as slow, is the same growth.
const SAME_GROWTH_FACTOR: f64 = 3.0;
/// Moments that a rate is told from, at least.
const STRETCH_MOMENTS_MIN: usize = 3;
/// The share of the growth that must lie in the second half of the time: what filled up and stopped is no culprit.
const RECENT_SHARE_MIN: f64 = 0.2;
/// The share of the growth that must be left without its largest step: a table that was resized once is no culprit.
const STEADY_SHARE_MIN: f64 = 0.25;
/// The share of the growth that must have come in the first half of the time and live still: half of a leak's has.
const OLD_SHARE_MIN: f64 = 0.2;
/// What entries are of a growth at least, for their containers to be looked through.
const ENTRIES_SHARE_MIN: f64 = 0.3;
/// The time at the end in which what filled up is seen to have stopped, seconds.
const TAIL_SECONDS: f64 = 20.0;
/// It is as long as the heap needs to grow by so many standard errors of a difference between two of its moments.
const TAIL_NOISES: f64 = 3.0;
/// What the tail's rate is at most, of the whole rate, where it stopped.
const TAIL_SHARE_MAX: f64 = 0.5;
/// By how much of the whole rate the tail is slower than any time before it where it stopped.
const TAIL_DEPTH_SHARE: f64 = 0.25;
/// By how much more than what is allocated a site must have grown from the middle to the end for what it holds to live ever
/// longer; and by how many standard errors of that.
const BACKLOG_FACTOR_MIN: f64 = 1.2;
const BACKLOG_SIGMA: f64 = 2.0;
/// The part of its growth by which what falls behind may have fallen below its highest meanwhile: more is emptied at times.
const BACKLOG_FALL_SHARE_MAX: f64 = 0.25;
/// Growth in lumps is known by so many of them: one or two are loads that happened.
const LUMPS_MIN: usize = 3;
/// The part of the growth that these make, and of the largest that the least of them has.
const LUMPS_SHARE_MIN: f64 = 0.5;
const LUMP_SHARE_MIN: f64 = 0.33;
/// The part of the time, from the first to the last, that lumps take at most.
const LUMPS_TIME_SHARE_MAX: f64 = 0.4;
/// So few objects are one container that is allocated anew as it grows.
const CONTAINERS_MAX: f64 = 4.0;
/// How much larger than the former the new ones of a container that grows are, at least.
const REGROWN_FACTOR_MIN: f64 = 1.5;

/// The latest stretch of one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The number of the moment that it begins with.
    pub(super) from: usize,
    /// The same of the growth that it continues at another rate.
    pub(super) grows_from: usize,
}

/// `quantum_bytes` is what comes at a time, so that increments are about as regular as rain is: a sample, or an object
/// larger than that. The split with the greatest likelihood under Poisson's law is taken, then the same is asked of
/// what follows it.
pub(super) fn latest(series: &[&Moment], bytes: &[f64], quantum_bytes: f64) -> Stretch {
    let mut stretch = Stretch { from: 0, grows_from: 0 };
    let last = series.len() - 1;
    while let Some(split) = change(&series[stretch.from..], &bytes[stretch.from..], quantum_bytes) {
        let (from, next) = (stretch.from, stretch.from + split);
        let rate = |from: usize, to: usize| {
            (bytes[to] - bytes[from]) / (series[to].seconds - series[from].seconds).max(f64::MIN_POSITIVE)
        };
        let (before, after) = (rate(from, next), rate(next, last));
        let continues = before * SAME_GROWTH_FACTOR >= after && before <= after * SAME_GROWTH_FACTOR;
        stretch = Stretch { from: next, grows_from: if continues { stretch.grows_from } else { next } };
    }
    stretch
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

/// What comes at a time where growth is in lumps, such as a batch each minute: the least of the largest [`LUMPS_MIN`]. A lump is
/// what comes beyond the mean rate in a row of intervals above it. Nothing where there are none.
pub(super) fn lump_bytes(series: &[&Moment], bytes: &[f64]) -> f64 {
    let last = bytes.len() - 1;
    let rate = (bytes[last] - bytes[0]) / (series[last].seconds - series[0].seconds).max(f64::MIN_POSITIVE);
    let (mut lumps, mut lump) = (Vec::new(), 0.0);
    let (mut lump_seconds, mut begin, mut end) = (0.0, f64::INFINITY, 0.0_f64);
    for (ends, bytes) in series.windows(2).zip(bytes.windows(2)) {
        let seconds = ends[1].seconds - ends[0].seconds;
        let beyond = bytes[1] - bytes[0] - rate * seconds;
        if beyond > 0.0 {
            lump += beyond;
            lump_seconds += seconds;
            (begin, end) = (begin.min(ends[0].seconds), ends[1].seconds);
        } else {
            lumps.push(std::mem::take(&mut lump));
        }
    }
    lumps.push(lump);
    lumps.sort_by(|one, other| other.total_cmp(one));
    let Some(largest) = lumps.get(..LUMPS_MIN) else { return 0.0 };
    let (most, least) = (largest[0], largest[LUMPS_MIN - 1]);
    let is_lumpy = least >= LUMP_SHARE_MIN * most
        && largest.iter().sum::<f64>() >= LUMPS_SHARE_MIN * (bytes[last] - bytes[0])
        && lump_seconds <= LUMPS_TIME_SHARE_MAX * (end - begin);
    if is_lumpy { least } else { 0.0 }
}

/// Whether the growth went on to the end, in more than one step.
pub(super) fn lasts(series: &[&Moment], bytes: &[f64], change: &Change) -> bool {
    let growth = change.bytes - change.container_bytes;
    if series.len() < SERIES_MIN {
        return true;
    }
    let recent = bytes[bytes.len() - 1] - bytes[middle(series)];
    let is_container = is_container(change);
    let mut most = bytes[0];
    let largest_step = bytes[1..].iter().fold(0.0_f64, |largest, &now| {
        let step = (now - most).max(0.0);
        // A container that is allocated anew is away for a moment: what counts is the most there was so far.
        most = if is_container { most.max(now) } else { now };
        largest.max(step)
    });
    recent >= RECENT_SHARE_MIN * growth && growth - largest_step >= STEADY_SHARE_MIN * growth
}

/// Whether the heap's exact growth ended shortly before the end: slower there than half of its rate, and slower than it
/// was at any time before, so that it is no load that comes and goes.
pub(super) fn heap_stopped(series: &[&Moment], containers: &[f64]) -> bool {
    let exact: Option<Vec<f64>> = series.iter().map(|moment| moment.live_bytes.map(|bytes| bytes as f64)).collect();
    let Some(mut bytes) = exact.filter(|bytes| bytes.len() >= SERIES_MIN) else { return false };
    for (place, bytes) in bytes.iter_mut().enumerate() {
        // One that was allocated just before a look is in the heap's account, and the site's only at the next.
        *bytes -= containers[place].max(containers.get(place + 1).copied().unwrap_or(0.0));
    }
    let rate = |from: usize, to: usize| (bytes[to] - bytes[from]) / (series[to].seconds - series[from].seconds);
    let last = series.len() - 1;
    let whole = rate(0, last);
    if whole <= 0.0 {
        return false;
    }
    // Work in flight is in the heap's account: a pause shows where as much would have grown as the work may take away.
    let noise_bytes = scatter(series, &bytes).map_or(0.0, |scatter| (2.0 * scatter.of_a_moment).sqrt());
    let tail_seconds = TAIL_SECONDS.max(TAIL_NOISES * noise_bytes / whole);
    let begins = |end: usize| (0..end).rev().find(|&from| series[end].seconds - series[from].seconds >= tail_seconds);
    let Some(tail) = begins(last) else { return false };
    let ending = rate(tail, last);
    let least = (1..=tail).filter_map(|end| Some(rate(begins(end)?, end))).fold(f64::INFINITY, f64::min);
    least.is_finite() && ending < TAIL_SHARE_MAX * whole && ending < least - TAIL_DEPTH_SHARE * whole
}

/// What a site holds in the few containers that its entries are in, at each moment; nothing where it grows by
/// containers alone, or by large objects. A table that doubles makes a step of what grows as steadily as ever.
pub(super) fn containers(series: &[&Moment], bytes: &[f64], site: u32) -> Vec<f64> {
    let held: Vec<Held> = series.iter().map(|moment| moment.of(site)).collect();
    let large: Vec<f64> = held.iter().map(|held| f64::from(held.large_bytes)).collect();
    let last = large.len() - 1;
    let entries = (bytes[last] - large[last]) - (bytes[0] - large[0]);
    // The newest is away for a moment where it was allocated anew: what counts is the most there was.
    let grown_large = large.iter().copied().fold(0.0, f64::max) - large[0];
    let few = held.iter().all(|held| f64::from(held.large_objects) <= CONTAINERS_MAX + 0.5);
    if few && grown_large > 0.0 && entries >= ENTRIES_SHARE_MIN * (entries + grown_large) {
        large
    } else {
        vec![0.0; large.len()]
    }
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
    is_container(change) || older_bytes >= OLD_SHARE_MIN * (change.bytes - change.container_bytes)
}

/// Whether a site holds ever more although no more is allocated there than before: what is taken out falls behind what is
/// put in. Of a load that rises, both grow alike. Only where allocations are counted.
pub(super) fn falls_behind(series: &[&Moment], bytes: &[f64], site: u32) -> bool {
    let (last, middle) = (series.len() - 1, middle(series));
    let allocated = |place: usize| series[place].of(site).alloc.map(|alloc| (series[place].seconds, alloc));
    let Some(first) = (0..middle).find_map(allocated) else { return false };
    let (Some(half), Some(all)) = (allocated(middle), allocated(last)) else { return false };
    // A value with the square of its relative error.
    let rate = |(from, (before, before_variance)): (f64, (f64, f64)),
                (to, (after, after_variance)): (f64, (f64, f64))| {
        let bytes: f64 = after - before;
        (bytes / (to - from), (after_variance - before_variance).max(0.0) / (bytes * bytes))
    };
    let held = |place: usize| {
        let held = series[place].of(site);
        (held.bytes, held.variance / (held.bytes * held.bytes))
    };
    let (before, after, then, now) = (rate(first, half), rate(half, all), held(middle), held(last));
    if [before, after, then, now].iter().any(|(value, _)| value.is_nan() || *value <= 0.0) {
        return false;
    }
    let (mut most, mut fallen) = (bytes[0], 0.0_f64);
    for &now in bytes {
        most = most.max(now);
        fallen = fallen.max(most - now);
    }
    let error = (before.1 + after.1 + then.1 + now.1).sqrt();
    let longer = now.0 / then.0 * before.0 / after.0;
    fallen <= BACKLOG_FALL_SHARE_MAX * (bytes[bytes.len() - 1] - bytes[0])
        && longer.ln() >= BACKLOG_FACTOR_MIN.ln() + BACKLOG_SIGMA * error
}

/// Whether it is containers that grow, each allocated anew and larger; where ages are known.
fn is_container(change: &Change) -> bool {
    let (arrived, departed) = (change.arrived, change.departed);
    let is_regrown =
        departed.objects >= arrived.objects / 2.0 && arrived.mean_bytes() >= REGROWN_FACTOR_MIN * departed.mean_bytes();
    arrived.bytes > 0.0 && (arrived.objects <= CONTAINERS_MAX || is_regrown)
}
