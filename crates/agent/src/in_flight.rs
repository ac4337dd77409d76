//! How much work the host has in hand, so that memory that belongs to it is not taken for a leak.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A gauge of requests, uploads or jobs in flight. Clones share one count; starting and ending work is one atomic
/// addition each.
#[derive(Debug, Clone, Default)]
pub struct WorkInFlight(Arc<AtomicU64>);

impl WorkInFlight {
    /// Counts one piece of work until the guard is dropped.
    #[must_use = "the work ends when the guard is dropped"]
    pub fn begin(&self) -> WorkGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        WorkGuard(self.0.clone())
    }

    /// Pieces of work in flight now.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One piece of work in flight.
#[derive(Debug)]
pub struct WorkGuard(Arc<AtomicU64>);

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_counts_until_it_is_dropped() {
        let work = WorkInFlight::default();
        let first = work.begin();
        let second = work.clone().begin();
        assert_eq!(work.count(), 2);
        drop(first);
        assert_eq!(work.count(), 1);
        drop(second);
        assert_eq!(work.count(), 0);
    }
}
