//! A row of a recorded trace as the watch takes it.

use crate::history::Observation;
use crate::memory::Equation;

/// What was read of a process at one time, in bytes. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// When.
    pub seconds: f64,
    /// jemalloc's `stats.allocated`, or what another allocator calls so.
    pub allocated_bytes: Option<i64>,
    /// `stats.active`.
    pub active_bytes: Option<i64>,
    /// `stats.resident`.
    pub resident_bytes: Option<i64>,
    /// Resident memory as the kernel counts it.
    pub rss_bytes: Option<i64>,
    /// Pieces of work in flight.
    pub in_flight: Option<u64>,
}

impl Reading {
    /// As the history takes it.
    pub fn observation(&self) -> Observation {
        Observation {
            seconds: self.seconds,
            live_bytes: self.allocated_bytes,
            slack_bytes: self.active_bytes.or(self.resident_bytes).zip(self.allocated_bytes).map(|(a, b)| a - b),
            outside_bytes: self.rss_bytes.zip(self.held_bytes()).map(|(a, b)| a - b),
            rss_bytes: self.rss_bytes,
            in_flight: self.in_flight,
        }
    }

    /// Where the resident bytes are, as far as the reading tells.
    pub fn equation(&self) -> Equation {
        let rss = self.rss_bytes.or(self.held_bytes()).unwrap_or_default();
        let Some(live) = self.allocated_bytes else {
            return Equation { outside_allocator_bytes: rss, ..Equation::default() };
        };
        let active = self.active_bytes.unwrap_or(live);
        let resident = self.held_bytes().unwrap_or(active);
        let retained_dirty = if self.active_bytes.is_some() { (resident - active.max(live)).max(0) } else { 0 };
        Equation {
            live_heap_bytes: live,
            allocator_overhead_bytes: resident - retained_dirty - live,
            retained_dirty_bytes: retained_dirty,
            outside_allocator_bytes: rss - resident,
        }
    }

    /// What the allocator holds resident, as far as is known.
    fn held_bytes(&self) -> Option<i64> {
        self.allocated_bytes.map(|allocated| self.resident_bytes.or(self.active_bytes).unwrap_or(allocated))
    }
}
