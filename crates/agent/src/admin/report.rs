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
    rss_bytes: u64,
    limit_bytes: u64,
    limit_source: &'static str,
    uptime_seconds: f64,
    equation: Equation,
    verdict: &'static str,
    /// How long the verdict has held.
    since_seconds: f64,
    evidence: String,
    floor_bytes: i64,
    slopes: Vec<WindowSlope>,
    time_to_limit_seconds: Option<f64>,
    /// At the upper and the lower bound of the slope.
    time_to_limit_low_seconds: Option<f64>,
    time_to_limit_high_seconds: Option<f64>,
    trajectory_degrees: f64,
    /// The process before this one, with the same state directory.
    previous: Option<Previous>,
    /// Those before it, the newest first.
    earlier: Vec<Previous>,
}

/// A process that ended.
#[derive(Debug, Serialize)]
struct Previous {
    end: &'static str,
    uptime_seconds: f64,
    /// `null` where it ended before anything was said.
    verdict: Option<String>,
    /// Where this process serves it; `null` where there is none.
    last_profile: Option<String>,
    /// Where its call sites that grew are told.
    culprits: Option<&'static str>,
    /// What its verdict rested on.
    evidence: String,
    pid: u32,
    service_version: String,
    started_unix_seconds: f64,
    rss_bytes: u64,
    limit_bytes: u64,
    floor_bytes: i64,
}

#[derive(Debug, Serialize)]
struct Equation {
    live_heap_bytes: i64,
    allocator_overhead_bytes: i64,
    retained_dirty_bytes: i64,
    outside_allocator_bytes: i64,
}

#[derive(Debug, Serialize)]
struct WindowSlope {
    window_seconds: u32,
    bytes_per_second: f64,
    low: f64,
    high: f64,
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
