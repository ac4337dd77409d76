//! What the sampler knows and the admin routes and metrics tell: one truth.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::in_flight::WorkInFlight;
use crate::memory::{Limit, MemoryReader, Sample};
use crate::readiness::Readiness;
use crate::watch::Outlook;

/// Shared by the sampler's and the admin server's thread and by whoever gathers the registry.
pub(crate) struct State {
    started: Instant,
    pub(crate) reader: MemoryReader,
    pub(crate) readiness: Readiness,
    pub(crate) work: WorkInFlight,
    pub(crate) pprof: bool,
    report: Mutex<Report>,
}

/// The sampler's newest results.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) limit: Limit,
    /// The newest floor of live bytes, or of RSS without jemalloc's statistics.
    pub(crate) floor_bytes: i64,
    pub(crate) outlook: Outlook,
}

impl State {
    pub(crate) fn new(
        started: Instant,
        reader: MemoryReader,
        readiness: Readiness,
        pprof: bool,
        report: Report,
    ) -> Self {
        Self { started, reader, readiness, work: WorkInFlight::default(), pprof, report: Mutex::new(report) }
    }

    /// Seconds since the agent's start.
    pub(crate) fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Memory as it is now.
    pub(crate) fn sample(&self) -> io::Result<Sample> {
        self.reader.sample()
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
