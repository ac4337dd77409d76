//! Where alerts are posted, and how: plain HTTP, a few attempts, nothing secret in the log.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Attempts to deliver one message, and the pauses between them.
pub const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// What one attempt may take, from the look-up of the name to the answer's head.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

const PORT: u16 = 80;

/// `http://[user:password@]host[:port][/path][?query]`. Shown and logged, it has neither user nor path nor query: chat
/// rooms keep their secret there.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    host: String,
    port: u16,
    authority: String,
    target: String,
    /// The value of the header.
    authorization: Option<String>,
}

/// What is wrong with a webhook's address. The address is not in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// TLS would cost a tree of dependencies that nothing else in the agent needs.
    #[error("https is not spoken here; give the http address of a proxy or of Alertmanager's receiver")]
    Https,
    /// Not an address.
    #[error("it must read http://host:port/path")]
    Malformed,
}

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("the receiver cannot be reached")]
    Connect(#[source] std::io::Error),
    #[error("the receiver did not answer as HTTP has it")]
    Exchange(#[source] hyper::Error),
    #[error("the receiver answered {0}")]
    Status(StatusCode),
    #[error("the receiver took longer than {} s", ATTEMPT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the message cannot be put into a request")]
    Request(#[source] hyper::http::Error),
}

impl FromStr for Webhook {
    type Err = WebhookError;

    fn from_str(text: &str) -> Result<Self, WebhookError> {
        let uri: Uri = text.trim().parse().map_err(|_| WebhookError::Malformed)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(WebhookError::Https),
            _ => return Err(WebhookError::Malformed),
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or(WebhookError::Malformed)?;
        let (user, address) = match authority.as_str().rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority.as_str()),
        };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
            authority: address.to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            authorization: user.map(|user| format!("Basic {}", base64(&unescape(user)))),
        })
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Webhook {
    /// Posts JSON until the receiver answers 2xx, or says that it never will (4xx but 408 and 429), or attempts are spent.
    pub(super) async fn deliver(&self, json: String) -> Result<(), DeliveryError> {
        let body = Bytes::from(json);
        let mut pauses = PAUSES.iter();
        loop {
            let outcome =
                timeout(ATTEMPT_TIMEOUT, self.post(body.clone())).await.unwrap_or(Err(DeliveryError::Timeout));
            match (outcome, pauses.next()) {
                (Err(error), Some(pause)) if error.may_pass() => {
                    tracing::debug!(receiver = %self, %error, "an alert is tried again");
                    sleep(*pause).await;
                }
                (outcome, _) => return outcome,
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), DeliveryError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(DeliveryError::Connect)?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut requests, connection) = handshake.map_err(DeliveryError::Exchange)?;
        // Ends with this call.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = requests.send_request(self.request(body)?).await.map_err(DeliveryError::Exchange)?;
        if answer.status().is_success() { Ok(()) } else { Err(DeliveryError::Status(answer.status())) }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, DeliveryError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.target)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("heapline/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            let mut value = HeaderValue::from_str(authorization).map_err(|e| DeliveryError::Request(e.into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).map_err(DeliveryError::Request)
    }
}

impl DeliveryError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => {
                !status.is_client_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Connect(_) | Self::Exchange(_) | Self::Timeout => true,
            Self::Request(_) => false,
        }
    }
}

/// `%40` and the like.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%').and_then(|two| str::from_utf8(two).ok());
        let escaped = escaped.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0_u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let webhook: Webhook =
            "http://ops:p%40ss@alerts.internal:9000/hook/T0/secret?key=1".parse().expect("an address");
        assert_eq!((webhook.host.as_str(), webhook.port), ("alerts.internal", 9000));
        assert_eq!(webhook.target, "/hook/T0/secret?key=1");
        assert_eq!(webhook.authorization.as_deref(), Some("Basic b3BzOnBAc3M="));
        for shown in [webhook.to_string(), format!("{webhook:?}")] {
            assert_eq!(shown, "http://alerts.internal:9000");
        }
        let plain: Webhook = "http://[::1]".parse().expect("an address");
        assert_eq!((plain.host.as_str(), plain.port, plain.target.as_str()), ("::1", 80, "/"));
        assert_eq!("https://hooks.example/x".parse::<Webhook>(), Err(WebhookError::Https));
        for text in ["", "alerts:9000", "http://", "ftp://a/", "/path"] {
            assert_eq!(text.parse::<Webhook>(), Err(WebhookError::Malformed), "{text}");
        }
    }

    /// A receiver that gives these answers, one a connection, and returns what it was asked.
    fn receiver(answers: &'static [&'static str]) -> (Webhook, std::thread::JoinHandle<Vec<String>>) {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("somebody asks");
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let (mut text, mut length) = (String::new(), 0);
                while !text.ends_with("\r\n\r\n") {
                    let start = text.len();
                    reader.read_line(&mut text).expect("a head");
                    let line = text[start..].to_ascii_lowercase();
                    let found = line.strip_prefix("content-length:").and_then(|rest| rest.trim().parse().ok());
                    length = found.unwrap_or(length);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                text.push_str(&String::from_utf8_lossy(&body));
                write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").expect("answered");
                asked.push(text);
            }
            asked
        });
        (format!("http://ops:pw@{address}/hook").parse().expect("an address"), thread)
    }

    fn delivered(webhook: &Webhook) -> Result<(), DeliveryError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(webhook.deliver("{\"a\":1}".to_owned()))
    }

    #[test]
    fn a_receiver_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
        let (webhook, receiving) = receiver(&["503 Busy", "204 No Content"]);
        delivered(&webhook).expect("delivered");
        let asked = receiving.join().expect("no panic");
        assert_eq!(asked.len(), 2);
        assert!(
            asked[1].starts_with("POST /hook HTTP/1.1\r\n") && asked[1].ends_with("\r\n\r\n{\"a\":1}"),
            "{asked:?}"
        );
        assert!(asked[1].contains("authorization: Basic b3BzOnB3"), "{asked:?}");
        let (webhook, receiving) = receiver(&["404 Not Found"]);
        let error = delivered(&webhook).expect_err("refused");
        assert_eq!(error.to_string(), "the receiver answered 404 Not Found");
        assert_eq!(receiving.join().expect("no panic").len(), 1);
    }

    #[test]
    fn base64_of_the_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_tried_again() {
        for (status, again) in [(500, true), (503, true), (429, true), (408, true), (404, false), (301, true)] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(DeliveryError::Status(status).may_pass(), again, "{status}");
        }
    }
}
