//! A multipart form of any number of files and fields.

use std::io;
use std::net::SocketAddr;

use crate::http::{self, Response};

const BOUNDARY: &str = "----heapline-tests-7MA4YWxkTrZu0gW";

/// A form that is being filled.
#[derive(Debug, Default)]
pub struct Form {
    body: Vec<u8>,
}

impl Form {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    pub fn file(mut self, field: &str, filename: &str, content: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(content);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    /// Sends it to `/upload`.
    pub fn post(mut self, address: SocketAddr, token: &str) -> io::Result<Response> {
        self.body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let authorization = format!("Bearer {token}");
        http::request(
            address,
            "POST",
            "/upload",
            &[("Content-Type", &kind), ("Authorization", &authorization)],
            &self.body,
        )
    }
}
