//! Connections: accepted within a limit, served, and drained.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use crate::connection::{Connection, READ_BUFFER_BYTES_MAX};
use crate::http::Service;
use crate::http::direct::{self, Handover, Lanes, Together, Upload};

/// The largest request head.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// First and longest pause after an accept that failed, for want of file descriptors above all.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connections that the kernel keeps until they are accepted, at most (`net.core.somaxconn` bounds it, too): a burst of as
/// many as are served at a time by default. Beyond it a client is heard a second later, or its connection is reset.
const BACKLOG: u32 = 4_096;

/// Threads for file calls. fsyncs of as many uploads overlap; a thread that is not used ends after ten seconds.
const BLOCKING_THREADS_MAX: usize = 128;

/// One in so many of the cores gets an async worker, which reads heads and writes answers. Bodies, files and hashes are the
/// blocking threads': a worker a core would be woken to find that another had taken what there was.
const CORES_A_WORKER: usize = 2;

/// The threads that an upload server wants.
///
/// # Errors
/// The machine has none to give.
pub fn runtime() -> io::Result<Runtime> {
    let workers = available_parallelism().map_or(1, usize::from).div_ceil(CORES_A_WORKER);
    Builder::new_multi_thread().enable_all().worker_threads(workers).max_blocking_threads(BLOCKING_THREADS_MAX).build()
}

/// Listens, with room for a burst of connections.
///
/// # Errors
/// The address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for what is left of connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown` completes, then drains for `drain_max` at most, and returns how many connections were cut.
///
/// The drain: `/readyz` turns 503, idle connections close, requests in flight go on, and a new connection gets an answer to the
/// probes and a 503 to all else. What is left at the deadline is cut; its temporary files are removed.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
    drain_max: Duration,
) -> usize {
    let (drain, draining) = watch::channel(false);
    let mut acceptor = Acceptor::new(listener, service.limits.connections_max);
    let (lanes, together) = (direct::lanes(&service.store), Together::new());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = acceptor.accept() => {
                let (service, lanes, together) = (Arc::clone(&service), lanes.clone(), together.clone());
                connections.spawn(serve_connection(stream, service, lanes, together, Some(draining.clone()), permit));
            }
        }
    }

    let deadline = Instant::now() + drain_max;
    service.readiness.set(false);
    drain.send_replace(true);
    let mut late = JoinSet::new();
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { break },
            () = sleep_until(deadline) => break,
            Some(_) = late.join_next() => {}
            (stream, permit) = acceptor.accept() => {
                let (service, lanes, together) = (Arc::clone(&service), lanes.clone(), together.clone());
                late.spawn(serve_connection(stream, service, lanes, together, None, permit));
            }
        }
    }
    let cut = connections.len();
    connections.shutdown().await;
    late.shutdown().await;
    cut
}

/// Accepts where there is a permit. Beyond the limit, connections wait in the kernel's queue.
struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    pause: Duration,
}

impl Acceptor {
    fn new(listener: TcpListener, connections_max: usize) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(connections_max)), pause: ACCEPT_PAUSE_MIN }
    }

    /// May be dropped at any await: a permit goes back, a connection is never lost.
    async fn accept(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                unreachable!("the semaphore is never closed")
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.pause = ACCEPT_PAUSE_MIN;
                    return (stream, permit);
                }
                // One that went away while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, pause_ms = self.pause.as_millis(), "cannot accept connections");
                    drop(permit);
                    let pause = self.pause;
                    self.pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                    sleep(pause).await;
                }
            }
        }
    }
}

/// Serves a connection until it ends; once `draining`, no longer than its request in flight. Without `draining` it is
/// one that came late, and gets one answer.
async fn serve_connection(
    mut stream: TcpStream,
    service: Arc<Service>,
    lanes: Lanes,
    together: Together,
    mut draining: Option<watch::Receiver<bool>>,
    _permit: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let mut early = Bytes::new();
    while let Some((given_back, rest, upload)) = serve_requests(stream, early, &service, &together, &mut draining).await
    {
        match direct::serve(&service, &lanes, given_back, rest, upload, draining.clone()).await {
            Some(next) => (stream, early) = next,
            None => return,
        }
    }
}

/// Serves requests until the connection ends, or one is to be received without hyper: then it is given back, with what
/// was read of it.
async fn serve_requests(
    stream: TcpStream,
    early: Bytes,
    service: &Arc<Service>,
    together: &Together,
    draining: &mut Option<watch::Receiver<bool>>,
) -> Option<(TcpStream, Bytes, Box<Upload>)> {
    let handover = Handover::new(together.clone());
    let limits = &service.limits;
    let stream = Connection::new(stream, early, handover.clone(), service.ledger.clone(), limits.write_idle_max);
    let read_buffer = stream.read_buffer();
    let (answering, offered) = (Arc::clone(service), handover.clone());
    let answer = service_fn(move |mut request| {
        let service = Arc::clone(&answering);
        request.extensions_mut().insert(read_buffer.clone());
        request.extensions_mut().insert(offered.clone());
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .half_close(true)
        .keep_alive(draining.is_some())
        .serve_connection(TokioIo::new(stream), answer);
    let upload = loop {
        let ended_or_handed_over = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(result) => Poll::Ready(Err(result)),
            Poll::Pending => handover.take().map_or(Poll::Pending, |upload| Poll::Ready(Ok(upload))),
        });
        tokio::select! {
            result = ended_or_handed_over => break result,
            () = told(draining) => Pin::new(&mut connection).graceful_shutdown(),
        }
    };
    match upload {
        Ok(upload) => {
            let parts = connection.into_parts();
            let (stream, unread) = parts.io.into_inner().into_parts();
            let rest = if unread.is_empty() { parts.read_buf } else { [parts.read_buf, unread].concat().into() };
            Some((stream, rest, upload))
        }
        Err(result) => {
            if let Err(error) = result {
                debug!(%error, "a connection ended early");
            }
            None
        }
    }
}

/// Completes once, when the drain begins.
async fn told(draining: &mut Option<watch::Receiver<bool>>) {
    if let Some(receiver) = draining {
        // An error means that the server is gone, and with it this task.
        let _ = receiver.wait_for(|draining| *draining).await;
        *draining = None;
    } else {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand clients that came at once found room for 128: some waited a second for their next try, and a form was
    /// cut off by a reset.
    #[tokio::test]
    async fn a_burst_of_connections_waits_its_turn() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let waiting: Vec<_> = (0..600).map(|_| connect().unwrap()).collect();
        for _ in &waiting {
            listener.accept().await.unwrap();
        }
    }
}
