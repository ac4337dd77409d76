//! A judgement's evidence as a person would put it.

use super::{Evidence, TimeToLimit, Verdict};
use crate::quantity::{format_bytes, format_seconds};
use crate::trend::Slope;

pub(super) fn evidence(
    verdict: Verdict,
    evidence: &Evidence<'_>,
    slope: Option<Slope>,
    time_to_limit: Option<TimeToLimit>,
) -> String {
    let limit = format_bytes(evidence.limit.bytes as f64);
    let rss = format_bytes(evidence.equation.rss_bytes() as f64);
    let trend = slope.map(movement).unwrap_or_default();
    match verdict {
        Verdict::WarmingUp => "too early to tell a trend".to_owned(),
        Verdict::Flat if trend.is_empty() => format!("{rss} of the {limit} limit resident"),
        Verdict::Flat => format!("{trend}; {rss} of the {limit} limit resident"),
        Verdict::Climbing => format!("floor {trend}, {}", time(time_to_limit, &limit)),
        Verdict::ClimbingOutsideAllocator => {
            format!("memory outside the allocator {trend}, {}", time(time_to_limit, &limit))
        }
        Verdict::Fragmenting => {
            format!("the allocator's partly used pages {trend}, live bytes do not; {}", time(time_to_limit, &limit))
        }
        Verdict::Retaining => {
            let retained = format_bytes(evidence.equation.retained_dirty_bytes as f64);
            format!("{retained} of {rss} resident are unused pages that the allocator gives back on demand")
        }
        Verdict::NearLimit if trend.is_empty() => {
            format!("{rss} of the {limit} limit resident; too early to tell a trend")
        }
        Verdict::NearLimit => format!("{rss} of the {limit} limit resident; {trend}, not told to be a climb"),
    }
}

/// "rose 41.0 MiB in 2 h, 20.4 MiB to 21.1 MiB an hour".
fn movement(slope: Slope) -> String {
    const HOUR_SECONDS: f64 = 3_600.0;
    let estimate = slope.estimate;
    let change = estimate.bytes_per_second * estimate.span_seconds;
    let verb = if change < 0.0 { "fell" } else { "rose" };
    format!(
        "{verb} {} in {}, {} to {} an hour",
        format_bytes(change.abs()),
        format_seconds(estimate.span_seconds),
        format_bytes(estimate.low * HOUR_SECONDS),
        format_bytes(estimate.high * HOUR_SECONDS),
    )
}

fn time(time_to_limit: Option<TimeToLimit>, limit: &str) -> String {
    let seconds = time_to_limit.map_or(f64::INFINITY, |time| time.seconds);
    format!("{} to the {limit} limit", format_seconds(seconds))
}
