//! The JSON of `/memory`.

use std::io;

use serde::Serialize;

use crate::recorder::Recorder;
use crate::recorder::journal::Ended;
use crate::recorder::run::Run;
use crate::state::State;
use crate::trend::Slope;

/// Numbers are bytes, bytes per second or seconds, as their names say; a time that is not near is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) rss_bytes: u64,
    pub(super) limit_bytes: u64,
    pub(super) limit_source: &'static str,
    pub(super) uptime_seconds: f64,
    pub(super) equation: Equation,
    pub(super) verdict: &'static str,
    /// How long the verdict has held.
    pub(super) since_seconds: f64,
    pub(super) evidence: String,
    pub(super) floor_bytes: i64,
    pub(super) slopes: Vec<WindowSlope>,
    pub(super) time_to_limit_seconds: Option<f64>,
    /// At the upper and the lower bound of the slope.
    pub(super) time_to_limit_low_seconds: Option<f64>,
    pub(super) time_to_limit_high_seconds: Option<f64>,
    pub(super) trajectory_degrees: f64,
    /// The process before this one, with the same state directory.
    pub(super) previous: Option<Previous>,
    /// Those before it, the newest first.
    pub(super) earlier: Vec<Previous>,
}

/// A process that ended.
#[derive(Debug, Serialize)]
pub(super) struct Previous {
    pub(super) end: &'static str,
    pub(super) uptime_seconds: f64,
    /// `null` where it ended before anything was said.
    pub(super) verdict: Option<String>,
    /// Where this process serves it; `null` where there is none.
    pub(super) last_profile: Option<String>,
    /// Where its call sites that grew are told.
    pub(super) culprits: Option<&'static str>,
    /// What its verdict rested on.
    pub(super) evidence: String,
    pub(super) pid: u32,
    pub(super) service_version: String,
    pub(super) started_unix_seconds: f64,
    pub(super) rss_bytes: u64,
    pub(super) limit_bytes: u64,
    pub(super) floor_bytes: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Equation {
    pub(super) live_heap_bytes: i64,
    pub(super) allocator_overhead_bytes: i64,
    pub(super) retained_dirty_bytes: i64,
    pub(super) outside_allocator_bytes: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct WindowSlope {
    pub(super) window_seconds: u32,
    pub(super) bytes_per_second: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The equation is of this moment, the rest of the newest judgement.
pub(super) fn memory(state: &State, recorder: &Recorder) -> io::Result<Memory> {
    let sample = state.sample()?;
    let report = state.report();
    let equation = sample.equation();
    let judgement = report.outlook.judgement;
    let time = judgement.time_to_limit;
    let uptime_seconds = state.uptime_seconds();
    let mut ended =
        recorder.ended().iter().enumerate().map(|(place, ended)| Previous::new(ended, recorder, place == 0));
    let previous = ended.next();
    Ok(Memory {
        rss_bytes: sample.rss_bytes,
        limit_bytes: report.limit.bytes,
        limit_source: report.limit.source.name(),
        uptime_seconds,
        equation: Equation {
            live_heap_bytes: equation.live_heap_bytes,
            allocator_overhead_bytes: equation.allocator_overhead_bytes,
            retained_dirty_bytes: equation.retained_dirty_bytes,
            outside_allocator_bytes: equation.outside_allocator_bytes,
        },
        verdict: judgement.verdict.name(),
        since_seconds: (uptime_seconds - judgement.since_seconds).max(0.0),
        evidence: judgement.evidence,
        floor_bytes: report.floor_bytes,
        slopes: report.outlook.trend.slopes.iter().map(WindowSlope::from).collect(),
        time_to_limit_seconds: time.map(|time| time.seconds).filter(|seconds| seconds.is_finite()),
        time_to_limit_low_seconds: time.map(|time| time.low_seconds).filter(|seconds| seconds.is_finite()),
        time_to_limit_high_seconds: time.map(|time| time.high_seconds).filter(|seconds| seconds.is_finite()),
        trajectory_degrees: judgement.trajectory_degrees,
        previous,
        earlier: ended.collect(),
    })
}

impl Previous {
    fn new(ended: &Ended, recorder: &Recorder, is_newest: bool) -> Self {
        let Run { pulse, .. } = &ended.run;
        let last_profile = recorder.last_profile(ended);
        Self {
            end: ended.end.name(),
            uptime_seconds: pulse.uptime_seconds,
            verdict: Some(pulse.verdict.clone()).filter(|verdict| !verdict.is_empty()),
            culprits: last_profile.as_ref().filter(|_| is_newest).map(|_| "/culprits?process=previous"),
            last_profile,
            evidence: pulse.evidence.clone(),
            pid: ended.run.pid,
            service_version: ended.run.service_version.clone(),
            started_unix_seconds: ended.run.started_unix_seconds,
            rss_bytes: pulse.rss_bytes,
            limit_bytes: pulse.limit_bytes,
            floor_bytes: pulse.floor_bytes,
        }
    }
}

impl From<&Slope> for WindowSlope {
    fn from(slope: &Slope) -> Self {
        Self {
            window_seconds: slope.window.seconds as u32,
            bytes_per_second: slope.estimate.bytes_per_second,
            low: slope.estimate.low,
            high: slope.estimate.high,
        }
    }
}
