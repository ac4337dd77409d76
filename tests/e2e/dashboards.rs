//! The dashboards and recording rules, asked of a real Prometheus that scrapes `heapline-upload`: each expression parses,
//! and answers wherever data is to be expected. The dashboards' JSON follows the rules of Grafana's dashboard-linter, and
//! every alert says what a person needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heapline_tests::deadline::poll;
use heapline_tests::prometheus::{Installation, Prometheus, Settings, Target};
use heapline_tests::service::Service;
use heapline_tests::{http, part};
use serde_json::Value;
use tempfile::TempDir;

const DASHBOARDS: [&str; 2] = ["heapline-memory", "heapline-upload"];
/// A rate needs a few scrapes; a slope two minutes, one of them warm-up.
const ANSWER_LIMIT: Duration = Duration::from_secs(240);
const RUNBOOK: &str = "https://github.com/heapline/heapline/blob/main/docs/runbook.md#";

/// What has nothing to say of a healthy young process, by the annotation's or the panel's title, or the rule's name:
/// no alert, no limit in sight, slopes over a quarter of an hour, comparisons with minutes, hours or a day ago.
const MAY_BE_EMPTY: [&str; 7] = [
    "Alerts firing",
    "Time to limit, least",
    "Time to limit",
    "instance:memory_rising:bool",
    "instance:process_resident_memory_bytes:min10m_delta10m",
    "instance:process_resident_memory_bytes:min2h_delta2h",
    "instance:process_resident_memory_bytes:min1d_delta1d",
];

#[test]
fn every_expression_is_answered_by_a_real_prometheus() {
    let test = "dashboards::every_expression_is_answered_by_a_real_prometheus";
    let Some(installation) = part::available(test, Installation::find()) else { return };
    let directory = TempDir::new().expect("a directory");
    // With a live flag, so that what is told of flags has something to tell.
    let flags = directory.path().join("flags.json");
    fs::write(&flags, "{\"features\":{\"request-parse-multipart-form\":{\"defaultValue\":0}}}").expect("written");
    let flags = flags.to_string_lossy();
    let service = Service::upload(&["--flags-file", &flags]).expect("heapline-upload starts");
    let targets = [Target { service: "upload".to_owned(), admin: service.admin() }];
    let prometheus = prometheus(&installation, &targets, &[hurried_rules(directory.path())]);

    let asked = DASHBOARDS.iter().flat_map(|name| questions(name, &dashboard(name)));
    let mut open: BTreeSet<Question> = asked.chain(recorded(&prometheus)).collect();
    assert!(open.len() > 60, "{} expressions found", open.len());

    let mut number = 0_u32;
    let answered = poll(ANSWER_LIMIT, || {
        number += 1;
        assert_eq!(service.post(&format!("{number}.bin"), &[7; 4096]).expect("answered").status, 201);
        assert_eq!(http::get(service.admin(), "/debug/pprof/heap").expect("answered").status, 200);
        open.retain(|question| {
            let answer = prometheus.query(&question.expression).expect("it parses");
            answer.as_array().is_none_or(Vec::is_empty)
        });
        open.iter().all(|question| MAY_BE_EMPTY.contains(&question.title.as_str())).then_some(())
    });
    assert!(answered.is_some(), "without an answer: {open:#?}");
}

#[test]
fn the_dashboards_follow_the_linters_rules() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert_eq!(dashboard["uid"], name);
        assert_eq!(dashboard["editable"], false, "{name} is editable");
        templates(name, &dashboard);
        annotations(name, &dashboard);
        let panels = dashboard["panels"].as_array().expect("panels");
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: ids of panels repeat");
        let mut titles = BTreeSet::new();
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let title = text(&panel["title"]);
            assert!(titles.insert(title), "{name}: two panels are called {title}");
            panel_rules(&format!("{name}, {title}"), panel);
        }
    }
}

#[test]
fn every_alert_says_how_bad_what_where_and_what_to_do() {
    let test = "dashboards::every_alert_says_how_bad_what_where_and_what_to_do";
    let Some(installation) = part::available(test, Installation::find()) else { return };
    let prometheus = prometheus(&installation, &[], &[repository("dashboards/prometheus/alerts.yml")]);
    let runbook = fs::read_to_string(repository("docs/runbook.md")).expect("the runbook");
    let alerts = rules(&prometheus, "alerting");
    assert!(alerts.len() >= 20, "{}", alerts.len());
    for alert in &alerts {
        let (name, annotations) = (text(&alert["name"]), &alert["annotations"]);
        assert!(["critical", "warning", "info"].contains(&text(&alert["labels"]["severity"])), "{name}");
        assert!(alert["duration"].as_f64().is_some_and(|seconds| seconds >= 60.0), "{name} waits for no second scrape");
        let summary = text(&annotations["summary"]);
        assert!(!summary.ends_with('.') && summary.contains("{{"), "{name}: {summary}");
        let description = text(&annotations["description"]);
        assert!(["/memory", "/debug/pprof/heap", "/metrics"].iter().any(|path| description.contains(path)), "{name}");
        assert_eq!(annotations["runbook_url"], format!("{RUNBOOK}{name}"));
        assert!(runbook.contains(&format!("<a id=\"{name}\"></a>")), "{name} has no anchor");
    }
}

/// An expression with its variables filled in, and where it stands.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    place: String,
    title: String,
    expression: String,
}

fn questions(name: &str, dashboard: &Value) -> Vec<Question> {
    let annotations = dashboard["annotations"]["list"].as_array().into_iter().flatten();
    let annotations = annotations.filter(|one| one["expr"].is_string()).map(|one| (text(&one["name"]), &one["expr"]));
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (text(&panel["title"]), &target["expr"]))
    });
    let filled = |(title, expression): (&str, &Value)| Question {
        place: name.to_owned(),
        title: title.to_owned(),
        expression: text(expression)
            .replace("$__rate_interval", "4s")
            .replace("$job", "heapline")
            .replace("$instance", ".+"),
    };
    annotations.chain(targets).map(filled).collect()
}

fn recorded(prometheus: &Prometheus) -> Vec<Question> {
    let question = |rule: &Value| {
        let name = text(&rule["name"]);
        Question { place: "rules.yml".to_owned(), title: name.to_owned(), expression: name.to_owned() }
    };
    rules(prometheus, "recording").iter().map(question).collect()
}

/// The recording rules, each evaluated every second: some groups have an interval of their own, for the sake of cost.
fn hurried_rules(directory: &Path) -> PathBuf {
    let rules = fs::read_to_string(repository("dashboards/prometheus/rules.yml")).expect("the rules");
    let path = directory.join("rules.yml");
    fs::write(&path, rules.replace("interval: 2m", "interval: 1s")).expect("written");
    path
}

fn prometheus(installation: &Installation, targets: &[Target], rule_files: &[PathBuf]) -> Prometheus {
    let settings =
        Settings { targets, rule_files, alertmanager: None, scrape_every_seconds: 1, evaluate_every_seconds: 1 };
    Prometheus::start(installation, &settings).expect("prometheus starts")
}

fn rules(prometheus: &Prometheus, kind: &str) -> Vec<Value> {
    let answer = http::get(prometheus.address(), "/api/v1/rules").expect("answered").json().expect("JSON");
    let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
    let all = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
    all.filter(|rule| rule["type"] == kind).collect()
}

fn templates(name: &str, dashboard: &Value) {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(names, ["datasource", "job", "instance"], "{name}");
    let datasource = &variables[0];
    assert_eq!((&datasource["type"], &datasource["query"]), (&"datasource".into(), &"prometheus".into()), "{name}");
    assert_eq!(datasource["label"], "Data source", "{name}");
    for variable in &variables[1..] {
        assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
        assert_eq!((&variable["multi"], &variable["allValue"]), (&true.into(), &".+".into()), "{name}");
        assert_eq!(variable["refresh"], 2, "{name}: reload when the time range changes");
    }
}

fn annotations(name: &str, dashboard: &Value) {
    let all: String = questions(name, dashboard).into_iter().map(|question| question.expression).collect();
    assert!(all.contains("alertstate=\"firing\""), "{name} does not mark firing alerts");
    assert!(all.contains("process_start_time_seconds"), "{name} does not mark process starts");
}

fn panel_rules(place: &str, panel: &Value) {
    assert!(!text(&panel["title"]).is_empty(), "{place}: no title");
    assert!(text(&panel["description"]).ends_with('.'), "{place}: no sentence of description");
    assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{place}: no unit");
    assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
    let targets = panel["targets"].as_array().expect("targets");
    assert!(!targets.is_empty(), "{place}: no targets");
    for target in targets {
        let expression = text(&target["expr"]);
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{place}");
        let selectors = expression.matches('{').count();
        assert_eq!(expression.matches("{job=~\"$job\", instance=~\"$instance\"").count(), selectors, "{place}");
        assert!(selectors > 0, "{place}: {expression}");
        for function in ["rate(", "irate(", "increase("] {
            let called = expression.matches(function).count();
            assert!(expression.matches("[$__rate_interval]").count() >= called, "{place}: {expression}");
        }
        let counters = expression.matches("_total{").count() + expression.matches("_bucket{").count();
        let ranged = expression.matches("rate(").count() + expression.matches("increase(").count();
        assert_eq!(counters, ranged, "{place}: a counter needs a rate, a gauge none: {expression}");
    }
}

fn dashboard(name: &str) -> Value {
    let path = repository("dashboards/grafana").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(&path).expect("the dashboard")).expect("JSON")
}

fn repository(path: impl AsRef<Path>) -> PathBuf {
    part::repository().join(path)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
