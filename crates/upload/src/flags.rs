//! The live flag: how many MB of a file stay in memory, asked of GrowthBook or read from a file of the same shape.
//!
//! The last good value is kept through whatever comes after it: an outage, nonsense, a flag that is gone.

mod condition;
mod feature;
mod file;
mod growthbook;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounter, Registry};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, info, warn};

pub use feature::FlagError;
pub use growthbook::{Endpoint, EndpointError};

use crate::spool::{Setting, Source, Threshold};
use file::WatchedFile;
use growthbook::GrowthBook;

/// The flag, in MB of 2^20 bytes.
pub const FLAG: &str = "request-parse-multipart-form";

/// Its value while nobody has answered.
pub const DEFAULT_MB: u64 = 32;

/// The most that is read of an answer or a file.
const FEATURES_BYTES_MAX: usize = 2 << 20;

/// Where the flag is.
#[derive(Clone, Debug)]
pub enum Origin {
    GrowthBook(Endpoint),
    File(PathBuf),
}

/// How often it is asked for, and how long an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one question to the next. Below 5 s, so that a change shows within that, the answer's time included.
    pub interval: Duration,
    pub answer_time_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: Duration::from_secs(4), answer_time_max: Duration::from_secs(3) }
    }
}

/// Follows the flag. The host runs [`follow`](Self::follow).
#[derive(Debug)]
pub struct Flags {
    origin: Origin,
    attributes: Map<String, Value>,
    threshold: Threshold,
    failures: IntCounter,
}

/// Why there is no new value.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("the exchange failed")]
    Exchange(#[source] hyper::Error),
    #[error("status {0}")]
    Status(hyper::StatusCode),
    #[error("the answer broke off, or is larger than {FEATURES_BYTES_MAX} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the file cannot be read")]
    File(#[source] io::Error),
    #[error("the answer cannot be used")]
    Flag(#[from] FlagError),
}

enum Poller {
    GrowthBook(GrowthBook),
    File(WatchedFile),
}

impl Flags {
    /// `attributes` are what rules may ask about.
    ///
    /// # Errors
    /// Where the registry has `upload_flag_failures_total` already.
    pub fn new(
        origin: Origin,
        attributes: Map<String, Value>,
        threshold: Threshold,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let failures =
            IntCounter::new("upload_flag_failures_total", "Times that the live flag was asked for in vain.")?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { origin, attributes, threshold, failures })
    }

    /// Sets the threshold whenever the flag has another good value. Never completes; drop it to stop.
    pub async fn follow(self, pace: Pace) {
        let mut poller = match &self.origin {
            Origin::GrowthBook(endpoint) => Poller::GrowthBook(GrowthBook::new(endpoint.clone())),
            Origin::File(path) => Poller::File(WatchedFile::new(path.clone())),
        };
        let mut ticks = interval_at(Instant::now(), pace.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            ticks.tick().await;
            match self.poll(&mut poller, pace).await {
                Ok(()) => told = None,
                Err(error) => {
                    self.failures.inc();
                    self.tell(&error, &mut told);
                }
            }
        }
    }

    async fn poll(&self, poller: &mut Poller, pace: Pace) -> Result<(), PollError> {
        let fetched = match poller {
            Poller::GrowthBook(growthbook) => tokio::time::timeout(pace.answer_time_max, growthbook.fetch()).await,
            Poller::File(file) => tokio::time::timeout(pace.answer_time_max, file.read()).await,
        };
        let Some(features) = fetched.map_err(|_| PollError::Slow(pace.answer_time_max))?? else {
            return Ok(());
        };
        self.take(&features)?;
        match poller {
            Poller::GrowthBook(growthbook) => growthbook.was_good(),
            Poller::File(file) => file.was_good(),
        }
        Ok(())
    }

    fn take(&self, features: &Bytes) -> Result<(), FlagError> {
        let bytes = feature::threshold_bytes(features, &self.attributes)?;
        let setting = Setting { bytes, source: self.source() };
        if self.threshold.get() != setting {
            info!(bytes, source = setting.source.label(), "the spool threshold changed");
            self.threshold.set(setting);
        }
        Ok(())
    }

    /// Warns once of each failure in a row that reads otherwise than the one before.
    fn tell(&self, error: &PollError, told: &mut Option<String>) {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        if told.as_ref() == Some(&text) {
            debug!(flag = FLAG, error = text, "still no new value");
            return;
        }
        let Setting { bytes, source } = self.threshold.get();
        warn!(flag = FLAG, error = text, kept_bytes = bytes, of = source.label(), "the flag keeps its last good value");
        *told = Some(text);
    }

    fn source(&self) -> Source {
        match self.origin {
            Origin::GrowthBook(_) => Source::GrowthBook,
            Origin::File(_) => Source::File,
        }
    }
}
