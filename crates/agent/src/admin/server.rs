//! Accepts connections and hands requests to the routes.

use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::routes::Routes;

/// Connections served at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;

/// A connection that has not sent a request's head by then is closed, an idle one included.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection is closed after this time, at the end of the request in hand: twice the longest profile. So a client
/// that never reads its answer does not keep its place for good.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(7_200);

/// What the request in hand has left then.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);

/// Room for a request's head, and for what is read ahead of it.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// After an accept that failed (no file descriptor left, as a rule) so as not to spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves, and does `beside` on the same thread.
    pub(crate) fn start(
        listener: StdListener,
        routes: Routes,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (shutdown, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("heapline-admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::spawn(beside);
                tokio::select! {
                    () = serve(listener, Arc::new(routes)) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { shutdown: Some(shutdown), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, routes: Arc<Routes>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, routes.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin server could not accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, routes: Arc<Routes>, _permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move { Ok::<_, std::convert::Infallible>(routes.respond(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = match timeout(CONNECTION_LIFETIME, connection.as_mut()).await {
        Ok(served) => served,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(CLOSING_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
