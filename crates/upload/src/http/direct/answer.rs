//! An answer as bytes, as hyper would write it.

use std::time::SystemTime;

use hyper::header;

use crate::http::{Reply, ReplyBody};

/// Head and body. Of a body that is a piece of a file, which no upload is answered with, the head alone.
pub(super) fn bytes(reply: Reply, keep_alive: bool) -> Vec<u8> {
    let (head, body) = reply.into_parts();
    let body = match body {
        ReplyBody::Bytes(Some(body)) => body,
        _ => bytes::Bytes::new(),
    };
    let status = head.status;
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ndate: {}\r\ncontent-length: {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        httpdate::fmt_http_date(SystemTime::now()),
        body.len(),
    )
    .into_bytes();
    for (name, value) in head.headers.iter().filter(|(name, _)| **name != header::CONNECTION) {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    if !keep_alive {
        answer.extend_from_slice(b"connection: close\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::Refusal;

    #[test]
    fn an_answer_says_how_long_it_is_and_whether_it_is_the_last() {
        for (keep_alive, last) in [(true, false), (false, true)] {
            let text = String::from_utf8(bytes(Refusal::Unauthorized.reply(), keep_alive)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
            assert!(head.contains("\r\nwww-authenticate: Bearer"), "{head}");
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
            assert_eq!(head.contains("\r\nconnection: close"), last);
            assert!(body.starts_with('{'), "{body}");
        }
    }
}
