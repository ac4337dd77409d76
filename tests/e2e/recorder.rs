//! The flight recorder from outside: a service that leaks until the kernel kills it, and the one after it that says so.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use heapline_tests::cgroup::Cgroup;
use heapline_tests::deadline::{eventually, poll};
use heapline_tests::gopprof::GoPprof;
use heapline_tests::load::{self, Curl, Load};
use heapline_tests::service::Service;
use heapline_tests::webhook::Webhook;
use heapline_tests::{http, part};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A minute of warm-up, one of evidence, the verdict, on a busy machine.
const CLIMBING_LIMIT: Duration = Duration::from_secs(330);
const MIB: u64 = 1 << 20;
const LIMIT_BYTES: u64 = 1024 * MIB;
/// Two uploads of 1.3 MB a second.
const UPLOAD_EVERY: Duration = Duration::from_millis(500);

fn json(service: &Service, path: &str) -> Value {
    let answer = http::get(service.admin(), path).expect("answered");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().expect("JSON")
}

fn metric(service: &Service, series: &str) -> Option<f64> {
    let text = http::get(service.admin(), "/metrics").expect("answered").text();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn after_an_oom_kill_the_next_process_names_end_verdict_and_culprit() {
    let test = "recorder::after_an_oom_kill_the_next_process_names_end_verdict_and_culprit";
    let (Some(cgroup), Some(curl)) =
        (part::available(test, Cgroup::make("heapline-oom", LIMIT_BYTES)), part::available(test, Curl::find()))
    else {
        return;
    };
    let cgroup = Arc::new(cgroup);
    let webhook = Webhook::start().expect("a port");
    let url = webhook.url().replace("http://", "http://ops:a-secret@");
    let environment = [("HEAPLINE_WEBHOOK", url.as_str()), ("HEAPLINE_SERVICE_VERSION", "7.1")];
    let mut service = Service::leaky_within(&cgroup, &["--threshold-mb", "32"], &environment).expect("leaky starts");
    assert_eq!(json(&service, "/memory")["previous"], Value::Null);
    assert_eq!(json(&service, "/memory")["limit_bytes"], LIMIT_BYTES);

    let files = TempDir::new().expect("a directory");
    let form = files.path().join("form.bin");
    load::write_form_file(&form).expect("written");
    let leak = Load::start(&curl, service.listen(), &form, UPLOAD_EVERY).expect("a load");
    let delivery = eventually("the agent's own alert", CLIMBING_LIMIT, || webhook.deliveries().into_iter().next());
    the_alert_has_everything(&service, &delivery.alert, &delivery.message);
    assert!(!service.log().contains("a-secret"), "{}", service.log());

    // The room that is left is gone within seconds.
    let used = cgroup.usage_bytes().expect("read");
    cgroup.limit(used + 12 * MIB).expect("set");
    let status = eventually("the kernel kills it", Duration::from_secs(60), || service.ended());
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    drop(leak);
    cgroup.limit(LIMIT_BYTES).expect("set");

    service.start_again().expect("leaky starts again");
    the_story_is_told(&service);
    assert_eq!(metric(&service, "memory_restarts_total{end=\"oom\"}"), Some(1.0));
    assert_eq!(metric(&service, "heapline_build_info{version=\"7.1\"}"), Some(1.0));
    // A process that ends as it should hides nothing.
    service.stop();
    service.start_again().expect("leaky starts again");
    let memory = json(&service, "/memory");
    assert_eq!((&memory["previous"]["end"], &memory["earlier"][0]["end"]), (&"clean".into(), &"oom".into()));
    assert_eq!(metric(&service, "memory_restarts_total{end=\"clean\"}"), Some(1.0));
    assert!(json(&service, "/profiles").as_array().is_some_and(|kept| !kept.is_empty()));
}

fn the_alert_has_everything(service: &Service, alert: &Value, message: &Value) {
    assert_eq!((&alert["status"], &alert["labels"]["verdict"]), (&"firing".into(), &"climbing".into()), "{message:#}");
    let told = &message["heapline"];
    assert!(told["slope_bytes_per_second"].as_f64().is_some_and(|slope| slope > 1e6), "{told:#}");
    assert!(told["time_to_limit_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{told:#}");
    let culprit = told["culprit"]["function"].as_str().expect("a culprit");
    assert!(culprit.starts_with("leaky::form"), "{told:#}");
    assert!(message["text"].as_str().is_some_and(|text| text.contains(culprit)), "{message:#}");
    let link = told["profile"].as_str().and_then(|link| link.strip_prefix(&service.admin_url(""))).expect("a link");
    assert_eq!(http::get(service.admin(), link).expect("answered").status, 200, "{link}");
    eventually("the delivery is counted", Duration::from_secs(10), || {
        metric(service, "memory_alerts_total{outcome=\"delivered\"}").filter(|count| *count == 1.0)
    });
}

/// Of the process that was killed, by the one after it.
fn the_story_is_told(service: &Service) {
    let previous = json(service, "/memory")["previous"].clone();
    assert_eq!((&previous["end"], &previous["verdict"]), (&"oom".into(), &"climbing".into()), "{previous:#}");
    assert!(previous["uptime_seconds"].as_f64().is_some_and(|seconds| seconds > 60.0), "{previous:#}");
    let culprits = json(service, previous["culprits"].as_str().expect("where they are"));
    let culprit = &culprits["culprits"][0];
    let function = culprit["function"].as_str().expect("a culprit");
    assert!(function.starts_with("leaky::form"), "{culprits:#}");
    assert!(culprit["growth_bytes"].as_f64().is_some_and(|bytes| bytes > 50e6), "{culprits:#}");
    let line = eventually("one line in the log", Duration::from_secs(10), || {
        service.log().lines().find(|line| line.contains("the process before")).map(str::to_owned)
    });
    assert!(line.contains("OOM kill") && line.contains("climbing") && line.contains(function), "{line}");

    let kept = json(service, "/profiles");
    let kept = kept.as_array().expect("a list");
    let reasons: Vec<_> = kept.iter().map(|profile| profile["reason"].as_str().expect("a reason")).collect();
    assert!(["periodic", "verdict", "headroom"].iter().all(|reason| reasons.contains(reason)), "{reasons:?}");
    assert!(kept.iter().all(|profile| profile["process"] == "previous"), "{kept:?}");
    let last = previous["last_profile"].as_str().expect("where it is");
    let listed = kept.last().map(|profile| profile["url"].clone());
    assert_eq!(listed, Some(last.into()));
    if let Some(go) = part::available("recorder::the_story_is_told", GoPprof::find()) {
        let top = go.top(&["-cum", "-sample_index=inuse_space"], &service.admin_url(last)).expect("pprof reads it");
        let leaked = top.iter().find(|row| row.function.starts_with("leaky::form")).expect("the culprit is there");
        assert!(leaked.cumulative_bytes > 50e6, "{leaked:?}");
    }
}

#[test]
fn each_end_has_its_name() {
    let mut service = Service::leaky(&[], &[]).expect("leaky starts");
    service.kill();
    service.start_again().expect("leaky starts again");
    let previous = |service: &Service| json(service, "/memory")["previous"]["end"].clone();
    assert_eq!(previous(&service), "signal");
    service.stop();
    service.start_again().expect("leaky starts again");
    assert_eq!(previous(&service), "clean");
    let count = |end: &str| metric(&service, &format!("memory_restarts_total{{end=\"{end}\"}}"));
    assert_eq!(["clean", "oom", "signal", "unknown"].map(count), [Some(1.0), Some(0.0), Some(1.0), Some(0.0)]);
    // A second process with the same state directory leaves the first one's record alone.
    assert!(poll(Duration::from_millis(1_500), || service.ended()).is_none());
}
