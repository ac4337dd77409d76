//! A large body of known length, from its socket to the disk without hyper in between.
//!
//! Hyper reads the head; then the connection is taken apart, and a blocking thread reads the body through one buffer,
//! which is in its core's cache when it is hashed and written. A thread stays with an upload as long as bytes come: a
//! client that pauses gives thread and buffer back and costs a socket. The answer sent, hyper has the connection again.
//!
//! A small body is left to hyper and stored in one piece, together with others where no disk is waited for. Chunked bodies,
//! and forms that may be held in memory, are received frame by frame.

mod answer;
mod buffers;
mod form;
mod intake;
mod together;
mod transfer;

use std::future::{pending, poll_fn};
use std::net::TcpStream as StdTcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::available_parallelism;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answer::{self as stored, Admitted};
use super::uploads::Plan;
use super::{Refusal, Reply, Service};
use crate::ledger::Permit;
use crate::metrics::{InFlight, Outcome};
use crate::spool::Threshold;
use crate::store::Store;
use buffers::Buffers;
pub(crate) use together::Together;
use transfer::{Answered, End, Lane, Transfer, Whole};

/// A body up to this is in hyper's first buffer before it could be taken over; an upload is admitted with as much.
const SMALL_BODY_BYTES_MAX: u64 = 8 << 10;

/// Uploads that threads read at the same time, for each core and in all: few, so that their buffers stay in the caches, and
/// more than the cores, since a thread may wait for its client or the disk; twice as many where files are synced, since to
/// make or to write one then waits for the syncs of others. The runtime's other threads are for small uploads, syncs and
/// answers.
const LANES_A_CORE: usize = 8;
const LANES_A_CORE_SYNCED: usize = 16;
const LANES_MIN: usize = 16;
const LANES_MAX: usize = 96;

/// A refused body is read and dropped in pieces of this size.
const DISCARD_BYTES: usize = 8 << 10;

/// Whether the server is draining, to be asked; `None` where the connection is to end in any case.
pub(crate) type Draining = Option<watch::Receiver<bool>>;

/// What uploads are read by: permits to do it on a thread, and the buffers of those that have one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lanes {
    permits: Arc<Semaphore>,
    buffers: Buffers,
}

/// The lanes of a server.
pub(crate) fn lanes(store: &Store) -> Lanes {
    let cores = available_parallelism().map_or(1, usize::from);
    let a_core = if store.seals_at_once() { LANES_A_CORE } else { LANES_A_CORE_SYNCED };
    let permits = Semaphore::new((a_core * cores).clamp(LANES_MIN, LANES_MAX));
    Lanes { permits: Arc::new(permits), buffers: Buffers::default() }
}

/// An upload that hyper is to let go of, with all that it holds.
pub(crate) struct Upload {
    body: Incoming,
    bytes: u64,
    waits_for_continue: bool,
    plan: Plan,
    ticket: Ticket,
}

/// What an upload holds until it is answered.
pub(super) struct Ticket {
    pub(super) admitted: Admitted,
    pub(super) in_flight: InFlight,
    pub(super) memory: Permit,
}

/// Where a request of a connection waits to be taken over, and whether hyper has written all that it had to.
#[derive(Clone)]
pub(crate) struct Handover {
    shared: Arc<Shared>,
}

struct Shared {
    together: Together,
    upload: Mutex<Option<Box<Upload>>>,
    unflushed: AtomicBool,
}

impl Handover {
    /// Of a connection of a server whose small uploads meet in `together`.
    pub(crate) fn new(together: Together) -> Self {
        let (upload, unflushed) = (Mutex::default(), AtomicBool::default());
        Self { shared: Arc::new(Shared { together, upload, unflushed }) }
    }

    /// Where small uploads of the server meet.
    pub(super) fn together(&self) -> Together {
        self.shared.together.clone()
    }

    pub(crate) fn set_flushed(&self, flushed: bool) {
        self.shared.unflushed.store(!flushed, Ordering::Relaxed);
    }

    /// The upload that waits, once the answers before it are on their way.
    pub(crate) fn take(&self) -> Option<Box<Upload>> {
        if self.shared.unflushed.load(Ordering::Relaxed) { None } else { self.locked().take() }
    }

    fn give(&self, upload: Upload) {
        *self.locked() = Some(Box::new(upload));
    }

    fn locked(&self) -> MutexGuard<'_, Option<Box<Upload>>> {
        self.shared.upload.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offers an upload to the connection; where that takes it, this does not return. Or all comes back, to be served the
/// other way.
pub(super) async fn offer(
    request: Request<Incoming>,
    plan: Plan,
    threshold: &Threshold,
    ticket: Ticket,
) -> (Request<Incoming>, Plan, Ticket) {
    let suits = body_bytes(&request).filter(|&bytes| plan.goes_to_disk(bytes, threshold.get().bytes));
    let (Some(bytes), Some(handover)) = (suits, request.extensions().get::<Handover>().cloned()) else {
        return (request, plan, ticket);
    };
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    handover.give(Upload { body, bytes, waits_for_continue, plan, ticket });
    pending().await
}

/// Serves an upload on a connection that hyper gave back with `rest`, the bytes it had read. Returns the connection, and
/// what of the next request was read, where it may go on.
pub(crate) async fn serve(
    service: &Arc<Service>,
    lanes: &Lanes,
    mut stream: TcpStream,
    mut rest: Bytes,
    upload: Box<Upload>,
    draining: Draining,
) -> Option<(TcpStream, Bytes)> {
    let Upload { mut body, bytes, waits_for_continue, plan, ticket } = *upload;
    let Ticket { admitted, in_flight, memory: _memory } = ticket;
    let mut left = bytes;
    let mut early = Vec::new();
    while let Some(frame) = ready_frame(&mut body).await {
        left = left.checked_sub(frame.len() as u64)?;
        early.push(frame);
    }
    let of_body = rest.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(rest.len()));
    left -= of_body.len() as u64;
    early.push(of_body);
    service.metrics.received_bytes.inc_by(bytes - left);
    if waits_for_continue && left > 0 {
        write(service, &mut stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }

    let mut transfer = Transfer::new(Arc::clone(service), plan, early, left);
    let mut in_flight = Some(in_flight);
    if !admitted.has_key() && service.store.seals_at_once() {
        let in_flight = in_flight.take()?;
        transfer = transfer.answered_by_its_thread(in_flight, draining.clone());
    }
    let Received { mut stream, beyond, in_flight: given_back, outcome } = receive(lanes, stream, transfer).await?;
    if rest.is_empty() {
        rest = beyond;
    }
    let outcome = match outcome {
        Ok(Done::Answered(Answered { unsent, goes_on })) => {
            if !unsent.is_empty() {
                write(service, &mut stream, &unsent).await?;
            }
            return goes_on.then_some((stream, rest));
        }
        Ok(Done::Received((target, sealed))) => stored::commit(service, admitted, target, sealed).await,
        Err(refusal) => Err(refusal),
    };
    let in_flight = in_flight.or(given_back)?;
    match outcome {
        Ok(reply) => {
            in_flight.end(Outcome::Stored);
            let goes_on = goes_on(&draining);
            write(service, &mut stream, &answer::bytes(reply, goes_on)).await?;
            goes_on.then_some((stream, rest))
        }
        Err(refusal) => {
            in_flight.end(refusal.outcome());
            write(service, &mut stream, &answer::bytes(refusal.reply(), false)).await?;
            if !matches!(refusal, Refusal::Cut | Refusal::TooSlow) {
                discard(service, &mut stream).await;
            }
            // The other side may be gone already.
            let _ = stream.shutdown().await;
            None
        }
    }
}

/// What came of an upload, and what was read behind it.
struct Received {
    stream: TcpStream,
    beyond: Bytes,
    /// Where its thread was to answer, and did not.
    in_flight: Option<InFlight>,
    outcome: Result<Done, Refusal>,
}

enum Done {
    Received(Whole),
    Answered(Answered),
}

fn goes_on(draining: &Draining) -> bool {
    draining.as_ref().is_some_and(|draining| !*draining.borrow())
}

/// Stores a small body that is all there: with those that are there, too, unless the disk would have it wait for each.
pub(super) async fn store_whole(
    service: &Arc<Service>,
    together: Option<Together>,
    plan: Plan,
    admitted: Admitted,
    frames: Vec<Bytes>,
) -> Result<Reply, Refusal> {
    let transfer = Transfer::new(Arc::clone(service), plan, frames, 0);
    if let Some(together) = together.filter(|_| !admitted.has_key() && service.store.seals_at_once()) {
        return Ok(stored::created(together.store(service, transfer).await?));
    }
    let (target, sealed) = spawn_blocking(move || transfer.store()).await??;
    stored::commit(service, admitted, target, sealed).await
}

/// Whether a body is to be collected for [`store_whole`].
pub(super) fn is_small(request: &Request<Incoming>) -> bool {
    request.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES_MAX)
}

/// Turns of a blocking thread with the upload, and waits in between. `None` where the socket is lost.
async fn receive(lanes: &Lanes, stream: TcpStream, mut transfer: Transfer) -> Option<Received> {
    let mut socket = stream.into_std().ok()?;
    loop {
        let lane = Lane::new(lanes, Arc::clone(&lanes.permits).acquire_owned().await.ok()?);
        let turn = spawn_blocking(move || transfer.run(socket, lane)).await.ok()?;
        match turn.end {
            Ok(End::Share) => socket = turn.socket,
            Ok(End::Dry) => {
                let stream = TcpStream::from_std(turn.socket).ok()?;
                let began = Instant::now();
                // Readable, gone, or silent for too long: the next turn finds out which.
                let _ = timeout(turn.transfer.patience(), stream.readable()).await;
                socket = stream.into_std().ok()?;
                transfer = turn.transfer;
                transfer.waited(began.elapsed());
                continue;
            }
            Ok(End::Whole(whole)) => return received(turn.socket, turn.transfer, Ok(Done::Received(whole))),
            Ok(End::Answered(answered)) => return received(turn.socket, turn.transfer, Ok(Done::Answered(answered))),
            Err(refusal) => return received(turn.socket, turn.transfer, Err(refusal)),
        }
        transfer = turn.transfer;
    }
}

fn received(socket: StdTcpStream, transfer: Transfer, outcome: Result<Done, Refusal>) -> Option<Received> {
    let stream = TcpStream::from_std(socket).ok()?;
    let (beyond, in_flight) = transfer.into_parts();
    Some(Received { stream, beyond, in_flight, outcome })
}

/// What a form or a raw file holds of Content-Length, where hyper need not read it.
fn body_bytes(request: &Request<Incoming>) -> Option<u64> {
    let headers = request.headers();
    let bytes = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    let suits =
        request.version() == Version::HTTP_11 && !headers.contains_key(header::TRANSFER_ENCODING) && !closes(headers);
    (suits && bytes > SMALL_BODY_BYTES_MAX).then_some(bytes)
}

fn closes(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        let options = value.as_bytes().split(|&byte| byte == b',');
        options.into_iter().any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// What hyper had read of the body and handed on before it was taken away.
async fn ready_frame(body: &mut Incoming) -> Option<Bytes> {
    poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
            _ => None,
        })
    })
    .await
}

async fn write(service: &Service, stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    timeout(service.limits.write_idle_max, stream.write_all(bytes)).await.ok()?.ok()
}

/// Reads on for a while, so that the client reads the answer and not a reset.
async fn discard(service: &Service, stream: &mut TcpStream) {
    let mut left = service.limits.refused_body_bytes_max;
    let read = async {
        let mut buffer = vec![0; DISCARD_BYTES];
        while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
            match left.checked_sub(bytes as u64) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = timeout(service.limits.refused_body_time_max, read).await;
}
