//! What Heapline says of a trace, as `heapline replay` would.

use heapline::history::Series;
use heapline::memory::{Limit, LimitSource};
use heapline::watch::{Reading, Watch};

use crate::corpus::{Row, Trace};
use crate::score::Alarm;

/// The climbs that are told, up to the one that decides.
pub(crate) fn alarms(trace: &Trace) -> Vec<Alarm> {
    let limit = Limit { bytes: trace.limit_bytes as u64, source: LimitSource::Configured };
    let has_heap = trace.rows.iter().any(|row| row.allocated_bytes.is_some());
    let mut watch = Watch::new(if has_heap { Series::Live } else { Series::Rss });
    let mut alarms = Vec::new();
    let mut told = None;
    for row in &trace.rows {
        let reading = reading(row);
        let Some(verdict) = watch.read(&reading, limit) else { continue };
        if told.replace(verdict) == Some(verdict) || !verdict.is_climb() {
            continue;
        }
        let judgement = watch.outlook(row.seconds, reading.equation(), limit).judgement;
        let Some(slope) = judgement.slope else { continue };
        alarms.push(Alarm {
            seconds: row.at_seconds,
            class: Some(verdict.name()),
            bytes_per_second: Some(slope.estimate.bytes_per_second),
            interval: Some((slope.estimate.low, slope.estimate.high)),
            time_to_limit_seconds: judgement.time_to_limit.map(|time| time.seconds),
            held_bytes: Some(reading.equation().rss_bytes()),
            note: format!("{} {}", slope.window.seconds, judgement.evidence),
        });
        // What is said later changes no score.
        if trace.leak.is_none_or(|leak| row.at_seconds >= leak.onset_seconds) {
            break;
        }
    }
    alarms
}

pub(crate) fn reading(row: &Row) -> Reading {
    Reading {
        seconds: row.seconds,
        allocated_bytes: row.allocated_bytes,
        active_bytes: row.active_bytes,
        resident_bytes: row.resident_bytes,
        rss_bytes: row.rss_bytes,
        in_flight: row.in_flight,
    }
}
