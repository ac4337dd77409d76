//! Conditional requests (RFC 9110, 13) against one strong entity tag and one date.

use std::time::SystemTime;

use hyper::header::{self, HeaderMap, HeaderName};

/// What identifies the state of a representation.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    /// A strong entity tag with its quotes.
    pub(crate) etag: String,
    /// Whole seconds.
    pub(crate) last_modified: SystemTime,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Validators {
    /// Evaluates the preconditions of a GET or HEAD, in the order that RFC 9110, 13.2.2 gives.
    pub(crate) fn judge(&self, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(header::IF_MATCH) {
            if !self.listed(headers, header::IF_MATCH, false) {
                return Verdict::Failed;
            }
        } else if self.date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|date| self.last_modified > date) {
            return Verdict::Failed;
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            if self.listed(headers, header::IF_NONE_MATCH, true) {
                return Verdict::NotModified;
            }
        } else if self.date(headers, header::IF_MODIFIED_SINCE).is_some_and(|date| self.last_modified <= date) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// Whether a Range may be honoured: no If-Range, or one that names exactly this state.
    pub(crate) fn range_applies(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::IF_RANGE) {
            None => true,
            Some(value) if value.as_bytes() == self.etag.as_bytes() => true,
            Some(_) => self.date(headers, header::IF_RANGE) == Some(self.last_modified),
        }
    }

    fn listed(&self, headers: &HeaderMap, name: HeaderName, weak: bool) -> bool {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
            |tag| {
                let tag = tag.trim();
                tag == "*" || tag == self.etag || (weak && tag.strip_prefix("W/") == Some(&self.etag))
            },
        )
    }

    fn date(&self, headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
        httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn validators() -> Validators {
        Validators { etag: "\"abc\"".into(), last_modified: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777) }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn preconditions() {
        use Verdict::*;
        for (pairs, expected) in [
            (&[][..], Proceed),
            (&[("if-none-match", "\"abc\"")], NotModified),
            (&[("if-none-match", "W/\"abc\"")], NotModified),
            (&[("if-none-match", "\"x\", \"abc\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"x\"")], Proceed),
            (&[("if-none-match", "\"x\""), ("if-modified-since", NOW)], Proceed),
            (&[("if-modified-since", NOW)], NotModified),
            (&[("if-modified-since", BEFORE)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (&[("if-match", "\"abc\"")], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "W/\"abc\"")], Failed),
            (&[("if-match", "\"x\"")], Failed),
            (&[("if-unmodified-since", NOW)], Proceed),
            (&[("if-unmodified-since", BEFORE)], Failed),
            (&[("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)], Proceed),
        ] {
            assert_eq!(validators().judge(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn if_range() {
        for (value, applies) in
            [("\"abc\"", true), ("W/\"abc\"", false), ("\"x\"", false), (NOW, true), (BEFORE, false)]
        {
            assert_eq!(validators().range_applies(&headers(&[("if-range", value)])), applies, "{value}");
        }
        assert!(validators().range_applies(&HeaderMap::new()));
    }
}
