//! What sites grew by from one moment of a series to its end.

use std::collections::HashMap;

use super::QUANTUM_BYTES;
use super::variance::{scatter, without_ages};
use crate::culprit::held::{Held, Moment};

/// Bytes that the allocator counts and no site has, whatever the window: the agent's own, metadata of threads.
const UNEXPLAINED_BYTES: f64 = 262_144.0;
/// The same, as a share of what grew: a sampled small object takes a page that is not counted.
const UNEXPLAINED_SHARE: f64 = 0.02;
/// Standard errors by which sites and heap may differ and still be taken to be about the same bytes.
const CONSISTENT_SIGMA: f64 = 4.0;

/// Standard errors by which work in flight must have changed to be taken off the heap's growth.
const YOUNG_SIGMA: f64 = 3.0;
/// Standard errors by which some moment must differ for the load not to be level.
const WAVE_SIGMA: f64 = 4.0;
/// The part of a lesser change that is believed: a load that is not seen to change is about level.
const YOUNG_BELIEVED_SHARE: f64 = 0.3;

/// What lives now of what the sites held at a moment.
pub(crate) type Cohort = HashMap<u32, Held>;

/// The series from a moment on.
pub(super) struct Window<'a> {
    pub(super) series: &'a [&'a Moment],
    /// Of the moment that the window starts at; `None` where ages are not known.
    cohort: Option<Cohort>,
    /// What the heap grew by beyond what sites grew by, per unit of variance.
    correction: f64,
    /// Of all sites and of what is too young to be a site's.
    variance: f64,
}

/// What one site did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// As the samples have it.
    pub(super) bytes: f64,
    pub(super) variance: f64,
    /// As the samples and the heap's exact growth together have it.
    pub(super) fitted_bytes: f64,
    pub(super) fitted_variance: f64,
    /// Of the growth, that of containers that the site's entries are in; see [`steady::containers`](super::steady::containers).
    pub(super) container_bytes: f64,
    /// What came and stayed, and what went; nothing where ages are not known.
    pub(super) arrived: Held,
    pub(super) departed: Held,
}

/// By how much the heap grew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heap {
    /// Without the change of work in flight, where that is beyond doubt.
    pub(super) bytes: f64,
    /// One standard error of what was taken off.
    pub(super) young_error: f64,
    /// The same of what is left.
    pub(super) load_error: f64,
    /// The allocator says it.
    pub(super) is_exact: bool,
}

impl<'a> Window<'a> {
    /// `series` has two moments at least.
    pub(super) fn new(series: &'a [&'a Moment], cohort: Option<Cohort>) -> Window<'a> {
        let mut window = Window { series, cohort, correction: 0.0, variance: 0.0 };
        if window.cohort.is_some()
            && !window.ends().1.is_part
            && let Some(all) = window.exact_bytes()
        {
            let (first, last) = window.ends();
            let mut sites: Vec<u32> = last.sites().chain(first.sites()).collect();
            sites.sort_unstable();
            sites.dedup();
            let (mut bytes, mut variance) = window.young(YOUNG_BELIEVED_SHARE);
            for site in sites {
                let (change, sampled) = window.sampled(site);
                bytes += change;
                variance += sampled;
            }
            let unexplained = UNEXPLAINED_BYTES + UNEXPLAINED_SHARE * all.abs();
            variance += unexplained * unexplained;
            let residual = all - bytes;
            // Where few samples came, their own variance is too small: that of what is missing belongs to it.
            let spread = variance + residual.abs() * QUANTUM_BYTES;
            if residual.abs() <= CONSISTENT_SIGMA * spread.sqrt() {
                window.correction = residual / variance;
                window.variance = variance;
            }
        }
        window
    }

    pub(super) fn seconds(&self) -> f64 {
        let (first, last) = self.ends();
        (last.seconds - first.seconds).max(0.0)
    }

    pub(super) fn ends(&self) -> (&'a Moment, &'a Moment) {
        (self.series[0], self.series[self.series.len() - 1])
    }

    pub(super) fn change(&self, site: u32) -> Change {
        let (first, last) = self.ends();
        let (first, last) = (first.of(site), last.of(site));
        let (bytes, sampled) = self.sampled(site);
        let one_more = first.sample_variance.max(last.sample_variance);
        let Some(cohort) = &self.cohort else {
            let variance = without_ages(self.series, site, bytes);
            return Change { bytes, variance, fitted_bytes: bytes, fitted_variance: variance, ..Change::default() };
        };
        let kept = cohort.get(&site).copied().unwrap_or_default();
        // What most moments scatter by is load, which no count of samples knows of.
        let series: Vec<f64> = self.series.iter().map(|moment| moment.of(site).bytes).collect();
        let load = scatter(self.series, &series).map_or(0.0, |scatter| 2.0 * scatter.of_most_moments);
        let explained = if self.variance > 0.0 { sampled / self.variance } else { 0.0 };
        Change {
            bytes,
            variance: sampled.max(load) + one_more,
            fitted_bytes: bytes + self.correction * sampled,
            fitted_variance: sampled * (1.0 - explained) + one_more,
            container_bytes: 0.0,
            arrived: last.without(kept),
            departed: first.without(kept),
        }
    }

    /// What lives of what the site held when the window begins; `None` where ages are not known.
    pub(super) fn kept(&self, site: u32) -> Option<Held> {
        self.cohort.as_ref().map(|cohort| cohort.get(&site).copied().unwrap_or_default())
    }

    /// By how much what the sites count grew, by the allocator's own account. Where that is missing: by their
    /// sum.
    pub(super) fn heap(&self) -> Heap {
        if let Some(all) = self.exact_bytes() {
            let (young, variance) = self.young(0.0);
            return Heap {
                bytes: all - young,
                young_error: variance.sqrt(),
                load_error: self.load_error(),
                is_exact: true,
            };
        }
        let (first, last) = self.ends();
        let variance = first.sum(|held| held.variance) + last.sum(|held| held.variance);
        let bytes = last.sum(|held| held.bytes) - first.sum(|held| held.bytes);
        Heap { bytes, young_error: 0.0, load_error: variance.sqrt(), is_exact: false }
    }

    fn exact_bytes(&self) -> Option<f64> {
        let (first, last) = self.ends();
        Some(last.live_bytes? as f64 - first.live_bytes? as f64)
    }

    /// The change of work in flight, and its variance. One that may be chance is believed in part only: as it is, it
    /// would add the noise of all that is in flight.
    fn young(&self, believed_share: f64) -> (f64, f64) {
        let (first, last) = self.ends();
        let (bytes, variance) = (last.young.bytes - first.young.bytes, first.young.variance + last.young.variance);
        let is_sure = bytes.abs() > YOUNG_SIGMA * variance.sqrt();
        let share = if is_sure {
            1.0
        } else if self.has_waves() {
            believed_share.ceil()
        } else {
            believed_share
        };
        (share * bytes, share * variance)
    }

    /// Whether work in flight was beyond doubt more or less at some time than at the start.
    fn has_waves(&self) -> bool {
        let first = self.series[0].young;
        self.series.iter().any(|moment| {
            let variance = first.variance + moment.young.variance;
            (moment.young.bytes - first.bytes).abs() > WAVE_SIGMA * variance.sqrt()
        })
    }

    /// What load does to an exact number.
    fn load_error(&self) -> f64 {
        let exact: Option<Vec<f64>> =
            self.series.iter().map(|moment| moment.live_bytes.map(|bytes| bytes as f64)).collect();
        let scatter = exact.and_then(|bytes| scatter(self.series, &bytes));
        // Where ages are not known, all of the load is in it.
        let known = self.cohort.is_some();
        let variance = scatter.map_or(0.0, |s| if known { s.of_most_moments } else { s.of_a_moment });
        (2.0 * variance).sqrt()
    }

    /// Growth and its variance. What stayed was sampled once and is in both moments: only what came and what went
    /// since is uncertain.
    fn sampled(&self, site: u32) -> (f64, f64) {
        let (first, last) = self.ends();
        let (first, last) = (first.of(site), last.of(site));
        let kept = self.cohort.as_ref().and_then(|cohort| cohort.get(&site)).copied().unwrap_or_default();
        let variance = first.without(kept).variance + last.without(kept).variance;
        (last.bytes - first.bytes, variance)
    }
}
