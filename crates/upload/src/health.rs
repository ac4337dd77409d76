//! Whether forms can be committed, and why not: for `/readyz`, for `upload_store_available`, and for the log.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntGauge, Registry};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::outbox::Progress;
use crate::store::Directory;
use crate::store::bucket::Bucket;

/// How often the store is looked at for the metric and the log.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Why forms cannot be committed. Its text is shown to whoever asks `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("a thread of the outbox has ended")]
    ThreadEnded,
    #[error("a committed form cannot be finished")]
    FormUnfinished,
    #[error("the object store does not answer, or refuses this server")]
    BucketAway,
    #[error("the store's directory is read-only, or was removed")]
    DirectoryUnusable,
}

/// Whether forms can be committed. Cheap to clone, and to ask.
#[derive(Debug, Clone)]
pub struct Health {
    progress: Arc<Progress>,
    directory: Arc<Directory>,
    bucket: Option<Arc<Bucket>>,
}

impl Health {
    pub(crate) fn new(progress: &Arc<Progress>, directory: &Arc<Directory>, bucket: Option<Arc<Bucket>>) -> Self {
        Self { progress: Arc::clone(progress), directory: Arc::clone(directory), bucket }
    }

    /// Whether forms can be committed, as [`trouble`](Self::trouble) has it. It may block.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.trouble().is_none()
    }

    /// What keeps forms from being committed. A Kafka that is away does not. Asks the file system: it may block.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        if self.progress.is_deserted() {
            Some(Trouble::ThreadEnded)
        } else if self.bucket.as_ref().is_some_and(|bucket| !bucket.is_reachable()) {
            Some(Trouble::BucketAway)
        } else if !self.directory.takes_writes() {
            Some(Trouble::DirectoryUnusable)
        } else if self.progress.is_stuck() {
            Some(Trouble::FormUnfinished)
        } else {
            None
        }
    }

    /// Whether so many events wait for Kafka that a form would be refused. Does not block.
    #[must_use]
    pub fn is_outbox_full(&self) -> bool {
        self.progress.is_full()
    }
}

/// Keeps `upload_store_available` and tells the log. Not a collector: a file system that hangs must not hang the scrape.
#[derive(Debug)]
pub struct Watch {
    health: Health,
    available: IntGauge,
}

impl Watch {
    /// Registers the gauge, which is 1 until something else is seen.
    ///
    /// # Errors
    /// Where the name is registered already.
    pub fn new(health: Health, registry: &Registry) -> prometheus::Result<Self> {
        let help = "1 while the store takes files, 0 while it is away, read-only, removed, or stuck at a form.";
        let available = IntGauge::new("upload_store_available", help)?;
        available.set(1);
        registry.register(Box::new(available.clone()))?;
        Ok(Self { health, available })
    }

    /// Looks every two seconds, for ever.
    pub async fn follow(self) {
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = None;
        loop {
            ticks.tick().await;
            let health = self.health.clone();
            // An error means that the runtime ends.
            let Ok(trouble) = spawn_blocking(move || health.trouble()).await else { return };
            self.available.set(i64::from(trouble.is_none()));
            match (trouble, std::mem::replace(&mut before, trouble)) {
                (Some(trouble), None) => warn!(%trouble, "no files can be stored"),
                (None, Some(_)) => info!("files can be stored again"),
                _ => {}
            }
        }
    }
}
