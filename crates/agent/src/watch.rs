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
        let judgement = self.judge.judge(&Evidence {
            seconds,
            equation,
            limit,
            live: &primary,
            slack: &slack,
            outside: &outside,
        });
        Outlook { trend: primary, judgement }
    }

    /// The newest floor, in bytes.
    pub fn floor_bytes(&self) -> Option<i64> {
        self.history.floor_bytes(self.primary)
    }
}
