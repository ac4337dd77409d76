//! What the routes answer with: a body of a type, a text, or a refusal in the form that `go tool pprof` shows.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::profile::profiler::ProfileError;

pub(super) type Answer = Response<Full<Bytes>>;

/// Without it `go tool pprof` hides an error's text.
const X_GO_PPROF: HeaderName = HeaderName::from_static("x-go-pprof");

pub(super) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", body);
    *answer.status_mut() = status;
    answer
}

/// A text under a path of pprof.
pub(super) fn plain(body: impl Into<Bytes>) -> Answer {
    without_sniffing(text(StatusCode::OK, body))
}

/// A refusal under a path of pprof.
pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Answer {
    let mut answer = text(status, message.into() + "\n");
    answer.headers_mut().insert(X_GO_PPROF, HeaderValue::from_static("1"));
    without_sniffing(answer)
}

pub(super) fn refusal(refused: &ProfileError) -> Answer {
    let message = refused.to_string();
    match refused {
        ProfileError::Disabled => error(StatusCode::NOT_FOUND, message),
        ProfileError::Busy => {
            let mut answer = error(StatusCode::SERVICE_UNAVAILABLE, message);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            answer
        }
        ProfileError::NeedsLiveTable | ProfileError::Nothing => error(StatusCode::NOT_FOUND, message),
        ProfileError::Failed(_) => error(StatusCode::INTERNAL_SERVER_ERROR, message),
    }
}

pub(super) fn without_sniffing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
