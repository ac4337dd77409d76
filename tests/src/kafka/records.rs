//! Reading a broker's topics, by librdkafka's consumer.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::deadline;

use super::Kafka;

/// How long one answer of the broker may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long a broker that has just started may take until it knows a topic's leaders.
const TOPIC_LIMIT: Duration = Duration::from_secs(30);

/// One record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// A header's value as text; empty where there is none.
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice());
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    }
}

impl Kafka {
    /// Makes a topic and waits until each partition has a leader.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> KafkaResult<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// The same, with settings of the topic.
    pub fn create_topic_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> KafkaResult<()> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let made = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| KafkaError::ClientCreation(format!("a runtime for the admin client: {error}")))?;
        let made = made.block_on(admin.create_topics([&new], &AdminOptions::new()))?;
        if let Some(Err((_, code))) = made.into_iter().next() {
            return Err(KafkaError::AdminOp(code));
        }
        let consumer: BaseConsumer = self.config().create()?;
        self.partitions(&consumer, topic).map(drop)
    }

    /// Every record of a topic from its beginning to what was its end when the call was made.
    pub fn records(&self, topic: &str) -> KafkaResult<Vec<Record>> {
        let consumer: BaseConsumer = self.config().create()?;
        let mut assignment = TopicPartitionList::new();
        let mut ends = Vec::new();
        for partition in self.partitions(&consumer, topic)? {
            let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_LIMIT)?;
            if low < high {
                assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
                ends.push((partition, high));
            }
        }
        consumer.assign(&assignment)?;
        let mut records = Vec::new();
        while !ends.is_empty() {
            let Some(message) = consumer.poll(ANSWER_LIMIT) else {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            };
            let record = record(&message?);
            if ends.iter().any(|(partition, _)| *partition == record.partition) {
                ends.retain(|(partition, end)| *partition != record.partition || record.offset + 1 < *end);
                records.push(record);
            }
        }
        Ok(records)
    }

    /// The partitions of a topic once each has a leader: the first answers about a new topic may name none.
    fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> KafkaResult<Vec<i32>> {
        let partitions = deadline::poll(TOPIC_LIMIT, || {
            let metadata = consumer.fetch_metadata(Some(topic), ANSWER_LIMIT).ok()?;
            let partitions = metadata.topics().first()?.partitions();
            let led = partitions.iter().all(|partition| partition.leader() >= 0 && partition.error().is_none());
            (led && !partitions.is_empty()).then(|| partitions.iter().map(|partition| partition.id()).collect())
        });
        partitions.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // A group is never joined: partitions are assigned by hand. The client insists on a name all the same.
        config.set("bootstrap.servers", self.address()).set("group.id", "heapline-tests");
        config.set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
        config
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}
