//! `/files/<id>`: stored files read back and deleted.

use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::conditional::{Validators, Verdict};
use super::range::Range;
use super::reply::{self, FileBody};
use super::{Refusal, Reply, ReplyBody, Service, disposition};
use crate::digest::{self, REPR_DIGEST};
use crate::store::{Content, FileId, FileMeta, hex};

const UNKNOWN_TYPE: &str = "application/octet-stream";

/// GET and HEAD.
pub(super) async fn read(service: &Service, name: &str, request: &Request<Incoming>) -> Result<Reply, Refusal> {
    let id = FileId::parse(name).ok_or(Refusal::NoSuchFile)?;
    let (content, meta) = service.store.find(id).await?.ok_or(Refusal::NoSuchFile)?;
    let validators = validators(&id, &meta);
    match validators.judge(request.headers()) {
        Verdict::Failed => return Err(Refusal::Precondition),
        Verdict::NotModified => {
            let mut reply = reply::empty(StatusCode::NOT_MODIFIED);
            put_validators(reply.headers_mut(), &validators);
            return Ok(reply);
        }
        Verdict::Proceed => {}
    }
    let range = match request.headers().get(header::RANGE) {
        Some(range) if *request.method() == Method::GET && validators.range_applies(request.headers()) => {
            Range::parse(range.as_bytes(), meta.bytes)
        }
        _ => Range::Whole,
    };
    let (status, start, end) = match range {
        Range::Whole => (StatusCode::OK, 0, meta.bytes),
        Range::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last + 1),
        Range::Unsatisfiable => return Err(Refusal::Range(meta.bytes)),
    };
    let mut reply = Response::new(match content {
        Content::File(file) => ReplyBody::File(FileBody::new(file, start, end, &service.ledger)),
        Content::Object(object) => ReplyBody::Object(object.body(start, end)),
    });
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    put_validators(headers, &validators);
    describe(headers, &meta);
    if status == StatusCode::PARTIAL_CONTENT {
        put(headers, header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, meta.bytes));
    }
    Ok(reply)
}

pub(super) async fn delete(service: &Service, name: &str) -> Result<Reply, Refusal> {
    let id = FileId::parse(name).ok_or(Refusal::NoSuchFile)?;
    if service.store.remove(id).await? { Ok(reply::empty(StatusCode::NO_CONTENT)) } else { Err(Refusal::NoSuchFile) }
}

/// Stored files never change: without a digest, the id says as much.
fn validators(id: &FileId, meta: &FileMeta) -> Validators {
    let etag = meta.sha256.map_or_else(|| format!("\"{id}\""), |sha256| format!("\"{}\"", hex(&sha256)));
    Validators { etag, last_modified: SystemTime::UNIX_EPOCH + Duration::from_secs(meta.stored_unix_ms / 1_000) }
}

fn put_validators(headers: &mut HeaderMap, validators: &Validators) {
    put(headers, header::ETAG, validators.etag.clone());
    put(headers, header::LAST_MODIFIED, httpdate::fmt_http_date(validators.last_modified));
    put(headers, header::ACCEPT_RANGES, "bytes".to_owned());
}

/// The content is somebody else's: a browser is to save it and to make nothing else of it.
fn describe(headers: &mut HeaderMap, meta: &FileMeta) {
    let content_type = meta.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    headers.insert(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static(UNKNOWN_TYPE)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    put(headers, header::CONTENT_DISPOSITION, disposition::attachment(&meta.filename));
    if let Some(sha256) = &meta.sha256 {
        put(headers, REPR_DIGEST, digest::field_value(sha256));
    }
}

/// Values made of printable ASCII; another would be left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
