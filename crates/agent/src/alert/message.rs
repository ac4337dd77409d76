//! What is told. Pure: a report in, JSON out.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Change, Origin};
use crate::culprit::Culprit;
use crate::quantity::{format_bytes, format_seconds};
use crate::state::Report;
use crate::verdict::Verdict;

/// Alertmanager's word for "not yet".
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn firing(origin: &Origin, change: &Change, culprit: Option<&Culprit>, since: SystemTime) -> Value {
    let report = &change.report;
    let judgement = &report.outlook.judgement;
    let base = origin.url();
    let profile = change.profile.as_ref().map(|path| format!("{base}{path}"));
    let mut words = format!("{} is {}: {}.", origin.service, judgement.verdict.name(), judgement.evidence);
    if let Some(culprit) = culprit {
        let grown = format_bytes(culprit.growth_bytes as f64);
        words.push_str(&format!(" {} ({}:{}) grew by {grown}.", culprit.function, culprit.file, culprit.line));
    }
    words.push_str(&format!(" {}", profile.clone().unwrap_or_else(|| format!("{base}/culprits?format=text"))));
    let annotations = json!({
        "summary": summary(judgement.verdict, report),
        "description": words,
        "culprit": culprit.map_or(String::new(), |culprit| culprit.function.clone()),
        "profile": profile.clone().unwrap_or_default(),
    });
    let time = judgement.time_to_limit.map(|time| time.seconds).filter(|seconds| seconds.is_finite());
    let slope = judgement.slope.map(|slope| slope.estimate);
    let mut message = message(origin, judgement.verdict, "firing", annotations, (since, None));
    message["text"] = words.into();
    message["heapline"] = json!({
        "verdict": judgement.verdict.name(),
        "from": change.from.name(),
        "evidence": judgement.evidence,
        "floor_bytes": report.floor_bytes,
        "limit_bytes": report.limit.bytes,
        "slope_bytes_per_second": slope.map(|slope| slope.bytes_per_second),
        "slope_low": slope.map(|slope| slope.low),
        "slope_high": slope.map(|slope| slope.high),
        "time_to_limit_seconds": time,
        "culprit": culprit,
        "profile": profile,
    });
    message
}

pub(super) fn resolved(origin: &Origin, verdict: Verdict, since: SystemTime, report: &Report) -> Value {
    let judgement = &report.outlook.judgement;
    let words = format!(
        "{} is no longer {}; it is {}: {}.",
        origin.service,
        verdict.name(),
        judgement.verdict.name(),
        judgement.evidence
    );
    let annotations = json!({ "summary": format!("memory is {}", judgement.verdict.name()), "description": words });
    let mut message = message(origin, verdict, "resolved", annotations, (since, Some(SystemTime::now())));
    message["text"] = words.into();
    message["heapline"] = json!({ "verdict": judgement.verdict.name(), "from": verdict.name() });
    message
}

fn summary(verdict: Verdict, report: &Report) -> String {
    let time = report.outlook.judgement.time_to_limit.map(|time| format_seconds(time.seconds));
    let limit = format_bytes(report.limit.bytes as f64);
    match time {
        Some(time) => format!("memory is {}: {time} to the {limit} limit", verdict.name()),
        None => format!("memory is {}", verdict.name()),
    }
}

fn message(
    origin: &Origin,
    verdict: Verdict,
    status: &str,
    annotations: Value,
    (since, until): (SystemTime, Option<SystemTime>),
) -> Value {
    let name = match verdict {
        Verdict::ClimbingOutsideAllocator => "HeaplineMemoryClimbingOutsideAllocator",
        Verdict::Fragmenting => "HeaplineMemoryFragmenting",
        _ => "HeaplineMemoryClimbing",
    };
    let labels = json!({
        "alertname": name,
        "severity": "warning",
        "service": origin.service,
        "version": origin.version,
        "instance": origin.instance(),
        "verdict": verdict.name(),
    });
    let group = format!("{{}}:{{alertname=\"{name}\"}}");
    json!({
        "version": "4",
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "heapline",
        "groupLabels": { "alertname": name },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": origin.url(),
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": rfc3339(since),
            "endsAt": until.map_or_else(|| NEVER.to_owned(), rfc3339),
            "generatorURL": format!("{}/memory", origin.url()),
            "fingerprint": fingerprint(&[name, &origin.service, &origin.instance()]),
        }],
    })
}

impl Origin {
    fn instance(&self) -> String {
        if !self.admin.ip().is_unspecified() {
            return self.admin.to_string();
        }
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}:{}", name.trim(), self.admin.port())
    }

    fn url(&self) -> String {
        format!("http://{}", self.instance())
    }
}

/// FNV-1a: the same for the same parts, on every machine.
fn fingerprint(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// `2026-11-23T12:00:00Z`.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar with years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn an_address_that_is_every_address_is_the_hosts() {
        let origin = |admin: &str| Origin {
            service: "shop".to_owned(),
            version: "1".to_owned(),
            admin: admin.parse().expect("an address"),
        };
        assert_eq!(origin("127.0.0.1:6060").url(), "http://127.0.0.1:6060");
        assert!(origin("0.0.0.0:6060").url().ends_with(":6060") && !origin("0.0.0.0:6060").url().contains("0.0.0.0"));
    }
}
