//! `RSS ≤ base + budget + connections × small`, as docs/operations.md has it, with a budget that is far too small for
//! what a thousand clients want.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::client::{Client, noise};
use crate::command_line::{Running, program};
use crate::serving::{TOKEN, until};

const CONNECTIONS: usize = 1000;
const BASE_BYTES: u64 = 32 << 20;
const BUDGET_BYTES: u64 = 8 << 20;
const CONNECTION_BYTES: u64 = 32 << 10;

/// Of which nobody sends the end before all have sent the rest: without a bound, a thousand times this.
const CONTENT_BYTES: usize = 400_000;

#[test]
fn a_thousand_slow_uploads_stay_within_the_published_bound() {
    let directory = tempfile::tempdir().unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut command = program(&["--memory-budget", "8MiB", "--spool-threshold", "32MiB"], directory.path());
    command.env("HEAPLINE_TOKEN", TOKEN);
    let running = Running::start(command);

    let (content, head) = (noise(CONTENT_BYTES), put_head());
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send(&head);
    }
    for piece in content[..CONTENT_BYTES - 1].chunks(50_000) {
        for client in &mut clients {
            // One that was refused may be closed.
            client.send_or_not(piece);
        }
        assert!(metric(&running, "upload_ledger_bytes") <= BUDGET_BYTES as f64);
    }
    until("uploads are served or refused", || {
        let refused = metric(&running, "upload_requests_total{outcome=\"refused\"}");
        refused + metric(&running, "upload_in_flight") == CONNECTIONS as f64
    });
    let in_flight = metric(&running, "upload_in_flight");
    assert!(in_flight >= 64.0, "{in_flight} uploads at once");
    let bound = BASE_BYTES + BUDGET_BYTES + CONNECTIONS as u64 * CONNECTION_BYTES;
    let peak = peak_rss_bytes(&running);
    println!("{in_flight} in flight, peak RSS {peak} of {bound}, at the end {}", rss_bytes(&running));
    assert!(peak <= bound, "peak RSS {peak}, bound {bound}");

    let stored = clients.iter_mut().filter_map(|client| {
        client.send_or_not(&content[CONTENT_BYTES - 1..]).then(|| client.status_or_closed()).flatten()
    });
    assert_eq!(stored.filter(|status| *status == 201).count() as f64, in_flight);
    drop(clients);
    until("all is given back", || metric(&running, "upload_ledger_bytes") == 0.0);
}

/// Uploads held in memory, then the threshold at 0: the memory is given back, to the system too, within 10 s.
#[test]
fn a_threshold_lowered_in_mid_flight_gives_the_memory_back() {
    let directory = tempfile::tempdir().unwrap();
    let flag = |mb: u32| format!("{{\"features\":{{\"request-parse-multipart-form\":{{\"defaultValue\":{mb}}}}}}}");
    let path = directory.path().join("flags.json");
    std::fs::write(&path, flag(32)).unwrap();
    let mut command = program(&["--flags-file", "flags.json"], directory.path());
    command.env("HEAPLINE_TOKEN", TOKEN);
    let running = Running::start(command);
    until("the flag is there", || metric(&running, "upload_spool_threshold_bytes{source=\"file\"}") > 0.0);
    let before = rss_bytes(&running);
    let (content, head) = (noise(CONTENT_BYTES), put_head());
    let mut clients: Vec<Client> = (0..100).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send(&head).send(&content[..CONTENT_BYTES - 1]);
    }
    let held = (100 * (CONTENT_BYTES - 1)) as f64;
    until("all of it arrived", || metric(&running, "upload_received_bytes_total") == held);
    let full = rss_bytes(&running);
    assert!(full >= before + 30_000_000, "{before} before, {full} held");
    std::fs::write(&path, flag(0)).unwrap();
    let changed = std::time::Instant::now();
    // Read buffers stay with their connections.
    until("memory is given back", || rss_bytes(&running) <= before + (full - before) / 2);
    let seconds = changed.elapsed().as_secs_f64();
    println!("{before} before, {full} held, {} after {seconds:.1} s", rss_bytes(&running));
    assert!(seconds <= 10.0, "{seconds} s");
    for client in &mut clients {
        assert_eq!(client.send(&content[CONTENT_BYTES - 1..]).answer().status, 201);
    }
}

fn put_head() -> String {
    format!(
        "PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {CONTENT_BYTES}\r\n\r\n"
    )
}

fn metric(running: &Running, series: &str) -> f64 {
    let text = running.admin_client().request("GET /metrics\nConnection: close", b"").body;
    let text = String::from_utf8(text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

fn rss_bytes(running: &Running) -> u64 {
    status_bytes(running, "VmRSS:")
}

fn peak_rss_bytes(running: &Running) -> u64 {
    status_bytes(running, "VmHWM:")
}

fn status_bytes(running: &Running, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}
