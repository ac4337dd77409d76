//! Growth of call sites over a series of moments, and which of it is a leak's.
//!
//! **The sampler's error.** A sampled object of size `s` was kept with the chance `p = 1 - exp(-s / period)` and stands for
//! `s / p` bytes; the variance of that estimate is `s² (1 - p) / p²`, which sums to `B s / (exp(s / period) - 1)` over a
//! site that holds `B` bytes in objects of `s` (Horvitz-Thompson; jemalloc's doc_internal/PROFILING_INTERNALS.md has the
//! chance). What lived through both ends of a window is in both with the same samples: only what came and what went
//! counts ([`window`]).
//!
//! **The heap's own account** is exact: what the sites' sum misses of it is shared out by their variances.
//!
//! **Shape.** A site is judged since its rate last changed ([`steady`]): a warm-up, or the quiet time before, is left
//! behind. It must have grown for a while, to the end, in more than one step, by what came to stay; and the heap must
//! have grown with it.

mod steady;
#[cfg(test)]
mod tests;
mod variance;
mod window;

use std::collections::BTreeMap;

use super::State;
use super::held::{Held, Moment};
use steady::Stretch;
pub(crate) use window::Cohort;
use window::{Change, Window};

/// Standard errors at which growth is named: beyond what chance does among hundreds of sites that only churn.
const NAMING_SIGMA: f64 = 3.5;
/// Standard errors of the bounds that are told: 95%.
const TOLD_SIGMA: f64 = 1.96;
/// Less growth than this is not named, bytes.
const GROWTH_BYTES_MIN: f64 = 65_536.0;
/// The share of what was named that the whole heap must have grown by: bytes that move are no growth.
const HEAP_SHARE_MIN: f64 = 0.4;
/// The share of all growth from which on a site's shape is the heap's own, which is known exactly.
const DOMINANT_SHARE: f64 = 0.7;
/// What the second half of the time must have of the first half's growth: what fills up slows down.
const SLOWED_SHARE_MIN: f64 = 0.6;
/// A change of rate this soon after the start is the start, seconds.
const START_SECONDS: f64 = 30.0;
/// Bytes of one sample where nothing else is known.
const QUANTUM_BYTES: f64 = 524_288.0;

/// How long growth must have gone on before it is named, seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the start of the process on: nearly everything warms up.
    pub(crate) from_start_seconds: f64,
    /// Later.
    pub(crate) later_seconds: f64,
}

impl Patience {
    /// What fills within two minutes of the start, or a minute and a quarter later on, and stops, is never named.
    pub(crate) const USUAL: Patience = Patience { from_start_seconds: 145.0, later_seconds: 90.0 };
    /// For two profiles, or a time that a person asks for.
    pub(crate) const NONE: Patience = Patience { from_start_seconds: 0.0, later_seconds: 0.0 };
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
    /// Since its rate last changed.
    pub(crate) bytes_per_second: f64,
}

impl Ranking {
    /// Nothing can be said.
    pub(crate) fn nothing(window_seconds: f64) -> Ranking {
        Ranking { state: State::NotEnoughEvidence, window_seconds, culprits: Vec::new(), grown_bytes: 0.0 }
    }
}

/// What a site is taken for.
enum Judgement {
    Quiet,
    /// It may become a culprit.
    Doubtful,
    Culprit {
        /// The number of the moment.
        from: usize,
    },
}

/// Ranks the sites by their growth up to the last moment, since the first of those that are named began to grow as
/// they do. `cohort` says what lives now of what the sites held at a moment, and `None` where ages are not
/// known. The cost is linear in moments and sites; `cohort` is asked twice for each distinct beginning.
pub(crate) fn rank(
    series: &[&Moment],
    patience: Patience,
    cohort: &mut dyn FnMut(&Moment) -> Option<Cohort>,
) -> Ranking {
    let (Some(first), Some(last)) = (series.first(), series.last()) else { return Ranking::nothing(0.0) };
    if series.len() < 2 {
        return Ranking::nothing(0.0);
    }
    let whole_seconds = (last.seconds - first.seconds).max(0.0);
    let mut view = View { series, windows: BTreeMap::new(), cohort };
    let (mut named, mut is_doubtful) = (Vec::new(), false);
    let mut sites: Vec<u32> = last.sites().filter(|site| *site != u32::MAX).collect();
    sites.sort_unstable();
    for site in sites {
        match view.judge(site, patience) {
            Judgement::Quiet => {}
            Judgement::Doubtful => is_doubtful = true,
            Judgement::Culprit { from } => named.push((site, from)),
        }
    }
    let from = named.iter().map(|(_, from)| *from).min().unwrap_or(0);
    let is_level = !named.is_empty() && view.is_level(from, &named);
    if is_level {
        named.clear();
    }
    let from = if named.is_empty() { 0 } else { from };
    let grown_bytes = view.grown_bytes(from);
    let mut culprits: Vec<Growth> = named.into_iter().map(|(site, own)| view.growth(site, from, own)).collect();
    culprits.sort_by(|one, other| other.low.total_cmp(&one.low).then(one.site.cmp(&other.site)));
    let state = if !culprits.is_empty() {
        State::Ok
    } else if whole_seconds < patience.later_seconds.min(patience.from_start_seconds)
        || (is_doubtful && view.heap_grows(grown_bytes))
    {
        State::NotEnoughEvidence
    } else {
        State::Flat
    };
    let window_seconds = (last.seconds - series[from].seconds).max(0.0);
    Ranking { state, window_seconds, culprits, grown_bytes }
}

/// A series, and its windows as far as they were looked at.
struct View<'a> {
    series: &'a [&'a Moment],
    windows: BTreeMap<usize, Window<'a>>,
    cohort: &'a mut dyn FnMut(&Moment) -> Option<Cohort>,
}

impl<'a> View<'a> {
    /// From a moment of the series on.
    fn window(&mut self, from: usize) -> &Window<'a> {
        let (series, cohort) = (self.series, &mut self.cohort);
        let from = from.min(series.len().saturating_sub(2));
        self.windows.entry(from).or_insert_with(|| Window::new(&series[from..], cohort(series[from])))
    }

    fn judge(&mut self, site: u32, patience: Patience) -> Judgement {
        let bytes: Vec<f64> = self.series.iter().map(|moment| moment.of(site).bytes).collect();
        let least = bytes.iter().copied().fold(f64::INFINITY, f64::min);
        let newest = bytes[bytes.len() - 1];
        if newest - least < GROWTH_BYTES_MIN {
            return Judgement::Quiet;
        }
        let containers = steady::containers(self.series, &bytes, site);
        let bytes: Vec<f64> = bytes.iter().zip(&containers).map(|(bytes, container)| bytes - container).collect();
        let grown_container = |from: usize| containers[containers.len() - 1] - containers[from];
        let whole = Change { container_bytes: grown_container(0), ..self.window(0).change(site) };
        let lump_bytes = steady::lump_bytes(self.series, &bytes);
        let quantum = quantum_bytes(self.series[self.series.len() - 1].of(site), &whole).max(lump_bytes);
        let mut stretch = Stretch { from: 0, grows_from: 0 };
        // Without ages, noise makes stretches of its own.
        if self.window(0).kept(site).is_some() {
            stretch = steady::latest(self.series, &bytes, quantum);
        }
        let from = stretch.from;
        let change = Change { container_bytes: grown_container(from), ..self.window(from).change(site) };
        let error = change.variance.sqrt();
        let grown = change.bytes.max(change.bytes - change.container_bytes);
        if grown < GROWTH_BYTES_MIN || grown <= TOLD_SIGMA * error {
            return Judgement::Quiet;
        }
        if grown <= NAMING_SIGMA * error {
            return Judgement::Doubtful;
        }
        if !steady::lasts(&self.series[from..], &bytes[from..], &change)
            || !(self.stays(site, from, &change) || steady::falls_behind(&self.series[from..], &bytes[from..], site))
            || self.slows(from, &change, lump_bytes, &containers)
        {
            return Judgement::Quiet;
        }
        let (since, now) = (self.series[stretch.grows_from].seconds, self.series[self.series.len() - 1].seconds);
        let is_from_start = since <= START_SECONDS;
        let has_lasted =
            if is_from_start { now >= patience.from_start_seconds } else { now - since >= patience.later_seconds };
        if has_lasted { Judgement::Culprit { from } } else { Judgement::Doubtful }
    }

    /// By age; where ages are not known, there is nothing to object.
    fn stays(&mut self, site: u32, from: usize, change: &Change) -> bool {
        let series = &self.series[from..];
        let middle = from + steady::middle(series);
        if middle == from || middle + 1 >= self.series.len() {
            return true;
        }
        let Some(before) = self.window(from).kept(site) else { return true };
        let Some(meanwhile) = self.window(middle).kept(site) else { return true };
        steady::stays(change, meanwhile.bytes - before.bytes)
    }

    /// Whether the heap's growth, if it is this site's, slows down as what fills up does. Where it comes in lumps, one more
    /// may be due.
    fn slows(&mut self, from: usize, change: &Change, lump_bytes: f64, containers: &[f64]) -> bool {
        if change.bytes < DOMINANT_SHARE * self.grown_bytes(from) {
            return false;
        }
        if steady::heap_stopped(&self.series[from..], &containers[from..]) {
            return true;
        }
        let middle = from + steady::middle(&self.series[from..]);
        if middle == from || middle + 1 >= self.series.len() {
            return false;
        }
        let first_seconds = self.series[middle].seconds - self.series[from].seconds;
        let recent_container = containers[containers.len() - 1] - containers[middle];
        let all = self.window(from).heap();
        let window = self.window(middle);
        let (recent, seconds) = (window.heap(), window.seconds());
        let (all_bytes, recent_bytes) = (all.bytes - change.container_bytes, recent.bytes - recent_container);
        let before = all_bytes - recent_bytes;
        if first_seconds <= 0.0 || seconds <= 0.0 {
            return false;
        }
        let error = all.young_error + all.load_error + recent.young_error + recent.load_error;
        (recent_bytes + 2.0 * error + lump_bytes) / seconds < SLOWED_SHARE_MIN * before / first_seconds
    }

    /// Whether the heap did not grow with what was named, neither in the whole time nor in its second half: a cache
    /// that was emptied meanwhile hides no leak for long.
    fn is_level(&mut self, from: usize, named: &[(u32, usize)]) -> bool {
        let middle = from + steady::middle(&self.series[from..]);
        [from, middle].into_iter().all(|from| {
            let window = self.window(from);
            let grown: f64 = named.iter().map(|(site, _)| window.change(*site).bytes).sum();
            let (heap, needed) = (window.heap(), HEAP_SHARE_MIN * grown);
            // A wave of load must neither hide a leak nor be one.
            let load_error = if heap.is_exact { heap.load_error.min(needed / 2.0) } else { heap.load_error };
            heap.bytes - heap.young_error + load_error < needed
        })
    }

    fn heap_grows(&mut self, grown_bytes: f64) -> bool {
        let heap = self.window(0).heap().bytes;
        heap > GROWTH_BYTES_MIN && heap > HEAP_SHARE_MIN * grown_bytes
    }

    fn grown_bytes(&mut self, from: usize) -> f64 {
        let (first, last) = self.window(from).ends();
        last.sites().map(|site| (last.of(site).bytes - first.of(site).bytes).max(0.0)).sum()
    }

    fn growth(&mut self, site: u32, from: usize, own: usize) -> Growth {
        let window = self.window(own);
        let seconds = window.seconds();
        let bytes_per_second = if seconds > 0.0 { window.change(site).fitted_bytes / seconds } else { 0.0 };
        let change = self.window(from).change(site);
        let told = TOLD_SIGMA * change.fitted_variance.sqrt();
        let bytes = change.fitted_bytes;
        Growth { site, bytes, low: (bytes - told).max(0.0), high: bytes + told, bytes_per_second }
    }
}

/// What comes at a time: a sample's worth, or more where objects are larger or come and go.
fn quantum_bytes(newest: Held, change: &Change) -> f64 {
    let error = change.variance.sqrt();
    let of_noise = if error > 0.0 { change.variance / change.bytes.max(error) } else { 0.0 };
    QUANTUM_BYTES.max(newest.mean_bytes()).max(of_noise)
}
