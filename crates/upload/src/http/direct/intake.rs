//! What of an upload is still to be received, and the reading of it: how much, how fast, and no more than that.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::http::{Refusal, Service};
use crate::pace::Pace;

/// How long a thread waits for more, if the turn has brought enough for it to be worth while; where others wait for a
/// lane, one step of it. So sixteen lanes full of clients that pause still move half a gigabyte a second.
const LINGER_MAX: Duration = Duration::from_millis(100);
const LINGER_STEP: Duration = Duration::from_millis(2);

/// How much came at once, and whether the socket has no more.
pub(super) type Came = (u64, bool);

pub(super) struct Intake {
    left: u64,
    /// Read of the next request.
    beyond: Bytes,
    pace: Pace,
    received_bytes: IntCounter,
}

impl Intake {
    /// Of a body of which `left` bytes are not read yet.
    pub(super) fn new(service: &Service, left: u64) -> Self {
        let pace = Pace::new(service.limits.body_idle_max, service.limits.body_bytes_per_second_min);
        Self { left, beyond: Bytes::new(), pace, received_bytes: service.metrics.received_bytes.clone() }
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// How long the client may be silent from now on.
    pub(super) fn patience(&self) -> Duration {
        self.pace.allowance()
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.pace.waited(time);
    }

    /// What was read of the next request.
    pub(super) fn into_beyond(self) -> Bytes {
        self.beyond
    }

    /// Reads until the buffer is full, the body is whole, or the socket has no more. What is of the next request is put
    /// aside.
    pub(super) fn fill(&mut self, socket: &TcpStream, buffer: &mut Vec<u8>) -> Result<Came, Refusal> {
        let mut total = 0;
        while self.left > 0 && buffer.len() < buffer.capacity() {
            match rustix::io::read(socket, spare_capacity(buffer)) {
                Ok(0) => return Err(Refusal::Cut),
                Ok(bytes) => {
                    let bytes_of_body = self.left.min(bytes as u64);
                    let beyond = bytes - usize::try_from(bytes_of_body).unwrap_or(bytes);
                    if beyond > 0 {
                        self.beyond = buffer.split_off(buffer.len() - beyond).into();
                    }
                    total += bytes_of_body;
                    self.received(bytes_of_body);
                }
                Err(Errno::AGAIN) => return Ok((total, true)),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Refusal::Cut),
            }
        }
        Ok((total, false))
    }

    /// Waits for more, but not for long, and less where somebody else wants the thread.
    pub(super) fn comes_more(&mut self, socket: &TcpStream, is_wanted: impl Fn() -> bool) -> Result<bool, Refusal> {
        let began = Instant::now();
        let linger_max = LINGER_MAX.min(self.pace.allowance());
        let step = Timespec { tv_sec: 0, tv_nsec: i64::from(LINGER_STEP.subsec_nanos()) };
        let comes = loop {
            match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&step)) {
                Ok(0) if is_wanted() || began.elapsed() >= linger_max => break false,
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break true,
                Err(_) => return Err(Refusal::Cut),
            }
        };
        self.pace.waited(began.elapsed());
        Ok(comes)
    }

    fn received(&mut self, bytes: u64) {
        self.left -= bytes;
        self.pace.received(bytes);
        self.received_bytes.inc_by(bytes);
    }
}
