//! `/metrics` and `/memory` of `heapline-upload`, against promtool and the kernel's own numbers.

use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::service::Service;
use heapline_tests::{exposition, http, part, prometheus};

/// The contract's names that exist whatever the process has gone through. What needs history first (slopes) or Kafka
/// is looked for elsewhere.
const NAMES: [&str; 35] = [
    "jemalloc_allocated_bytes",
    "jemalloc_active_bytes",
    "jemalloc_metadata_bytes",
    "jemalloc_resident_bytes",
    "jemalloc_mapped_bytes",
    "jemalloc_retained_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "memory_limit_bytes",
    "memory_floor_bytes",
    "memory_verdict{verdict=\"warming_up\"}",
    "memory_verdict{verdict=\"flat\"}",
    "memory_verdict{verdict=\"climbing\"}",
    "memory_verdict{verdict=\"climbing_outside_allocator\"}",
    "memory_verdict{verdict=\"fragmenting\"}",
    "memory_verdict{verdict=\"retaining\"}",
    "memory_verdict{verdict=\"near_limit\"}",
    "memory_trajectory_degrees",
    "heapline_build_info",
    "heap_profile_active",
    "heap_profile_sample_interval_bytes",
    "heap_profile_lost_samples_total",
    "heap_profile_failures_total",
    "heap_profile_duration_seconds_count",
    "upload_requests_total{outcome=\"stored\"}",
    "upload_received_bytes_total",
    "upload_in_flight",
    "upload_duration_seconds_count",
    "outbox_pending_events",
    "outbox_oldest_seconds",
];
/// How far a scrape and the kernel's number, read a moment later, may be apart.
const RESIDENT_TOLERANCE_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

#[test]
fn the_exposition_is_clean_to_promtool_and_has_the_contracts_names() {
    let service = Service::upload(&[]).expect("heapline-upload starts");
    for number in 0..5 {
        assert_eq!(service.post(&format!("{number}"), b"content").expect("answered").status, 201);
    }
    let metrics = settled(&service);
    for name in NAMES {
        assert!(exposition::value(&metrics, name).is_some(), "{name} is missing in:\n{metrics}");
    }
    assert_eq!(exposition::value(&metrics, "upload_requests_total{outcome=\"stored\"}"), Some(5.0));
    assert_eq!(exposition::value(&metrics, "heap_profile_active"), Some(1.0));

    let test = "metrics::the_exposition_is_clean_to_promtool_and_has_the_contracts_names";
    if let Some(promtool) = part::available(test, prometheus::Installation::find()) {
        let complaints = promtool.check_metrics(metrics.as_bytes()).expect("promtool runs");
        assert_eq!(complaints, "");
    }
}

#[test]
fn the_numbers_agree_with_the_kernel_and_with_each_other() {
    let service = Service::upload(&[]).expect("heapline-upload starts");
    let metrics = settled(&service);
    let metric = |name: &str| exposition::value(&metrics, name).unwrap_or_else(|| panic!("{name} is missing"));

    let resident = service.resident_bytes().expect("it runs") as f64;
    let reported = metric("process_resident_memory_bytes");
    assert!((reported - resident).abs() < RESIDENT_TOLERANCE_BYTES, "{reported} against the kernel's {resident}");

    let (allocated, active) = (metric("jemalloc_allocated_bytes"), metric("jemalloc_active_bytes"));
    let (mapped, metadata) = (metric("jemalloc_mapped_bytes"), metric("jemalloc_metadata_bytes"));
    assert!(allocated > 100_000.0 && allocated <= active && active <= mapped, "{allocated} {active} {mapped}");
    assert!(metadata > 0.0 && metadata < metric("jemalloc_resident_bytes"), "{metadata}");
    assert!(metric("memory_floor_bytes") <= reported, "{metrics}");

    let verdicts = metrics.lines().filter(|line| line.starts_with("memory_verdict{") && line.ends_with(" 1"));
    assert_eq!(verdicts.count(), 1, "exactly one verdict holds");
}

#[test]
fn memory_adds_up_to_the_resident_set() {
    let service = Service::upload(&["--memory-limit", "512MiB"]).expect("heapline-upload starts");
    settled(&service);
    let memory = service.memory().expect("answered");
    let equation = memory["equation"].as_object().expect("an object");
    assert_eq!(equation.len(), 4, "{memory}");
    let sum: i64 = equation.values().map(|bytes| bytes.as_i64().expect("whole bytes")).sum();
    assert_eq!(Some(sum), memory["rss_bytes"].as_i64(), "{memory}");
    assert_eq!((memory["limit_bytes"].as_u64(), &memory["limit_source"]), (Some(512 << 20), &"configured".into()));
    assert_eq!(memory["verdict"], "warming_up", "no verdict before there is evidence");
    assert!(memory["slopes"].as_array().is_some_and(Vec::is_empty), "no slope before there is evidence: {memory}");
    assert!(memory["time_to_limit_seconds"].is_null() && memory["previous"].is_null(), "{memory}");

    let resident = service.resident_bytes().expect("it runs") as f64;
    let reported = memory["rss_bytes"].as_f64().expect("a number");
    assert!((reported - resident).abs() < RESIDENT_TOLERANCE_BYTES, "{reported} against the kernel's {resident}");
}

/// The exposition once the first floor has been taken.
fn settled(service: &Service) -> String {
    eventually("a first floor of the live bytes", Duration::from_secs(30), || {
        let answer = http::get(service.admin(), "/metrics").expect("answered");
        assert_eq!(answer.status, 200);
        Some(answer.text()).filter(|text| exposition::value(text, "memory_floor_bytes").is_some())
    })
}
