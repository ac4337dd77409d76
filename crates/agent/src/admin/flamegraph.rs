//! `/debug/pprof/flamegraph`.

use std::hash::{BuildHasher, RandomState};

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, HeaderValue};

use super::answer::{Answer, error, refusal, typed, without_sniffing};
use super::query::{base, parameter, parse_seconds};
use crate::profile::flamegraph::{Flamegraph, Measure};
use crate::profile::profiler::Profiler;
use crate::recorder::Recorder;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Page,
    Svg,
    Folded,
}

pub(super) async fn flamegraph(profiler: &Profiler, recorder: &Recorder, query: &str) -> Answer {
    let (measure, format, seconds) = match parse_query(query) {
        Ok(asked) => asked,
        Err(message) => return error(StatusCode::BAD_REQUEST, message),
    };
    let base = match base(profiler, recorder, query).await {
        Ok(base) => base,
        Err(refused) => return refused,
    };
    if base.is_some() && seconds.is_some() {
        return error(StatusCode::BAD_REQUEST, "base and seconds cannot be combined: each says since when");
    }
    let nonce = nonce();
    let for_page = nonce.clone();
    let rendered = profiler.view(seconds, move |profile, symbols| {
        if measure.is_allocated() && !profile.counts_allocations() && !profile.samples.is_empty() {
            return Ok(None);
        }
        let graph = match &base {
            None => Flamegraph::new(profile, symbols, measure),
            Some(base) => {
                let before = base.named_by_object()?;
                Flamegraph::between((&before.profile, &before.symbols), (profile, symbols), measure)
            }
        };
        Ok(Some(match format {
            Format::Page => graph.page(&for_page),
            Format::Svg => graph.svg(),
            Format::Folded => graph.folded(),
        }))
    });
    match rendered.await.and_then(|rendered| rendered) {
        Ok(Some(text)) => answer(format, text, &nonce),
        Ok(None) => {
            let message = "allocations are not counted here, live memory only: inuse_space, inuse_objects";
            error(StatusCode::BAD_REQUEST, message)
        }
        Err(refused) => refusal(&refused),
    }
}

fn answer(format: Format, text: String, nonce: &str) -> Answer {
    let (content_type, policy, disposition) = match format {
        Format::Page => {
            let policy = format!(
                "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
            );
            ("text/html; charset=utf-8", policy, None)
        }
        Format::Svg => ("image/svg+xml", "default-src 'none'".to_owned(), Some("inline; filename=\"heap.svg\"")),
        Format::Folded => {
            ("text/plain; charset=utf-8", "default-src 'none'".to_owned(), Some("inline; filename=\"heap.folded\""))
        }
    };
    let mut answer = without_sniffing(typed(content_type, text));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(disposition) = disposition {
        answer.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    }
    answer
}

/// A number used once, that a name in a profile cannot know: the standard library's random keys.
fn nonce() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

fn parse_query(query: &str) -> Result<(Measure, Format, Option<u16>), &'static str> {
    let measure = match parameter(query, "type") {
        None => Measure::InuseSpace,
        Some(name) => Measure::ALL
            .into_iter()
            .find(|measure| measure.name() == name)
            .ok_or("type must be inuse_space, inuse_objects, alloc_space or alloc_objects")?,
    };
    let format = match parameter(query, "format") {
        None | Some("html") => Format::Page,
        Some("svg") => Format::Svg,
        Some("folded") => Format::Folded,
        Some(_) => return Err("format must be html, svg or folded"),
    };
    Ok((measure, format, parse_seconds(query)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        assert_eq!(parse_query(""), Ok((Measure::InuseSpace, Format::Page, None)));
        assert_eq!(
            parse_query("type=alloc_objects&format=svg&seconds=5"),
            Ok((Measure::AllocObjects, Format::Svg, Some(5)))
        );
        for wrong in ["type=cpu", "format=png", "seconds=0", "seconds=x", "type="] {
            assert!(parse_query(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_nonce_is_used_once() {
        assert_ne!(nonce(), nonce());
        assert_eq!(nonce().len(), 32);
    }
}
