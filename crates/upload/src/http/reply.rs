use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode, header};
use serde::Serialize;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::ledger::{Ledger, Permit};
use crate::store::bucket::ObjectBody;

/// Read from a file at once, for an answer, where the memory budget has room for it.
const READ_BYTES: usize = 128 << 10;

/// The same where it has none.
const READ_BYTES_MIN: usize = 8 << 10;

/// An answer.
pub type Reply = Response<ReplyBody>;

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// In memory; `None` once sent, and for an empty one.
    Bytes(Option<Bytes>),
    /// A piece of a file.
    File(FileBody),
    /// A piece of an object in a bucket.
    Object(ObjectBody),
}

/// A piece of a file, read in steps on blocking threads; one step ahead of the connection, no more.
#[derive(Debug)]
pub struct FileBody {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    step_bytes: usize,
    _memory: Option<Permit>,
}

impl FileBody {
    /// The bytes from `start` up to `end`. Two steps are in memory: one that is read, one that is sent.
    pub(super) fn new(file: File, start: u64, end: u64, ledger: &Ledger) -> Self {
        let memory = ledger.spare(2 * READ_BYTES);
        let step_bytes = if memory.is_some() { READ_BYTES } else { READ_BYTES_MIN };
        Self { file: Arc::new(file), at: start, end, reading: None, step_bytes, _memory: memory }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| {
            let (file, at) = (Arc::clone(&self.file), self.at);
            let bytes = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(self.step_bytes);
            spawn_blocking(move || {
                let mut buffer = vec![0; bytes];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            })
        });
        let step = ready!(Pin::new(reading).poll(cx)).unwrap_or_else(|panic| Err(io::Error::other(panic)));
        self.reading = None;
        if let Ok(bytes) = &step {
            self.at += bytes.len() as u64;
        }
        Poll::Ready(Some(step))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(file) => file.poll_step(cx).map(|step| step.map(|step| step.map(Frame::data))),
            Self::Object(object) => object.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_none(),
            Self::File(file) => file.at >= file.end,
            Self::Object(object) => object.left_bytes() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, Bytes::len) as u64,
            Self::File(file) => file.end.saturating_sub(file.at),
            Self::Object(object) => object.left_bytes(),
        })
    }
}

/// A status and nothing more.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::Bytes(None));
    *reply.status_mut() = status;
    reply
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Reply {
    with_body(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

pub(super) fn json(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Reply {
    // Strings and numbers always have a JSON form.
    let body = serde_json::to_vec(value).unwrap_or_default();
    with_body(status, content_type, body.into())
}

pub(super) fn json_text(status: StatusCode, content_type: &'static str, text: String) -> Reply {
    with_body(status, content_type, text.into())
}

fn with_body(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(ReplyBody::Bytes(Some(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    reply
}
