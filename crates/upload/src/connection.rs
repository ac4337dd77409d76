//! A client's socket, with the two things that hyper has no setting for: a read buffer that grows only as far as the
//! memory budget lets it, and an end to waiting for a client that does not read its answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::direct::Handover;
use crate::ledger::{Ledger, Permit};

/// The most that a connection reads ahead, and the largest frame that an upload sees. Larger is faster and costs
/// memory for each upload in flight.
pub(crate) const READ_BUFFER_BYTES_MAX: usize = 128 << 10;

/// What hyper begins with, paid for with the connection and not by the budget.
const READ_BUFFER_BYTES_MIN: usize = 8 << 10;

/// How large a connection's read buffer may be at the moment: what a frame of it keeps in memory.
#[derive(Clone, Debug)]
pub(crate) struct ReadBuffer {
    bytes: Arc<AtomicUsize>,
}

impl ReadBuffer {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self { bytes: Arc::new(AtomicUsize::new(READ_BUFFER_BYTES_MIN)) }
    }
}

/// The socket as hyper sees it.
///
/// Hyper doubles its read buffer when a read has filled it. So as long as every read stops a byte short of the size
/// that is paid for, the buffer stays at that size; a read that came so far asks the ledger for twice of it, twice: one
/// buffer is filled while another is on its way to the upload. What was paid for is given back with the connection,
/// since hyper keeps its buffer as long.
pub(crate) struct Connection {
    stream: Take<TcpStream>,
    /// Read before hyper had the socket.
    early: Bytes,
    handover: Handover,
    ledger: Ledger,
    read_buffer: ReadBuffer,
    paid: Option<Permit>,
    wants_more: bool,
    write_idle_max: Duration,
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// `early` was read of the stream already.
    pub(crate) fn new(
        stream: TcpStream,
        early: Bytes,
        handover: Handover,
        ledger: Ledger,
        write_idle_max: Duration,
    ) -> Self {
        Self {
            stream: stream.take(0),
            early,
            handover,
            ledger,
            read_buffer: ReadBuffer::default(),
            paid: None,
            wants_more: false,
            write_idle_max,
            write_deadline: None,
        }
    }

    pub(crate) fn read_buffer(&self) -> ReadBuffer {
        self.read_buffer.clone()
    }

    /// The socket, and what of `early` nobody has read.
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream.into_inner(), self.early)
    }

    /// How much may be read at once.
    fn read_bytes_max(&mut self) -> usize {
        let bytes = self.read_buffer.bytes();
        if self.wants_more
            && bytes < READ_BUFFER_BYTES_MAX
            && let Some(more) = self.ledger.read_ahead(2 * bytes)
        {
            match &mut self.paid {
                Some(paid) => paid.join(more),
                none => *none = Some(more),
            }
            self.read_buffer.bytes.store(2 * bytes, Ordering::Relaxed);
        }
        match self.read_buffer.bytes() {
            READ_BUFFER_BYTES_MAX => READ_BUFFER_BYTES_MAX,
            bytes => bytes - 1,
        }
    }

    /// The result of a write, or an error where the client has taken nothing for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let deadline = || Box::pin(sleep_until(Instant::now() + self.write_idle_max));
        ready!(self.write_deadline.get_or_insert_with(deadline).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let bytes = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        let bytes_max = this.read_bytes_max();
        this.stream.set_limit(bytes_max as u64);
        let before = buf.remaining();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.wants_more = before - buf.remaining() >= bytes_max.min(before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.handover.set_flushed(false);
        let written = Pin::new(this.stream.get_mut()).poll_write(cx, bytes);
        this.in_time(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.handover.set_flushed(false);
        let written = Pin::new(this.stream.get_mut()).poll_write_vectored(cx, slices);
        this.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper flushes the socket when it has nothing left to write itself.
        let this = self.get_mut();
        this.handover.set_flushed(true);
        Pin::new(this.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(this.stream.get_mut()).poll_shutdown(cx)
    }
}
