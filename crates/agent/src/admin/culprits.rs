//! `/culprits`.

use std::time::Duration;

use hyper::StatusCode;

use super::pprof::{self, parameter};
use super::routes::{Answer, text, typed};
use crate::profile::profiler::Profiler;
use crate::quantity;

/// Where `since` is left out: long enough for slow growth, and what filled up at the start is behind it.
const SINCE_DEFAULT: Duration = Duration::from_secs(3_600);

pub(super) async fn culprits(profiler: &Profiler, query: &str) -> Answer {
    let (since, as_text) = match parse_query(query) {
        Ok(asked) => asked,
        Err(message) => return pprof::error(StatusCode::BAD_REQUEST, message),
    };
    let report = match since {
        None => profiler.culprits(SINCE_DEFAULT).await,
        Some(since) => profiler.culprits_since(since).await,
    };
    match report {
        Ok(report) if as_text => text(StatusCode::OK, report.to_string()),
        Ok(report) => match serde_json::to_vec_pretty(&report) {
            Ok(json) => typed("application/json", json),
            Err(error) => {
                tracing::warn!(%error, "no JSON of the culprits");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the culprits could not be written\n")
            }
        },
        Err(refused) => pprof::refusal(&refused),
    }
}

fn parse_query(query: &str) -> Result<(Option<Duration>, bool), &'static str> {
    let since = match parameter(query, "since").map(quantity::parse_duration) {
        None => None,
        Some(Ok(since)) if !since.is_zero() => Some(since),
        Some(_) => return Err("since must be a time such as 90s, 10m or 2h"),
    };
    if parameter(query, "base").is_some() {
        return Err("there is no recorded profile of that name");
    }
    match parameter(query, "format") {
        None | Some("json") => Ok((since, false)),
        Some("text") => Ok((since, true)),
        Some(_) => Err("format must be json or text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        assert_eq!(parse_query(""), Ok((None, false)));
        assert_eq!(parse_query("since=10m&format=text"), Ok((Some(Duration::from_secs(600)), true)));
        for wrong in ["since=", "since=0s", "since=ten", "format=xml", "base=1"] {
            assert!(parse_query(wrong).is_err(), "{wrong}");
        }
    }
}
