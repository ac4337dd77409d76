//! The history's own time: that of the observations, going on where a clock was set back.

/// A clock that goes back by more than this was set; by less, rows are out of order.
const CLOCK_STEP_SECONDS: f64 = 60.0;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) offset_seconds: f64,
    pub(super) last_seconds: f64,
    pub(super) interval_seconds: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { offset_seconds: 0.0, last_seconds: f64::NEG_INFINITY, interval_seconds: 0.0 }
    }
}

impl Clock {
    pub(super) fn read(&mut self, seconds: f64) -> Option<f64> {
        if !seconds.is_finite() {
            return None;
        }
        let mut now = seconds + self.offset_seconds;
        if now < self.last_seconds - CLOCK_STEP_SECONDS.max(3.0 * self.interval_seconds) {
            self.offset_seconds = self.last_seconds + self.interval_seconds - seconds;
            now = seconds + self.offset_seconds;
        } else if self.last_seconds == f64::NEG_INFINITY && now < 0.0 {
            self.offset_seconds = -now;
            now = 0.0;
        }
        if now < self.last_seconds {
            return None;
        }
        if self.last_seconds.is_finite() && now > self.last_seconds {
            self.interval_seconds = now - self.last_seconds;
        }
        self.last_seconds = now;
        Some(now)
    }
}
