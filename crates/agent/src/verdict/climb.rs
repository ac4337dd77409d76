//! What makes a series climb: the looks that are taken at it, and the tests that each must pass.

mod daily;
mod rivals;
mod shape;
mod urgent;
mod window;

use crate::history::{History, Series};
use crate::trend::{Estimate, Slope, Window};
use window::Opinion;

/// A climb that was told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Climb {
    /// Over the stretch that climbs.
    pub(super) slope: Slope,
    /// How it was found, which is how its end is looked for.
    found: Found,
    raised_bytes_per_second: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    Window(f64),
    Daily,
}

/// Looks for climbs in one series, each window when it is due.
#[derive(Debug, Clone)]
pub(super) struct Seeker {
    series: Series,
    due_seconds: [f64; window::LOOKS.len()],
    daily_due_seconds: f64,
    urgent_due_seconds: f64,
    clear_due_seconds: f64,
    /// Until when what each window showed is explained by something healthy.
    healthy_until_seconds: [f64; window::LOOKS.len()],
    /// Nothing before it counts: the end of the last climb.
    since_seconds: f64,
}

impl Seeker {
    pub(super) fn new(series: Series) -> Self {
        Self {
            series,
            due_seconds: [0.0; window::LOOKS.len()],
            daily_due_seconds: 0.0,
            urgent_due_seconds: 0.0,
            clear_due_seconds: 0.0,
            healthy_until_seconds: [0.0; window::LOOKS.len()],
            since_seconds: 0.0,
        }
    }

    /// The climb that can be seen now, by the shortest window that shows it.
    pub(super) fn seek(&mut self, history: &History, limit_bytes: f64) -> Option<Climb> {
        let now = history.now_seconds();
        let age_seconds = now - history.first_seconds().unwrap_or(now).max(self.since_seconds);
        if now >= self.urgent_due_seconds {
            self.urgent_due_seconds = now + urgent::EVERY_SECONDS;
            if let Some(estimate) = urgent::climbs(history, self.series, self.since_seconds, limit_bytes) {
                return Some(Self::climb(estimate.span_seconds, estimate, Found::Window(estimate.span_seconds)));
            }
        }
        for (place, look) in window::LOOKS.iter().enumerate() {
            if now < self.due_seconds[place] {
                continue;
            }
            self.due_seconds[place] = now + look.every_seconds();
            match look.climbs(history, self.series, self.since_seconds, limit_bytes) {
                Opinion::Unremarkable | Opinion::Early => {}
                Opinion::Healthy => self.healthy_until_seconds[place] = now + look.holds_seconds(),
                Opinion::Climbs(_) if self.is_explained(look.seconds, age_seconds, now) => {}
                Opinion::Climbs(estimate) => {
                    return Some(Self::climb(look.seconds, estimate, Found::Window(look.seconds)));
                }
            }
        }
        if now >= self.daily_due_seconds {
            self.daily_due_seconds = now + daily::EVERY_SECONDS;
            if let Some(estimate) = daily::climbs(history, self.series, self.since_seconds, limit_bytes) {
                return Some(Self::climb(estimate.span_seconds, estimate, Found::Daily));
            }
        }
        None
    }

    /// Whether it rises now so that nobody would call it flat, in a process that may still settle.
    pub(super) fn rises(&self, history: &History, limit_bytes: f64) -> bool {
        urgent::rises(history, self.series, limit_bytes)
    }

    /// Whether a window that sees nearly as much, or more, is explained by something healthy.
    fn is_explained(&self, seconds: f64, age_seconds: f64, now: f64) -> bool {
        let enough = EXPLAINED_SHARE * seconds.min(age_seconds);
        let windows = window::LOOKS.iter().zip(&self.healthy_until_seconds);
        windows.into_iter().any(|(look, until)| now < *until && look.seconds.min(age_seconds) >= enough)
    }

    /// Whether a climb that was told goes on; its slope is brought up to date.
    pub(super) fn goes_on(&mut self, history: &History, climb: &mut Climb) -> bool {
        let now = history.now_seconds();
        if now < self.clear_due_seconds {
            return true;
        }
        let recent = match climb.found {
            Found::Window(seconds) => {
                self.clear_due_seconds = now + (seconds / 24.0).clamp(20.0, 600.0);
                window::recent(history, self.series, (0.6 * seconds).max(300.0))
            }
            Found::Daily => {
                self.clear_due_seconds = now + daily::EVERY_SECONDS;
                daily::recent(history, self.series)
            }
        };
        let Some(recent) = recent else { return true };
        if recent.bytes_per_second < CLEAR_SHARE * climb.raised_bytes_per_second {
            self.since_seconds = now;
            return false;
        }
        climb.slope = Slope { window: named(recent.span_seconds), estimate: recent };
        true
    }

    fn climb(seconds: f64, estimate: Estimate, found: Found) -> Climb {
        Climb {
            slope: Slope { window: named(seconds), estimate },
            found,
            raised_bytes_per_second: estimate.bytes_per_second,
        }
    }
}

/// A healthy explanation holds for longer windows, too, that see at most this much more.
const EXPLAINED_SHARE: f64 = 0.7;

/// A climb is over when its recent slope is below this share of what raised it.
const CLEAR_SHARE: f64 = 1.0 / 3.0;

fn named(seconds: f64) -> Window {
    Window { seconds, label: "climb", tier: 0 }
}
