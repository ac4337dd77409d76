//! The line from an observation to a judgement: history, trend, verdict. Pure, so that a recorded trace gets the
//! answers that the live agent would have given.

mod reading;

use crate::history::{History, Observation, Series};
use crate::memory::{Equation, Limit};
use crate::trend::{Trend, trend};
use crate::verdict::{Evidence, Judge, Judgement, Verdict};

pub use reading::Reading;

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
        Self { primary, history: History::new(), judge: Judge::new(primary) }
    }

    /// Takes an observation in; returns whether a floor is complete and it is time to [`Watch::judge`].
    pub fn observe(&mut self, observation: &Observation) -> bool {
        self.history.observe(observation)
    }

    /// Looks at `seconds` after the start of the process, when memory is as `equation` says, and returns the verdict that
    /// holds: what [`Watch::judge`] does without putting it in words.
    pub fn look(&mut self, seconds: f64, equation: Equation, limit: Limit) -> Verdict {
        self.judge.look(&Evidence { seconds, equation, limit, history: &self.history })
    }

    /// Takes a row of a recorded trace in, and returns the verdict that holds if it was looked for.
    pub fn read(&mut self, reading: &Reading, limit: Limit) -> Option<Verdict> {
        self.observe(&reading.observation()).then(|| self.look(reading.seconds, reading.equation(), limit))
    }

    /// Looks, and tells the trends and what the verdict rests on.
    pub fn judge(&mut self, seconds: f64, equation: Equation, limit: Limit) -> Outlook {
        self.look(seconds, equation, limit);
        self.outlook(seconds, equation, limit)
    }

    /// The trends and what the verdict rests on, without another look.
    pub fn outlook(&self, seconds: f64, equation: Equation, limit: Limit) -> Outlook {
        let trend = trend(&self.history, self.primary, self.history.now_seconds());
        let evidence = Evidence { seconds, equation, limit, history: &self.history };
        let judgement = self.judge.judgement(&evidence, &trend);
        Outlook { trend, judgement }
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
    use proptest::prelude::*;

    /// Memory in units of a millionth of the limit, of many shapes, at uneven times.
    fn trace(seed: u64, shape: u8, interval: f64) -> Vec<Reading> {
        let mut chance = seed;
        let mut unit = move || {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut seconds = 0.0;
        (0..700)
            .map(|look| {
                seconds += if look == 300 { 20.0 * interval } else { interval * (0.9 + 0.2 * unit()) };
                let part = seconds / (700.0 * interval);
                let level = match shape {
                    0 => 0.2 + 0.5 * part,
                    1 => 0.2 + 0.5 * (part - 0.4).max(0.0),
                    2 => 0.2 + 0.4 * (1.0 - (-part * 4.0).exp()),
                    3 => 0.05 + 0.6 * (part * 4.0).fract(),
                    _ => 0.2 + 0.2 * (seconds / 86_400.0 * std::f64::consts::TAU).sin(),
                };
                let live = ((level + 0.005 * unit()) * 1e6) as i64;
                let in_flight = Some((unit() * 20.0) as u64);
                let rss_bytes = Some(live + live / 10 + 2_000);
                Reading { seconds, allocated_bytes: Some(live), rss_bytes, in_flight, ..Reading::default() }
            })
            .collect()
    }

    fn answers(trace: &[Reading], limit_bytes: u64) -> Vec<(f64, Judgement)> {
        let limit = Limit { bytes: limit_bytes, source: LimitSource::Configured };
        let mut watch = Watch::new(Series::Live);
        let mut answers: Vec<(f64, Judgement)> = Vec::new();
        for reading in trace {
            if let Some(verdict) = watch.read(reading, limit)
                && answers.last().is_none_or(|(_, last)| last.verdict != verdict)
            {
                let outlook = watch.outlook(reading.seconds, reading.equation(), limit);
                answers.push((reading.seconds, outlook.judgement));
            }
        }
        answers
    }

    fn verdicts(answers: &[(f64, Judgement)]) -> Vec<(f64, Verdict)> {
        answers.iter().map(|(seconds, judgement)| (*seconds, judgement.verdict)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_prefix_of_a_trace_gets_a_prefix_of_the_answers(seed: u64, shape in 0..5_u8, end in 1..700_usize) {
            let trace = trace(seed, shape, 120.0);
            let (all, some) = (answers(&trace, 1_000_000), answers(&trace[..end], 1_000_000));
            prop_assert_eq!(&all[..some.len()], &some[..]);
            prop_assert!(all.get(some.len()).is_none_or(|(seconds, _)| *seconds > trace[end - 1].seconds));
        }

        #[test]
        fn the_unit_of_memory_does_not_matter(seed: u64, shape in 0..5_u8, doublings in 1..16_u32) {
            let trace = trace(seed, shape, 60.0);
            let scale = 1_i64 << doublings;
            let scaled: Vec<_> = trace
                .iter()
                .map(|reading| Reading {
                    allocated_bytes: reading.allocated_bytes.map(|bytes| bytes * scale),
                    rss_bytes: reading.rss_bytes.map(|bytes| bytes * scale),
                    ..*reading
                })
                .collect();
            let (plain, scaled) = (answers(&trace, 1 << 20), answers(&scaled, 1 << (20 + doublings)));
            prop_assert_eq!(verdicts(&plain), verdicts(&scaled));
        }

        #[test]
        fn nothing_that_can_be_read_panics(
            rows in prop::collection::vec((any::<f64>(), any::<Option<i32>>(), any::<Option<i32>>(), any::<Option<u64>>()), 0..200),
        ) {
            let trace: Vec<_> = rows
                .into_iter()
                .map(|(seconds, live, rss, in_flight)| Reading {
                    seconds,
                    allocated_bytes: live.map(i64::from),
                    rss_bytes: rss.map(i64::from),
                    in_flight,
                    ..Reading::default()
                })
                .collect();
            answers(&trace, 1 << 30);
        }
    }

    #[test]
    fn without_the_allocators_statistics_rss_is_judged() {
        let mut watch = Watch::new(Series::Rss);
        let limit = Limit { bytes: 1 << 30, source: LimitSource::Configured };
        let mut said = Vec::new();
        for second in 0..1_800 {
            let seconds = f64::from(second);
            let rss_bytes = Some((50e6 + 4e5 * (seconds - 600.0).max(0.0)) as i64 + i64::from(second % 7) * 100_000);
            let verdict = watch.read(&Reading { seconds, rss_bytes, ..Reading::default() }, limit);
            if let Some(verdict) = verdict.filter(|verdict| said.last().is_none_or(|(_, last)| last != verdict)) {
                said.push((seconds, verdict));
            }
        }
        let verdicts: Vec<_> = said.iter().map(|(_, verdict)| *verdict).collect();
        assert_eq!(verdicts, [Verdict::WarmingUp, Verdict::Flat, Verdict::Climbing], "{said:?}");
        assert!((600.0..1_200.0).contains(&said[2].0), "{said:?}");
    }
}
