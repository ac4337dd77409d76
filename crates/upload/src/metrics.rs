//! What uploads tell Prometheus. An upload is a `POST /upload` or a `PUT /files/<filename>`.

use std::time::Instant;

use heapline::{WorkGuard, WorkInFlight};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::ledger::Ledger;
use crate::spool::{Setting, Source, Threshold};

/// From a small file on tmpfs to a large one on a slow link.
const DURATION_BUCKETS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 201.
    Stored,
    /// The request cannot be understood: 400, 405, 411, 415, 422.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 413.
    TooLarge,
    /// Not now: 503 and 507.
    Refused,
    /// The client went away, or was too slow (408).
    Cancelled,
    /// Our fault: 500.
    Failed,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Stored,
        Self::BadRequest,
        Self::Unauthorized,
        Self::TooLarge,
        Self::Refused,
        Self::Cancelled,
        Self::Failed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// The upload metrics, registered once.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    pub(crate) received_bytes: IntCounter,
    in_flight: IntGauge,
    duration_seconds: Histogram,
    work: WorkInFlight,
}

impl Metrics {
    /// Makes the metrics and registers them; every outcome is there from the start, at 0. `work` is told of each
    /// upload in flight.
    ///
    /// # Errors
    /// Where a name is registered already.
    pub fn register(registry: &Registry, work: WorkInFlight) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("upload_requests_total", "Uploads ended, by outcome."),
                &["outcome"],
            )?,
            received_bytes: IntCounter::new("upload_received_bytes_total", "Bytes of upload bodies received.")?,
            in_flight: IntGauge::new("upload_in_flight", "Uploads admitted and not yet ended.")?,
            duration_seconds: Histogram::with_opts(
                HistogramOpts::new("upload_duration_seconds", "From the request's head to its 201, of stored uploads.")
                    .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
            )?,
            work,
        };
        for outcome in Outcome::ALL {
            metrics.requests.with_label_values(&[outcome.label()]);
        }
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.received_bytes.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.duration_seconds.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.requests.with_label_values(&[outcome.label()]).inc();
    }

    /// An admitted upload. Dropped without [`InFlight::end`], it was cancelled.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight {
            metrics: self.clone(),
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            _work: self.work.begin(),
        }
    }
}

/// Adds `upload_ledger_bytes`, `upload_ledger_limit_bytes` and `upload_spool_threshold_bytes{source}`, read at each
/// scrape.
///
/// # Errors
/// Where a name is registered already.
pub fn register_memory(registry: &Registry, ledger: &Ledger, threshold: &Threshold) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Memory {
        ledger: ledger.clone(),
        threshold: threshold.clone(),
        used: IntGauge::new("upload_ledger_bytes", "Memory that uploads and answers in flight have taken.")?,
        limit: IntGauge::new("upload_ledger_limit_bytes", "The memory budget.")?,
        threshold_bytes: IntGaugeVec::new(
            Opts::new(
                "upload_spool_threshold_bytes",
                "Files up to this size stay in memory until they are whole; by who says so.",
            ),
            &["source"],
        )?,
    }))
}

struct Memory {
    ledger: Ledger,
    threshold: Threshold,
    used: IntGauge,
    limit: IntGauge,
    threshold_bytes: IntGaugeVec,
}

impl Collector for Memory {
    fn desc(&self) -> Vec<&Desc> {
        [self.used.desc(), self.limit.desc(), self.threshold_bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.used.set(gauge(self.ledger.used_bytes()));
        self.limit.set(gauge(self.ledger.limit_bytes()));
        let Setting { bytes, source } = self.threshold.get();
        // One series at any time, of whoever speaks now.
        let one = self.threshold_bytes.with_label_values(&[source.label()]);
        one.set(gauge(bytes));
        for other in Source::ALL.iter().filter(|other| **other != source) {
            // An error means that it was not there.
            let _ = self.threshold_bytes.remove_label_values(&[other.label()]);
        }
        [self.used.collect(), self.limit.collect(), self.threshold_bytes.collect()].concat()
    }
}

/// An upload in flight, counted until it is dropped.
pub(crate) struct InFlight {
    metrics: Metrics,
    started: Instant,
    outcome: Outcome,
    _work: WorkGuard,
}

impl InFlight {
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.count(self.outcome);
        if self.outcome == Outcome::Stored {
            self.metrics.duration_seconds.observe(self.started.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_upload_is_in_flight_until_it_ends_and_cancelled_if_nobody_says_how() {
        let (registry, work) = (Registry::new(), WorkInFlight::default());
        let metrics = Metrics::register(&registry, work.clone()).unwrap();
        let (first, second) = (metrics.begin(), metrics.begin());
        assert_eq!((metrics.in_flight.get(), work.count()), (2, 2));
        first.end(Outcome::Stored);
        drop(second);
        assert_eq!((metrics.in_flight.get(), work.count()), (0, 0));
        let count = |outcome: Outcome| metrics.requests.with_label_values(&[outcome.label()]).get();
        assert_eq!(Outcome::ALL.map(count), [1, 0, 0, 0, 0, 1, 0]);
        assert_eq!(metrics.duration_seconds.get_sample_count(), 1);
    }
}
