//! What the trends mean, said once and not taken back at every breath.
//!
//! Pure: trends, levels and time in; a judgement out. A climb must be significant, matter against the limit, stand
//! well above the noise and above any earlier fall, and go on evenly (`climb`). A verdict is entered only when it held
//! at [`CONFIRMATIONS`] looks; a climb is left when its recent slope is well below what raised it.

mod climb;
mod words;

use crate::history::{History, Series, Statistic};
use crate::memory::{Equation, Limit};
use crate::trend::{Slope, Trend};
use climb::{Climb, Seeker};
pub use climb::{SIGNS, Scales, Weighed};

/// Looks in a row, one each ten seconds, before a new verdict holds.
pub const CONFIRMATIONS: u32 = 2;

/// Before this age nothing is called flat.
const SETTLED_SECONDS: f64 = 120.0;

/// Share of the limit above which memory is near it, and below which it is no longer.
const NEAR_LIMIT: (f64, f64) = (0.90, 0.85);

/// Unused pages as a share of RSS, and of the limit, above which memory is retained; half of it to leave.
const RETAINED_OF_RSS: f64 = 0.30;
const RETAINED_OF_LIMIT: f64 = 0.05;

/// What memory is doing. Exactly one holds at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Too early to say.
    WarmingUp,
    /// Neither climbing nor high.
    Flat,
    /// Live bytes climb: a leak on the heap. Without jemalloc's statistics, RSS climbs.
    Climbing,
    /// RSS climbs without the allocator: mappings, thread stacks, another allocator.
    ClimbingOutsideAllocator,
    /// The allocator's pages climb while live bytes do not.
    Fragmenting,
    /// High, but unused and given back on demand.
    Retaining,
    /// High without a climb.
    NearLimit,
}

impl Verdict {
    /// Every verdict, in the order of the metrics.
    pub const ALL: [Self; 7] = [
        Self::WarmingUp,
        Self::Flat,
        Self::Climbing,
        Self::ClimbingOutsideAllocator,
        Self::Fragmenting,
        Self::Retaining,
        Self::NearLimit,
    ];

    /// As `/memory` and the metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WarmingUp => "warming_up",
            Self::Flat => "flat",
            Self::Climbing => "climbing",
            Self::ClimbingOutsideAllocator => "climbing_outside_allocator",
            Self::Fragmenting => "fragmenting",
            Self::Retaining => "retaining",
            Self::NearLimit => "near_limit",
        }
    }

    /// Whether memory will run out if nothing changes.
    pub fn is_climb(self) -> bool {
        matches!(self, Self::Climbing | Self::ClimbingOutsideAllocator | Self::Fragmenting)
    }
}

/// What is known at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Since the start of the process.
    pub seconds: f64,
    /// Where the resident bytes are.
    pub equation: Equation,
    /// Memory at which the process would be killed.
    pub limit: Limit,
    /// What was.
    pub history: &'a History,
}

/// When the limit is reached at the slope and at the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeToLimit {
    /// At the slope.
    pub seconds: f64,
    /// At the upper bound of the slope.
    pub low_seconds: f64,
    /// At the lower bound of the slope; infinite where that does not climb.
    pub high_seconds: f64,
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What memory is doing.
    pub verdict: Verdict,
    /// Since when, in seconds after the start of the process.
    pub since_seconds: f64,
    /// The slope it rests on: of a climb the one that showed it, else that of the longest window with data.
    pub slope: Option<Slope>,
    /// While memory climbs.
    pub time_to_limit: Option<TimeToLimit>,
    /// The angle of the slope where one limit a day is 45 degrees: negative falls, 90 is the wall, and 0 is level. Without
    /// a climb it is 0 where the slope's interval contains 0: no angle is claimed.
    pub trajectory_degrees: f64,
    /// The evidence in words.
    pub evidence: String,
}

/// Remembers what was said, so that a verdict does not flap.
#[derive(Debug, Clone)]
pub struct Judge {
    verdict: Verdict,
    since_seconds: f64,
    seekers: Vec<(Verdict, Seeker)>,
    climb: Option<(Verdict, Climb)>,
    pending: Option<(Verdict, u32)>,
}

impl Judge {
    /// Warming up. Climbs are looked for in `primary`, and where that is [`Series::Live`], beside it in what it leaves out.
    pub fn new(primary: Series) -> Self {
        let seekers = seekers(primary);
        Self { verdict: Verdict::WarmingUp, since_seconds: 0.0, seekers, climb: None, pending: None }
    }

    /// Looks again and returns the verdict that holds now. To be called each time a floor of the finest tier is
    /// complete. Cheap where nothing rises: well below a microsecond on average.
    pub fn look(&mut self, evidence: &Evidence<'_>) -> Verdict {
        self.seek(evidence);
        if let Some((verdict, _)) = self.climb {
            self.enter(verdict, evidence.seconds);
            return verdict;
        }
        let wanted = self.level(evidence, evidence.limit.bytes as f64);
        if wanted == self.verdict {
            self.pending = None;
            return wanted;
        }
        let seen = match self.pending {
            Some((verdict, seen)) if verdict == wanted => seen + 1,
            _ => 1,
        };
        self.pending = Some((wanted, seen));
        // The end of a climb or of the warm-up was weighed already.
        if self.verdict == Verdict::WarmingUp || self.verdict.is_climb() || seen >= CONFIRMATIONS {
            self.enter(wanted, evidence.seconds);
        }
        self.verdict
    }

    /// The verdict that holds, with what it rests on. `trend` is of the primary series.
    pub fn judgement(&self, evidence: &Evidence<'_>, trend: &Trend) -> Judgement {
        let slope = match &self.climb {
            Some((_, climb)) => Some(climb.slope),
            None => trend.slopes.last().copied(),
        };
        let limit = evidence.limit.bytes as f64;
        let room = (limit - recent_rss_bytes(evidence)).max(0.0);
        let time_to_limit = slope.filter(|_| self.verdict.is_climb()).map(|slope| {
            let at = |rate: f64| if rate > 0.0 { room / rate } else { f64::INFINITY };
            TimeToLimit {
                seconds: at(slope.estimate.bytes_per_second),
                low_seconds: at(slope.estimate.high),
                high_seconds: at(slope.estimate.low),
            }
        });
        let climbs = self.verdict.is_climb();
        let tilted = slope.filter(|slope| climbs || slope.estimate.low > 0.0 || slope.estimate.high < 0.0);
        let trajectory_degrees = tilted.map_or(0.0, |slope| {
            const DAY_SECONDS: f64 = 86_400.0;
            (slope.estimate.bytes_per_second * DAY_SECONDS / limit).atan().to_degrees()
        });
        Judgement {
            verdict: self.verdict,
            since_seconds: self.since_seconds,
            slope,
            time_to_limit,
            trajectory_degrees,
            evidence: words::evidence(self.verdict, evidence, slope, time_to_limit),
        }
    }

    fn enter(&mut self, verdict: Verdict, seconds: f64) {
        self.pending = None;
        if self.verdict != verdict {
            self.verdict = verdict;
            self.since_seconds = seconds;
        }
    }

    /// Follows the climb that was told, and looks for one that explains more: classes are in the order in which one
    /// accounts for the next.
    fn seek(&mut self, evidence: &Evidence<'_>) {
        let limit = evidence.limit.bytes as f64;
        for (verdict, seeker) in &mut self.seekers {
            if let Some((held, climb)) = &mut self.climb
                && *held == *verdict
            {
                if seeker.goes_on(evidence.history, climb) {
                    return;
                }
                self.climb = None;
            } else if let Some(climb) = seeker.seek(evidence.history, limit) {
                self.climb = Some((*verdict, climb));
                return;
            }
        }
    }

    fn rises(&self, evidence: &Evidence<'_>, limit: f64) -> bool {
        self.seekers.iter().any(|(_, seeker)| seeker.rises(evidence.history, limit))
    }

    fn level(&self, evidence: &Evidence<'_>, limit: f64) -> Verdict {
        let rss = evidence.equation.rss_bytes() as f64;
        let retained = evidence.equation.retained_dirty_bytes as f64;
        let ease = if self.verdict == Verdict::Retaining { 0.5 } else { 1.0 };
        let near = if self.verdict == Verdict::NearLimit { NEAR_LIMIT.1 } else { NEAR_LIMIT.0 };
        let retains = retained >= RETAINED_OF_RSS * ease * rss && retained >= RETAINED_OF_LIMIT * ease * limit;
        let age = evidence.history.now_seconds() - evidence.history.first_seconds().unwrap_or(f64::INFINITY);
        if retains && rss - retained < near * limit {
            Verdict::Retaining
        } else if rss >= near * limit {
            Verdict::NearLimit
        } else if age < SETTLED_SECONDS || (self.verdict == Verdict::WarmingUp && self.rises(evidence, limit)) {
            Verdict::WarmingUp
        } else {
            Verdict::Flat
        }
    }
}

/// What is looked at, in the order in which one accounts for the next.
fn seekers(primary: Series) -> Vec<(Verdict, Seeker)> {
    let mut seekers = vec![(Verdict::Climbing, Seeker::new(primary))];
    if primary == Series::Live {
        seekers.push((Verdict::ClimbingOutsideAllocator, Seeker::new(Series::Outside)));
        seekers.push((Verdict::Fragmenting, Seeker::new(Series::Slack)));
    }
    seekers
}

/// The middle of the newest RSS values: the limit is not reached by one spike.
fn recent_rss_bytes(evidence: &Evidence<'_>) -> f64 {
    const VALUES: usize = 9;
    let history = evidence.history;
    let points = history.points(0, Series::Rss, Statistic::Middle, history.now_seconds() - 3_600.0);
    let mut values: Vec<f64> = points.rev().take(VALUES).map(|point| point.bytes).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(evidence.equation.rss_bytes() as f64)
}

impl Default for Judge {
    fn default() -> Self {
        Self::new(Series::Live)
    }
}

#[cfg(test)]
mod tests;
