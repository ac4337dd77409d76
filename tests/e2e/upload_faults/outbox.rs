//! Kafka as it can be when it is not away: without the topic, with a limit that an event exceeds, and away for so long
//! that the outbox is full.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::time::Duration;

use heapline_tests::deadline::{eventually, poll};
use heapline_tests::exposition;
use heapline_tests::form::Form;
use heapline_tests::http;
use heapline_tests::kafka::{Installation, Kafka};
use heapline_tests::part;
use heapline_tests::promises::{Promises, assert_at_rest, noise};
use heapline_tests::service::{Service, TOKEN};

use super::{Outcome, readiness};

/// librdkafka asks for a topic that is missing once in a while, and pauses in between.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 3;

/// One broker for all of it: three services, each with a topic of its own.
#[test]
fn a_missing_topic_a_poisoned_event_and_a_full_outbox_lose_nothing() -> Outcome {
    let test = "upload_faults::outbox::a_missing_topic_a_poisoned_event_and_a_full_outbox";
    let Some(installation) = part::available(test, Installation::find()) else { return Ok(()) };
    let mut kafka = Kafka::start_with(&installation, "auto.create.topics.enable=false\n")?;
    kafka.create_topic_with("poison", PARTITIONS, &[("max.message.bytes", "1500")])?;
    kafka.create_topic("full", PARTITIONS)?;
    let address = kafka.address();
    let started =
        |topic| Service::upload(&["--kafka", &address, "--topic", topic, "--drain", "2s", "--outbox-max", "1MiB"]);
    let (missing, poison, full) = (started("missing")?, started("poison")?, started("full")?);
    let (of_missing, of_poison, of_full) = (Promises::default(), Promises::default(), Promises::default());

    // Uploads go on; events wait.
    for seed in 0..20 {
        assert_eq!(of_missing.put(&missing, &noise(seed, 5000))?, 201);
        assert_eq!(of_poison.put(&poison, &noise(seed, 5000))?, 201);
    }
    // One event that the topic will never take, between others that it will.
    let content = noise(100, 100);
    let answer = Form::new().file(&"x".repeat(1000), &"y".repeat(240), &content).post(poison.listen(), TOKEN)?;
    assert!(of_poison.note(&answer, [&content[..]]), "{}", answer.text());
    let poisoned = answer.json()?["files"][0]["id"].as_str().ok_or("no id")?.to_owned();
    for seed in 101..120 {
        assert_eq!(of_poison.put(&poison, &noise(seed, 5000))?, 201);
    }
    eventually("the poisoned event is set aside", ARRIVAL_LIMIT, || {
        (metric(&poison, "outbox_poisoned_events_total")? == 1.0).then_some(())
    });
    let innocent: BTreeSet<String> = of_poison.ids().into_iter().filter(|id| *id != poisoned).collect();
    arrived(&kafka, "poison", &innocent);
    let aside = fs::read_to_string(poison.store().join("outbox/poison.jsonl"))?;
    assert_eq!(aside.lines().count(), 1);
    assert!(aside.contains(&poisoned), "{aside}");
    of_poison.check_files(&poison, |_| true)?;
    assert_at_rest(&poison, 8)?;

    // Nothing is spinning about the topic that is missing, and nobody is turned away for it.
    assert_eq!(metric(&missing, "outbox_pending_events"), Some(20.0));
    assert_eq!(readiness(&missing), Some(200));
    assert_at_rest(&missing, 8)?;
    kafka.create_topic("missing", PARTITIONS)?;
    arrived(&kafka, "missing", &of_missing.ids().into_iter().collect());
    of_missing.check_files(&missing, |_| true)?;

    // Kafka goes, for longer than the outbox has room: 503 before the body, with the disk far from full.
    kafka.kill();
    let long = "n".repeat(1000);
    let refused = poll(ARRIVAL_LIMIT, || {
        let contents: Vec<Vec<u8>> = (0..40).map(|seed| noise(seed, 20)).collect();
        let form = contents.iter().fold(Form::new(), |form, content| form.file(&long, "f", content));
        let answer = form.post(full.listen(), TOKEN).ok()?;
        (!of_full.note(&answer, contents.iter().map(Vec::as_slice))).then_some(answer)
    });
    let refused = refused.ok_or("the outbox was never full")?;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{}", refused.text());
    assert!(of_full.len() > 300, "{} events fit", of_full.len());
    let journal: u64 = fs::read_dir(full.store().join("outbox"))?
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    assert!(journal <= (1 << 20) + 4096, "the outbox takes {journal} bytes");
    assert_eq!(readiness(&full), Some(200), "reads and deletes go on");
    assert_eq!(full.put("refused", &noise(1, 10_000))?.status, 503);
    of_full.check_files(&full, |_| true)?;
    assert_at_rest(&full, 8)?;
    kafka.start_again()?;
    arrived(&kafka, "full", &of_full.ids().into_iter().collect());
    eventually("uploads are taken again", ARRIVAL_LIMIT, || {
        of_full.put(&full, &noise(2, 1000)).is_ok_and(|status| status == 201).then_some(())
    });
    arrived(&kafka, "full", &of_full.ids().into_iter().collect());
    of_full.check_files(&full, |_| true)?;
    assert_at_rest(&full, 8)
}

fn arrived(kafka: &Kafka, topic: &str, ids: &BTreeSet<String>) {
    eventually(&format!("{} events in {topic}", ids.len()), ARRIVAL_LIMIT, || {
        let records = kafka.records(topic).ok()?;
        let keys: HashSet<&[u8]> = records.iter().map(|record| record.key.as_slice()).collect();
        ids.iter().all(|id| keys.contains(id.as_bytes())).then_some(())
    });
}

fn metric(service: &Service, series: &str) -> Option<f64> {
    exposition::value(&http::get(service.admin(), "/metrics").ok()?.text(), series)
}
