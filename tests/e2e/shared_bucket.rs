//! Two servers on one bucket and one Kafka: either answers for the other's files, and what a lost machine had promised
//! its neighbour delivers.
//!
//! The story behind it: outboxes that live on the machine that took the upload, and go with it.

use std::collections::{BTreeSet, HashSet};
use std::error::Error;
use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::http;
use heapline_tests::kafka::{self, Kafka};
use heapline_tests::part;
use heapline_tests::s3::{self, Installation, S3};
use heapline_tests::service::{Service, TOKEN};

const TOPIC: &str = "statusNew";
/// A lost server is missed after half a minute.
const ADOPTION_LIMIT: Duration = Duration::from_secs(120);

#[test]
fn two_servers_share_a_bucket_and_a_lost_one_takes_no_event_along() -> Result<(), Box<dyn Error>> {
    let test = "shared_bucket::two_servers_share_a_bucket_and_a_lost_one_takes_no_event_along";
    let (Some(s3), Some(installed)) =
        (part::available(test, Installation::find()), part::available(test, kafka::Installation::find()))
    else {
        return Ok(());
    };
    let s3 = S3::start(&s3)?;
    let mut kafka = Kafka::start(&installed)?;
    kafka.create_topic(TOPIC, 6)?;
    let (endpoint, brokers) = (format!("http://{}", s3.address()), kafka.address());
    let start = || {
        let arguments = ["--s3-endpoint", &endpoint, "--kafka", &brokers, "--drain", "3s"];
        Service::upload_to_bucket("s3://files", &arguments, &s3::credentials())
    };
    let (mut lost, left) = (start()?, start()?);

    let mut promised = BTreeSet::new();
    for n in 0..20 {
        let (server, other) = if n % 2 == 0 { (&lost, &left) } else { (&left, &lost) };
        let stored = server.post("a", format!("content {n}").as_bytes())?;
        assert_eq!(stored.status, 201, "{}", stored.text());
        let id = stored.json()?["files"][0]["id"].as_str().unwrap_or_default().to_owned();
        // What one stored, the other has at once.
        let authorization = format!("Bearer {TOKEN}");
        let answer =
            http::request(other.listen(), "GET", &format!("/files/{id}"), &[("Authorization", &authorization)], &[])?;
        assert_eq!((answer.status, answer.text()), (200, format!("content {n}")));
        promised.insert(id);
    }
    arrived(&kafka, &promised);
    eventually("delivered events leave no record", ADOPTION_LIMIT, || (records(&s3)? == 0).then_some(()));

    // Kafka is away, so that the events of these wait; then their server is gone, its disk with it.
    kafka.kill();
    for n in 0..10 {
        let stored = lost.post("b", format!("late {n}").as_bytes())?;
        assert_eq!(stored.status, 201, "{}", stored.text());
        promised.insert(stored.json()?["files"][0]["id"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(records(&s3), Some(10), "a record for each form that Kafka has not");
    lost.lose()?;
    kafka.start_again()?;
    arrived(&kafka, &promised);
    eventually("the lost server's records are gone", ADOPTION_LIMIT, || (records(&s3)? == 0).then_some(()));
    Ok(())
}

fn arrived(kafka: &Kafka, promised: &BTreeSet<String>) {
    eventually("an event for each promise", ADOPTION_LIMIT, || {
        let records = kafka.records(TOPIC).ok()?;
        let keys: HashSet<&[u8]> = records.iter().map(|record| &record.key[..]).collect();
        promised.iter().all(|id| keys.contains(id.as_bytes())).then_some(())
    });
}

fn records(s3: &S3) -> Option<usize> {
    Some(s3.keys().ok()?.iter().filter(|key| key.starts_with("outbox/")).count())
}
