//! A server of our own, on a free port, with a store of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heapline::prometheus::{Encoder, Registry, TextEncoder};
use heapline::{Readiness, WorkInFlight};
use heapline_upload::admission::Limits;
use heapline_upload::auth::Token;
use heapline_upload::http::Service;
use heapline_upload::ledger::Ledger;
use heapline_upload::metrics::{self, Metrics};
use heapline_upload::server;
use heapline_upload::spool::{Setting, Source, Threshold};
use heapline_upload::store::{self, Durability, Options, RoomLimits};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::Client;

pub(crate) const TOKEN: &str = "t0ken";

/// Longer than anything that is waited for takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    registry: Registry,
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<usize>>,
}

#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) digest: bool,
    pub(crate) drain: Duration,
    pub(crate) ledger: Ledger,
    pub(crate) threshold: Threshold,
    pub(crate) room: RoomLimits,
}

impl Default for Setup {
    fn default() -> Self {
        let threshold = Threshold::new(Setting { bytes: 0, source: Source::Default });
        Self {
            limits: Limits::default(),
            digest: true,
            drain: PATIENCE,
            ledger: Ledger::new(64 << 20),
            threshold,
            room: RoomLimits::default(),
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let (dir, metrics) = (directory.path().join("store"), registry.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let opened = store::open(Options { dir, durability: Durability::None, kafka: None }).unwrap();
            metrics::register_memory(&metrics, &setup.ledger, &setup.threshold).unwrap();
            let service = Service {
                store: opened.store.limited(setup.room),
                committer: opened.committer,
                token: Token::new(TOKEN).unwrap(),
                limits: setup.limits,
                digest: setup.digest,
                metrics: Metrics::register(&metrics, WorkInFlight::default()).unwrap(),
                readiness: Readiness::new(true),
                health: opened.outbox.health(),
                ledger: setup.ledger,
                threshold: setup.threshold,
            };
            let cut = runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                server::serve(listener, Arc::new(service), shutdown, setup.drain).await
            });
            runtime.shutdown_timeout(PATIENCE);
            opened.outbox.shutdown();
            cut
        });
        let address = told.recv_timeout(PATIENCE).unwrap();
        Self { address, registry, directory, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Begins the drain.
    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end of the drain and returns how many connections were cut.
    pub(crate) fn stopped(&mut self) -> usize {
        self.tell_to_stop();
        self.thread.take().unwrap().join().unwrap()
    }

    /// Names in a directory of the store.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("store").join(directory)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }

    /// What the uploads in flight have on the disk.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        let spool = self.directory.path().join("store/spool");
        self.names("spool").iter().filter_map(|name| Some(std::fs::metadata(spool.join(name)).ok()?.len())).sum()
    }

    pub(crate) fn file(&self, id: &str) -> Vec<u8> {
        let path: PathBuf = self.directory.path().join("store/files").join(id);
        std::fs::read(path).unwrap()
    }

    /// The value of a metric, with its labels as they are written.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        self.find_metric(series).unwrap_or_else(|| panic!("no {series}"))
    }

    pub(crate) fn find_metric(&self, series: &str) -> Option<f64> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    pub(crate) fn outcome(&self, outcome: &str) -> f64 {
        self.metric(&format!("upload_requests_total{{outcome=\"{outcome}\"}}"))
    }

    /// Nothing stored and, soon, nothing left of an upload that failed.
    pub(crate) fn assert_nothing_stored(&self) {
        assert_eq!(self.names("files"), Vec::<String>::new());
        until("spool is empty", || self.names("spool").is_empty());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Polls until `condition` holds.
#[allow(clippy::disallowed_methods, reason = "the pace of a poll with a deadline")]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
