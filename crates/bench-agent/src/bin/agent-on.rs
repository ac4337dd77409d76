//! The subject with the agent, as the README embeds it.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use heapline::{Agent, Config, livetable};
use heapline_bench_agent::figures::{
    cpu_ms_of_threads, cpu_seconds, forget_highest, memory_mib, milliseconds, quantile, rest, tell,
};
use heapline_bench_agent::{grown, http, json, service, stacks, threads, turns};

heapline::use_jemalloc!();

const CORES: usize = 2;
const HEAP: &str = "/debug/pprof/heap";

type Done = Result<(), Box<dyn Error>>;

/// Programs that take turns.
const TURNS: u32 = 3;

fn main() -> Done {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let role = arguments.first().cloned().unwrap_or_default();
    let time = Duration::from_secs_f64(arguments.get(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0));
    let state = tempfile::tempdir()?;
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let samples_per_second_max = match role.as_str() {
        // It works a third of the time, in turns, and is to sample then as it would were it to work all the time.
        "load" | "service" => Some(livetable::samples_per_second_default() / TURNS),
        // What a sample costs is measured here.
        "threads" => Some(0),
        _ => None,
    };
    let state_dir = Some(state.path().to_owned());
    let config = Config { admin, state_dir, samples_per_second_max, ..Config::default() };
    let began = Instant::now();
    let agent = Agent::start(config)?;
    tell("start_ms", milliseconds(began.elapsed()));
    let admin = agent.admin_addr();
    match role.as_str() {
        "load" => turns::take("load_requests_per_second", || json::requests_per_second(CORES, time)),
        "service" => turns::take("service_requests_per_second", || service::requests_per_second(CORES, time)),
        "idle" => idle(time),
        "threads" => threads::measure(),
        "profile" => profile(admin)?,
        "beside" => beside(admin, time)?,
        "truth" => truth()?,
        "memory" => memory(admin)?,
        "scrape" => scrape(admin, time)?,
        "grown" => grown(admin, &arguments[1..])?,
        other => return Err(format!("{other:?} is no role").into()),
    }
    Ok(())
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<f64, E> {
    let began = Instant::now();
    black_box(work()?);
    Ok(milliseconds(began.elapsed()))
}

fn dump() -> Result<usize, Box<dyn Error>> {
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or("nothing is sampled")?;
    Ok(control.blocking_lock().dump_pprof()?.len())
}

/// A profile over HTTP and jemalloc_pprof's, in turn, each gzipped. Each is asked for twice and the second counts: the
/// dumps themselves bring stacks with new names, and each leaves the other cold caches.
fn profile(admin: SocketAddr) -> Done {
    let heap = stacks::heap();
    let fill = livetable::fill().ok_or("no live table")?;
    tell("profile_stacks", fill.stacks.0 as f64);
    tell("profile_frames_per_stack", fill.frames.0 as f64 / fill.stacks.0 as f64);
    tell("profile_cold_ms", timed(|| http::get(admin, HEAP))?);
    for _ in 0..15 {
        tell("profile_new_names_ms", timed(|| http::get(admin, HEAP))?);
        let ours = timed(|| http::get(admin, HEAP))?;
        dump()?;
        let theirs = timed(dump)?;
        tell("profile_ms", ours);
        tell("profile_peer_ms", theirs);
        tell("profile_times_faster", theirs / ours);
    }
    drop(heap);
    Ok(())
}

/// Requests alone, beside profiles without pause, and beside jemalloc_pprof's dumps without pause.
fn beside(admin: SocketAddr, time: Duration) -> Done {
    let heap = stacks::heap();
    http::get(admin, HEAP)?;
    let during = |name: &str, other: &(dyn Fn() -> Result<usize, Box<dyn Error>> + Sync)| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) && other().is_ok() {
                    std::hint::spin_loop();
                }
            });
            let mut times = json::request_times(time);
            done.store(true, Relaxed);
            tell(&format!("beside_{name}_p99_ms"), milliseconds(quantile(&mut times, 0.99)));
            tell(&format!("beside_{name}_worst_ms"), milliseconds(quantile(&mut times, 1.0)));
        });
    };
    for _ in 0..5 {
        during("nothing", &|| Err("nothing to do".into()));
        during("profiles", &|| Ok(http::get(admin, HEAP)?));
        during("peer", &dump);
    }
    drop(heap);
    Ok(())
}

fn idle(time: Duration) {
    json::requests_per_second(CORES, Duration::from_secs(1));
    let before = cpu_seconds();
    rest(time);
    tell("idle_cpu_percent", (cpu_seconds() - before) / time.as_secs_f64() * 100.0);
    tell("idle_rss_mib", memory_mib("VmRSS"));
}

/// A heap of known size, 16 B to 64 MB: the table's estimate against it, and against jemalloc's own count.
fn truth() -> Done {
    let allocated = || -> Result<f64, Box<dyn Error>> {
        tikv_jemalloc_ctl::epoch::advance()?;
        Ok(tikv_jemalloc_ctl::stats::allocated::read()? as f64)
    };
    let before = allocated()?;
    let (mut heap, mut asked) = (Vec::new(), 0);
    for (bytes, of) in [
        (16, 32 << 20),
        (64, 32 << 20),
        (256, 32 << 20),
        (1 << 10, 32 << 20),
        (4 << 10, 32 << 20),
        (32 << 10, 64 << 20),
        (1 << 20, 64 << 20),
        (8 << 20, 64 << 20),
        (64 << 20, 128 << 20),
    ] {
        for _ in 0..of / bytes {
            heap.push(Vec::<u8>::with_capacity(bytes));
            asked += bytes;
        }
    }
    asked += heap.capacity() * size_of::<Vec<u8>>();
    let counted = allocated()? - before;
    let live: f64 = livetable::live_stacks().ok_or("no live table")?.values().sum();
    tell("truth_asked_mib", asked as f64 / f64::from(1 << 20));
    tell("truth_live_of_asked", live / asked as f64);
    tell("truth_live_of_allocated", live / counted);
    Ok(())
}

/// What stays of a hundred profiles and of twenty times five hundred names that were not known before.
fn memory(admin: SocketAddr) -> Done {
    const ADDRESSES: usize = 500;
    /// After which the profiler's pages have gone back to the kernel.
    const PURGE_TIME: Duration = Duration::from_millis(200);
    let heap = stacks::heap();
    let program = env::current_exe()?;
    tell("memory_program_mb", std::fs::metadata(&program)?.len() as f64 / 1e6);
    http::get(admin, "/livez")?;
    let before = memory_mib("VmRSS");
    forget_highest()?;
    http::get(admin, HEAP)?;
    tell("memory_first_peak_mib", memory_mib("VmHWM") - before);
    rest(PURGE_TIME);
    tell("memory_first_stays_mib", memory_mib("VmRSS") - before);
    for _ in 0..100 {
        http::get(admin, HEAP)?;
    }
    rest(PURGE_TIME);
    let profiled = memory_mib("VmRSS");
    tell("memory_hundred_stay_mib", profiled - before);
    forget_highest()?;
    let (start, limit) = program_code()?;
    let mut address = start;
    for _ in 0..20 {
        let mut asked = Vec::with_capacity(ADDRESSES);
        for _ in 0..ADDRESSES {
            address = start + (address - start + 7_919 * 61) % (limit - start);
            asked.push(format!("{address:#x}"));
        }
        tell("memory_names_ms", timed(|| http::post(admin, "/debug/pprof/symbol", &asked.join("+")))?);
    }
    tell("memory_names_peak_mib", memory_mib("VmHWM") - profiled);
    rest(PURGE_TIME);
    tell("memory_names_stay_mib", memory_mib("VmRSS") - profiled);
    drop(heap);
    Ok(())
}

fn program_code() -> Result<(u64, u64), Box<dyn Error>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.contains(" r-xp ")).ok_or("no code")?;
    let (start, rest) = line.split_once('-').ok_or("no range")?;
    let limit = rest.split(' ').next().unwrap_or_default();
    Ok((u64::from_str_radix(start, 16)?, u64::from_str_radix(limit, 16)?))
}

/// A scrape each hundredth of a second while both cores serve requests, and then without.
fn scrape(admin: SocketAddr, time: Duration) -> Done {
    for (name, busy) in [("idle", false), ("busy", true)] {
        let worker = busy.then(|| thread::spawn(move || json::requests_per_second(1, time)));
        let (began, mut times) = (Instant::now(), Vec::new());
        while began.elapsed() < time {
            let asked = Instant::now();
            http::get(admin, "/metrics")?;
            times.push(asked.elapsed());
            rest(Duration::from_millis(10));
        }
        tell(&format!("scrape_{name}_median_ms"), milliseconds(quantile(&mut times, 0.5)));
        tell(&format!("scrape_{name}_p99_ms"), milliseconds(quantile(&mut times, 0.99)));
        if let Some(worker) = worker {
            let _ = worker.join();
        }
    }
    Ok(())
}

/// What the agent takes of a program that is as large as it was asked to be: the medians of a few times each.
fn grown(admin: SocketAddr, size: &[String]) -> Done {
    /// Shorter than the time to the first look of the agent's own at what grows.
    const REST_TIME: Duration = Duration::from_secs(4);
    const TIMES: usize = 7;
    const PEER_TIMES: usize = 3;
    const SCRAPES: usize = 200;
    let cpu_ms = || cpu_ms_of_threads("heapline");
    let host = grown::Host::of(size).ok_or("agent-on grown heap|stacks|threads SIZE")?;
    rest(grown::SETTLE_TIME);
    tell("rss_mib", memory_mib("VmRSS"));
    let fill = livetable::fill().ok_or("no live table")?;
    tell("stacks", fill.stacks.0 as f64);
    tell("samples", fill.samples.0 as f64);
    tell("lost", fill.lost as f64);
    let before = cpu_ms();
    rest(REST_TIME);
    tell("rest_cpu_percent", (cpu_ms() - before) / milliseconds(REST_TIME) * 100.0);
    let scrape = |_| {
        let began = Instant::now();
        http::get(admin, "/metrics").map(|_| began.elapsed())
    };
    let mut times = (0..SCRAPES).map(scrape).collect::<Result<Vec<_>, _>>()?;
    tell("scrape_median_ms", milliseconds(quantile(&mut times, 0.5)));
    tell("scrape_p99_ms", milliseconds(quantile(&mut times, 0.99)));
    for (name, target) in [("look", "/culprits"), ("profile", HEAP)] {
        // The first finds names.
        tell(&format!("{name}_cold_ms"), timed(|| http::get(admin, target))?);
        for _ in 0..TIMES {
            let before = cpu_ms();
            tell(&format!("{name}_ms"), timed(|| http::get(admin, target))?);
            tell(&format!("{name}_cpu_ms"), cpu_ms() - before);
        }
    }
    rest(grown::SETTLE_TIME);
    tell("rss_after_mib", memory_mib("VmRSS"));
    for _ in 0..PEER_TIMES {
        tell("peer_ms", timed(dump)?);
    }
    drop(host);
    Ok(())
}
