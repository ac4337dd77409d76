//! When a profile is worth keeping. Pure: looks in, a reason out.

use crate::verdict::Verdict;

/// The first profile, seconds after the start: what memory is compared with later.
pub const FIRST_SECONDS: f64 = 30.0;
/// Bounds of the time between two periodic profiles; in between it is a quarter of the uptime.
pub const PERIOD_SECONDS: (f64, f64) = (300.0, 3_600.0);
/// Shares of the limit that are left: a profile is taken as memory passes each.
pub const HEADROOM_SHARES: [f64; 6] = [0.50, 0.25, 0.15, 0.10, 0.05, 0.02];
/// A share counts anew when so many times as much is left again.
const HEADROOM_EASE: f64 = 1.3;
/// A new high-water mark of the floor is this much above the one before...
const MARK_SHARE: f64 = 0.25;
/// ...and at least so many bytes.
const MARK_BYTES_MIN: f64 = 16.0 * 1_048_576.0;
/// Between two profiles of whichever reason.
pub const SPACING_SECONDS: f64 = 5.0;

/// Why a profile was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Time had passed.
    Periodic,
    /// Somebody asked.
    Request,
    /// Headroom shrank: the floor reached a new high, or the limit came nearer; and the last of a process that the
    /// kernel killed for want of memory.
    Headroom,
    /// The verdict changed.
    Verdict,
}

impl Reason {
    pub(crate) const ALL: [Reason; 4] = [Self::Periodic, Self::Request, Self::Headroom, Self::Verdict];

    /// As `/profiles` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Periodic => "periodic",
            Self::Request => "request",
            Self::Headroom => "headroom",
            Self::Verdict => "verdict",
        }
    }

    /// Whether names are found at once, and not when somebody reads the profile: where memory is in trouble, evidence
    /// has to outlive the program's next version.
    pub(crate) fn wants_names(self, verdict: Verdict) -> bool {
        match self {
            Self::Request | Self::Headroom => true,
            Self::Periodic | Self::Verdict => verdict.is_climb() || verdict == Verdict::NearLimit,
        }
    }
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Look {
    /// Since the start.
    pub(crate) seconds: f64,
    pub(crate) verdict: Verdict,
    pub(crate) floor_bytes: f64,
    pub(crate) rss_bytes: f64,
    pub(crate) limit_bytes: f64,
}

/// What the last profiles were taken at.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    verdict: Verdict,
    /// How many of [`HEADROOM_SHARES`] were passed.
    passed: usize,
    mark_bytes: Option<f64>,
    last_seconds: Option<f64>,
    /// Nothing before this time.
    not_before_seconds: f64,
}

impl Policy {
    pub(crate) fn new() -> Self {
        Self { verdict: Verdict::WarmingUp, passed: 0, mark_bytes: None, last_seconds: None, not_before_seconds: 0.0 }
    }

    /// Whether to take a profile now. It goes on saying so until it hears what became of it.
    pub(crate) fn due(&mut self, look: &Look) -> Option<Reason> {
        self.ease(look);
        if look.seconds < self.not_before_seconds {
            return None;
        }
        if look.verdict != self.verdict {
            return Some(Reason::Verdict);
        }
        if passed(look) > self.passed || self.mark_bytes.is_some_and(|mark| look.floor_bytes > next_mark(mark)) {
            return Some(Reason::Headroom);
        }
        let due_seconds = self
            .last_seconds
            .map_or(FIRST_SECONDS, |last| last + (look.seconds / 4.0).clamp(PERIOD_SECONDS.0, PERIOD_SECONDS.1));
        (look.seconds >= due_seconds).then_some(Reason::Periodic)
    }

    /// A profile was taken, or could not be: then the next attempt is after a pause.
    pub(crate) fn attempted(&mut self, look: &Look, is_taken: bool) {
        self.not_before_seconds = look.seconds + SPACING_SECONDS;
        if is_taken {
            self.verdict = look.verdict;
            self.passed = self.passed.max(passed(look));
            self.last_seconds = Some(look.seconds);
            self.mark_bytes = Some(self.mark_bytes.map_or(look.floor_bytes, |mark| mark.max(look.floor_bytes)));
        }
    }

    fn ease(&mut self, look: &Look) {
        while self.passed > 0 && share_left(look) > HEADROOM_SHARES[self.passed - 1] * HEADROOM_EASE {
            self.passed -= 1;
        }
    }
}

fn share_left(look: &Look) -> f64 {
    if look.limit_bytes > 0.0 { (1.0 - look.rss_bytes / look.limit_bytes).max(0.0) } else { 1.0 }
}

fn passed(look: &Look) -> usize {
    let left = share_left(look);
    HEADROOM_SHARES.iter().filter(|&&share| left <= share).count()
}

fn next_mark(mark: f64) -> f64 {
    mark + (mark * MARK_SHARE).max(MARK_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    /// Looks each second at a shape, under a limit of 1,000 MiB; each profile with its second.
    fn run(seconds: u32, shape: impl Fn(f64) -> (Verdict, f64)) -> Vec<(u32, Reason)> {
        let (mut policy, mut taken) = (Policy::new(), Vec::new());
        for second in 0..seconds {
            let (verdict, bytes) = shape(f64::from(second));
            let look = Look {
                seconds: second.into(),
                verdict,
                floor_bytes: bytes,
                rss_bytes: bytes,
                limit_bytes: 1_000.0 * MIB,
            };
            if let Some(reason) = policy.due(&look) {
                policy.attempted(&look, true);
                taken.push((second, reason));
            }
        }
        taken
    }

    #[test]
    fn a_quiet_process_is_seen_now_and_then() {
        let taken =
            run(86_400, |seconds| (if seconds < 100.0 { Verdict::WarmingUp } else { Verdict::Flat }, 100.0 * MIB));
        assert_eq!(taken[..2], [(30, Reason::Periodic), (100, Reason::Verdict)]);
        assert!(taken[2..].iter().all(|(_, reason)| *reason == Reason::Periodic));
        assert!((30..50).contains(&taken.len()), "{}", taken.len());
    }

    #[test]
    fn a_climb_is_seen_more_often_as_headroom_shrinks() {
        let taken = run(900, |seconds| {
            (if seconds < 120.0 { Verdict::WarmingUp } else { Verdict::Climbing }, 10.0 * MIB + seconds * 1.1 * MIB)
        });
        let of = |wanted| taken.iter().filter(|(_, reason)| *reason == wanted).count();
        assert_eq!(of(Reason::Verdict), 1);
        assert!(of(Reason::Headroom) >= HEADROOM_SHARES.len(), "{taken:?}");
        let within = |from, to| taken.iter().filter(|(second, _)| (from..to).contains(second)).count();
        assert!(within(700, 900) > within(400, 600), "{taken:?}");
    }

    #[test]
    fn a_sawtooth_around_a_share_is_not_recorded_at_each_tooth() {
        let taken = run(3_600, |seconds| (Verdict::WarmingUp, 495.0 * MIB + seconds % 20.0 * MIB));
        assert!(taken.iter().filter(|(_, reason)| *reason == Reason::Headroom).count() <= 2, "{taken:?}");
    }

    #[test]
    fn what_failed_is_tried_again_after_a_pause() {
        let mut policy = Policy::new();
        let look = |seconds| Look {
            seconds,
            verdict: Verdict::Climbing,
            floor_bytes: 1.0,
            rss_bytes: 1.0,
            limit_bytes: 100.0,
        };
        assert_eq!(policy.due(&look(1.0)), Some(Reason::Verdict));
        policy.attempted(&look(1.0), false);
        assert_eq!(policy.due(&look(2.0)), None);
        assert_eq!(policy.due(&look(1.0 + SPACING_SECONDS)), Some(Reason::Verdict));
    }
}
