//! `/profiles`: what the flight recorder has.

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue, LOCATION};
use serde::Serialize;

use super::answer::{Answer, error, refusal, text, typed, without_sniffing};
use super::routes::Routes;
use crate::profile::profiler::Profiler;
use crate::recorder::entry::Entry;
use crate::recorder::shelf::Shelf;
use crate::recorder::{RecordError, Recorder};

/// What stands before an id.
pub(super) const PREFIX: &str = "/profiles/";

/// One of the list.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    taken_unix_seconds: f64,
    reason: &'static str,
    /// Of the moment that it was taken at.
    verdict: &'static str,
    process: &'static str,
    bytes: u64,
    /// The last heap of a process that ended without a word.
    at_end: bool,
    url: String,
}

/// The oldest first.
pub(super) async fn list(recorder: &Recorder) -> Answer {
    let shelf = recorder.settled().await.shelf;
    let entries = shelf.iter().flat_map(|shelf| shelf.entries().into_iter().map(|entry| listed(shelf, entry)));
    json(StatusCode::OK, &entries.collect::<Vec<_>>())
}

/// pprof, gzipped, with names.
pub(super) async fn profile(profiler: &Profiler, recorder: &Recorder, path: &str) -> Answer {
    let id = path.strip_prefix(PREFIX).unwrap_or_default();
    let Some((entry, content)) = recorder.read(profiler, id).await else {
        return error(StatusCode::NOT_FOUND, "there is no recorded profile of that name");
    };
    let mut answer = typed("application/octet-stream", content);
    // Ids are letters, digits and `-`.
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"heap-{}.pb.gz\"", entry.id)) {
        answer.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    without_sniffing(answer)
}

/// Records one now.
pub(super) async fn record(routes: &Routes) -> Answer {
    match routes.recorder.take_now(&routes.profiler, &routes.state).await {
        Ok((entry, shelf)) => {
            let entry = listed(&shelf, entry);
            let mut answer = json(StatusCode::CREATED, &entry);
            if let Ok(location) = HeaderValue::try_from(entry.url) {
                answer.headers_mut().insert(LOCATION, location);
            }
            answer
        }
        Err(RecordError::NoShelf) => error(StatusCode::SERVICE_UNAVAILABLE, RecordError::NoShelf.to_string()),
        Err(RecordError::Profile(refused)) => refusal(&refused),
    }
}

fn listed(shelf: &Shelf, entry: Entry) -> Listed {
    Listed {
        taken_unix_seconds: entry.taken_unix_millis as f64 / 1e3,
        reason: entry.reason.name(),
        verdict: entry.verdict.name(),
        process: if shelf.is_own(&entry) { "current" } else { "previous" },
        bytes: entry.bytes,
        at_end: entry.is_at_end(),
        url: format!("{PREFIX}{}", entry.id),
        id: entry.id,
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(json) => {
            let mut answer = typed("application/json", json);
            *answer.status_mut() = status;
            answer
        }
        Err(error) => {
            tracing::warn!(%error, "no JSON of recorded profiles");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the list could not be written\n")
        }
    }
}
