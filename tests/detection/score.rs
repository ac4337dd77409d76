//! How good a detector's alarms are against the truth.

use crate::corpus::{Leak, Trace};

/// An alarm of any detector; what it does not tell is `None`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) seconds: f64,
    pub(crate) class: Option<&'static str>,
    pub(crate) bytes_per_second: Option<f64>,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) time_to_limit_seconds: Option<f64>,
    /// Resident memory at that time.
    pub(crate) held_bytes: Option<i64>,
    pub(crate) note: String,
}

/// Sums over traces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Score {
    pub(crate) leaks: usize,
    pub(crate) found: usize,
    pub(crate) late: usize,
    pub(crate) healthy: usize,
    pub(crate) cried: usize,
    /// Alarms before the leak of a trace that leaks later.
    pub(crate) early: usize,
    pub(crate) class_right: usize,
    pub(crate) class_told: usize,
    slope_errors: Vec<f64>,
    covered: usize,
    intervals: usize,
    time_errors: Vec<f64>,
    /// Delay as a share of what was allowed.
    delays: Vec<f64>,
}

/// What became of one trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Found,
    Late,
    Missed,
    Quiet,
    Cried,
}

impl Fate {
    pub(crate) fn is_right(self) -> bool {
        matches!(self, Self::Found | Self::Quiet)
    }
}

impl Score {
    pub(crate) fn add(&mut self, trace: &Trace, alarms: &[Alarm]) -> Fate {
        let Some(leak) = &trace.leak else {
            self.healthy += 1;
            self.cried += usize::from(!alarms.is_empty());
            return if alarms.is_empty() { Fate::Quiet } else { Fate::Cried };
        };
        self.leaks += 1;
        // A cry before the leak is false, and no news when the leak comes.
        if alarms.iter().any(|alarm| alarm.seconds < leak.onset_seconds) {
            self.early += 1;
        }
        let Some(alarm) = alarms.iter().find(|alarm| alarm.seconds >= leak.onset_seconds) else { return Fate::Missed };
        self.measure(trace, leak, alarm);
        if alarm.seconds <= leak.deadline_seconds {
            self.found += 1;
            Fate::Found
        } else {
            self.late += 1;
            Fate::Late
        }
    }

    fn measure(&mut self, trace: &Trace, leak: &Leak, alarm: &Alarm) {
        let truth = leak.bytes_per_second;
        self.delays.push((alarm.seconds - leak.onset_seconds) / (leak.deadline_seconds - leak.onset_seconds));
        if let Some(class) = alarm.class {
            self.class_told += 1;
            self.class_right += usize::from(class == leak.class);
        }
        if let Some(slope) = alarm.bytes_per_second {
            self.slope_errors.push((slope / truth - 1.0).abs());
        }
        if let Some((low, high)) = alarm.interval {
            self.intervals += 1;
            self.covered += usize::from(low <= truth && truth <= high);
        }
        if let (Some(told), Some(held)) = (alarm.time_to_limit_seconds, alarm.held_bytes) {
            let truth = (trace.limit_bytes - held) as f64 / truth;
            self.time_errors.push((told / truth - 1.0).abs());
        }
    }

    pub(crate) fn recall(&self) -> f64 {
        self.found as f64 / self.leaks as f64
    }

    /// One line of the table.
    pub(crate) fn line(&self, name: &str) -> String {
        let share = |part: usize, whole: usize| {
            if whole == 0 { "–".to_owned() } else { percent(part as f64 / whole as f64) }
        };
        let middle = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).map_or("–".to_owned(), |value| format!("{:.1}%", 100.0 * value))
        };
        format!(
            "| {name} | {} | {} | {} of {} | {} | {} | {} | {} | {} | {} |",
            if self.leaks == 0 { "–".to_owned() } else { percent(self.recall()) },
            self.late,
            self.cried,
            self.healthy,
            self.early,
            middle(&self.delays),
            share(self.class_right, self.class_told),
            middle(&self.slope_errors),
            share(self.covered, self.intervals),
            middle(&self.time_errors),
        )
    }

    pub(crate) const HEADER: &str = "| Detector | Recall by the deadline | Late | False | Before the leak | Median delay, of the time allowed | Class right | Median slope error | Interval covers | Median time-to-limit error |\n|---|---|---|---|---|---|---|---|---|---|";
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
