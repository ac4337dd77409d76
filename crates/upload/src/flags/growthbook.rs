use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{FEATURES_BYTES_MAX, PollError};

const PORT: u16 = 80;

/// The feature endpoint of a GrowthBook, or of its proxy: `http://host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
    host: String,
    port: u16,
    /// Path before `/api/features/`, without a slash at its end; then path and client key.
    path: String,
}

/// What is wrong with an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// TLS would cost a tree of dependencies that nothing else here needs.
    #[error("https is not spoken here; run GrowthBook's proxy beside the server and give its http address")]
    Https,
    /// Not an address at all, or with a user, a query or a fragment.
    #[error("it must read http://host:port")]
    Malformed,
    /// Something that is not part of a path.
    #[error("a client key has letters, digits, '-', '_' and '.' only")]
    ClientKey,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// An address, without a client key.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(EndpointError::Https),
            _ => return Err(EndpointError::Malformed),
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(EndpointError::Malformed)?;
        if uri.query().is_some() || authority.host().is_empty() {
            return Err(EndpointError::Malformed);
        }
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Endpoint {
    /// The endpoint of a client key.
    ///
    /// # Errors
    /// [`EndpointError::ClientKey`].
    pub fn with_client_key(mut self, client_key: &str) -> Result<Self, EndpointError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if client_key.is_empty() || !client_key.bytes().all(legal) {
            return Err(EndpointError::ClientKey);
        }
        self.path.push_str(&format!("/api/features/{client_key}"));
        Ok(self)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Asks, and asks for nothing where nothing has changed since the last good answer.
#[derive(Debug)]
pub(super) struct GrowthBook {
    endpoint: Endpoint,
    etag: Option<HeaderValue>,
    etag_of_good: Option<HeaderValue>,
}

impl GrowthBook {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, etag: None, etag_of_good: None }
    }

    /// The body of a 200; `None` where the last good one holds. A connection of its own each time. May be dropped.
    pub(super) async fn fetch(&mut self) -> Result<Option<Bytes>, PollError> {
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port));
        let stream = stream.await.map_err(PollError::Connect)?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut requests, connection) = handshake.map_err(PollError::Exchange)?;
        // Ends with this call.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = requests.send_request(self.request()).await.map_err(PollError::Exchange)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.etag_of_good.is_some() => return Ok(None),
            other => return Err(PollError::Status(other)),
        }
        self.etag = answer.headers().get(header::ETAG).cloned();
        let body = Limited::new(answer.into_body(), FEATURES_BYTES_MAX).collect().await;
        Ok(Some(body.map_err(PollError::Body)?.to_bytes()))
    }

    /// What was fetched last is what "not modified" may refer to from now on.
    pub(super) fn was_good(&mut self) {
        self.etag_of_good = self.etag.take();
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        // Both were parsed from text that hyper took for an address.
        *request.uri_mut() = self.endpoint.path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.endpoint.authority) {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let user_agent = concat!("heapline-upload/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(user_agent));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(etag) = &self.etag_of_good {
            headers.insert(header::IF_NONE_MATCH, etag.clone());
        }
        request
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("http://localhost:3100", Ok("http://localhost:3100/api/features/sdk-1")),
            ("http://gb.internal/", Ok("http://gb.internal/api/features/sdk-1")),
            ("http://[::1]:3100/proxy/", Ok("http://[::1]:3100/proxy/api/features/sdk-1")),
            ("https://cdn.growthbook.io", Err(EndpointError::Https)),
            ("localhost:3100", Err(EndpointError::Malformed)),
            ("http://user:secret@host", Err(EndpointError::Malformed)),
            ("http://host/?q=1", Err(EndpointError::Malformed)),
            ("", Err(EndpointError::Malformed)),
        ] {
            let endpoint = text.parse::<Endpoint>().and_then(|endpoint| endpoint.with_client_key("sdk-1"));
            assert_eq!(endpoint.map(|endpoint| endpoint.to_string()), expected.map(str::to_owned), "{text}");
        }
        let endpoint: Endpoint = "http://[::1]:3100".parse().unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 3100));
        for key in ["", "a/b", "a?b", "a b"] {
            assert_eq!(endpoint.clone().with_client_key(key), Err(EndpointError::ClientKey), "{key:?}");
        }
    }
}
