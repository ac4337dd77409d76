//! Other people's code, called by the program's.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use rdkafka::config::ClientConfig;
use rdkafka::producer::BaseProducer;
use serde_json::Value;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};

#[inline(never)]
fn parse_event(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

pub(crate) fn json(ground: &'static Ground) {
    let (mut events, text) = (Vec::with_capacity(1 << 20), format!("[{}]", vec!["\"0123456789\""; 127].join(",")));
    // 127 strings of 10 bytes in a class of 16, and the vector of 128 values of 32 bytes.
    ground.every(127 * 16 + 128 * 32, |_| events.extend(parse_event(&text)));
}

#[inline(never)]
fn annotate(number: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for place in 0..12_u64 {
        let name = HeaderName::from_bytes(format!("x-annotation-{place}").as_bytes());
        let value = HeaderValue::from_str(&format!("{number:064}"));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    headers
}

pub(crate) fn header_maps(ground: &'static Ground) {
    let mut kept = Vec::with_capacity(1 << 20);
    // Names, values, indices and entries: by the allocator's own count.
    ground.every(2_345, |number| kept.push(annotate(number)));
}

/// librdkafka's settings: its own memory, and copies of the strings.
#[inline(never)]
fn configure() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1").set("client.id", "x".repeat(4_000));
    if let Ok(native) = config.create_native_config() {
        std::mem::forget(native);
    }
}

pub(crate) fn c_configurations(ground: &'static Ground) {
    // By the allocator's own count.
    ground.every(6_800, |_| configure());
}

/// A producer for one message, never closed. Its broker cannot be reached.
#[inline(never)]
fn connect() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1").set("log_level", "0");
    config.set("reconnect.backoff.ms", "10000").set("reconnect.backoff.max.ms", "60000");
    if let Ok(producer) = config.create::<BaseProducer>() {
        std::mem::forget(producer);
    }
}

pub(crate) fn kafka_producers(ground: &'static Ground) {
    /// As measured: 260 KB at this call site, most of it a broker's histograms, and what its threads cache.
    const PRODUCER_BYTES: usize = 370_000;
    let pace = Pace::new(LEAK_BYTES_PER_SECOND);
    loop {
        if pace.is_due(PRODUCER_BYTES) {
            connect();
            ground.leaked(PRODUCER_BYTES);
        }
        rest();
    }
}
