//! `--kafka-config` with a real broker: what an operator sets reaches librdkafka, and a broker that asks for a password, or
//! for TLS, gets it.
//!
//! TLS needs a server with librdkafka's OpenSSL: `make test-kafka-tls` builds both and runs its test.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::kafka::{Installation, Kafka, Security};
use heapline_tests::service::{Service, Setup};
use heapline_tests::{binary, exposition, http, part};

type Outcome = Result<(), Box<dyn Error>>;

const TOPIC: &str = "statusNew";
const PARTITIONS: i32 = 3;
const ARRIVAL_LIMIT: Duration = Duration::from_secs(90);
const USAGE: i32 = 64;

#[test]
fn a_broker_that_asks_for_a_password_gets_it_and_a_wrong_one_loses_nothing() -> Outcome {
    let test = "kafka_settings::a_broker_that_asks_for_a_password";
    let Some(installation) = part::available(test, Installation::find()) else { return Ok(()) };
    let security = Security::Password { user: "uploads".into(), password: "hush".into() };
    let kafka = Kafka::start_secured(&installation, &security)?;
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let address = kafka.secured_address();
    let arguments = ["--kafka", &*address, "--topic", TOPIC, "--drain", "2s"];
    let store = tempfile::tempdir()?;
    let with = |password: &str| {
        let settings = format!(
            "security.protocol=sasl_plaintext\nsasl.mechanisms=PLAIN\nsasl.username=uploads\nsasl.password={password}"
        );
        let environment = [("HEAPLINE_KAFKA_CONFIG", &*settings)];
        let setup = Setup { arguments: &arguments, environment: &environment, store: Some(store.path()), cgroup: None };
        Service::upload_with(setup)
    };
    // The wrong one: uploads go on, their events wait.
    let mut promised = BTreeSet::new();
    let mut wrong = with("not-it")?;
    for _ in 0..5 {
        promised.insert(stored(&wrong, "a")?);
    }
    assert_eq!(metric(&wrong, "outbox_pending_events"), Some(5.0));
    heapline_tests::promises::assert_not_spinning(wrong.id()?)?;
    assert_eq!(wrong.stop().and_then(|status| status.code()), Some(0));
    assert!(!wrong.log().contains("not-it"), "the password is in the log");
    let right = with("hush")?;
    for _ in 0..5 {
        promised.insert(stored(&right, "a")?);
    }
    arrived(&kafka, &promised);
    assert!(!right.log().contains("hush"), "the password is in the log");
    Ok(())
}

#[test]
fn a_setting_reaches_librdkafka_and_those_that_promises_rest_on_are_refused() -> Outcome {
    let test = "kafka_settings::a_setting_reaches_librdkafka";
    let Some(installation) = part::available(test, Installation::find()) else { return Ok(()) };
    let kafka = Kafka::start(&installation)?;
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let address = kafka.address();
    // An event beyond this size is refused by librdkafka itself; the others go, compressed.
    let settings = ["--kafka-config", "message.max.bytes=1000", "--kafka-config", "compression.codec=lz4"];
    let arguments = [&["--kafka", &*address, "--topic", TOPIC, "--drain", "2s"], &settings[..]].concat();
    let service = Service::upload(&arguments)?;
    let mut promised = BTreeSet::from([stored(&service, "a")?]);
    let long_field = "f".repeat(1_000);
    let form = heapline_tests::form::Form::new().file(&long_field, &"n".repeat(240), b"content");
    assert_eq!(form.post(service.listen(), heapline_tests::service::TOKEN)?.status, 201);
    promised.insert(stored(&service, "b")?);
    arrived(&kafka, &promised);
    eventually("what is too large is set aside", ARRIVAL_LIMIT, || {
        (metric(&service, "outbox_poisoned_events_total")? == 1.0).then_some(())
    });

    for (setting, part) in [
        ("acks=1", "at least once"),
        ("bootstrap.servers=a:1", "--kafka"),
        ("partitioner=murmur2", "kafka-go"),
        ("message.timeout.ms=1", "as long as it takes"),
        ("batch.size=9", "memory"),
        ("no.such.setting=1", "no.such.setting"),
        ("linger.ms=soon", "linger.ms"),
    ] {
        let mut command = Command::new(binary::path("heapline-upload")?);
        command.args(["--check", "--kafka", "127.0.0.1:9", "--kafka-config", setting]);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(USAGE), "{setting}: {text}");
        assert!(text.contains(part) && text.trim_end().lines().count() == 1, "{setting}: {text}");
    }
    Ok(())
}

/// Events are durable, so a broker that says nothing need not hold up the end of the process.
#[test]
fn a_drain_gives_up_on_a_broker_that_is_silent_and_the_next_start_delivers() -> Outcome {
    let test = "kafka_settings::a_drain_gives_up_on_a_broker_that_is_silent";
    let Some(installation) = part::available(test, Installation::find()) else { return Ok(()) };
    let mut kafka = Kafka::start(&installation)?;
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let address = kafka.address();
    let mut service = Service::upload(&["--kafka", &address, "--topic", TOPIC, "--drain", "10m"])?;
    let mut promised = BTreeSet::from([stored(&service, "before")?]);
    arrived(&kafka, &promised);
    kafka.pause();
    for _ in 0..5 {
        promised.insert(stored(&service, "late")?);
    }
    // Whoever does not end by himself is killed, and has no code.
    assert_eq!(service.stop().and_then(|status| status.code()), Some(0), "it waits for the broker");
    assert!(service.log().contains("not delivered yet"), "{}", service.log());
    kafka.resume();
    service.start_again()?;
    arrived(&kafka, &promised);
    Ok(())
}

#[cfg(feature = "kafka-tls")]
#[test]
fn a_broker_that_speaks_tls_is_spoken_to_and_one_that_nobody_vouches_for_is_not() -> Outcome {
    let test = "kafka_settings::a_broker_that_speaks_tls";
    let Some(installation) = part::available(test, Installation::find()) else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let Some((security, certificate)) = part::available(test, Security::tls(directory.path())) else { return Ok(()) };
    let kafka = Kafka::start_secured(&installation, &security)?;
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let (address, trusted) = (kafka.secured_address(), format!("ssl.ca.location={}", certificate.display()));
    let arguments = ["--kafka", &*address, "--drain", "2s", "--kafka-config", "security.protocol=ssl"];
    let service = Service::upload(&[&arguments[..], &["--kafka-config", &trusted]].concat())?;
    let promised = (0..5).map(|_| stored(&service, "a")).collect::<Result<BTreeSet<_>, _>>()?;
    arrived(&kafka, &promised);
    let stranger = Service::upload(&arguments)?;
    stored(&stranger, "a")?;
    heapline_tests::deadline::pace(std::time::Instant::now() + Duration::from_secs(5), || false);
    assert_eq!(metric(&stranger, "outbox_pending_events"), Some(1.0), "a certificate that nobody vouches for");
    Ok(())
}

fn stored(service: &Service, name: &str) -> Result<String, Box<dyn Error>> {
    let answer = service.put(name, b"content")?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(answer.json()?["files"][0]["id"].as_str().ok_or("no id")?.to_owned())
}

fn arrived(kafka: &Kafka, ids: &BTreeSet<String>) {
    eventually(&format!("{} events", ids.len()), ARRIVAL_LIMIT, || {
        let records = kafka.records(TOPIC).ok()?;
        let keys: BTreeSet<&[u8]> = records.iter().map(|record| record.key.as_slice()).collect();
        ids.iter().all(|id| keys.contains(id.as_bytes())).then_some(())
    });
}

fn metric(service: &Service, series: &str) -> Option<f64> {
    exposition::value(&http::get(service.admin(), "/metrics").ok()?.text(), series)
}
