//! What the trends mean, said once and not taken back at every breath.
//!
//! Pure: trends, levels and time in; a judgement out. A climb must be significant, matter against the limit, stand
//! well above the noise and above any earlier fall, and go on evenly (`climb`). A verdict is entered only when it held
//! at [`CONFIRMATIONS`] looks, and left only after [`CLEARINGS`].

mod climb;
mod words;

use crate::memory::{Equation, Limit};
use crate::trend::{Slope, Trend};

/// Looks in a row, one each ten seconds, before a new verdict holds.
pub const CONFIRMATIONS: u32 = 2;

/// Looks in a row without its cause before a climb is taken back.
pub const CLEARINGS: u32 = 3;

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
    /// Of live bytes; of RSS where the allocator's statistics are absent.
    pub live: &'a Trend,
    /// Of what the allocator holds in used pages beyond the live bytes; empty where unknown.
    pub slack: &'a Trend,
    /// Of what is resident without the allocator; empty where unknown.
    pub outside: &'a Trend,
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
    climb: Option<climb::Alarm>,
    pending: Option<(Verdict, u32)>,
}

impl Judge {
    /// Warming up.
    pub fn new() -> Self {
        Self { verdict: Verdict::WarmingUp, since_seconds: 0.0, climb: None, pending: None }
    }

    /// Looks again. To be called each time a floor of the finest tier is complete.
    pub fn judge(&mut self, evidence: &Evidence<'_>) -> Judgement {
        let (wanted, alarm) = self.wanted(evidence);
        if wanted == self.verdict {
            self.pending = None;
            if alarm.is_some() {
                self.climb = alarm;
            }
        } else {
            let seen = match self.pending {
                Some((verdict, seen)) if verdict == wanted => seen + 1,
                _ => 1,
            };
            self.pending = Some((wanted, seen));
            if seen >= self.looks_needed(wanted) {
                self.verdict = wanted;
                self.since_seconds = evidence.seconds;
                self.climb = alarm;
                self.pending = None;
            }
        }
        self.judgement(evidence)
    }

    fn looks_needed(&self, wanted: Verdict) -> u32 {
        match (self.verdict, wanted) {
            (Verdict::WarmingUp, Verdict::Flat) => 1,
            (from, to) if from.is_climb() && !to.is_climb() => CLEARINGS,
            _ => CONFIRMATIONS,
        }
    }

    /// The verdict that this look alone calls for, given the one that holds.
    fn wanted(&self, evidence: &Evidence<'_>) -> (Verdict, Option<climb::Alarm>) {
        let limit = evidence.limit.bytes as f64;
        let classes = [
            (Verdict::Climbing, evidence.live),
            (Verdict::ClimbingOutsideAllocator, evidence.outside),
            (Verdict::Fragmenting, evidence.slack),
        ];
        // A climb that was told goes on until its slope has come down, so it is looked at before any other.
        let held = classes.iter().find(|(verdict, _)| *verdict == self.verdict);
        if let (Some((verdict, trend)), Some(alarm)) = (held, &self.climb)
            && let Some(alarm) = alarm.go_on(trend).or_else(|| climb::raise(trend, limit))
        {
            return (*verdict, Some(alarm));
        }
        if let Some((verdict, alarm)) =
            classes.iter().find_map(|(verdict, trend)| Some((*verdict, climb::raise(trend, limit)?)))
        {
            return (verdict, Some(alarm));
        }
        (self.level(evidence, limit), None)
    }

    fn level(&self, evidence: &Evidence<'_>, limit: f64) -> Verdict {
        let rss = evidence.equation.rss_bytes() as f64;
        let retained = evidence.equation.retained_dirty_bytes as f64;
        let ease = if self.verdict == Verdict::Retaining { 0.5 } else { 1.0 };
        let near = if self.verdict == Verdict::NearLimit { NEAR_LIMIT.1 } else { NEAR_LIMIT.0 };
        let retains = retained >= RETAINED_OF_RSS * ease * rss && retained >= RETAINED_OF_LIMIT * ease * limit;
        if retains && rss - retained < near * limit {
            Verdict::Retaining
        } else if rss >= near * limit {
            Verdict::NearLimit
        } else if evidence.live.slopes.is_empty() {
            Verdict::WarmingUp
        } else {
            Verdict::Flat
        }
    }

    fn judgement(&self, evidence: &Evidence<'_>) -> Judgement {
        let slope = match &self.climb {
            Some(alarm) => Some(alarm.slope),
            None => evidence.live.slopes.last().copied(),
        };
        let limit = evidence.limit.bytes as f64;
        let rss = evidence.equation.rss_bytes() as f64;
        let time_to_limit = slope.filter(|_| self.verdict.is_climb()).map(|slope| {
            let room = (limit - rss).max(0.0);
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
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
