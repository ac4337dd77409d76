//! Which figures there are, in what words, and against which bar.

use crate::Figures;

/// One run of the subjects, and the rows that come of it.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    heading: &'static str,
    rows: &'static [Row],
}

/// What it is, the figure's name, digits after the point, unit, bar.
struct Row(&'static str, &'static str, usize, &'static str, &'static str);

pub(crate) const PARTS: [Part; 9] = [
    Part {
        name: "profile",
        heading: "A profile of 10,000 live stacks of depth 40, gzipped",
        rows: &[
            Row("stacks in the table", "on_profile_stacks", 0, "", ""),
            Row("frames a stack, the allocator's included", "on_profile_frames_per_stack", 0, "", ""),
            Row("over HTTP", "on_profile_ms", 1, "ms", "≤ 25"),
            Row("over HTTP, after a dump that brought new names", "on_profile_new_names_ms", 1, "ms", ""),
            Row("jemalloc_pprof, in turn with it", "on_profile_peer_ms", 1, "ms", ""),
            Row("times faster", "on_profile_times_faster", 1, "", "≥ 10"),
            Row("the first, names from scratch", "on_profile_cold_ms", 0, "ms", ""),
        ],
    },
    Part {
        name: "beside",
        heading: "A loop of requests (20 KB of JSON) on one core, that heap on the other: worst 1% and worst of 2 s",
        rows: &[
            Row("alone, p99", "on_beside_nothing_p99_ms", 2, "ms", ""),
            Row("beside profiles without pause, p99", "on_beside_profiles_p99_ms", 2, "ms", "≤ alone + 2"),
            Row("beside jemalloc_pprof without pause, p99", "on_beside_peer_p99_ms", 2, "ms", ""),
            Row("alone, worst", "on_beside_nothing_worst_ms", 2, "ms", ""),
            Row("beside profiles, worst", "on_beside_profiles_worst_ms", 2, "ms", ""),
            Row("beside jemalloc_pprof, worst", "on_beside_peer_worst_ms", 2, "ms", ""),
        ],
    },
    Part {
        name: "load",
        heading: "The same requests on two cores, the agent in the program or not (and the profiler off)",
        rows: &[
            Row("with the agent", "on_load_requests_per_second", 0, "1/s", ""),
            Row("without", "out_load_requests_per_second", 0, "1/s", ""),
            Row("with / without", "load_ratio", 3, "", "≥ 0.99"),
            Row("without / without (A/A)", "load_ratio_same", 3, "", ""),
            Row("start of the agent", "on_start_ms", 2, "ms", ""),
        ],
    },
    Part {
        name: "service",
        heading: "Requests with 2 KB of JSON over two connections, the agent in the program or not (and the profiler off)",
        rows: &[
            Row("with the agent", "on_service_requests_per_second", 0, "1/s", ""),
            Row("without", "out_service_requests_per_second", 0, "1/s", ""),
            Row("with / without", "service_ratio", 3, "", "≥ 0.99"),
            Row("without / without (A/A)", "service_ratio_same", 3, "", ""),
        ],
    },
    Part {
        name: "idle",
        heading: "Sixty idle seconds after a second of these requests",
        rows: &[
            Row("CPU with the agent", "on_idle_cpu_percent", 3, "% of a core", "≤ 0.1"),
            Row("CPU without", "out_idle_cpu_percent", 3, "% of a core", ""),
            Row("RSS with the agent and its tables", "on_idle_rss_mib", 1, "MiB", ""),
            Row("RSS without", "out_idle_rss_mib", 1, "MiB", ""),
            Row("RSS added", "idle_rss_added_mib", 1, "MiB", "≤ 10"),
        ],
    },
    Part {
        name: "threads",
        heading: "64 threads on these cores, nothing but sampled allocations (53 frames, unwound) and their ends",
        rows: &[
            Row("with the agent, median", "on_threads_median_us", 1, "µs", ""),
            Row("with the agent, p99", "on_threads_p99_us", 1, "µs", ""),
            Row("sampled by jemalloc, nobody listens, median", "out_threads_median_us", 1, "µs", ""),
            Row("sampled by jemalloc, nobody listens, p99", "out_threads_p99_us", 1, "µs", ""),
            Row("throughput with / without", "threads_ratio", 3, "", ""),
        ],
    },
    Part {
        name: "truth",
        heading: "A heap of known size, objects of 16 B to 64 MB",
        rows: &[
            Row("size", "on_truth_asked_mib", 0, "MiB", "≥ 200"),
            Row("the table's live bytes / asked for", "on_truth_live_of_asked", 3, "", "0.95 to 1.05"),
            Row("the table's live bytes / stats.allocated", "on_truth_live_of_allocated", 3, "", "0.95 to 1.05"),
        ],
    },
    Part {
        name: "memory",
        heading: "RSS of a process that is profiled and symbolized, above what it was",
        rows: &[
            Row("the program's file", "on_memory_program_mb", 0, "MB", ""),
            Row("first profile of 10,000 stacks, for the moment", "on_memory_first_peak_mib", 1, "MiB", ""),
            Row("after it", "on_memory_first_stays_mib", 1, "MiB", ""),
            Row("after 100 profiles", "on_memory_hundred_stay_mib", 1, "MiB", ""),
            Row("500 unknown addresses named", "on_memory_names_ms", 0, "ms", ""),
            Row("20 times that, for the moment", "on_memory_names_peak_mib", 1, "MiB", ""),
            Row("after these", "on_memory_names_stay_mib", 1, "MiB", "≤ 2"),
        ],
    },
    Part {
        name: "scrape",
        heading: "A scrape of /metrics, connection included",
        rows: &[
            Row("idle, median", "on_scrape_idle_median_ms", 2, "ms", ""),
            Row("idle, p99", "on_scrape_idle_p99_ms", 2, "ms", "≤ 1"),
            Row("beside requests, median", "on_scrape_busy_median_ms", 2, "ms", ""),
            Row("beside requests, p99", "on_scrape_busy_p99_ms", 2, "ms", "≤ 1"),
        ],
    },
];

impl Part {
    /// The rows: median, and the least and the most where it was measured more than once.
    pub(crate) fn print(&self, figures: &Figures) {
        println!("\n{} (`bench-agent {}`)\n", self.heading, self.name);
        println!("| | Median | Least to most | Of | Bar |\n|---|---|---|---|---|");
        for Row(what, name, digits, unit, bar) in self.rows {
            let mut values = figures.get(*name).cloned().unwrap_or_default();
            values.sort_by(f64::total_cmp);
            let shown = |value: Option<&f64>| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
            let range = match values.as_slice() {
                [] | [_] => String::new(),
                [least, .., most] => format!("{} to {}", shown(Some(least)), shown(Some(most))),
            };
            let median = shown(values.get(values.len() / 2));
            println!("| {what} | {median} {unit} | {range} | {} | {bar} |", values.len());
        }
    }
}
