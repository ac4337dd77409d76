//! SIGTERM at any moment of a busy server's life: exit 0, everything acknowledged there, no temporary file left.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::deadline;
use heapline_tests::form::Form;
use heapline_tests::promises::{Promises, noise};
use heapline_tests::service::{Service, TOKEN};

use super::{Connection, Outcome};

const ROUNDS: u64 = 8;
const CLIENTS: u64 = 6;
/// What the store may hold beside the agent's state, which is elsewhere here.
const NAMES: [&str; 4] = ["events.jsonl", "files", "outbox", "spool"];

#[test]
fn a_server_told_to_end_at_any_moment_ends_well() -> Outcome {
    let mut service = Service::upload(&["--drain", "1s", "--spool-threshold", "100KiB"])?;
    let promises = Arc::new(Promises::default());
    for round in 0..ROUNDS {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (listen, stop) = (service.listen(), Arc::clone(&stop));
                let (promises, answered) = (Arc::clone(&promises), Arc::clone(&answered));
                thread::spawn(move || {
                    for n in 0_u64.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let seed = (round * CLIENTS + client) << 32 | n;
                        let content = noise(seed, 1_000 + (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 45) as usize);
                        let form = Form::new().file("a", "a", &content).file("b", "b", &content[..500]);
                        let Ok(answer) = form.post(listen, TOKEN) else { continue };
                        if promises.note(&answer, [&content[..], &content[..500]]) {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        // One that never ends, to be cut.
        let mut endless = Connection::open(&service)?;
        endless.begin_put(10_000_000)?;
        endless.send(&noise(round, 300_000))?;
        deadline::eventually("uploads are answered", Duration::from_secs(30), || {
            (answered.load(Ordering::Relaxed) > 3).then_some(())
        });
        deadline::pace(Instant::now() + Duration::from_millis(round * 41 % 200), || false);
        let status = service.stop().ok_or("it was not running")?;
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked")?;
        }
        assert_eq!(status.code(), Some(0), "round {round}: {status}");
        let left: Vec<_> = fs::read_dir(service.store().join("spool"))?.collect::<Result<_, _>>()?;
        assert!(left.is_empty(), "round {round}: {left:?}");
        for entry in fs::read_dir(service.store())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            assert!(NAMES.contains(&name.as_str()), "round {round}: {name}");
        }
        service.start_again()?;
        promises.check(&service).map_err(|error| format!("round {round}: {error}"))?;
    }
    assert!(promises.len() as u64 >= ROUNDS * 8, "only {} files were acknowledged", promises.len());
    Ok(())
}
