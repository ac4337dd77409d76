//! The whole chain on a strong leak: the agent's verdict, Prometheus with the repository's rules, Alertmanager, and a
//! webhook that hears of the leaking service and not of the other one.

use std::time::{Duration, Instant};

use heapline_tests::deadline::eventually;
use heapline_tests::load::{self, Curl, Load};
use heapline_tests::part;
use heapline_tests::prometheus::Target;
use heapline_tests::service::Service;
use heapline_tests::watch::{Installation, Watch};
use tempfile::TempDir;

/// A minute of warm-up, one of evidence, the verdict, a minute that the rule waits; and a busy machine.
const DELIVERY_LIMIT: Duration = Duration::from_secs(330);
/// Two uploads of 1.3 MB a second: a leak of 2.6 MB/s, 13 minutes to the limit.
const UPLOAD_EVERY: Duration = Duration::from_millis(500);
const LIMIT: (&str, &str) = ("HEAPLINE_MEMORY_LIMIT", "2GiB");

#[test]
fn a_leak_reaches_the_webhook_and_a_flat_line_does_not() {
    let test = "alerting::a_leak_reaches_the_webhook_and_a_flat_line_does_not";
    let (Some(chain), Some(curl)) = (part::available(test, Installation::find()), part::available(test, Curl::find()))
    else {
        return;
    };
    let leaking = Service::leaky(&["--threshold-mb", "32"], &[LIMIT]).expect("leaky starts");
    let flat = Service::leaky(&["--threshold-mb", "0"], &[LIMIT]).expect("leaky starts");
    let target = |service: &str, process: &Service| Target { service: service.to_owned(), admin: process.admin() };
    let watch = Watch::start(&chain, &[target("leaking", &leaking), target("flat", &flat)]).expect("the chain starts");

    let files = TempDir::new().expect("a directory");
    let form = files.path().join("form.bin");
    load::write_form_file(&form).expect("written");
    let begin = Instant::now();
    let loads =
        [&leaking, &flat].map(|service| Load::start(&curl, service.listen(), &form, UPLOAD_EVERY).expect("a load"));

    let delivery = eventually("an alert for the leaking service at the webhook", DELIVERY_LIMIT, || {
        watch.delivered("leaking").into_iter().next()
    });
    let after = delivery.at.duration_since(begin);
    eprintln!("{} arrived after {} s", delivery.label("alertname"), after.as_secs());

    assert_eq!(leaking.memory().expect("answered")["verdict"], "climbing");
    assert!(watch.firing("leaking").expect("answered").contains(&delivery.label("alertname").to_owned()));
    let annotations = &delivery.alert["annotations"];
    for name in ["summary", "description", "runbook_url"] {
        assert!(annotations[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {annotations}");
    }

    assert_eq!(watch.firing("flat").expect("answered"), Vec::<String>::new());
    assert!(watch.delivered("flat").is_empty(), "{:?}", watch.delivered("flat"));
    let verdict = flat.memory().expect("answered")["verdict"].clone();
    assert!(verdict == "flat" || verdict == "retaining", "{verdict}");
    for load in &loads {
        assert_eq!(load.failed(), 0);
        assert!(load.stored() > 0);
    }
}
