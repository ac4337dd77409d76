//! The outbox: an event is durable before the upload is answered, and delivered at least once after that.
//!
//! ```text
//! commit ─► journal (group commit) ─┬─► events.jsonl, before the answer          (no Kafka)
//!                                   └─► publisher ─► one producer ─► Kafka       cursor behind what was delivered
//! ```
//!
//! Kafka may be away for hours: events wait in the journal, a bounded window of them in memory. An event that is sent
//! again is the same, id included. The journal is bounded too; when it is full, forms are refused.

mod cursor;
mod event_log;
mod journal;
mod metrics;
mod poison;
mod producer;
mod progress;
mod publisher;
mod reader;
pub(crate) mod record;
mod settings;
mod window;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::Registry;
use tracing::warn;

pub(crate) use cursor::{Cursor, text as cursor_text};
pub(crate) use event_log::EventLog;
pub(crate) use journal::{Journal, Segments};
pub(crate) use metrics::Metrics;
pub(crate) use progress::Progress;
pub(crate) use publisher::Publisher;
pub(crate) use reader::Reader;
pub(crate) use record::{Record, StoredFile};
pub use settings::{BadSetting, KafkaSetting, KafkaSettings};

use crate::health::Health;
use crate::store::{BucketWork, Committer, Directory};

/// The default of [`KafkaOptions::outbox_bytes_max`].
pub const OUTBOX_BYTES_MAX: u64 = journal::OUTBOX_BYTES_MAX;
/// The least that makes sense: some thousands of events.
pub const OUTBOX_BYTES_MIN: u64 = 1024 * 1024;

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// librdkafka's `bootstrap.servers`: `host:port`, several with commas between.
    pub brokers: String,
    pub topic: String,
    /// What events that wait may take of the disk. Beyond it, uploads are refused.
    pub outbox_bytes_max: u64,
    /// Further settings of librdkafka.
    pub settings: KafkaSettings,
}

/// The running outbox, for the process's metrics, readiness and drain.
#[derive(Debug)]
pub struct OutboxHandle {
    pub(crate) directory: Arc<Directory>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: Metrics,
    pub(crate) committer: Committer,
    pub(crate) committer_thread: Option<JoinHandle<()>>,
    pub(crate) publisher_thread: Option<JoinHandle<()>>,
    pub(crate) bucket: Option<BucketWork>,
}

impl OutboxHandle {
    /// Adds `outbox_*` and `kafka_*`.
    ///
    /// # Errors
    /// Where the registry has metrics of these names already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        self.metrics.register(registry, &self.progress)
    }

    /// Events that are durable here and not delivered yet.
    #[must_use]
    pub fn pending_events(&self) -> u64 {
        self.progress.pending()
    }

    /// Whether forms can be committed, for as long as anybody asks.
    #[must_use]
    pub fn health(&self) -> Health {
        let bucket = self.bucket.as_ref().map(|work| Arc::clone(&work.bucket));
        Health::new(&self.progress, &self.directory, bucket)
    }

    /// Waits until every event is delivered, at most `timeout`; returns how many are not. Those wait for the next
    /// start. Blocking.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> u64 {
        self.progress.wait_until_consumed(timeout)
    }

    /// As [`flush`](Self::flush), and gives up earlier where nothing at all is delivered for `stall`: what is durable
    /// need not hold up the end of a process whose broker is away. Blocking.
    #[must_use]
    pub fn flush_while_moving(&self, timeout: Duration, stall: Duration) -> u64 {
        let deadline = Instant::now() + timeout;
        let mut consumed = self.progress.consumed_to();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let undelivered = self.progress.wait_until_consumed(stall.min(left));
            let before = std::mem::replace(&mut consumed, self.progress.consumed_to());
            if undelivered == 0 || consumed == before || left <= stall {
                return undelivered;
            }
        }
    }

    /// Finishes the forms that are being committed, refuses later ones, stops the publisher, and sweeps what cut
    /// uploads left in `spool/`. Blocking, for the disk and up to about a second for librdkafka. The directory stays
    /// locked until the last clone of its store is gone.
    pub fn shutdown(self) {
        self.committer.stop();
        self.committer_thread.into_iter().for_each(join);
        self.progress.stop();
        self.publisher_thread.into_iter().for_each(join);
        if let Some(bucket) = self.bucket {
            bucket.shutdown();
        }
        // A form that is half-way is the next start's to finish.
        if !self.progress.is_stuck()
            && let Err(error) = self.directory.sweep_spool()
        {
            warn!(%error, "spool files stay until the next start");
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        warn!("an outbox thread panicked");
    }
}
