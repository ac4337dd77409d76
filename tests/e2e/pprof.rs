//! Go's own pprof against running services: the leak is named, and profiling can be switched off.

use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::gopprof::GoPprof;
use heapline_tests::service::Service;
use heapline_tests::{http, part, port};

/// 1.3 MB, as the story's forms.
const FORM_BYTES: usize = 1_300_000;
const UPLOADS: usize = 40;

#[test]
fn top_names_the_function_that_remembers_forms() {
    let Some(pprof) = part::available("pprof::top_names_the_function_that_remembers_forms", GoPprof::find()) else {
        return;
    };
    let service = Service::leaky(&[], &[]).expect("leaky starts");
    upload(&service);
    let expected = (UPLOADS * FORM_BYTES) as f64;
    let range = expected * 0.7..expected * 1.5;
    // What lives, by either profile, is the leak first of all.
    for kind in ["heap", "allocs"] {
        let url = service.admin_url(&format!("/debug/pprof/{kind}"));
        let rows = pprof.top(&["-sample_index=inuse_space"], &url).expect("pprof reads it");
        let first = rows.first().expect("a row");
        assert_eq!(first.function, "leaky::form::remember", "{kind}: {rows:#?}");
        assert!(range.contains(&first.flat_bytes), "{kind}: {} for {expected}", first.flat_bytes);
    }
    let rows = pprof.top(&[], &service.admin_url("/debug/pprof/heap")).expect("pprof reads it");
    assert_eq!(
        rows.first().expect("a row").function,
        "leaky::form::remember",
        "what lives is what heap shows: {rows:#?}"
    );
    // What was ever allocated holds the buffers that came and went, too.
    let rows = pprof.top(&[], &service.admin_url("/debug/pprof/allocs")).expect("pprof reads it");
    let remembered = rows.iter().find(|row| row.function == "leaky::form::remember").expect("it allocated");
    assert!(range.contains(&remembered.flat_bytes), "{rows:#?}");
    assert!(rows.len() > 1, "{rows:#?}");
}

#[test]
fn a_c_librarys_bytes_come_with_their_rust_caller() {
    let Some(pprof) = part::available("pprof::a_c_librarys_bytes_come_with_their_rust_caller", GoPprof::find()) else {
        return;
    };
    // Nobody listens there: a producer's memory is made all the same.
    let nobody = port::free().expect("a port").to_string();
    let arguments = ["--threshold-mb", "0", "--producer", "per-request", "--kafka", &nobody];
    let service = Service::leaky(&arguments, &[]).expect("leaky starts");
    upload(&service);
    let url = service.admin_url("/debug/pprof/heap");
    let rows = pprof.top(&[], &url).expect("pprof reads it");
    let first = rows.first().expect("a row");
    assert!(first.function.starts_with("rd_"), "librdkafka's frames first: {rows:#?}");
    // Only the service's own frames shown, their bytes are those of whatever they called.
    let own = pprof.top(&["-show=^leaky::"], &url).expect("pprof reads it");
    let caller = own.first().expect("the Rust caller");
    assert_eq!(caller.function, "leaky::status::announce", "{own:#?}");
    assert!(caller.flat_bytes >= 0.9 * first.flat_bytes, "{own:#?} {rows:#?}");
    let traces = pprof.run(&["-traces", "-focus=^rd_kafka"], &url).expect("pprof reads it");
    assert!(traces.contains("rd_kafka_new") && traces.contains("leaky::status::announce"), "{traces}");
}

#[test]
fn switched_off_there_is_no_profile_and_metrics_stay() {
    let service = Service::leaky(&[], &[("PPROF", "false")]).expect("leaky starts");
    for path in ["/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/allocs", "/debug/pprof/symbol"] {
        assert_eq!(http::get(service.admin(), path).expect("answered").status, 404, "{path}");
    }
    let metrics = http::get(service.admin(), "/metrics").expect("answered");
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().lines().any(|line| line == "heap_profile_active 0"), "{}", metrics.text());
}

fn upload(service: &Service) {
    let form = vec![b'x'; FORM_BYTES];
    for number in 0..UPLOADS {
        let answer = eventually("an answer", Duration::from_secs(10), || service.post("form.bin", &form).ok());
        assert_eq!(answer.status, 201, "upload {number}: {}", answer.text());
    }
}
