//! The subject without the agent: the same allocator, with the settings that `bench-agent` gives it (`MALLOC_CONF`).

use std::env;
use std::time::Duration;

use heapline_bench_agent::figures::{cpu_seconds, memory_mib, rest, tell};
use heapline_bench_agent::{grown, json, service, threads, turns};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const CORES: usize = 2;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let role = arguments.first().cloned().unwrap_or_default();
    let time = Duration::from_secs_f64(arguments.get(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0));
    match role.as_str() {
        "load" => turns::take("load_requests_per_second", || json::requests_per_second(CORES, time)),
        "service" => turns::take("service_requests_per_second", || service::requests_per_second(CORES, time)),
        "idle" => {
            json::requests_per_second(CORES, Duration::from_secs(1));
            let before = cpu_seconds();
            rest(time);
            tell("idle_cpu_percent", (cpu_seconds() - before) / time.as_secs_f64() * 100.0);
            tell("idle_rss_mib", memory_mib("VmRSS"));
        }
        "threads" => threads::measure(),
        "grown" => {
            let host = grown::Host::of(&arguments[1..]);
            rest(grown::SETTLE_TIME);
            tell("rss_mib", memory_mib("VmRSS"));
            drop(host);
        }
        other => eprintln!("agent-out: {other:?} is none of load, service, idle, threads, grown"),
    }
}
