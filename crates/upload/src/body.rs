//! A request's body as it arrives, within its bounds of size and time.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use prometheus::IntCounter;

use crate::admission::Limits;
use crate::pace::Pace;
use crate::spool::Hold;

/// After so long without a frame, what was collected is better written than kept.
const LULL: Duration = Duration::from_millis(250);

/// What came next.
pub(crate) enum Arrival {
    Frame(Bytes),
    /// Nothing for a quarter of a second, which is said once in a silence; or what may be held has changed.
    Lull,
    End,
}

/// Why there is no more to read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("more than {0} bytes")]
    TooLarge(u64),
    #[error("silent or too slow for too long")]
    TooSlow,
    #[error("the client went away")]
    Cut(#[source] hyper::Error),
    #[error("broken chunked coding")]
    Coding(#[source] hyper::Error),
}

/// Reads a body and keeps count.
pub(crate) struct Intake {
    body: Incoming,
    pace: Pace,
    hold: Hold,
    /// Frames that come again, and the lull behind them.
    again: VecDeque<Bytes>,
    lull_again: bool,
    lull_said: bool,
    bytes: u64,
    bytes_max: u64,
    received: IntCounter,
}

impl Intake {
    pub(crate) fn new(body: Incoming, limits: &Limits, received: IntCounter, hold: Hold) -> Self {
        let pace = Pace::new(limits.body_idle_max, limits.body_bytes_per_second_min);
        Self {
            body,
            pace,
            hold,
            again: VecDeque::new(),
            lull_again: false,
            lull_said: false,
            bytes: 0,
            bytes_max: limits.body_bytes_max,
            received,
        }
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Takes back all that came up to a lull: it comes again, and so does the lull.
    pub(crate) fn put_back(&mut self, frames: Vec<Bytes>) {
        self.again = frames.into();
        self.lull_again = true;
    }

    pub(crate) async fn next(&mut self) -> Result<Arrival, BodyError> {
        if let Some(frame) = self.again.pop_front() {
            return Ok(Arrival::Frame(frame));
        }
        if std::mem::take(&mut self.lull_again) {
            return Ok(Arrival::Lull);
        }
        loop {
            let Some(frame) = self.frame().await? else {
                self.lull_said = true;
                return Ok(Arrival::Lull);
            };
            self.lull_said = false;
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Ok(Arrival::End),
                Some(Ok(Ok(bytes))) => return self.count(bytes),
                Some(Ok(Err(_trailers))) => {}
                Some(Err(error)) if is_coding_error(&error) => return Err(BodyError::Coding(error)),
                Some(Err(error)) => return Err(BodyError::Cut(error)),
            }
        }
    }

    /// Reads and drops what is left of a refused body, so that the client reads the answer and not a reset.
    pub(crate) fn discard(self, limits: &Limits) {
        discard(self.body, limits);
    }

    /// The body's next frame; `None` in a lull, or where what may be held has changed. A timer is set only where the frame is not there yet.
    async fn frame(&mut self) -> Result<Option<Option<hyper::Result<Frame<Bytes>>>>, BodyError> {
        let ready = std::future::poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => Some(frame),
                Poll::Pending => None,
            })
        });
        if let Some(frame) = ready.await {
            return Ok(Some(frame));
        }
        let patience = if self.lull_said { self.pace.allowance() } else { self.pace.allowance().min(LULL) };
        let since = Instant::now();
        let frame = tokio::select! {
            frame = self.body.frame() => Some(frame),
            () = tokio::time::sleep(patience) => None,
            () = self.hold.changed() => None,
        };
        self.pace.waited(since.elapsed());
        match frame {
            Some(frame) => Ok(Some(frame)),
            None if self.pace.allowance().is_zero() => Err(BodyError::TooSlow),
            None => Ok(None),
        }
    }

    fn count(&mut self, frame: Bytes) -> Result<Arrival, BodyError> {
        let bytes = frame.len() as u64;
        self.received.inc_by(bytes);
        self.pace.received(bytes);
        self.bytes += bytes;
        if self.bytes > self.bytes_max {
            return Err(BodyError::TooLarge(self.bytes_max));
        }
        Ok(Arrival::Frame(frame))
    }
}

/// Reads and drops a body, in the background, while the answer is on its way. Bounded in bytes and time by `limits`, and
/// ends with the connection.
pub(crate) fn discard(mut body: Incoming, limits: &Limits) {
    if body.is_end_stream() {
        return;
    }
    let (mut left, patience) = (limits.refused_body_bytes_max, limits.refused_body_time_max);
    let read = async move {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    drop(tokio::spawn(tokio::time::timeout(patience, read)));
}

/// Hyper reports a bad chunk as invalid data, and a client that is gone as anything else.
fn is_coding_error(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
}
