//! What the loop from a sample to a verdict costs, on a day as the live agent sees it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use heapline::history::{MEMORY_BYTES, Series};
use heapline::memory::{Limit, LimitSource};
use heapline::watch::{Reading, Watch};

/// As the agent's sampler looks.
const LOOKS_PER_SECOND: u32 = 5;
const DAY_SECONDS: u32 = 86_400;
const LIMIT: Limit = Limit { bytes: 2 << 30, source: LimitSource::Configured };

/// Lines of a table: a day that is level, and one that leaks a third of the limit.
pub(crate) fn lines() -> Vec<String> {
    [("level", 0.0), ("climbs", 0.3 * LIMIT.bytes as f64 / f64::from(DAY_SECONDS))].map(line).to_vec()
}

fn line((name, bytes_per_second): (&str, f64)) -> String {
    let mut watch = Watch::new(Series::Live);
    let (mut observing, mut looking, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut looks = 0_u32;
    let samples = DAY_SECONDS * LOOKS_PER_SECOND;
    for sample in 0..samples {
        let seconds = f64::from(sample) / f64::from(LOOKS_PER_SECOND);
        let live = 200_000_000 + (bytes_per_second * seconds) as i64 + i64::from(sample % 97) * 50_000;
        let rss_bytes = sample.is_multiple_of(LOOKS_PER_SECOND).then_some(live + 40_000_000);
        let reading = Reading { seconds, allocated_bytes: Some(live), rss_bytes, ..Reading::default() };
        let start = Instant::now();
        let complete = watch.observe(&reading.observation());
        observing += start.elapsed();
        if complete {
            let start = Instant::now();
            black_box(watch.judge(seconds, reading.equation(), LIMIT));
            let took = start.elapsed();
            looking += took;
            longest = longest.max(took);
            looks += 1;
        }
    }
    format!(
        "| {name} | {} | {} | {} | {:.4}% | {} |",
        (observing / samples).as_nanos(),
        (looking / looks.max(1)).as_nanos(),
        longest.as_micros(),
        100.0 * (observing + looking).as_secs_f64() / f64::from(DAY_SECONDS),
        MEMORY_BYTES >> 10,
    )
}

pub(crate) const HEADER: &str =
    "| A day that | ns a sample | ns a look | longest look, µs | of a core | KiB at most |\n|---|---|---|---|---|---|";
