//! How long a client may keep an upload waiting. Pure.

use std::time::Duration;

/// How much longer a client may keep us waiting: a purse of time, full at first, out of which every wait is paid and into which
/// every byte pays what it would have taken at the slowest rate allowed.
#[derive(Debug)]
pub(crate) struct Pace {
    allowance: Duration,
    allowance_max: Duration,
    bytes_per_second_min: u64,
}

impl Pace {
    pub(crate) fn new(idle_max: Duration, bytes_per_second_min: u64) -> Self {
        Self { allowance: idle_max, allowance_max: idle_max, bytes_per_second_min: bytes_per_second_min.max(1) }
    }

    /// The longest wait that is left; zero for a client that is too slow.
    pub(crate) fn allowance(&self) -> Duration {
        self.allowance
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.allowance = self.allowance.saturating_sub(time);
    }

    pub(crate) fn received(&mut self, bytes: u64) {
        if self.allowance < self.allowance_max {
            let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_second_min);
            self.allowance = self.allowance.saturating_add(earned).min(self.allowance_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a client that sends `bytes` every `every_seconds` has used up 30 s and 1 KiB/s, within an hour.
    fn patience_seconds(bytes: u64, every_seconds: u64) -> Option<u64> {
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        (1..=3600).find(|second| {
            pace.waited(Duration::from_secs(1));
            let gone = pace.allowance.is_zero();
            if second % every_seconds == 0 {
                pace.received(bytes);
            }
            gone
        })
    }

    #[test]
    fn silence_and_trickles_end_and_slow_links_do_not() {
        assert_eq!(patience_seconds(0, 1), Some(30));
        assert_eq!(patience_seconds(1, 1), Some(31));
        assert_eq!(patience_seconds(512, 1), Some(59));
        assert_eq!(patience_seconds(1024, 1), None);
        assert_eq!(patience_seconds(64 << 10, 29), None);
        assert_eq!(patience_seconds(64 << 10, 31), Some(30));
    }

    #[test]
    fn a_fast_start_earns_no_more_than_the_idle_time() {
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        pace.received(1 << 30);
        pace.waited(Duration::from_secs(30));
        assert!(pace.allowance.is_zero());
    }
}
