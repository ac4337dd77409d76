//! `heapline-upload` with a real Kafka: where events land, and that none is lost while either side is away.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::deadline::{self, eventually};
use heapline_tests::exposition::value;
use heapline_tests::kafka::{Installation, Kafka, Record};
use heapline_tests::service::Service;
use heapline_tests::{http, part, prometheus};
use serde_json::Value;

/// The contract's topic, and how many partitions it has here.
const TOPIC: &str = "statusNew";
const PARTITIONS: i32 = 6;
/// How long events may take to arrive once nothing is in their way.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(90);
/// How many clients upload at once.
const CLIENTS: usize = 8;

#[test]
fn a_thousand_uploads_land_in_the_partitions_of_kafka_gos_hash() {
    let test = "kafka::a_thousand_uploads_land_in_the_partitions_of_kafka_gos_hash";
    let Some((kafka, service)) = started(test) else { return };
    let stored = upload(&service, 1000, |_| ());
    let records = arrived(&kafka, &stored);
    assert_eq!(records.len(), stored.len(), "with nothing in the way, each event is there once");
    let mut used = HashSet::new();
    for record in &records {
        let key = String::from_utf8(record.key.clone()).expect("the key is a file id");
        assert_eq!(record.partition, kafka_go_partition(&record.key, PARTITIONS), "key {key}");
        used.insert(record.partition);

        let value: Value = serde_json::from_slice(&record.value).expect("the value is JSON");
        let file = &stored[&key];
        for field in ["id", "field", "filename", "bytes", "sha256", "url"] {
            assert_eq!(value[field], file[field], "{field} of {key}");
        }
        assert!(value["time"].is_string() && value["status"].is_string(), "{value}");

        assert_eq!(record.header("ce_specversion"), "1.0");
        assert_eq!(record.header("ce_id"), key);
        for header in ["ce_source", "ce_type", "ce_time"] {
            assert_ne!(record.header(header), "", "{header} of {key}");
        }
        assert_eq!(record.header("content-type"), "application/json");
    }
    assert_eq!(used.len(), 6, "a thousand keys reach each partition");
    one_producer_sent_them(&service, test);
}

/// What `/metrics` says once librdkafka's statistics have caught up.
fn one_producer_sent_them(service: &Service, test: &str) {
    let metrics = eventually("a thousand messages in the metrics and none waiting", ARRIVAL_LIMIT, || {
        let text = http::get(service.admin(), "/metrics").ok()?.text();
        let sent = value(&text, "kafka_sent_messages_total")?;
        (sent >= 1000.0 && value(&text, "outbox_pending_events")? == 0.0).then_some(text)
    });
    assert_eq!(value(&metrics, "kafka_producers_alive"), Some(1.0));
    assert_eq!(value(&metrics, "outbox_oldest_seconds"), Some(0.0));
    if let Some(promtool) = part::available(test, prometheus::Installation::find()) {
        assert_eq!(promtool.check_metrics(metrics.as_bytes()).expect("promtool runs"), "");
    }
}

/// How long the broker is away: `HEAPLINE_KAFKA_AWAY_SECONDS`, 10 unless told.
fn away() -> Duration {
    let seconds = env::var("HEAPLINE_KAFKA_AWAY_SECONDS").ok().map(|text| text.parse().expect("whole seconds"));
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn with_kafka_stopped_uploads_go_on_and_each_event_arrives() {
    let Some((mut kafka, mut service)) = started("kafka::with_kafka_stopped_uploads_go_on_and_each_event_arrives")
    else {
        return;
    };
    let mut stored = upload(&service, 150, |_| ());

    kafka.stop();
    let gone = Instant::now();
    stored.extend(upload(&service, 100, |_| ()));
    // The server is restarted while the broker is away: what waits must outlive the process.
    let status = service.stop().expect("it ran");
    assert_eq!(status.code(), Some(0), "TERM drains also while Kafka is away");
    service.start_again().expect("it starts without its broker");
    stored.extend(upload(&service, 100, |_| ()));
    deadline::pace(gone + away(), || false);
    kafka.start_again().expect("the broker comes back");
    stored.extend(upload(&service, 150, |_| ()));

    assert_eq!(stored.len(), 500, "each upload was answered with 201 and an id of its own");
    let records = arrived(&kafka, &stored);
    at_least_once_and_stable(&records, &stored);
}

#[test]
fn a_killed_server_sends_after_its_restart_what_it_had_promised() {
    let Some((mut kafka, mut service)) = started("kafka::a_killed_server_sends_after_its_restart_what_it_had_promised")
    else {
        return;
    };
    kafka.kill();
    let stored = upload(&service, 60, |_| ());
    service.kill();
    kafka.start_again().expect("the broker comes back");
    service.start_again().expect("the server starts again");
    at_least_once_and_stable(&arrived(&kafka, &stored), &stored);
}

#[test]
fn a_hung_broker_holds_up_no_upload() {
    let Some((mut kafka, service)) = started("kafka::a_hung_broker_holds_up_no_upload") else { return };
    let mut stored = upload(&service, 20, |_| ());
    kafka.pause();
    let slowest = Mutex::new(Duration::ZERO);
    stored.extend(upload(&service, 80, |took| {
        let mut slowest = slowest.lock().unwrap_or_else(PoisonError::into_inner);
        *slowest = took.max(*slowest);
    }));
    let slowest = slowest.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(slowest < Duration::from_secs(5), "an upload took {slowest:?} while the broker hung");
    kafka.resume();
    at_least_once_and_stable(&arrived(&kafka, &stored), &stored);
}

fn started(test: &str) -> Option<(Kafka, Service)> {
    let installation = part::available(test, Installation::find())?;
    let kafka = Kafka::start(&installation).expect("Kafka starts");
    kafka.create_topic(TOPIC, PARTITIONS).expect("the topic is made");
    let address = kafka.address();
    // With the broker away a drain waits for it to the end of its time.
    let service = Service::upload(&["--kafka", &address, "--topic", TOPIC, "--durability", "fsync", "--drain", "3s"]);
    Some((kafka, service.expect("heapline-upload starts")))
}

/// Stores `count` small files on connections of their own; the answers' file objects by id. `took` hears of each
/// upload's duration.
fn upload(service: &Service, count: usize, took: impl Fn(Duration) + Sync) -> BTreeMap<String, Value> {
    let (next, stored) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let start = Instant::now();
                    let answer = service.post(&format!("{number}.txt"), format!("content {number}").as_bytes());
                    took(start.elapsed());
                    let answer = answer.expect("answered");
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    let mut json = answer.json().expect("JSON");
                    let file = json["files"][0].take();
                    let id = file["id"].as_str().expect("an id").to_owned();
                    stored.lock().unwrap_or_else(PoisonError::into_inner).insert(id, file);
                }
            });
        }
    });
    stored.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The topic's records once there is one for each stored file.
fn arrived(kafka: &Kafka, stored: &BTreeMap<String, Value>) -> Vec<Record> {
    eventually("an event for each stored file", ARRIVAL_LIMIT, || {
        let records = kafka.records(TOPIC).ok()?;
        let keys: HashSet<&[u8]> = records.iter().map(|record| record.key.as_slice()).collect();
        stored.keys().all(|id| keys.contains(id.as_bytes())).then_some(records)
    })
}

fn at_least_once_and_stable(records: &[Record], stored: &BTreeMap<String, Value>) {
    let mut values = BTreeMap::new();
    for record in records {
        let id = record.header("ce_id");
        assert_eq!(id.as_bytes(), record.key, "an event's id follows from the file's");
        assert!(stored.contains_key(&id), "an event of a file that was never acknowledged: {id}");
        let first = values.entry(id).or_insert(&record.value);
        assert_eq!(*first, &record.value, "an event sent again is the same event");
    }
    assert_eq!(values.len(), stored.len());
}

/// Where kafka-go's `Hash` balancer puts a key: FNV-1a of 32 bits, as a signed number, modulo, without its sign.
fn kafka_go_partition(key: &[u8], partitions: i32) -> i32 {
    let hash = key.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash.cast_signed() % partitions).abs()
}

/// The reference values of FNV-1a's authors, so that the yardstick itself is measured.
#[test]
fn the_independent_hash_is_fnv_1a() {
    for (key, hash) in [("", 0x811c_9dc5_u32), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
        assert_eq!(kafka_go_partition(key.as_bytes(), i32::MAX), (hash.cast_signed() % i32::MAX).abs());
    }
}
