//! What makes a series climb: the looks that are taken at it, and the tests that each must pass.

mod calm;
mod daily;
mod day;
mod falls;
mod fills;
mod fit;
mod heights;
mod plain;
mod rivals;
mod shape;
mod signs;
mod urgent;
mod weights;
mod window;

use crate::history::{History, Series};
use crate::trend::{Estimate, Slope, Window};
use calm::Calm;
pub use signs::NAMES as SIGNS;
use window::{Look, Shown};

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

/// A rise that was weighed: the window that showed it, and a value for each of [`SIGNS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighed {
    /// Length of the window.
    pub window_seconds: f64,
    /// In the order of [`SIGNS`].
    pub signs: [f32; SIGNS.len()],
}

/// What a [`super::Judge`] weighs, without a verdict: what its weights are learned from.
#[derive(Debug, Clone)]
pub struct Scales(Vec<Seeker>);

impl Scales {
    /// Of the series that a judge of `primary` looks at.
    pub fn new(primary: Series) -> Self {
        Self(super::seekers(primary).into_iter().map(|(_, seeker)| seeker).collect())
    }

    /// Weighs what each window shows that is due, each time a floor of the finest tier is complete.
    pub fn look(&mut self, history: &History, limit_bytes: f64) -> Vec<Weighed> {
        self.0.iter_mut().flat_map(|seeker| seeker.weigh(history, limit_bytes)).collect()
    }
}

/// Looks for climbs in one series, each window when it is due.
#[derive(Debug, Clone)]
pub(super) struct Seeker {
    series: Series,
    calm: Calm,
    /// When the first of the windows is due.
    due_seconds: f64,
    /// Of each of the windows.
    kept: Vec<window::Kept>,
    daily_due_seconds: f64,
    urgent_due_seconds: f64,
    clear_due_seconds: f64,
    /// Nothing before it counts: the end of the last climb.
    since_seconds: f64,
}

impl Seeker {
    pub(super) fn new(series: Series) -> Self {
        Self {
            series,
            calm: Calm::new(series, CALM_WINDOWS * window::SECONDS_MAX),
            due_seconds: 0.0,
            kept: window::LOOKS.iter().map(|look| look.kept(series)).collect(),
            daily_due_seconds: 0.0,
            urgent_due_seconds: 0.0,
            clear_due_seconds: 0.0,
            since_seconds: 0.0,
        }
    }

    /// The climb that can be seen now, by the shortest window that shows it.
    pub(super) fn seek(&mut self, history: &History, limit_bytes: f64) -> Option<Climb> {
        let now = history.now_seconds();
        if now >= self.urgent_due_seconds {
            self.urgent_due_seconds = now + urgent::EVERY_SECONDS;
            if let Some(estimate) = urgent::climbs(history, self.series, self.since_seconds, limit_bytes) {
                let found = Found::Window(estimate.span_seconds);
                return Some(Self::climb(estimate.span_seconds, estimate, estimate, found));
            }
        }
        let series = self.series;
        let line = |look: &Look, shown: &Shown| {
            let line = look.climbs(shown)?;
            let comes_back = !look.is_rocket() && heights::comes_back(history, series, look.seconds);
            (!comes_back).then_some((look.seconds, line))
        };
        if let Some((seconds, line)) = self.look(history, limit_bytes, line) {
            let of_day = day::over_a_day(history, self.series, self.since_seconds, seconds, line);
            return Some(Self::climb(seconds, line, of_day, Found::Window(seconds)));
        }
        if now >= self.daily_due_seconds {
            self.daily_due_seconds = now + daily::EVERY_SECONDS;
            if let Some(estimate) = daily::climbs(history, self.series, self.since_seconds, limit_bytes) {
                let of_day = day::since_its_start(history, self.series, self.since_seconds, estimate);
                return Some(Self::climb(estimate.span_seconds, estimate, of_day, Found::Daily));
            }
        }
        None
    }

    /// Everything that the windows which are due weigh now, told or not.
    fn weigh(&mut self, history: &History, limit_bytes: f64) -> Vec<Weighed> {
        let mut all = Vec::new();
        self.look(history, limit_bytes, |look, shown| {
            if let Shown::Rise(rise) = shown {
                all.push(Weighed { window_seconds: look.seconds, signs: rise.signs });
            }
            None::<()>
        });
        all
    }

    /// Looks at each window that is due, shortest first, until `found` finds something.
    fn look<T>(
        &mut self,
        history: &History,
        limit_bytes: f64,
        mut found: impl FnMut(&Look, &Shown) -> Option<T>,
    ) -> Option<T> {
        let now = history.now_seconds();
        if now < self.due_seconds {
            return None;
        }
        self.due_seconds = now;
        let most = self.calm.gained_max(history) / limit_bytes;
        let mut due_seconds = now + CALM_SECONDS;
        for (look, kept) in window::LOOKS.iter().zip(&mut self.kept).take_while(|(look, _)| !look.is_level(most)) {
            if now >= kept.due_seconds {
                let shown = look.look(history, self.series, self.since_seconds, limit_bytes, kept);
                kept.due_seconds = now + look.wait_seconds(&shown);
                if let Some(found) = found(look, &shown) {
                    return Some(found);
                }
            }
            due_seconds = due_seconds.min(kept.due_seconds);
        }
        self.due_seconds = due_seconds;
        None
    }

    /// Whether it rises now so that nobody would call it flat, in a process that may still settle.
    pub(super) fn rises(&self, history: &History, limit_bytes: f64) -> bool {
        urgent::rises(history, self.series, limit_bytes)
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
        let estimate = match climb.found {
            Found::Window(seconds) => day::over_a_day(history, self.series, self.since_seconds, seconds, recent),
            Found::Daily => day::since_its_start(history, self.series, self.since_seconds, recent),
        };
        climb.slope = Slope { window: named(recent.span_seconds), estimate };
        true
    }

    /// A climb that was raised by a line, and what is said of its slope.
    fn climb(seconds: f64, raised: Estimate, estimate: Estimate, found: Found) -> Climb {
        let raised_bytes_per_second = raised.bytes_per_second;
        Climb { slope: Slope { window: named(seconds), estimate }, found, raised_bytes_per_second }
    }
}

/// How often it is asked whether a series is calm.
const CALM_SECONDS: f64 = 20.0;

/// How far back a series must be calm, in lengths of the longest window: a bucket may have begun before.
const CALM_WINDOWS: f64 = 1.1;

/// A climb is over when its recent slope is below this share of what raised it.
const CLEAR_SHARE: f64 = 1.0 / 3.0;

fn named(seconds: f64) -> Window {
    Window { seconds, label: "climb", tier: 0 }
}
