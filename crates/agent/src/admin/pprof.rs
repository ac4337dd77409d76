//! Heap profiles in the form that `go tool pprof` and its scrapers expect.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, error, plain, refusal, typed, without_sniffing};
use super::query::{base, parameter, parse_seconds};
use crate::profile::live::View;
use crate::profile::profiler::{Kind, Profiler, Query};
use crate::quantity;
use crate::recorder::Recorder;

/// The body of a request for names: pprof asks for all addresses of a profile at once.
const SYMBOL_BYTES_MAX: usize = 64 << 10;

pub(super) async fn profile(profiler: &Profiler, recorder: &Recorder, kind: Kind, query: &str) -> Answer {
    let base = match base(profiler, recorder, query).await {
        Ok(base) => base,
        Err(refused) => return refused,
    };
    let query = match parse_query(kind, query) {
        Ok(query) => Query { base, ..query },
        Err(message) => return error(StatusCode::BAD_REQUEST, message),
    };
    let is_delta = query.seconds.is_some() || query.base.is_some();
    match profiler.profile(query).await {
        Ok(rendered) if rendered.text => plain(rendered.body),
        Ok(rendered) => {
            let mut answer = typed("application/octet-stream", rendered.body);
            let disposition = match (kind, is_delta) {
                (Kind::Heap, false) => "attachment; filename=\"heap\"",
                (Kind::Heap, true) => "attachment; filename=\"heap-delta\"",
                (Kind::Allocs, false) => "attachment; filename=\"allocs\"",
                (Kind::Allocs, true) => "attachment; filename=\"allocs-delta\"",
            };
            answer.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
            without_sniffing(answer)
        }
        Err(refused) => refusal(&refused),
    }
}

/// The program's arguments, joined by NUL.
pub(super) fn cmdline() -> Answer {
    match std::fs::read("/proc/self/cmdline") {
        Ok(mut line) => {
            while line.last() == Some(&0) {
                line.pop();
            }
            plain(line)
        }
        Err(unreadable) => {
            tracing::warn!(error = %unreadable, "the program's arguments could not be read");
            error(StatusCode::INTERNAL_SERVER_ERROR, "the program's arguments could not be read")
        }
    }
}

/// Names for `0xA+0xB`, from the query or the body: `num_symbols: 1`, then a line for each address with a name.
pub(super) async fn symbol(profiler: &Profiler, request: Request<Incoming>) -> Answer {
    let asked = if request.method() == Method::POST {
        match Limited::new(request.into_body(), SYMBOL_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                return error(StatusCode::PAYLOAD_TOO_LARGE, "the addresses are cut off or more than 64 KiB");
            }
        }
    } else {
        Bytes::copy_from_slice(request.uri().query().unwrap_or_default().as_bytes())
    };
    let addresses = parse_addresses(&asked);
    // Go answers so too: a positive number says that there are symbols.
    let mut lines = "num_symbols: 1\n".to_owned();
    if !addresses.is_empty() {
        match profiler.symbolize(addresses).await {
            Ok(names) => {
                for (address, name) in names {
                    // Writing to a String does not fail.
                    let _ = writeln!(lines, "{address:#x} {name}");
                }
            }
            Err(refused) => return refusal(&refused),
        }
    }
    plain(lines)
}

/// As Go reads them: the first of each counts, unknown ones are ignored.
fn parse_query(kind: Kind, query: &str) -> Result<Query, &'static str> {
    let switch = |name: &str, message| match parameter(query, name) {
        None => Ok(false),
        Some(value) => value.parse::<u32>().map(|number| number > 0).map_err(|_| message),
    };
    let seconds = parse_seconds(query)?;
    let debug = switch("debug", "debug must be a whole number")?;
    let gc = switch("gc", "gc must be a whole number")?;
    if seconds.is_some() && debug {
        return Err("seconds and debug cannot be combined: a difference has no text form");
    }
    if parameter(query, "base").is_some() && (debug || seconds.is_some()) {
        return Err("base cannot be combined with seconds or debug: it makes a difference already");
    }
    let is_previous = match parameter(query, "process") {
        None | Some("current") => false,
        Some("previous") if seconds.is_none() && parameter(query, "min_age").is_none() => true,
        Some("previous") => {
            return Err("of a previous process there is its end and its peak, no difference and no ages");
        }
        Some(_) => return Err("process must be current or previous"),
    };
    let view = match (parameter(query, "at"), parameter(query, "min_age")) {
        (None, None) if is_previous => View::Previous { at_peak: false },
        (Some("peak"), None) if is_previous => View::Previous { at_peak: true },
        (None, None) => View::Now,
        (Some("peak"), None) if seconds.is_none() => View::Peak,
        (Some("peak"), None) => return Err("at=peak is one moment, without a difference: leave seconds out"),
        (Some(_), None) => return Err("at must be peak"),
        (None, Some(age)) => match quantity::parse_duration(age) {
            Ok(age) => View::Survivors { min_age_seconds: age.as_secs() },
            Err(_) => return Err("min_age must be a duration such as 10m"),
        },
        (Some(_), Some(_)) => return Err("at and min_age cannot be combined: no ages are kept of the peak"),
    };
    Ok(Query { kind, seconds, debug, gc, view, base: None })
}

/// What is no address is passed over.
fn parse_addresses(text: &[u8]) -> Vec<u64> {
    String::from_utf8_lossy(text)
        .split('+')
        .filter_map(|word| {
            let word = word.trim();
            let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
            u64::from_str_radix(digits, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let parse = |query| parse_query(Kind::Heap, query).map(|q| (q.seconds, q.debug, q.gc));
        assert_eq!(parse(""), Ok((None, false, false)));
        assert_eq!(parse("debug=1&gc=1&x=y"), Ok((None, true, true)));
        assert_eq!(parse("seconds=3600&debug=0"), Ok((Some(3600), false, false)));
        let view = |query| parse_query(Kind::Heap, query).map(|query| query.view);
        assert_eq!(view("at=peak"), Ok(View::Peak));
        assert_eq!(view("min_age=10m&debug=1"), Ok(View::Survivors { min_age_seconds: 600 }));
        assert_eq!(view("process=previous&at=peak"), Ok(View::Previous { at_peak: true }));
        for wrong in [
            "process=next",
            "process=previous&min_age=1m",
            "process=previous&seconds=1",
            "seconds=0",
            "seconds=3601",
            "seconds=-1",
            "seconds=1.5",
            "seconds=",
            "seconds",
            "seconds=99999999999",
            "debug=x",
            "gc=yes",
            "seconds=5&debug=1",
            "seconds=5&base=1",
            "debug=1&base=1",
            "seconds=5&at=peak",
            "at=noon",
            "min_age=",
            "min_age=old",
            "min_age=1m&at=peak",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_addresses(b"0x10+0xfF+12+0xzz+\xff+0x1\n"), [0x10, 0xff, 0x1]);
        assert!(parse_addresses(b"").is_empty());
    }
}
