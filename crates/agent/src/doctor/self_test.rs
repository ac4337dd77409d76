//! A leak made on purpose: held for the time of one profile, looked for in it, and freed.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use serde::Serialize;

use crate::profile::profiler::{ProfileError, Profiler};

/// What is leaked at a time.
const LEAK_BYTES: usize = 1 << 20;
/// Leaks held at a time, at most: one may slip between two samples, sixteen do so once in 10^13 at a sample each
/// 512 KiB. They are never touched, so that they take no memory.
const LEAKS_MAX: usize = 16;

/// What became of the leak.
#[derive(Debug, Serialize)]
pub(crate) struct SelfTest {
    pub(crate) leaked_bytes: u64,
    /// As the profile estimates it.
    pub(crate) profiled_bytes: u64,
    pub(crate) seen: bool,
    /// Under the name of the function that leaked.
    pub(crate) named: bool,
    pub(crate) duration_seconds: f64,
}

/// Leaks on a thread of its own: the profiler's is not sampled.
pub(super) async fn run(profiler: &Profiler) -> Result<SelfTest, ProfileError> {
    profiler
        .work(|shop| {
            let began = Instant::now();
            let before = total(&shop.capture()?);
            let (leaked, is_leaked) = mpsc::sync_channel(1);
            let (free, is_to_be_freed) = mpsc::sync_channel::<()>(1);
            let leaker = thread::Builder::new().name("heapline-doctor".to_owned());
            let leaker = leaker
                .spawn(move || {
                    let held = leak_on_purpose();
                    let _ = leaked.send(held.len());
                    // Ends also when the other end is gone.
                    let _ = is_to_be_freed.recv();
                    drop(held);
                })
                .map_err(|_| ProfileError::Failed("no thread for the self-test".to_owned()))?;
            let count = is_leaked.recv().unwrap_or(0);
            let profile = shop.capture();
            drop(free);
            let _ = leaker.join();

            let profile = profile?;
            let symbols = shop.resolver.resolve(profile.addresses(), &profile.mappings);
            let of_leak: f64 = profile
                .samples
                .iter()
                .filter(|sample| {
                    let mut addresses = sample.stack.iter().map(|address| address.saturating_sub(1));
                    addresses.any(|address| symbols.function(address).ends_with("self_test::leak_on_purpose"))
                })
                .map(|sample| sample.inuse.bytes)
                .sum();
            let grown = (total(&profile) - before).max(0.0);
            let named = of_leak > 0.0;
            Ok(SelfTest {
                leaked_bytes: (count * LEAK_BYTES) as u64,
                profiled_bytes: if named { of_leak as u64 } else { grown as u64 },
                seen: named || grown >= (count * LEAK_BYTES) as f64 / 2.0,
                named,
                duration_seconds: began.elapsed().as_secs_f64(),
            })
        })
        .await
}

/// Its name is looked for in the profile.
#[inline(never)]
fn leak_on_purpose() -> Vec<Vec<u8>> {
    let mut held = Vec::with_capacity(LEAKS_MAX);
    for _ in 0..LEAKS_MAX {
        held.push(black_box(Vec::with_capacity(LEAK_BYTES)));
    }
    black_box(held)
}

fn total(profile: &crate::profile::model::Profile) -> f64 {
    profile.samples.iter().map(|sample| sample.inuse.bytes).sum()
}
