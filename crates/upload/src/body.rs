//! A request's body as it arrives, within its bounds of size and time.

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
    lull_said: bool,
    bytes: u64,
    bytes_max: u64,
    received: IntCounter,
}

impl Intake {
    pub(crate) fn new(body: Incoming, limits: &Limits, received: IntCounter, hold: Hold) -> Self {
        let pace = Pace::new(limits.body_idle_max, limits.body_bytes_per_second_min);
        Self { body, pace, hold, lull_said: false, bytes: 0, bytes_max: limits.body_bytes_max, received }
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    pub(crate) async fn next(&mut self) -> Result<Arrival, BodyError> {
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
        let patience = if self.lull_said { self.pace.allowance } else { self.pace.allowance.min(LULL) };
        let since = Instant::now();
        let frame = tokio::select! {
            frame = self.body.frame() => Some(frame),
            () = tokio::time::sleep(patience) => None,
            () = self.hold.changed() => None,
        };
        self.pace.waited(since.elapsed());
        match frame {
            Some(frame) => Ok(Some(frame)),
            None if self.pace.allowance.is_zero() => Err(BodyError::TooSlow),
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

/// How much longer a client may keep us waiting: a purse of time, full at first, out of which every wait is paid and into which
/// every byte pays what it would have taken at the slowest rate allowed.
#[derive(Debug)]
struct Pace {
    allowance: Duration,
    allowance_max: Duration,
    bytes_per_second_min: u64,
}

impl Pace {
    fn new(idle_max: Duration, bytes_per_second_min: u64) -> Self {
        Self { allowance: idle_max, allowance_max: idle_max, bytes_per_second_min: bytes_per_second_min.max(1) }
    }

    fn waited(&mut self, time: Duration) {
        self.allowance = self.allowance.saturating_sub(time);
    }

    fn received(&mut self, bytes: u64) {
        if self.allowance < self.allowance_max {
            let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_second_min);
            self.allowance = self.allowance.saturating_add(earned).min(self.allowance_max);
        }
    }
}

/// Hyper reports a bad chunk as invalid data, and a client that is gone as anything else.
fn is_coding_error(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a client that sends `bytes` every `every_seconds` has used up 30 s and 1 KiB/s, within an hour.
    fn patience_seconds(bytes: u64, every_seconds: u64) -> Option<u64> {
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        (1..=3600).find(|second| {
            pace.waited(Duration::from_secs(1));
            let gone = pace.allowance.is_zero();
            if second % every_seconds == 0 {
                pace.received(bytes);
            }
            gone
        })
    }

    #[test]
    fn silence_and_trickles_end_and_slow_links_do_not() {
        assert_eq!(patience_seconds(0, 1), Some(30));
        assert_eq!(patience_seconds(1, 1), Some(31));
        assert_eq!(patience_seconds(512, 1), Some(59));
        assert_eq!(patience_seconds(1024, 1), None);
        assert_eq!(patience_seconds(64 << 10, 29), None);
        assert_eq!(patience_seconds(64 << 10, 31), Some(30));
    }

    #[test]
    fn a_fast_start_earns_no_more_than_the_idle_time() {
        let mut pace = Pace::new(Duration::from_secs(30), 1024);
        pace.received(1 << 30);
        pace.waited(Duration::from_secs(30));
        assert!(pace.allowance.is_zero());
    }
}
