//! What is decided from a request's head alone, before its body is polled.

use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};

use crate::http::Refusal;
use crate::multipart;

/// Every bound of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest file, of a form or raw.
    pub file_bytes_max: u64,
    /// Largest request body.
    pub body_bytes_max: u64,
    /// Connections served at once; more wait to be accepted.
    pub connections_max: usize,
    /// For a request's head to arrive, and for a kept connection to be used again.
    pub header_time_max: Duration,
    /// How long a new upload waits where the memory budget is spent.
    pub memory_wait_max: Duration,
    /// How long a client may leave an answer unread, without taking a single byte.
    pub write_idle_max: Duration,
    /// How long a body may be silent. Time spent silent is earned back by bytes, at `body_bytes_per_second_min`.
    pub body_idle_max: Duration,
    /// What a body must bring in the mean once its idle time is used up.
    pub body_bytes_per_second_min: u64,
    /// What is read of a refused body, so that the client gets to see the answer.
    pub refused_body_bytes_max: u64,
    /// How long a refused body is read.
    pub refused_body_time_max: Duration,
    /// Bounds of a form.
    pub multipart: multipart::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 5 << 30,
            body_bytes_max: 5 << 30,
            connections_max: 4096,
            header_time_max: Duration::from_secs(15),
            memory_wait_max: Duration::from_secs(5),
            write_idle_max: Duration::from_secs(30),
            body_idle_max: Duration::from_secs(30),
            body_bytes_per_second_min: 1 << 10,
            refused_body_bytes_max: 16 << 20,
            refused_body_time_max: Duration::from_secs(5),
            multipart: multipart::Limits::default(),
        }
    }
}

/// Refuses a body that is known to be too large, or of unknown end.
pub(crate) fn length(headers: &HeaderMap, bytes_max: u64) -> Result<(), Refusal> {
    match headers.get(header::CONTENT_LENGTH) {
        // Hyper has checked that it is a number.
        Some(value) => match value.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(bytes) if bytes <= bytes_max => Ok(()),
            _ => Err(Refusal::BodyTooLarge(bytes_max)),
        },
        None if headers.contains_key(header::TRANSFER_ENCODING) => Ok(()),
        None => Err(Refusal::LengthRequired),
    }
}

/// Refuses content that would be stored otherwise than it is meant: encoded, or a piece of a file.
pub(crate) fn content(headers: &HeaderMap) -> Result<(), Refusal> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(Refusal::ContentEncoding);
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Refusal::PartialContent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_length_is_checked_before_the_body() {
        for (pairs, admitted) in [
            (&[("content-length", "10")][..], Ok(())),
            (&[("content-length", "11")], Err(413)),
            (&[("content-length", "99999999999999999999999")], Err(413)),
            (&[("transfer-encoding", "chunked")], Ok(())),
            (&[], Err(411)),
        ] {
            let answer = length(&headers(pairs), 10).map_err(|refusal| refusal.status().as_u16());
            assert_eq!(answer, admitted, "{pairs:?}");
        }
    }

    #[test]
    fn encoded_and_partial_content_is_refused() {
        for (pairs, admitted) in [
            (&[][..], Ok(())),
            (&[("content-encoding", "Identity")], Ok(())),
            (&[("content-encoding", "gzip")], Err(415)),
            (&[("content-range", "bytes 0-1/5")], Err(400)),
        ] {
            let answer = content(&headers(pairs)).map_err(|refusal| refusal.status().as_u16());
            assert_eq!(answer, admitted, "{pairs:?}");
        }
    }
}
