//! The line from an observation to a judgement: history, trend, verdict. Pure, so that a recorded trace gets the
//! answers that the live agent would have given.

use crate::history::{History, Observation, Series};
use crate::memory::{Equation, Limit};
use crate::trend::{Trend, trend};
use crate::verdict::{Evidence, Judge, Judgement};

/// Watches one process.
#[derive(Debug, Clone)]
pub struct Watch {
    primary: Series,
    history: History,
    judge: Judge,
}

/// What a look gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Of the series watched.
    pub trend: Trend,
    /// What it means.
    pub judgement: Judgement,
}

impl Watch {
    /// Judges by the floor of `primary`: [`Series::Live`], or [`Series::Rss`] where the allocator says nothing.
    pub fn new(primary: Series) -> Self {
        Self { primary, history: History::new(), judge: Judge::new() }
    }

    /// Takes an observation in; returns whether a floor is complete and it is time to [`Watch::judge`].
    pub fn observe(&mut self, observation: &Observation) -> bool {
        self.history.observe(observation)
    }

    /// Looks at the trends at `seconds` after the start of the process, when memory is as `equation` says.
    pub fn judge(&mut self, seconds: f64, equation: Equation, limit: Limit) -> Outlook {
        let of = |series| trend(&self.history, series, seconds);
        let primary = of(self.primary);
        // RSS alone cannot be told apart.
        let (slack, outside) = match self.primary {
            Series::Live => (of(Series::Slack), of(Series::Outside)),
            _ => Default::default(),
        };
        let judgement =
            self.judge.judge(&Evidence { seconds, equation, limit, live: &primary, slack: &slack, outside: &outside });
        Outlook { trend: primary, judgement }
    }

    /// The newest floor, in bytes.
    pub fn floor_bytes(&self) -> Option<i64> {
        self.history.floor_bytes(self.primary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::LimitSource;
    use crate::verdict::Verdict;

    const LIMIT: Limit = Limit { bytes: 1 << 30, source: LimitSource::Configured };

    /// Looks at uneven intervals, with a gap, at a process whose RSS climbs by 400 KB/s from its tenth minute on.
    fn outlooks_of_rss(looks: u32) -> Vec<(f64, Outlook)> {
        let mut watch = Watch::new(Series::Rss);
        let mut outlooks = Vec::new();
        let mut seconds = 0.0;
        for look in 0..looks {
            seconds += if look == 300 { 90.0 } else { 0.7 + f64::from(look % 5) * 0.2 };
            let rss = 50e6 + 4e5 * (seconds - 600.0_f64).max(0.0) + f64::from(look % 7) * 1e5;
            let rss_bytes = Some(rss as i64);
            if watch.observe(&Observation { seconds, rss_bytes, ..Observation::default() }) {
                outlooks.push((seconds, watch.judge(seconds, Equation::new(rss as u64, None), LIMIT)));
            }
        }
        outlooks
    }

    #[test]
    fn a_prefix_of_a_trace_gets_a_prefix_of_the_answers() {
        let all = outlooks_of_rss(900);
        let some = outlooks_of_rss(500);
        assert!(some.len() > 30);
        assert_eq!(all[..some.len()], some);
    }

    #[test]
    fn without_the_allocators_statistics_rss_is_judged() {
        let mut said: Vec<(f64, Verdict)> = Vec::new();
        for (seconds, Outlook { judgement, .. }) in outlooks_of_rss(1_000) {
            if said.last().is_none_or(|(_, verdict)| *verdict != judgement.verdict) {
                said.push((seconds, judgement.verdict));
            }
        }
        let verdicts: Vec<_> = said.iter().map(|(_, verdict)| *verdict).collect();
        assert_eq!(verdicts, [Verdict::WarmingUp, Verdict::Flat, Verdict::Climbing], "{said:?}");
        assert!((600.0..1_000.0).contains(&said[2].0), "{said:?}");
    }
}
