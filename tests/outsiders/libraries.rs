//! Other people's crates, and what they made, kept.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};

fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

pub(crate) fn kept_values(ground: &'static Ground) {
    let text = json!({ "numbers": (0..100).collect::<Vec<u32>>(), "name": "x".repeat(1_000) }).to_string();
    let (mut kept, mut measured) = (Vec::new(), 0);
    // Numbers in a vector with room for 128, a name of 1,000 in 1,024, and a map of two.
    ground.every(128 * 32 + 1_024 + 700, |_| {
        if let Ok(value) = parse(&text) {
            measured += value["numbers"].as_array().map_or(0, Vec::len);
            kept.push(value);
        }
    });
}

fn open_stream() -> GzEncoder<Vec<u8>> {
    let mut stream = GzEncoder::new(Vec::new(), Compression::default());
    let _ = stream.write_all(b"a head");
    stream
}

pub(crate) fn open_compressors(ground: &'static Ground) {
    let (pace, mut streams) = (Pace::new(LEAK_BYTES_PER_SECOND), Vec::new());
    loop {
        while pace.is_due(300_000) {
            streams.push(open_stream());
            ground.leaked(300_000);
        }
        rest();
    }
}

fn render(number: u64) -> String {
    let answer = json!({ "number": number, "text": "y".repeat(1_500) });
    serde_json::to_string(&answer).unwrap_or_default()
}

pub(crate) fn rendered_answers(ground: &'static Ground) {
    let mut answers = Vec::new();
    // 128 bytes that double once there are more than 1,500.
    ground.every(3_072, |number| answers.push(render(number)));
}
