//! What was acknowledged survives `kill -9`, and nothing torn is ever visible.
//!
//! The story behind it: services that answer when the bytes are in the page cache, or rename before they sync, pass
//! every test that ends them politely.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::promises::{Promises, noise};
use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{deadline, form::Form, soak};

type Outcome = Result<(), Box<dyn Error>>;

/// Kills in `make test` and in `make soak`.
const ROUNDS: u64 = 20;
const SOAK_ROUNDS: u64 = 200;
const CLIENTS: u64 = 8;
const FILES_KEPT_MAX: usize = 1_000;

#[test]
fn what_was_acknowledged_survives_kills() -> Outcome {
    let mut server = Service::upload(&[])?;
    let acknowledged = Arc::new(Promises::default());
    let rounds = soak::scaled(ROUNDS, SOAK_ROUNDS);
    let mut total = 0;
    for round in 0..rounds {
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
        acknowledged.check(&server).map_err(|error| format!("after kill {}: {error}", round + 1))?;
        let left: Vec<_> = fs::read_dir(server.store().join("spool"))?.collect::<Result<_, _>>()?;
        assert!(left.is_empty(), "the killed process left {left:?}");
        // What is checked again each round is bounded: the rest was checked often enough.
        for id in acknowledged.ids().into_iter().skip(FILES_KEPT_MAX) {
            server.ask("DELETE", &format!("/files/{id}"), &[])?;
            acknowledged.forget(&id);
        }
        total += answered.load(Ordering::Relaxed);
    }
    println!("{rounds} kills, {total} uploads acknowledged");
    assert!(total > rounds * 4, "only {total} uploads were acknowledged");
    Ok(())
}

/// Forms of one and of three files, until the server is gone.
fn upload_until(listen: SocketAddr, seed: u64, stop: &AtomicBool, answered: &AtomicU64, acknowledged: &Promises) {
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
        if acknowledged.note(&answer, contents.iter().map(Vec::as_slice)) {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn content(seed: u64, n: u64, file: u64) -> Vec<u8> {
    let seed = seed << 32 | n << 8 | file;
    noise(seed, 1_000 + (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % 600_000)
}
