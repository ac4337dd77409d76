//! A flag service at its worst, through the binary: the last good value stays, and the next good one is taken.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::exposition;
use heapline_tests::growthbook::{CLIENT_KEY, FLAG, GrowthBook, Reply};
use heapline_tests::http;
use heapline_tests::promises::assert_not_spinning;
use heapline_tests::service::Service;
use serde_json::json;

use super::Outcome;

/// A change shows within 5 s on an idle machine; this one may be busy.
const CHANGE_LIMIT: Duration = Duration::from_secs(25);
const SERIES: &str = "upload_spool_threshold_bytes{source=\"growthbook\"}";

#[test]
fn every_bad_answer_keeps_the_last_good_value() -> Outcome {
    let flag = |value: &str| format!("{{\"features\": {{\"{FLAG}\": {{\"defaultValue\": {value}}}}}}}");
    // Two kinds a server: waits of different servers overlap.
    let bad: [[(&str, Reply); 2]; 8] = [
        [("500", Reply::status("500 Internal Server Error")), ("a string", Reply::flag("32"))],
        [("no features", Reply::body("{\"status\": 200}")), ("negative", Reply::flag(-1))],
        [("NaN", Reply::body(&flag("NaN"))), ("null", Reply::flag(json!(null)))],
        [("infinite", Reply::body(&flag("1e999"))), ("absurd", Reply::flag(1e18))],
        [("slow", Reply::Silence), ("no flag", Reply::Features(json!({})))],
        [("huge", Reply::Endless), ("an array", Reply::body("[]"))],
        [("not JSON", Reply::body("<html>")), ("a redirect", Reply::status("302 Found"))],
        [("cut", Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".into())), ("true", Reply::flag(true))],
    ];
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for kinds in bad {
            let failed = &failed;
            scope.spawn(move || {
                let names = format!("{} and {}", kinds[0].0, kinds[1].0);
                let outcome = kept_through(kinds).map_err(|error| error.to_string());
                if let Err(error) = outcome {
                    failed.lock().expect("nobody panicked").push(format!("{names}: {error}"));
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    assert!(failed.is_empty(), "{failed:?}");
    Ok(())
}

/// One answer, and each server makes of it what its attributes say.
#[test]
fn rules_are_for_those_whose_attributes_they_name() -> Outcome {
    let rules = json!([
        {"condition": {"service": "heapline-upload", "env": {"$in": ["test", "stage"]}}, "force": 7},
        {"condition": {"env": "prod"}, "force": "no number"},
        {"condition": {"region": {"$exists": true}}, "force": 0}
    ]);
    let growthbook = GrowthBook::start(Reply::Features(json!({FLAG: {"defaultValue": 3, "rules": rules}})))?;
    let url = growthbook.url();
    let start = |attributes: &str| {
        let flags = ["--growthbook-url", &url, "--growthbook-client-key", CLIENT_KEY, "--flags-attributes", attributes];
        Service::upload(&flags)
    };
    let expected = [("env=stage", Some(7.0)), ("region=eu", Some(0.0)), ("env=other", Some(3.0))];
    for (attributes, megabytes) in expected {
        let service = start(attributes)?;
        eventually(attributes, CHANGE_LIMIT, || {
            (metric(&service, SERIES).map(|bytes| bytes / f64::from(1 << 20)) == megabytes).then_some(())
        });
    }
    // What is no number for these leaves them where they began.
    let service = start("env=prod")?;
    eventually("a failure is counted", CHANGE_LIMIT, || {
        (metric(&service, "upload_flag_failures_total")? > 0.0).then_some(())
    });
    assert_eq!(metric(&service, "upload_spool_threshold_bytes{source=\"default\"}"), Some(f64::from(32 << 20)));
    Ok(())
}

fn kept_through(kinds: [(&str, Reply); 2]) -> Outcome {
    let growthbook = GrowthBook::start(Reply::flag(1))?;
    let url = growthbook.url();
    let service = Service::upload(&["--growthbook-url", &url, "--growthbook-client-key", CLIENT_KEY])?;
    for (good_mb, (kind, reply)) in (1_u32..).zip(kinds) {
        growthbook.answer(Reply::flag(good_mb));
        let good = f64::from(good_mb << 20);
        eventually("the good value", CHANGE_LIMIT, || (metric(&service, SERIES)? == good).then_some(()));
        let failures = || metric(&service, "upload_flag_failures_total");
        let before = failures().ok_or("no counter")?;
        growthbook.answer(reply);
        eventually("a failure is counted", CHANGE_LIMIT, || (failures()? > before).then_some(()));
        assert_eq!(metric(&service, SERIES), Some(good), "{kind}");
        assert_eq!(service.put("a", b"a")?.status, 201, "{kind}");
    }
    assert_not_spinning(service.id()?)?;
    let failures = metric(&service, "upload_flag_failures_total");
    growthbook.answer(Reply::flag(0));
    eventually("a good value is taken", CHANGE_LIMIT, || (metric(&service, SERIES)? == 0.0).then_some(()));
    let (_, before) = growthbook.asked();
    eventually("304 is understood", CHANGE_LIMIT, || (growthbook.asked().1 > before).then_some(()));
    assert_eq!(metric(&service, SERIES), Some(0.0));
    assert!(metric(&service, "upload_flag_failures_total") <= failures.map(|failures| failures + 1.0));
    Ok(())
}

fn metric(service: &Service, series: &str) -> Option<f64> {
    exposition::value(&http::get(service.admin(), "/metrics").ok()?.text(), series)
}
