//! The process's one Kafka producer: librdkafka's settings, and what it calls back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Statistics};
use tracing::{debug, warn};

use super::KafkaOptions;
use super::metrics::{Metrics, SentBefore};
use super::progress::Progress;
use super::window::Message;
use crate::event;

/// librdkafka's own queue; our window stays below it, so it is never full.
const QUEUE_MESSAGES: u32 = 10_000;
const QUEUE_KBYTES: u32 = 16 * 1024;
/// Small batches: a topic's size limit applies to the batch, not to the message.
const BATCH_BYTES: u32 = 64 * 1024;
const STATISTICS_INTERVAL_MS: u32 = 5_000;
/// A broker that is back is found within this.
const RECONNECT_MS_MAX: u32 = 2_000;
/// While Kafka is away librdkafka says so several times a second.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// An idempotent producer, partitioning as kafka-go's `Hash` does.
pub(crate) struct Producer {
    inner: ThreadedProducer<Context>,
    topic: String,
}

impl Producer {
    /// Connects in the background; a broker that is away is no error.
    pub(crate) fn new(options: &KafkaOptions, progress: &Arc<Progress>, metrics: &Metrics) -> KafkaResult<Self> {
        metrics.producers_alive.inc();
        let context = Context {
            progress: Arc::clone(progress),
            metrics: metrics.clone(),
            sent_before: Mutex::default(),
            warned: Mutex::new(None),
        };
        let inner = config(options).create_with_context(context)?;
        Ok(Self { inner, topic: options.topic.clone() })
    }

    /// Queues a message; never blocks. The answer arrives at [`Progress::settled`] under `seq`.
    pub(crate) fn send(&self, seq: u64, message: &Message) -> KafkaResult<()> {
        let key = message.id.to_string();
        let headers = [
            ("ce_specversion", event::SPEC_VERSION),
            ("ce_id", &key),
            ("ce_source", event::SOURCE),
            ("ce_type", event::TYPE),
            ("ce_time", &message.time),
            ("content-type", event::CONTENT_TYPE),
        ];
        let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let seq = usize::try_from(seq).unwrap_or(usize::MAX);
        let record = BaseRecord::with_opaque_to(&self.topic, seq).key(&key).payload(&message.value).headers(headers);
        self.inner.send(record).map_err(|(error, _)| error)
    }

    /// An idempotent producer that lost its place (a broker that forgot it, say) never sends again: make a new one.
    pub(crate) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner.client().fatal_error()
    }
}

fn config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    options.settings.apply(&mut config);
    config.set("bootstrap.servers", &options.brokers);
    if config.get("client.id").is_none() {
        config.set("client.id", "heapline-upload");
    }
    config.set("partitioner", "fnv1a_random");
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    // An event waits for its broker as long as it takes; the journal holds it, the window bounds what waits here.
    config.set("message.timeout.ms", "0");
    config.set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string());
    config.set("queue.buffering.max.kbytes", QUEUE_KBYTES.to_string());
    config.set("batch.size", BATCH_BYTES.to_string());
    if config.get("reconnect.backoff.max.ms").is_none() {
        config.set("reconnect.backoff.max.ms", RECONNECT_MS_MAX.to_string());
    }
    config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// What librdkafka calls, on the producer's polling thread.
struct Context {
    progress: Arc<Progress>,
    metrics: Metrics,
    sent_before: Mutex<SentBefore>,
    warned: Mutex<Option<Instant>>,
}

impl Context {
    fn warn_now_and_then(&self, reason: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|at| at.elapsed() < WARN_INTERVAL) {
            debug!(reason, "Kafka");
        } else {
            *warned = Some(Instant::now());
            warn!(reason, "Kafka; events wait in the outbox");
        }
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        let mut before = self.sent_before.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.observe(&statistics, &mut before);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.warn_now_and_then(reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, seq: usize) {
        let answer = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        if answer.is_err() {
            self.metrics.delivery_failures.inc();
        }
        self.progress.settled((seq as u64, answer));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.metrics.producer_gone();
    }
}

/// What a refusal says of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing: send it again.
    Passing,
    /// It, or the batch it was in, is too large.
    TooLarge,
    /// No broker will ever take it.
    Poison,
}

pub(crate) fn judge(error: &KafkaError) -> Refusal {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => Refusal::TooLarge,
        Some(RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidTimestamp) => Refusal::Poison,
        _ => Refusal::Passing,
    }
}
