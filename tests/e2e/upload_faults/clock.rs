//! The wall clock steps, as after a boot without a battery or a wrong time server: nothing but what is stamped changes.
//! A preloaded library steps it for one process; the monotonic clock runs on, as it does in the kernel.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::exposition;
use heapline_tests::http;
use heapline_tests::part::{self, Missing};
use heapline_tests::promises::{Promises, assert_at_rest, noise};
use heapline_tests::service::{Service, Setup};

use super::{Outcome, RECOVERY_LIMIT};

const HOUR_SECONDS: i64 = 3_600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
/// An event cannot wait longer than the test runs, whatever the clock says, once it is written.
const AGE_SECONDS_MAX: f64 = 600.0;

#[test]
fn a_clock_that_steps_changes_nothing_but_stamps() -> Outcome {
    let test = "upload_faults::clock::a_clock_that_steps";
    let directory = tempfile::tempdir()?;
    let Some(library) = part::available(test, library(directory.path())) else { return Ok(()) };
    let step = directory.path().join("step");
    fs::write(&step, 0_i64.to_ne_bytes())?;
    let environment = [("LD_PRELOAD", library.to_str().ok_or("path")?), ("CLOCK_STEP", step.to_str().ok_or("path")?)];
    let (mut service, promises) =
        (Service::upload_with(Setup { environment: &environment, ..Setup::default() })?, Promises::default());
    for seconds in [-2 * HOUR_SECONDS, 30 * DAY_SECONDS, -3_650 * DAY_SECONDS, 36_500 * DAY_SECONDS, 0] {
        step_to(&step, seconds)?;
        let hours = seconds as f64 / HOUR_SECONDS as f64;
        for seed in 0..4 {
            let content = noise(seed, 50_000);
            let answer = service.put("file.bin", &content)?;
            assert!(promises.note(&answer, [&content[..]]), "{seconds}: {}", answer.text());
        }
        let newest = newest_event_hours(&service)?;
        assert!((newest - now_hours()? - hours).abs() < 1.0, "{seconds} has arrived: {newest}");
        let metrics = http::get(service.admin(), "/metrics")?.text();
        let age = exposition::value(&metrics, "outbox_oldest_seconds").ok_or("no age")?;
        assert!((0.0..AGE_SECONDS_MAX).contains(&age), "{seconds}: {age}");
        assert_eq!(http::get(service.admin(), "/memory")?.status, 200);
        promises.check(&service).map_err(|error| format!("{seconds}: {error}"))?;
        assert_at_rest(&service, 8).map_err(|error| format!("{seconds}: {error}"))?;
    }
    // A process of the future left its state behind; the next one lives today.
    step_to(&step, 10 * DAY_SECONDS)?;
    assert!(promises.put(&service, b"future")? == 201);
    service.kill();
    step_to(&step, -10 * DAY_SECONDS)?;
    service.start_again()?;
    eventually("the next process serves", RECOVERY_LIMIT, || {
        promises.put(&service, b"past").is_ok_and(|status| status == 201).then_some(())
    });
    promises.check(&service)
}

/// In place: the process has the file mapped.
fn step_to(step: &Path, seconds: i64) -> std::io::Result<()> {
    fs::File::options().write(true).open(step)?.write_all_at(&seconds.to_ne_bytes(), 0)
}

/// The stamp of the last line of `events.jsonl`, in hours since 1970, days being enough for the check.
fn newest_event_hours(service: &Service) -> Result<f64, Box<dyn std::error::Error>> {
    let lines = fs::read_to_string(service.store().join("events.jsonl"))?;
    let event: serde_json::Value = serde_json::from_str(lines.lines().last().ok_or("no event")?)?;
    let time = event["time"].as_str().ok_or("no time")?.to_owned();
    let output = Command::new("date").args(["-u", "+%s", "-d", &time]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse::<f64>()? / 3600.0)
}

fn now_hours() -> Result<f64, Box<dyn std::error::Error>> {
    let now: Duration = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.as_secs_f64() / 3600.0)
}

fn library(directory: &Path) -> Result<PathBuf, Missing> {
    let missing = |why: &str| Missing { part: "a clock that steps".to_owned(), why: why.to_owned() };
    let (source, library) = (part::repository().join("tests/parts/clock/step.c"), directory.join("step.so"));
    let output = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    let output = output.map_err(|error| missing(&format!("cc: {error}")))?;
    if output.status.success() { Ok(library) } else { Err(missing(&String::from_utf8_lossy(&output.stderr))) }
}
