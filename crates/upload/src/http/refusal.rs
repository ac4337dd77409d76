use std::error::Error;
use std::io;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use rustix::io::Errno;
use serde::Serialize;
use tracing::error;

use super::reply::{self, Reply};
use crate::body::BodyError;
use crate::digest::BadDigestField;
use crate::health::Trouble;
use crate::metrics::Outcome;
use crate::multipart::{ContentTypeError, Malformed};
use crate::sink::SealError;
use crate::store::repeats::BadKey;
use crate::store::{CommitError, Full, StoreError};

/// When a client that was refused for now may ask again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Why a request gets no 2xx: the one table of statuses and of what clients read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("there is no such file")]
    NoSuchFile,
    #[error("this path answers {0} only")]
    Method(&'static str),
    #[error("a bearer token is needed")]
    Unauthorized,
    #[error("the server is shutting down")]
    Draining,
    #[error("the store cannot commit files: {0}")]
    Unready(Trouble),
    #[error("the store takes no files now")]
    StoreUnusable,
    #[error("the request has neither Content-Length nor chunked coding")]
    LengthRequired,
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(u64),
    #[error("a file is larger than {0} bytes")]
    FileTooLarge(u64),
    #[error("the plain fields are larger than {0} bytes in all")]
    FieldsTooLarge(u64),
    #[error("encoded content is not taken; send the file as it is")]
    ContentEncoding,
    #[error("a piece of a file is not taken; send it whole")]
    PartialContent,
    #[error("the filename is not percent-encoded UTF-8")]
    Filename,
    #[error("{0}")]
    ContentType(#[from] ContentTypeError),
    #[error("{0}")]
    Form(#[from] Malformed),
    #[error("the form has no file")]
    NoFile,
    #[error("{0}")]
    DigestField(#[from] BadDigestField),
    #[error("the content has another SHA-256 than the request's digest field promises")]
    DigestMismatch,
    #[error("the body was silent or too slow for too long")]
    TooSlow,
    #[error("the body ended before its announced end")]
    Cut,
    #[error("the chunked coding of the body is broken")]
    Coding,
    #[error("the file has changed, or is not what the condition asks for")]
    Precondition,
    #[error("the range is outside the file's {0} bytes")]
    Range(u64),
    #[error("too many events wait to be delivered")]
    OutboxFull,
    #[error("the memory budget is spent by other uploads")]
    NoMemory,
    #[error("too many files are open")]
    Busy,
    #[error("the disk is full")]
    NoSpace,
    #[error("the store's quota is used up")]
    QuotaFull,
    #[error("an Idempotency-Key is one field of 1 to 255 printable characters")]
    KeyForm,
    #[error("the first request with this Idempotency-Key is not done")]
    KeyRunning,
    #[error("this Idempotency-Key was used for another upload")]
    KeyReused,
    #[error("the object store does not answer")]
    StoreAway,
    #[error("the object store did not keep the content intact")]
    StoreDamage,
    #[error("the server failed to store or read the file")]
    Internal,
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: String,
}

impl Refusal {
    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::PartialContent
            | Self::Filename
            | Self::ContentType(ContentTypeError::NoBoundary | ContentTypeError::BadBoundary)
            | Self::DigestField(_)
            | Self::DigestMismatch
            | Self::KeyForm
            | Self::Cut
            | Self::Coding => StatusCode::BAD_REQUEST,
            Self::Form(Malformed::TooManyParts(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Form(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath | Self::NoSuchFile => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge(_) | Self::FileTooLarge(_) | Self::FieldsTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType(ContentTypeError::NotFormData) | Self::ContentEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::Range(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NoFile | Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::KeyRunning => StatusCode::CONFLICT,
            Self::Draining
            | Self::Unready(_)
            | Self::StoreUnusable
            | Self::OutboxFull
            | Self::NoMemory
            | Self::Busy
            | Self::StoreAway => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSpace | Self::QuotaFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::StoreDamage => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How an upload that ends so is counted.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.status().as_u16() {
            _ if matches!(self, Self::Cut) => Outcome::Cancelled,
            401 => Outcome::Unauthorized,
            408 => Outcome::Cancelled,
            413 => Outcome::TooLarge,
            503 | 507 => Outcome::Refused,
            500.. => Outcome::Failed,
            _ => Outcome::BadRequest,
        }
    }

    /// The answer: `application/problem+json`.
    pub(super) fn reply(&self) -> Reply {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("Error");
        let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail: self.to_string() };
        let mut reply = reply::json(status, "application/problem+json", &problem);
        let headers = reply.headers_mut();
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Range(bytes) => {
                if let Ok(value) = format!("bytes */{bytes}").try_into() {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE || matches!(self, Self::KeyRunning) => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            _ => {}
        }
        reply
    }

    /// Logs what the client is not told.
    fn internal(error: &dyn Error) -> Self {
        Self::logged(error, Self::Internal)
    }

    fn logged(error: &dyn Error, refusal: Self) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        error!(%error, cause = causes.join(": "), "a request failed");
        refusal
    }
}

fn is_want_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A store that is mounted read-only, removed, unmounted, or closed to us: nothing of this request's doing.
fn is_unusable(error: &io::Error) -> bool {
    let unusable = [
        Errno::ROFS,
        Errno::NOTDIR,
        Errno::STALE,
        Errno::NODEV,
        Errno::NXIO,
        Errno::NOTCONN,
        Errno::ACCESS,
        Errno::PERM,
    ];
    let errno = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::NotFound || errno.is_some_and(|errno| unusable.contains(&errno))
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        match full {
            Full::Disk => Self::NoSpace,
            Full::Quota => Self::QuotaFull,
        }
    }
}

impl From<BadKey> for Refusal {
    fn from(bad: BadKey) -> Self {
        match bad {
            BadKey::Form => Self::KeyForm,
            BadKey::Running => Self::KeyRunning,
            BadKey::Unknown(error) => error.into(),
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(bytes_max) => Self::BodyTooLarge(bytes_max),
            BodyError::TooSlow => Self::TooSlow,
            BodyError::Cut(_) => Self::Cut,
            BodyError::Coding(_) => Self::Coding,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace { .. } => Self::NoSpace,
            StoreError::Io { ref source, .. } if is_want_of_descriptors(source) => Self::Busy,
            StoreError::Io { ref source, .. } if is_unusable(source) => Self::logged(&error, Self::StoreUnusable),
            StoreError::Away { .. } => Self::logged(&error, Self::StoreAway),
            StoreError::Damaged { .. } => Self::logged(&error, Self::StoreDamage),
            other => Self::internal(&other),
        }
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        match error {
            SealError::DigestMismatch => Self::DigestMismatch,
            SealError::Store(error) => error.into(),
        }
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::OutboxFull => Self::OutboxFull,
            CommitError::NoSpace { .. } => Self::NoSpace,
            CommitError::Io { ref source } if is_want_of_descriptors(source) => Self::Busy,
            CommitError::Io { ref source } if is_unusable(source) => Self::logged(&error, Self::StoreUnusable),
            CommitError::Away { .. } => Self::logged(&error, Self::StoreAway),
            CommitError::Damaged { .. } => Self::logged(&error, Self::StoreDamage),
            other => Self::internal(&other),
        }
    }
}

impl From<tokio::task::JoinError> for Refusal {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}
