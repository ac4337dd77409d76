//! The outbox against librdkafka's mock cluster, which speaks Kafka's protocol over TCP: every event arrives, with the
//! same id each time, wherever the broker was meanwhile, and in the partition that kafka-go's `Hash` would choose.
#![allow(clippy::unwrap_used)]

mod store_form;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use heapline_upload::outbox::{KafkaOptions, KafkaSettings, OUTBOX_BYTES_MAX};
use heapline_upload::store::{Opened, Options, open};
use prometheus::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use store_form::{commit, events, eventually, options};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const TOPIC: &str = "statusNew";
const PARTITIONS: i32 = 6;
const DEADLINE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

fn opened(dir: &Path, cluster: &Cluster) -> Opened {
    let kafka = KafkaOptions {
        brokers: cluster.bootstrap_servers(),
        topic: TOPIC.into(),
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        settings: KafkaSettings::default(),
    };
    open(Options { kafka: Some(kafka), ..options(dir) }).unwrap()
}

fn stop(opened: Opened) {
    opened.outbox.shutdown();
    drop((opened.store, opened.committer));
}

#[derive(Debug, Clone)]
struct Arrived {
    partition: i32,
    value: Value,
    headers: BTreeMap<String, String>,
}

/// Reads the topic until `enough` says so; messages by key, in the order of arrival.
fn read(cluster: &Cluster, enough: impl Fn(&BTreeMap<String, Vec<Arrived>>) -> bool) -> BTreeMap<String, Vec<Arrived>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let mut arrived: BTreeMap<String, Vec<Arrived>> = BTreeMap::new();
    let deadline = Instant::now() + DEADLINE;
    while !enough(&arrived) {
        assert!(Instant::now() < deadline, "only {} keys arrived", arrived.len());
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        let headers = message.headers().map(|headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap()))
        });
        arrived.entry(key).or_default().push(Arrived {
            partition: message.partition(),
            value: serde_json::from_slice(message.payload().unwrap()).unwrap_or_default(),
            headers: headers.into_iter().flatten().collect(),
        });
    }
    arrived
}

fn metric(registry: &Registry, name: &str) -> f64 {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// kafka-go's `Hash` balancer, from its documentation: FNV-1a of 32 bits as a signed number, modulo the partitions,
/// negative remainders negated.
fn kafka_go_hash(key: &[u8]) -> i32 {
    let hash = key.iter().fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let partition = hash.cast_signed() % PARTITIONS;
    partition.abs()
}

#[test]
fn events_arrive_as_the_contract_says() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let store = opened(dir.path(), &cluster);
    let registry = Registry::new();
    store.outbox.register(&registry).unwrap();
    let id = commit(&store, &["a", "b"]).unwrap()[0].to_string();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    let arrived = read(&cluster, |arrived| arrived.len() == 2);
    let event = &arrived[&id][0];
    assert_eq!((&event.value["id"], &event.value["status"]), (&Value::from(&*id), &Value::from("stored")));
    assert_eq!(event.value["time"], "2023-11-14T22:13:20.123Z");
    let expected = [
        ("ce_id", &*id),
        ("ce_source", "/heapline-upload"),
        ("ce_specversion", "1.0"),
        ("ce_time", "2023-11-14T22:13:20.123Z"),
        ("ce_type", "heapline.file.stored"),
        ("content-type", "application/json"),
    ];
    let headers: Vec<(&str, &str)> = event.headers.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(headers, expected);
    assert!(!dir.path().join("events.jsonl").exists());
    assert_eq!((metric(&registry, "outbox_pending_events"), metric(&registry, "kafka_producers_alive")), (0.0, 1.0));
    // librdkafka reports every five seconds.
    eventually("statistics", || metric(&registry, "kafka_sent_messages_total") >= 2.0);
    assert_eq!(metric(&registry, "kafka_brokers_connected"), 1.0);
    stop(store);
    assert_eq!(metric(&registry, "kafka_producers_alive"), 0.0);
}

#[test]
fn a_broker_that_is_down_at_the_start_gets_everything_later() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    cluster.broker_down(1).unwrap();
    let store = opened(dir.path(), &cluster);
    let registry = Registry::new();
    store.outbox.register(&registry).unwrap();
    let ids: Vec<_> = (0..30).flat_map(|_| commit(&store, &["a", "b"]).unwrap()).collect();
    assert_eq!(store.outbox.flush(Duration::from_millis(100)), 60);
    assert_eq!(metric(&registry, "outbox_pending_events"), 60.0);
    assert!(store.outbox.health().is_good(), "uploads go on");
    assert!(metric(&registry, "outbox_oldest_seconds") > 0.0);
    cluster.broker_up(1).unwrap();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    let arrived = read(&cluster, |arrived| arrived.len() == ids.len());
    for id in ids {
        let id = id.to_string();
        assert!(arrived[&id].iter().all(|event| event.headers["ce_id"] == id));
    }
}

#[test]
fn events_outlive_the_process_and_arrive_once_it_and_the_broker_are_back() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    cluster.broker_down(1).unwrap();
    let store = opened(dir.path(), &cluster);
    let mut ids = commit(&store, &["a", "b", "c"]).unwrap();
    stop(store);
    let store = opened(dir.path(), &cluster);
    assert_eq!(store.outbox.pending_events(), 3);
    ids.extend(commit(&store, &["d"]).unwrap());
    cluster.broker_up(1).unwrap();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    stop(store);
    // What was delivered is not sent again by the next start.
    let store = opened(dir.path(), &cluster);
    assert_eq!(store.outbox.pending_events(), 0);
    let arrived = read(&cluster, |arrived| arrived.len() == ids.len());
    assert!(ids.iter().all(|id| arrived[&id.to_string()].len() == 1), "{arrived:?}");
}

/// Kafka configured, then not: what waited goes to the file.
#[test]
fn events_that_waited_for_kafka_go_to_the_file_without_it() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    cluster.broker_down(1).unwrap();
    let store = opened(dir.path(), &cluster);
    let ids = commit(&store, &["a", "b"]).unwrap();
    stop(store);
    stop(store_form::opened(dir.path()));
    let expected = ids.iter().map(|id| (id.to_string(), 1)).collect();
    assert_eq!(events(dir.path()), expected);
}

/// `--durability none` and a power cut: the journal's end is gone, the cursor is not. The numbers of the lost events
/// must not be given out again, or new events would count as delivered.
#[test]
fn a_cursor_ahead_of_the_journal_swallows_no_new_event() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let store = opened(dir.path(), &cluster);
    commit(&store, &["a", "b", "c"]).unwrap();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    stop(store);
    std::fs::write(dir.path().join("outbox/00000000000000000000.log"), "").unwrap();
    let store = opened(dir.path(), &cluster);
    let id = commit(&store, &["d"]).unwrap()[0].to_string();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    read(&cluster, |arrived| arrived.contains_key(&id));
}

/// More events than the window holds: those behind it wait in the journal.
#[test]
fn a_backlog_longer_than_the_window_arrives_in_full() {
    const FORMS: usize = 30;
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    cluster.broker_down(1).unwrap();
    let kafka = KafkaOptions {
        brokers: cluster.bootstrap_servers(),
        topic: TOPIC.into(),
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        settings: KafkaSettings::default(),
    };
    let durability = heapline_upload::store::Durability::None;
    let store = open(Options { kafka: Some(kafka), durability, dir: dir.path().to_owned() }).unwrap();
    for _ in 0..FORMS {
        commit(&store, &names).unwrap();
    }
    assert_eq!(store.outbox.pending_events(), 3_000);
    cluster.broker_up(1).unwrap();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    read(&cluster, |arrived| arrived.len() == 3_000);
}

#[test]
fn a_poison_event_is_set_aside_and_its_neighbours_arrive() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let store = opened(dir.path(), &cluster);
    let registry = Registry::new();
    store.outbox.register(&registry).unwrap();
    let spool = store.store.create().unwrap();
    let mut huge = store_form::meta("huge", b"");
    // Longer than librdkafka's message.max.bytes.
    huge.field = Some("x".repeat(1_100_000));
    let poison = spool.seal(huge).unwrap();
    let poison_id = poison.id().to_string();
    store_form::block_on(store.committer.commit(vec![poison])).unwrap();
    let id = commit(&store, &["after"]).unwrap()[0].to_string();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    assert!(read(&cluster, |arrived| !arrived.is_empty()).contains_key(&id));
    assert_eq!(metric(&registry, "outbox_poisoned_events_total"), 1.0);
    let line: Value = serde_json::from_slice(&std::fs::read(dir.path().join("outbox/poison.jsonl")).unwrap()).unwrap();
    assert_eq!((&line["id"], &line["data"]["filename"]), (&Value::from(poison_id), &Value::from("huge")));
}

/// A batch that the broker finds too large is taken apart; nothing innocent is set aside.
#[test]
fn a_batch_refused_as_too_large_is_sent_one_by_one() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let store = opened(dir.path(), &cluster);
    let ids = commit(&store, &["a", "b", "c", "d"]).unwrap();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    let arrived = read(&cluster, |arrived| arrived.len() == 4);
    assert!(ids.iter().all(|id| arrived.contains_key(&id.to_string())));
    assert!(!dir.path().join("outbox/poison.jsonl").exists());
}

#[test]
fn a_producer_that_lost_its_place_is_replaced_by_one() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let store = opened(dir.path(), &cluster);
    let registry = Registry::new();
    store.outbox.register(&registry).unwrap();
    // A fatal answer for an idempotent producer.
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let id = commit(&store, &["a"]).unwrap()[0].to_string();
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    assert!(read(&cluster, |arrived| !arrived.is_empty()).contains_key(&id));
    assert_eq!(metric(&registry, "kafka_producers_alive"), 1.0);
    assert_eq!(metric(&registry, "kafka_producers_replaced_total"), 1.0);
}

#[test]
fn file_ids_land_where_kafka_go_would_put_them() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let store = opened(dir.path(), &cluster);
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..11 {
        commit(&store, &names).unwrap();
    }
    assert_eq!(store.outbox.flush(DEADLINE), 0);
    let arrived = read(&cluster, |arrived| arrived.len() == 1_100);
    let mut hit = [0; PARTITIONS as usize];
    for (key, events) in &arrived {
        assert_eq!(events[0].partition, kafka_go_hash(key.as_bytes()), "{key}");
        hit[usize::try_from(events[0].partition).unwrap()] += 1;
    }
    assert!(hit.iter().all(|&keys| keys > 100), "{hit:?}");
}

/// Keys that no file id has, through the same partitioner: the vectors hold for more than our alphabet.
#[test]
fn odd_keys_land_where_kafka_go_would_put_them() {
    let cluster = cluster();
    let producer: BaseProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("partitioner", "fnv1a_random")
        .create::<BaseProducer>()
        .unwrap();
    let odd = ["a", "\0", "größe", "🦀", "a key with spaces", "\u{7f}"].map(str::to_owned);
    let numbers = (0..200).map(|n: u32| n.wrapping_mul(0x9e37_79b9).to_string());
    let keys: Vec<String> = odd.into_iter().chain(numbers).chain(["x".repeat(10_000)]).collect();
    for key in &keys {
        producer.send(BaseRecord::to(TOPIC).key(key).payload("{}")).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    let arrived = read(&cluster, |arrived| arrived.len() == keys.len());
    for key in &keys {
        assert_eq!(arrived[key][0].partition, kafka_go_hash(key.as_bytes()), "{key:?}");
    }
}
