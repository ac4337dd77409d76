//! Everything that people do with a heap profile in Go's tools, done to one of ours; and what scrapers rely on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::gopprof::GoPprof;
use heapline_tests::service::Service;
use heapline_tests::{http, part};

const FORM_BYTES: usize = 1_300_000;
const UPLOADS: usize = 24;
const LEAK: &str = "leaky::form::remember";

#[test]
fn each_report_of_go_tool_pprof() {
    let Some(pprof) = part::available("pprof_tools::each_report_of_go_tool_pprof", GoPprof::find()) else { return };
    let service = Service::leaky(&[], &[]).expect("leaky starts");
    upload(&service);
    let url = service.admin_url("/debug/pprof/heap");
    let run = |options: &[&str]| pprof.run(options, &url).expect("pprof reads it");

    for sample_type in ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"] {
        let text = run(&["-top", &format!("-sample_index={sample_type}")]);
        assert!(text.contains(&format!("Type: {sample_type}")) && text.contains(LEAK), "{sample_type}: {text}");
    }
    // The user's function, line by line, with the source as it is on this machine.
    let listed = run(&["-list", "^leaky::form::remember$"]);
    let line = listed.lines().find(|line| line.contains("memory.pieces.push(chunk.into())"));
    let line = line.unwrap_or_else(|| panic!("its source: {listed}"));
    assert!(line.contains("MB") && listed.contains("tests/leaky/form.rs"), "{listed}");
    let peeked = run(&["-peek", "^leaky::form::remember$"]);
    assert!(peeked.contains("leaky::form::Content::with") && peeked.contains(LEAK), "{peeked}");
    let tree = run(&["-tree"]);
    assert!(tree.contains(LEAK), "{tree}");
    let dot = run(&["-dot"]);
    assert!(dot.starts_with("digraph"), "{dot}");
    let raw = run(&["-raw"]);
    assert!(raw.contains("PeriodType: space bytes\nPeriod: 524288"), "{raw}");
    let types = "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]";
    assert!(raw.contains(types), "{raw}");
    let program = raw.lines().skip_while(|line| *line != "Mappings").nth(1).expect("the first mapping");
    assert!(program.contains("/leaky ") && program.ends_with("[FN][FL][LN][IN]"), "{program}");
    let traces = run(&["-traces"]);
    assert!(traces.contains("leaky::upload::{{closure}}"), "async functions have readable names: {traces}");

    // A difference of two, two ways.
    let files = tempfile::tempdir().expect("a directory");
    let before = fetch(&service, "/debug/pprof/heap", &files.path().join("before"));
    upload(&service);
    let after = fetch(&service, "/debug/pprof/heap", &files.path().join("after"));
    for option in ["-diff_base", "-base"] {
        let rows = pprof.top(&[option, &before], &after).expect("pprof subtracts");
        let grown = rows.iter().find(|row| row.function == LEAK).expect("the leak");
        let expected = (UPLOADS * FORM_BYTES) as f64;
        assert!((0.5..1.6).contains(&(grown.flat_bytes / expected)), "{option}: {rows:#?}");
    }
    the_web_pages_show_it(&pprof, Path::new(&after));
}

fn the_web_pages_show_it(pprof: &GoPprof, profile: &Path) {
    let (_running, address) = pprof.serve(profile).expect("the pages are served");
    for page in ["/ui/top", "/ui/flamegraph", "/ui/peek?f=remember"] {
        let answer = http::get(address, page).expect("answered");
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.text().contains(LEAK), "{page}: {}", answer.text());
    }
}

#[test]
fn googles_library_finds_them_valid_and_merges_them() {
    let test = "pprof_tools::googles_library_finds_them_valid_and_merges_them";
    let Some(pprof) = part::available(test, GoPprof::find()) else { return };
    let service = Service::leaky(&[], &[]).expect("leaky starts");
    upload(&service);
    let files = tempfile::tempdir().expect("a directory");
    let fetched = |target: &str, name: &str| fetch(&service, target, &files.path().join(name));
    // Nothing happens during this one: a difference of nothing has the types of all others.
    let idle = fetched("/debug/pprof/allocs?seconds=1", "idle");
    let one = fetched("/debug/pprof/allocs", "one");
    upload(&service);
    let two = fetched("/debug/pprof/allocs?gc=1", "two");
    let heap = fetched("/debug/pprof/heap", "heap");
    let paths: Vec<&Path> = [&idle, &one, &two, &heap].into_iter().map(Path::new).collect();
    let Some(checked) = part::available(test, pprof.check(&paths)) else { return };
    let checked = checked.expect("all are valid and merge");
    let types = "types=alloc_objects/count,alloc_space/bytes,inuse_objects/count,inuse_space/bytes";
    let lines: Vec<&str> = checked.lines().collect();
    assert_eq!(lines.len(), 5, "{checked}");
    assert!(lines.iter().all(|line| line.starts_with(types)), "{checked}");
    assert!(lines[..3].iter().all(|line| line.contains("default=alloc_space")), "{checked}");
    assert!(lines[3].contains("default=inuse_space"), "{checked}");
    let sums = |line: &str| -> Vec<i64> {
        let sums = line.split_once("sums=").and_then(|(_, rest)| rest.split(' ').next()).expect("sums");
        sums.split(',').map(|sum| sum.parse().expect("a number")).collect()
    };
    for kind in 0..4 {
        let parts: i64 = lines[..4].iter().map(|line| sums(line)[kind]).sum();
        assert_eq!(sums(lines[4])[kind], parts, "merged, they add up: {checked}");
    }
    // What was allocated is never less than what lives of it.
    assert!(lines.iter().all(|line| sums(line)[1] >= sums(line)[3]), "{checked}");

    // Views of one moment have no allocations, rather than zeros; among themselves they merge.
    let peak = fetched("/debug/pprof/heap?at=peak", "peak");
    let old = fetched("/debug/pprof/heap?min_age=0s", "old");
    let checked = pprof.check(&[Path::new(&peak), Path::new(&old)]).expect("built before").expect("valid");
    assert!(checked.lines().all(|line| line.starts_with("types=inuse_objects/count,inuse_space/bytes ")), "{checked}");
}

#[test]
fn the_text_form_is_read_by_gos_legacy_parser_and_names_come_from_the_symbol_route() {
    let test = "pprof_tools::the_text_form_is_read_by_gos_legacy_parser";
    let Some(pprof) = part::available(test, GoPprof::find()) else { return };
    let service = Service::leaky(&[], &[]).expect("leaky starts");
    upload(&service);
    let expected = (UPLOADS * FORM_BYTES) as f64;
    // By URL: the text has addresses only, and pprof asks `/debug/pprof/symbol` for all of them.
    let url = service.admin_url("/debug/pprof/heap?debug=1");
    let rows = pprof.top(&["-sample_index=inuse_space"], &url).expect("pprof reads the text");
    assert_eq!(rows[0].function, LEAK, "{rows:#?}");
    assert!((0.5..1.6).contains(&(rows[0].flat_bytes / expected)), "scaled up from the samples: {rows:#?}");
    let files = tempfile::tempdir().expect("a directory");
    let text = fetch(&service, "/debug/pprof/allocs?debug=1", &files.path().join("text"));
    let rows = pprof.top(&["-sample_index=inuse_space"], &text).expect("pprof reads the file");
    let total: f64 = rows.iter().map(|row| row.flat_bytes).sum();
    assert!((0.5..1.6).contains(&(total / expected)), "{rows:#?}");
    // A difference through the tool, with its own idea of the time-out.
    let waited = pprof.run(&["-raw", "-seconds=1"], &service.admin_url("/debug/pprof/heap")).expect("a difference");
    assert!(waited.contains("Duration: 1"), "{waited}");
    // A refusal's text reaches the one who asked.
    let refused = pprof.run(&["-top"], &service.admin_url("/debug/pprof/heap?seconds=0"));
    assert!(refused.expect_err("refused").to_string().contains("seconds must be a whole number"));
}

/// As Grafana Alloy and Parca do it: `/allocs`, every 15 seconds, with deltas of their own or the server's.
#[test]
fn scrapers_find_what_they_rely_on() {
    let service = Service::leaky(&[], &[]).expect("leaky starts");
    upload(&service);
    let admin = service.admin();
    for target in ["/debug/pprof/allocs", "/debug/pprof/heap", "/debug/pprof/allocs?seconds=1"] {
        let headers = [("Accept-Encoding", "gzip"), ("User-Agent", "Alloy/1.11")];
        let answer = http::request(admin, "GET", target, &headers, &[]).expect("answered");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")), "{target}");
        assert_eq!(answer.header("content-encoding"), None, "gzip is the format, not an encoding");
        assert_eq!(&answer.body[..2], b"\x1f\x8b", "{target}");
        assert!(answer.header("content-disposition").is_some_and(|value| value.starts_with("attachment; filename=")));
    }
    for target in ["/debug/pprof/heap", "/debug/pprof/allocs", "/debug/pprof/"] {
        assert_eq!(head_status(admin, target), 200, "{target}");
        for method in ["POST", "PUT", "DELETE"] {
            let refused = http::request(admin, method, target, &[], &[]).expect("answered");
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{method} {target}");
        }
    }
    for kind in ["goroutine", "block", "mutex", "profile", "threadcreate", "trace", "heap2", "fgprof"] {
        let answer = http::get(admin, &format!("/debug/pprof/{kind}")).expect("answered");
        assert_eq!((answer.status, answer.header("x-go-pprof")), (404, Some("1")), "{kind}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{kind}");
    }
    addresses_stay_what_they_are(&service);
}

/// A scraper takes the difference of two by the addresses of stacks.
fn addresses_stay_what_they_are(service: &Service) {
    let stacks = || {
        let text = http::get(service.admin(), "/debug/pprof/allocs?debug=1").expect("answered").text();
        let lines = text.lines().filter(|line| !line.starts_with(['#', 'h'])).map(str::to_owned);
        lines.filter_map(|line| Some(line.split_once("] @ ")?.1.to_owned())).collect::<Vec<String>>()
    };
    let first = stacks();
    upload(service);
    let second = stacks();
    assert!(first.len() > 3 && first.iter().all(|stack| second.contains(stack)), "{first:#?}\n{second:#?}");
    assert!(first.iter().flat_map(|stack| stack.split(' ')).all(|address| address != "0x0"));
    // Each has one name, as a profile has it, or none.
    let addresses: Vec<&str> = first.iter().flat_map(|stack| stack.split(' ')).collect();
    let asked = addresses.join("+");
    let answer =
        http::request(service.admin(), "POST", "/debug/pprof/symbol", &[], asked.as_bytes()).expect("answered");
    let text = answer.text();
    assert!(text.starts_with("num_symbols: 1\n") && text.contains(LEAK), "{text}");
    for line in text.lines().skip(1) {
        let (address, name) = line.split_once(' ').expect("an address and a name");
        assert!(addresses.contains(&address) && !name.is_empty(), "{line}");
    }
}

/// The usual client wants as many bytes as a length says, of which HEAD has none.
fn head_status(admin: SocketAddr, target: &str) -> u16 {
    let mut stream = TcpStream::connect(admin).expect("connects");
    write!(stream, "HEAD {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    answer[9..12].parse().expect("a status")
}

/// The path of a file that a profile was saved to.
fn fetch(service: &Service, target: &str, path: &Path) -> String {
    let answer = http::get(service.admin(), target).expect("answered");
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    std::fs::write(path, answer.body).expect("writes");
    path.to_string_lossy().into_owned()
}

fn upload(service: &Service) {
    let form = vec![b'x'; FORM_BYTES];
    for _ in 0..UPLOADS {
        let answer = eventually("an answer", Duration::from_secs(10), || service.post("form.bin", &form).ok());
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}
