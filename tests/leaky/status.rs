//! Announcements on Kafka, in the story's way and in the right way.

use std::mem;
use std::time::Duration;

use clap::ValueEnum;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

/// The story's topic.
const TOPIC: &str = "statusNew";
/// How long the shared producer may take to send what it still has.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ProducerChoice {
    None,
    Shared,
    PerRequest,
}

pub(crate) enum Announcer {
    Nobody,
    Shared(ThreadedProducer<DefaultProducerContext>),
    PerRequest { brokers: String },
}

impl Announcer {
    pub(crate) fn new(choice: ProducerChoice, brokers: &str) -> KafkaResult<Self> {
        Ok(match choice {
            ProducerChoice::None => Self::Nobody,
            ProducerChoice::Shared => Self::Shared(config(brokers).create()?),
            ProducerChoice::PerRequest => Self::PerRequest { brokers: brokers.to_owned() },
        })
    }

    /// Queues a message; librdkafka's threads send it.
    pub(crate) fn announce(&self, message: &str) -> KafkaResult<()> {
        let record = BaseRecord::<str, str>::to(TOPIC).payload(message);
        match self {
            Self::Nobody => Ok(()),
            Self::Shared(producer) => producer.send(record).map_err(|(error, _)| error),
            Self::PerRequest { brokers } => announce(brokers, record),
        }
    }

    /// Sends what the shared producer still has. Leaked ones are past closing.
    pub(crate) fn close(&self) {
        if let Self::Shared(producer) = self
            && let Err(error) = producer.flush(CLOSE_LIMIT)
        {
            eprintln!("leaky: announcements lost: {error}");
        }
    }
}

/// The second leak: a producer for one message, never closed. Not inlined: a profile should name it.
#[inline(never)]
fn announce(brokers: &str, record: BaseRecord<'_, str, str>) -> KafkaResult<()> {
    let producer: BaseProducer = config(brokers).create()?;
    producer.send(record).map_err(|(error, _)| error)?;
    mem::forget(producer);
    Ok(())
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // librdkafka logs an unreachable broker for ever, and with leaked producers many times over.
    config.set("bootstrap.servers", brokers).set("log_level", "0");
    config
}
