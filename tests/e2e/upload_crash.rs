//! What was acknowledged survives `kill -9`, and nothing torn is ever visible.
//!
//! The story behind it: services that answer when the bytes are in the page cache, or rename before they sync, pass
//! every test that ends them politely.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::digest::sha256_hex;
use heapline_tests::http;
use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{deadline, form::Form};
use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

const ROUNDS: u64 = 20;
const CLIENTS: u64 = 8;

#[test]
fn what_was_acknowledged_survives_twenty_kills() -> Outcome {
    let mut server = Service::upload(&[])?;
    let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (listen, stop) = (server.listen(), Arc::clone(&stop));
                let (answered, acknowledged) = (Arc::clone(&answered), Arc::clone(&acknowledged));
                thread::spawn(move || upload_until(listen, round * CLIENTS + client, &stop, &answered, &acknowledged))
            })
            .collect();
        // Under load for certain, then at a moment that differs each round.
        deadline::eventually("uploads are answered", Duration::from_secs(30), || {
            (answered.load(Ordering::Relaxed) > 4).then_some(())
        });
        deadline::pace(Instant::now() + Duration::from_millis(37 * round % 230), || false);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked")?;
        }
        server.start_again()?;
        let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        check(&server, &acknowledged).map_err(|error| format!("after kill {}: {error}", round + 1))?;
    }
    let total = acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert!(total as u64 > ROUNDS * 4, "only {total} uploads were acknowledged");
    Ok(())
}

/// Forms of one and of three files, until the server is gone.
fn upload_until(
    listen: SocketAddr,
    seed: u64,
    stop: &AtomicBool,
    answered: &AtomicU64,
    acknowledged: &Mutex<BTreeMap<String, String>>,
) {
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let contents: Vec<Vec<u8>> = (0..1 + 2 * (n % 2)).map(|file| content(seed, n, file)).collect();
        let mut form = Form::new();
        for (file, content) in contents.iter().enumerate() {
            form = form.file("file", &format!("{seed}-{n}-{file}.bin"), content);
        }
        let Ok(answer) = form.post(listen, TOKEN) else { continue };
        // A restarted server, or one that is going down, may refuse; it may not lie.
        let (201, Ok(body)) = (answer.status, answer.json()) else { continue };
        answered.fetch_add(1, Ordering::Relaxed);
        let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, content) in body["files"].as_array().into_iter().flatten().zip(&contents) {
            let id = file["id"].as_str().unwrap_or_default().to_owned();
            acknowledged.insert(id, sha256_hex(content));
        }
    }
}

fn check(server: &Service, acknowledged: &BTreeMap<String, String>) -> Outcome {
    let store = server.store();
    let events = events(&fs::read_to_string(store.join("events.jsonl"))?)?;
    for (id, sha256) in acknowledged {
        assert!(events.contains(id), "{id} was acknowledged and has no event");
        let answer = get(server.listen(), id)?;
        assert_eq!(answer.status, 200, "{id} was acknowledged and is gone");
        assert_eq!(&sha256_hex(&answer.body), sha256, "{id} came back different");
    }
    // Whatever is visible is whole, acknowledged or not, and its form with it.
    for entry in fs::read_dir(store.join("files"))? {
        let id = entry?.file_name().to_string_lossy().into_owned();
        if id.starts_with('.') || acknowledged.contains_key(&id) {
            continue;
        }
        let answer = get(server.listen(), &id)?;
        assert_eq!(answer.status, 200, "{id} is in the store and not to be had");
        let tag = answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
        assert!(tag.contains(&sha256_hex(&answer.body)), "{id} is torn: {tag}");
        assert!(events.contains(&id), "{id} is visible and has no event");
    }
    let left: Vec<_> = fs::read_dir(store.join("spool"))?.collect::<Result<_, _>>()?;
    assert!(left.is_empty(), "the killed process left {left:?}");
    Ok(())
}

fn get(listen: SocketAddr, id: &str) -> io::Result<http::Response> {
    http::request(listen, "GET", &format!("/files/{id}"), &[("Authorization", &format!("Bearer {TOKEN}"))], &[])
}

fn events(lines: &str) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let mut ids = BTreeSet::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        ids.insert(event["data"]["id"].as_str().ok_or("an event without id")?.to_owned());
    }
    Ok(ids)
}

fn content(seed: u64, n: u64, file: u64) -> Vec<u8> {
    let mut state = (seed << 32 | n << 8 | file).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let bytes = 1_000 + (state >> 40) as usize % 600_000;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
