//! HTTP as `object_store` asks for it: hyper, with time-outs, TLS by rustls, and a look at what the store answers.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::{Connect, HttpConnector as TcpConnector};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};

use super::failure::Refused;

/// For a connection to come to be.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// From a request's first byte to its answer's head. A part of 5 MiB needs 170 KiB/s to make it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Kept connections end before a usual load balancer ends them.
const IDLE_TIME_MAX: Duration = Duration::from_secs(15);
const IDLE_CONNECTIONS_MAX: usize = 32;
/// What of an answer is buffered; hyper's own default is 400 KiB.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// How much of an error's text is read.
const ERROR_BYTES_MAX: usize = 4 << 10;

const SHA256_HEADER: &str = "x-amz-checksum-sha256";

/// Makes clients; `tls` for an https endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connector {
    pub(super) tls: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
        if !self.tls {
            return Ok(HttpClient::new(Service::new(tcp)));
        }
        let roots = HttpsConnectorBuilder::new().with_native_roots();
        let roots = roots.map_err(|source| object_store::Error::Generic { store: "TLS", source: Box::new(source) })?;
        Ok(HttpClient::new(Service::new(roots.https_or_http().enable_http1().wrap_connector(tcp))))
    }
}

struct Service<C> {
    client: Client<C, HttpRequestBody>,
}

impl<C: Connect + Clone + Send + Sync + 'static> Service<C> {
    fn new(connector: C) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(READ_BUFFER_BYTES)
            .build(connector);
        Self { client }
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sent = request.headers().get(SHA256_HEADER).cloned();
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.client.request(request)).await;
        let answer = match answer {
            Err(_) => return Err(HttpError::new(HttpErrorKind::Timeout, Refused::TooSlow)),
            Ok(answer) => answer.map_err(|error| HttpError::new(error_kind(&error), error))?,
        };
        if answer.status() == StatusCode::BAD_REQUEST {
            return Err(bad_request(answer).await);
        }
        let stored = answer.headers().get(SHA256_HEADER);
        if let (Some(sent), Some(stored)) = (sent, stored)
            && sent != stored
        {
            let text = "its SHA-256 is another".to_owned();
            return Err(HttpError::new(HttpErrorKind::Interrupted, Refused::Checksum(text)));
        }
        let (head, body) = answer.into_parts();
        let body = HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)));
        Ok(HttpResponse::from_parts(head, body))
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl<C: Connect + Clone + Send + Sync + 'static> HttpService for Service<C> {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answering<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.answer(request))
    }
}

impl<C> fmt::Debug for Service<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hyper")
    }
}

/// Requests that got nowhere may be made again whatever they are; the others where they are idempotent.
fn error_kind(error: &ClientError) -> HttpErrorKind {
    if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted }
}

/// A 400 says in its text whether the bytes were damaged on their way, which is worth another try, or the request is wrong.
async fn bad_request(answer: Response<Incoming>) -> HttpError {
    let text = match Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect().await {
        Ok(text) => String::from_utf8_lossy(&text.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    let damaged = ["BadDigest", "InvalidDigest", "SHA256Mismatch", "ChecksumMismatch", "IncompleteBody"];
    if damaged.iter().any(|code| text.contains(code)) {
        HttpError::new(HttpErrorKind::Interrupted, Refused::Checksum(text))
    } else {
        HttpError::new(HttpErrorKind::Unknown, Refused::BadRequest(text))
    }
}
