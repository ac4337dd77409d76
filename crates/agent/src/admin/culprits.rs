//! `/culprits`.

use std::time::Duration;

use hyper::StatusCode;

use super::answer::{Answer, error, refusal, text, typed};
use super::query::{base, parameter};
use crate::culprit::Report;
use crate::profile::profiler::{ProfileError, Profiler};
use crate::quantity;
use crate::recorder::Recorder;

/// Where `since` is left out: long enough for slow growth, and what filled up at the start is behind it.
const SINCE_DEFAULT: Duration = Duration::from_secs(3_600);

pub(super) async fn culprits(profiler: &Profiler, recorder: &Recorder, query: &str) -> Answer {
    let asked = match parse_query(query) {
        Ok(asked) => asked,
        Err(message) => return error(StatusCode::BAD_REQUEST, message),
    };
    if asked.of_previous {
        return match recorder.settled().await.culprits {
            Some(report) => answer(&report, asked.as_text),
            None => error(StatusCode::NOT_FOUND, "no earlier process left a profile"),
        };
    }
    let base = match base(profiler, recorder, query).await {
        Ok(base) => base,
        Err(refused) => return refused,
    };
    let report = match (base, asked.since, asked.min_age) {
        (Some(base), _, _) => profiler.culprits_against(base).await,
        (None, since, Some(age)) => profiler.culprits_of_age(since.unwrap_or(SINCE_DEFAULT), age).await,
        (None, Some(since), None) => profiler.culprits_since(since).await,
        (None, None, None) => usual(profiler).await,
    };
    match report {
        Ok(report) => answer(&report, asked.as_text),
        Err(refused) => refusal(&refused),
    }
}

/// What is answered without parameters.
pub(super) async fn usual(profiler: &Profiler) -> Result<Report, ProfileError> {
    profiler.culprits(SINCE_DEFAULT).await
}

fn answer(report: &Report, as_text: bool) -> Answer {
    if as_text {
        return text(StatusCode::OK, report.to_string());
    }
    match serde_json::to_vec_pretty(report) {
        Ok(json) => typed("application/json", json),
        Err(error) => {
            tracing::warn!(%error, "no JSON of the culprits");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the culprits could not be written\n")
        }
    }
}

#[derive(Debug, PartialEq)]
struct Asked {
    /// `None` leaves the time to the judgement.
    since: Option<Duration>,
    /// What is younger does not count.
    min_age: Option<Duration>,
    as_text: bool,
    of_previous: bool,
}

fn parse_query(query: &str) -> Result<Asked, &'static str> {
    let since = match parameter(query, "since").map(quantity::parse_duration) {
        None => None,
        Some(Ok(since)) if !since.is_zero() => Some(since),
        Some(_) => return Err("since must be a time such as 90s, 10m or 2h"),
    };
    let min_age = match parameter(query, "min_age").map(quantity::parse_duration) {
        None => None,
        Some(Ok(age)) => Some(age),
        Some(Err(_)) => return Err("min_age must be a time such as 90s, 10m or 2h"),
    };
    let as_text = match parameter(query, "format") {
        None | Some("json") => false,
        Some("text") => true,
        Some(_) => return Err("format must be json or text"),
    };
    let has_window = parameter(query, "base").is_some() || parameter(query, "since").is_some();
    if parameter(query, "base").is_some() && parameter(query, "since").is_some() {
        return Err("base and since cannot be combined: each says since when");
    }
    if parameter(query, "base").is_some() && min_age.is_some() {
        return Err("base and min_age cannot be combined: no ages are kept of a recorded profile");
    }
    if since.is_some_and(|since| min_age.is_some_and(|age| age >= since)) {
        return Err("min_age must be less than since: nothing that came since then is as old");
    }
    let of_previous = match parameter(query, "process") {
        None | Some("current") => false,
        Some("previous") if has_window || min_age.is_some() => {
            return Err("of a previous process there is its whole life, without base, since and min_age");
        }
        Some("previous") => true,
        Some(_) => return Err("process must be current or previous"),
    };
    Ok(Asked { since, min_age, as_text, of_previous })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let asked = |since, as_text, of_previous| Ok(Asked { since, min_age: None, as_text, of_previous });
        assert_eq!(parse_query(""), asked(None, false, false));
        assert_eq!(parse_query("since=10m&format=text"), asked(Some(Duration::from_secs(600)), true, false));
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        let aged = Asked { since: minutes(10), min_age: minutes(5), as_text: false, of_previous: false };
        assert_eq!(parse_query("min_age=5m&since=10m"), Ok(aged));
        assert_eq!(parse_query("process=previous&format=text"), asked(None, true, true));
        for wrong in [
            "since=",
            "since=0s",
            "since=ten",
            "format=xml",
            "base=1&since=1m",
            "process=next",
            "process=previous&base=1",
            "process=previous&min_age=1m",
            "min_age=old",
            "min_age=10m&since=5m",
            "min_age=10m&base=1",
        ] {
            assert!(parse_query(wrong).is_err(), "{wrong}");
        }
    }
}
