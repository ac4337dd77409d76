//! What the outbox and its producer show. No labels: nothing here grows with the traffic.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use rdkafka::Statistics;

use super::progress::Progress;

const MICROS_A_SECOND: f64 = 1e6;
const MS_A_SECOND: f64 = 1e3;

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) poisoned: IntCounter,
    pub(crate) producers_alive: IntGauge,
    pub(crate) producers_replaced: IntCounter,
    pub(crate) delivery_failures: IntCounter,
    messages_queued: IntGauge,
    message_bytes_queued: IntGauge,
    brokers_connected: IntGauge,
    round_trip_seconds: Gauge,
    sent_messages: IntCounter,
    sent_bytes: IntCounter,
    failed_requests: IntCounter,
}

/// librdkafka's counters start at zero with each producer; ours go on.
#[derive(Debug, Default)]
pub(crate) struct SentBefore {
    messages: i64,
    bytes: i64,
    errors: i64,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            poisoned: IntCounter::new(
                "outbox_poisoned_events_total",
                "Events that Kafka refuses for their own sake, set aside in outbox/poison.jsonl.",
            )?,
            producers_alive: IntGauge::new("kafka_producers_alive", "Kafka producers of this process: one at most.")?,
            producers_replaced: IntCounter::new(
                "kafka_producers_replaced_total",
                "Producers given up after a fatal error, each followed by a new one.",
            )?,
            delivery_failures: IntCounter::new(
                "kafka_delivery_failures_total",
                "Messages that the producer gave back undelivered; each is sent again or set aside.",
            )?,
            messages_queued: IntGauge::new("kafka_messages_queued", "Messages in librdkafka's queues.")?,
            message_bytes_queued: IntGauge::new(
                "kafka_message_bytes_queued",
                "Bytes of messages in librdkafka's queues.",
            )?,
            brokers_connected: IntGauge::new("kafka_brokers_connected", "Brokers that the producer is connected to.")?,
            round_trip_seconds: Gauge::new(
                "kafka_round_trip_seconds",
                "The slowest broker's mean round trip over librdkafka's last statistics interval.",
            )?,
            sent_messages: IntCounter::new("kafka_sent_messages_total", "Messages that librdkafka sent to brokers.")?,
            sent_bytes: IntCounter::new(
                "kafka_sent_bytes_total",
                "Bytes of messages that librdkafka sent to brokers.",
            )?,
            failed_requests: IntCounter::new("kafka_request_errors_total", "Requests to brokers that failed.")?,
        })
    }

    /// Registers everything, with the outbox's state asked at each scrape.
    pub(crate) fn register(&self, registry: &Registry, progress: &Arc<Progress>) -> prometheus::Result<()> {
        registry.register(Box::new(Waiting::new(Arc::clone(progress))?))?;
        for counter in [
            &self.poisoned,
            &self.producers_replaced,
            &self.delivery_failures,
            &self.sent_messages,
            &self.sent_bytes,
            &self.failed_requests,
        ] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&self.producers_alive, &self.messages_queued, &self.message_bytes_queued, &self.brokers_connected]
        {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.round_trip_seconds.clone()))
    }

    /// Takes one of librdkafka's reports, every few seconds.
    pub(crate) fn observe(&self, statistics: &Statistics, before: &mut SentBefore) {
        self.messages_queued.set(i64::try_from(statistics.msg_cnt).unwrap_or(i64::MAX));
        self.message_bytes_queued.set(i64::try_from(statistics.msg_size).unwrap_or(i64::MAX));
        // Node -1 is a bootstrap address, which stands for a broker that has an entry of its own.
        let brokers = || statistics.brokers.values().filter(|broker| broker.nodeid >= 0);
        let connected = brokers().filter(|broker| broker.state == "UP").count();
        self.brokers_connected.set(i64::try_from(connected).unwrap_or(i64::MAX));
        let slowest_micros = brokers().filter_map(|broker| broker.rtt.as_ref()).map(|rtt| rtt.avg).max();
        self.round_trip_seconds.set(slowest_micros.unwrap_or(0) as f64 / MICROS_A_SECOND);
        let errors = statistics.brokers.values().map(|broker| i64::try_from(broker.txerrs).unwrap_or(0)).sum();
        advance(&self.sent_messages, &mut before.messages, statistics.txmsgs);
        advance(&self.sent_bytes, &mut before.bytes, statistics.txmsg_bytes);
        advance(&self.failed_requests, &mut before.errors, errors);
    }

    /// A producer is gone, and what it had queued with it.
    pub(crate) fn producer_gone(&self) {
        self.producers_alive.dec();
        for gauge in [&self.messages_queued, &self.message_bytes_queued, &self.brokers_connected] {
            gauge.set(0);
        }
    }
}

fn advance(counter: &IntCounter, before: &mut i64, now: i64) {
    counter.inc_by(u64::try_from(now - *before).unwrap_or(0));
    *before = now;
}

/// The outbox's depth and age, as of the scrape.
struct Waiting {
    progress: Arc<Progress>,
    pending: IntGauge,
    oldest_seconds: Gauge,
}

impl Waiting {
    fn new(progress: Arc<Progress>) -> prometheus::Result<Self> {
        Ok(Self {
            progress,
            pending: IntGauge::new("outbox_pending_events", "Durable events that are not delivered yet.")?,
            oldest_seconds: Gauge::new("outbox_oldest_seconds", "Age of the oldest event that is not delivered yet.")?,
        })
    }
}

impl Collector for Waiting {
    fn desc(&self) -> Vec<&Desc> {
        [self.pending.desc(), self.oldest_seconds.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.pending.set(i64::try_from(self.progress.pending()).unwrap_or(i64::MAX));
        self.oldest_seconds.set(self.progress.oldest_ms(now_unix_ms) as f64 / MS_A_SECOND);
        [self.pending.collect(), self.oldest_seconds.collect()].concat()
    }
}
