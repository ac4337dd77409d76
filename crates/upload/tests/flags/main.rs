//! The live flag from GrowthBook's protocol, spoken by a server of the test's own, and from a file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod growthbook;

use std::path::Path;
use std::time::{Duration, Instant};

use heapline::prometheus::Registry;
use heapline_upload::flags::{Endpoint, Flags, Origin, Pace};
use heapline_upload::spool::{Setting, Source, Threshold};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use growthbook::{Reply, Server};

const FLAG: &str = "request-parse-multipart-form";
const DEFAULT: Setting = Setting { bytes: 32 << 20, source: Source::Default };
const PATIENCE: Duration = Duration::from_secs(20);

struct Following {
    threshold: Threshold,
    registry: Registry,
    _runtime: Runtime,
}

impl Following {
    fn start(origin: Origin) -> Self {
        let (threshold, registry) = (Threshold::new(DEFAULT), Registry::new());
        let attributes: Map<String, Value> = json!({"env": "prod"}).as_object().unwrap().clone();
        let flags = Flags::new(origin, attributes, threshold.clone(), &registry).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let pace = Pace { interval: Duration::from_millis(10), answer_time_max: Duration::from_millis(500) };
        runtime.spawn(flags.follow(pace));
        Self { threshold, registry, _runtime: runtime }
    }

    fn growthbook(server: &Server) -> Self {
        let endpoint: Endpoint = format!("http://{}", server.address).parse().unwrap();
        Self::start(Origin::GrowthBook(endpoint.with_client_key("sdk-1").unwrap()))
    }

    fn file(path: &Path) -> Self {
        Self::start(Origin::File(path.to_owned()))
    }

    fn until_mb(&self, mb: u64, source: Source) {
        let wanted = Setting { bytes: mb << 20, source };
        until(&format!("{wanted:?}"), || self.threshold.get() == wanted);
    }

    fn failures(&self) -> f64 {
        self.registry.gather()[0].get_metric()[0].get_counter().get_value()
    }

    /// Until one more question was asked in vain.
    fn until_it_fails(&self) {
        let before = self.failures();
        until("a failure", || self.failures() > before);
    }
}

fn feature(value: Value) -> Value {
    json!({"status": 200, "features": {FLAG: {"defaultValue": value}, "other": {"defaultValue": [1]}}})
}

#[allow(clippy::disallowed_methods, reason = "the pace of a poll with a deadline")]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_value_and_its_changes_are_taken() {
    let server = Server::start(Reply::ok(&feature(json!(1))));
    let following = Following::growthbook(&server);
    following.until_mb(1, Source::GrowthBook);
    assert_eq!(server.last_request().lines().next(), Some("GET /api/features/sdk-1 HTTP/1.1"));
    server.answer(Reply::ok(&feature(json!(0))));
    following.until_mb(0, Source::GrowthBook);
    let rules = json!([{"condition": {"env": "prod"}, "force": 8}]);
    server.answer(Reply::ok(&json!({"features": {FLAG: {"defaultValue": 1, "rules": rules}}})));
    following.until_mb(8, Source::GrowthBook);
    assert_eq!(following.failures(), 0.0);
}

#[test]
fn an_unchanged_answer_is_not_sent_again() {
    let server = Server::start(Reply::tagged("\"v1\"", &feature(json!(4))));
    let following = Following::growthbook(&server);
    following.until_mb(4, Source::GrowthBook);
    until("it is asked whether it changed", || server.not_modified() >= 3);
    assert_eq!(following.failures(), 0.0);
    server.answer(Reply::tagged("\"v2\"", &feature(json!(5))));
    following.until_mb(5, Source::GrowthBook);
}

/// An answer that cannot be used must not be what "not modified" refers to later.
#[test]
fn the_tag_of_a_bad_answer_is_forgotten() {
    let server = Server::start(Reply::tagged("\"bad\"", &feature(json!("x"))));
    let following = Following::growthbook(&server);
    following.until_it_fails();
    following.until_it_fails();
    assert_eq!(server.not_modified(), 0);
    assert_eq!(following.threshold.get(), DEFAULT);
}

#[test]
fn whatever_else_comes_the_last_good_value_is_kept() {
    let server = Server::start(Reply::Silence);
    let following = Following::growthbook(&server);
    following.until_it_fails();
    assert_eq!(following.threshold.get(), DEFAULT, "never answered");
    let mut good_mb = 1;
    for bad in [
        Reply::raw("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"),
        Reply::raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        Reply::raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"features\": {"),
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Reply::raw("SSH-2.0-OpenSSH_9.2\r\n"),
        Reply::ok(&json!({"status": 200})),
        Reply::ok(&json!({"status": 200, "features": {}})),
        Reply::ok(&json!({"status": 200, "features": []})),
        Reply::ok(&json!([])),
        Reply::ok(&feature(json!("32"))),
        Reply::ok(&feature(json!(-1))),
        Reply::ok(&feature(json!(null))),
        Reply::ok(&feature(json!(1e18))),
        Reply::body(format!("{{\"features\": {{\"{FLAG}\": {{\"defaultValue\": NaN}}}}}}")),
        Reply::body(format!("{{\"features\": {{\"{FLAG}\": {{\"defaultValue\": 1e999}}}}}}")),
        Reply::body("[".repeat(1 << 20)),
        Reply::Silence,
        Reply::Endless,
    ] {
        let what = format!("{bad:?}");
        let good = Setting { bytes: good_mb << 20, source: Source::GrowthBook };
        server.answer(Reply::ok(&feature(json!(good_mb))));
        until(&format!("a good answer before {what}"), || following.threshold.get() == good);
        server.answer(bad);
        // The first may have been asked before.
        following.until_it_fails();
        following.until_it_fails();
        assert_eq!(following.threshold.get(), good, "{what}");
        good_mb += 1;
    }
    drop(server);
    following.until_it_fails();
    assert_eq!(following.threshold.get().bytes, (good_mb - 1) << 20, "nobody listens");
}

#[test]
fn a_file_is_followed_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flags.json");
    let following = Following::file(&path);
    following.until_it_fails();
    assert_eq!(following.threshold.get(), DEFAULT);
    std::fs::write(&path, feature(json!(2)).to_string()).unwrap();
    following.until_mb(2, Source::File);
    std::fs::write(&path, "{\"features\":").unwrap();
    following.until_it_fails();
    // As configuration management replaces it.
    let next = dir.path().join("next");
    std::fs::write(&next, feature(json!(0)).to_string()).unwrap();
    std::fs::rename(&next, &path).unwrap();
    following.until_mb(0, Source::File);
    std::fs::remove_file(&path).unwrap();
    following.until_it_fails();
    std::fs::create_dir(&path).unwrap();
    following.until_it_fails();
    assert_eq!(following.threshold.get(), Setting { bytes: 0, source: Source::File });
}
