//! What an upload costs in allocations: counts, not seconds, so that a slower machine changes nothing and a careless
//! clone or a buffer a frame shows at once.
//!
//! Client and server are in this process; the client allocates nothing while uploads run. jemalloc's own counters are
//! merged from its threads' caches now and then, hence many uploads and a tolerance.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use heapline::prometheus::Registry;
use heapline::{Readiness, WorkInFlight};
use heapline_upload::admission::Limits;
use heapline_upload::auth::Token;
use heapline_upload::http::Service;
use heapline_upload::ledger::Ledger;
use heapline_upload::metrics::Metrics;
use heapline_upload::server;
use heapline_upload::spool::{Setting, Source, Threshold};
use heapline_upload::store::{self, Durability, Options};
use tikv_jemalloc_ctl::{epoch, stats_print};

heapline::use_jemalloc!();

const TOKEN: &str = "t0ken";
const BOUNDARY: &str = "b0undary";
/// Before the first count: caches, pools and tables fill.
const WARM_UP_UPLOADS: usize = 200;
/// Uploads counted. Some thousand allocations of before are merged into a count, or left out of it, by when jemalloc's threads merge
/// theirs: over 400 small uploads, a gate that all passed once said 60 where it is 48.
const LARGE_UPLOADS: usize = 400;
const SMALL_UPLOADS: usize = 3_000;

/// Measured: 31 and 30 for small ones that come alone (what a group of them shares is then one upload's), and a little
/// more; 50 for large ones, and a half more, since a large body takes more turns of a thread where the machine is busy. To be
/// lowered when they are.
const SMALL_PUT_MAX: f64 = 35.0;
const SMALL_FORM_MAX: f64 = 35.0;
const LARGE_PUT_MAX: f64 = 75.0;
const LARGE_FORM_MAX: f64 = 75.0;

#[test]
fn an_upload_costs_no_more_allocations_than_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve(directory.path().join("store"));
    let mut over = Vec::new();
    for (what, request, uploads, most) in [
        ("PUT of 1 MiB", put(1 << 20), LARGE_UPLOADS, LARGE_PUT_MAX),
        ("form of 1 MiB", form(1 << 20), LARGE_UPLOADS, LARGE_FORM_MAX),
        ("PUT of 4 KiB", put(4 << 10), SMALL_UPLOADS, SMALL_PUT_MAX),
        ("form of 4 KiB", form(4 << 10), SMALL_UPLOADS, SMALL_FORM_MAX),
    ] {
        let count = allocations_an_upload(address, &request, uploads);
        println!("{what}: {count:.1} allocations, at most {most}");
        if count > most {
            over.push((what, count, most));
        }
    }
    assert!(over.is_empty(), "{over:?}");
}

fn allocations_an_upload(address: SocketAddr, request: &[u8], uploads: usize) -> f64 {
    let mut connection = TcpStream::connect(address).unwrap();
    let mut answer = [0; 4096];
    let mut upload = |times: usize| {
        for _ in 0..times {
            connection.write_all(request).unwrap();
            let mut filled = 0;
            // The answer's JSON ends so.
            while !answer[..filled].ends_with(b"]}") {
                let read = connection.read(&mut answer[filled..]).unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..filled]));
                filled += read;
            }
            assert!(answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..filled]));
        }
    };
    upload(WARM_UP_UPLOADS);
    let before = allocations();
    upload(uploads);
    (allocations() - before) as f64 / uploads as f64
}

/// All that were ever made in this process.
fn allocations() -> u64 {
    epoch::advance().unwrap();
    let mut json = Vec::new();
    let mut options = stats_print::Options::default();
    options.json_format = true;
    options.skip_per_arena = true;
    options.skip_bin_size_classes = true;
    options.skip_large_size_classes = true;
    options.skip_mutex_statistics = true;
    stats_print::stats_print(&mut json, options).unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let merged = &stats["jemalloc"]["stats.arenas"]["merged"];
    ["small", "large"].map(|sizes| merged[sizes]["nrequests"].as_u64().unwrap()).iter().sum()
}

/// A server on a thread that ends with the process.
fn serve(dir: PathBuf) -> SocketAddr {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let opened = store::open(Options { dir, durability: Durability::None, kafka: None }).unwrap();
        let service = Service {
            store: opened.store,
            committer: opened.committer,
            token: Token::new(TOKEN).unwrap(),
            limits: Limits::default(),
            digest: true,
            metrics: Metrics::register(&Registry::new(), WorkInFlight::default()).unwrap(),
            readiness: Readiness::new(true),
            health: opened.outbox.health(),
            ledger: Ledger::new(64 << 20),
            threshold: Threshold::new(Setting { bytes: 0, source: Source::Default }),
        };
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            server::serve(listener, Arc::new(service), std::future::pending(), std::time::Duration::ZERO).await
        })
    });
    told.recv().unwrap()
}

fn put(bytes: usize) -> Vec<u8> {
    let head =
        format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n");
    [head.into_bytes(), vec![7; bytes]].concat()
}

fn form(bytes: usize) -> Vec<u8> {
    let opening = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n");
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
        opening.len() + bytes + end.len()
    );
    [head.into_bytes(), opening.into_bytes(), vec![7; bytes], end.into_bytes()].concat()
}
