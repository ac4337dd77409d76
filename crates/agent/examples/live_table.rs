//! Measures the live table: a profile of 10,000 live stacks of depth 40, against jemalloc's dump; and what a sampled
//! allocation costs with many threads. Run: `cargo run --release --example live_table`.

use std::error::Error;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use heapline::{Agent, Config, livetable};

heapline::use_jemalloc!();

const STACKS: u64 = 10_000;
const DEPTH: u32 = 40;
const THREADS: usize = 64;
/// Larger than the sampling period several times over: each is sampled with a chance of 99.97%.
const BLOCK_BYTES: usize = 4 << 20;

/// Each number by another path through two functions: 2^14 stacks.
#[inline(never)]
fn left(path: u64, depth: u32) -> Vec<u8> {
    black_box(descend(path >> 1, depth - 1))
}

#[inline(never)]
fn right(path: u64, depth: u32) -> Vec<u8> {
    black_box(descend(path >> 1, depth - 1))
}

fn descend(path: u64, depth: u32) -> Vec<u8> {
    match (depth, path & 1) {
        (0, _) => Vec::with_capacity(BLOCK_BYTES),
        (_, 0) => left(path, depth),
        (_, _) => right(path, depth),
    }
}

fn get(admin: SocketAddr, target: &str) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(admin)?;
    write!(stream, "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name}: median {:?}, p99 {:?}, worst {:?} of {}", at(0.5), at(0.99), at(1.0), times.len());
}

fn timed<T>(mut work: impl FnMut() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

fn main() -> Result<(), Box<dyn Error>> {
    let state = tempfile::tempdir()?;
    let config = Config {
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        state_dir: Some(state.path().to_owned()),
        ..Config::default()
    };
    let agent = Agent::start(config)?;
    let kept: Vec<_> = (0..STACKS).map(|path| descend(path, DEPTH)).collect();
    println!("{:?}", livetable::fill());

    report("walk", (0..20).map(|_| timed(livetable::live_stacks)).collect());
    let first = timed(|| get(agent.admin_addr(), "/debug/pprof/heap"));
    println!("first profile over HTTP, symbols from scratch: {first:?}");
    report("profile over HTTP", (0..20).map(|_| timed(|| get(agent.admin_addr(), "/debug/pprof/heap"))).collect());
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or("no profiling")?;
    report("jemalloc_pprof", (0..5).map(|_| timed(|| control.blocking_lock().dump_pprof())).collect());
    drop(kept);

    let per_thread = |_| {
        thread::spawn(|| -> Vec<Duration> {
            let pair = |path: u64| timed(|| descend(path % 100, DEPTH));
            (0..2_000).map(pair).collect()
        })
    };
    let threads: Vec<_> = (0..THREADS).map(per_thread).collect();
    let times = threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
    report("64 threads, a sampled allocation and its end, unwinding included", times);
    println!("{:?}", livetable::fill());
    Ok(())
}
