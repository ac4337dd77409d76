//! What a process leaves that was killed: its table is whole at whatever moment, and nothing else in its place is taken
//! for one.

use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use heapline::livetable::{self, Damage, End};
use heapline::{Agent, Config};

#[path = "live/agent.rs"]
mod agent;
#[path = "live/child.rs"]
mod child;
#[path = "live/churn.rs"]
mod churn;
#[path = "profile/pprof.rs"]
mod pprof;

use agent::{get, profile, start};
use child::{alone, child, role};
use churn::{churn, random};

heapline::use_jemalloc!();

/// Killed when it goes out of scope: a test that fails leaves no process behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tests side by side, each with a directory of its own.
const LANES: u64 = 4;
const KILLS_A_LANE: u64 = 25;
/// Samples that killed processes told of.
static TOLD: AtomicU64 = AtomicU64::new(0);
const CHURNING: &str = "a_killed_process_leaves_its_table";

/// Killed at any of 100 moments, a process leaves a table that is whole, up to what each thread had in hand.
#[test]
fn a_killed_process_leaves_its_table() {
    if role().is_some() {
        churn_until_killed();
    }
    thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || {
                let state = tempfile::tempdir().expect("a directory");
                let mut seed = lane;
                for round in 0..KILLS_A_LANE {
                    // Most of them young, some old enough for a last second to be told from the ones before.
                    let longest = if round % 8 == 0 { 2_000 } else { 150 };
                    kill_and_read(state.path(), Duration::from_millis(random(&mut seed) % longest), round);
                }
                // It keeps the newest and removes the others.
                let files = fs::read_dir(state.path()).expect("a directory").flatten();
                let tables = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "table"));
                let tables = tables.count();
                assert!(tables <= livetable::PREDECESSORS_MAX + 1, "{tables}");
            });
        }
    });
    assert!(TOLD.load(Ordering::Relaxed) > LANES * KILLS_A_LANE * 20, "they told of something");
}

fn churn_until_killed() -> ! {
    let agent = Agent::start(Config { admin: Some(([127, 0, 0, 1], 0).into()), ..Config::default() });
    let agent = agent.expect("the agent starts");
    thread::scope(|scope| {
        for seed in 1..5 {
            scope.spawn(move || churn(u64::MAX, seed));
        }
        // On a busy machine the threads may come late.
        while livetable::fill().expect("a table").samples.0 < 20 {
            thread::yield_now();
        }
        println!("table {}", agent.live_table_path().expect("a file").display());
        // What it has told of is in the table, whatever happens next.
        loop {
            println!("told {}", livetable::fill().expect("a table").sampled);
            let next = Instant::now() + Duration::from_millis(2);
            while Instant::now() < next {
                thread::yield_now();
            }
        }
    })
}

fn kill_and_read(state: &Path, after: Duration, round: u64) {
    let (mut running, mut output, path) = churning(state);
    let pid = u64::from(running.0.id());
    let since = Instant::now();
    while since.elapsed() < after {
        thread::yield_now();
    }
    running.0.kill().expect("it runs");
    let mut told = String::new();
    output.read_to_string(&mut told).expect("text");
    drop(running);
    let left = livetable::read(&path).expect("a whole table");
    let totals = &left.totals;
    assert_eq!((left.end, left.pid), (End::Signal, pid), "{left:?}");
    assert!(totals.sampled > 20 && totals.stacks > 5, "round {round}: {totals:?}");
    assert!(totals.without_stack <= 8 && totals.lost == 0, "round {round}: {totals:?}");
    // Each of the threads was in one hook at most.
    let live = totals.sampled - totals.freed;
    assert!(live.abs_diff(totals.live_samples) <= 8, "round {round}: {totals:?}");
    let difference = (totals.live_bytes - totals.counted_live_bytes as f64).abs();
    assert!(difference <= 8.0 * 9e6, "round {round}: {totals:?}");
    // All that it ever told of is there, to the last moment.
    let mut told =
        told.split_inclusive('\n').filter_map(|line| line.strip_prefix("told ")?.strip_suffix('\n')?.parse().ok());
    let told: u64 = told.next_back().unwrap_or(0);
    assert!(totals.sampled >= told, "round {round}: {told} told, {totals:?}");
    TOLD.fetch_add(told, Ordering::Relaxed);
    let bytes = fs::read(&path).expect("readable");
    assert_eq!(livetable::check(&bytes).as_ref(), Ok(totals));
}

/// A process that allocates until it is killed, what it says from now on, and the file of its table.
fn churning(state: &Path) -> (Running, BufReader<ChildStdout>, PathBuf) {
    let mut started = Running(child(CHURNING, "churn", state));
    let mut output = BufReader::new(started.0.stdout.take().expect("piped"));
    // The harness may have written to the same line.
    let mut lines = output.by_ref().lines().map_while(Result::ok);
    let path = lines.find_map(|line| Some(line.split_once("table /")?.1.to_owned()));
    (started, output, Path::new("/").join(path.expect("the child tells")))
}

#[test]
fn the_next_process_tells_how_the_last_one_ended_and_shows_its_heap() {
    alone("the_next_process_tells_how_the_last_one_ended_and_shows_its_heap", |state| {
        // Killed while they start, processes leave half a table at most; it is in nobody's way.
        for microseconds in (0..40_000).step_by(4_000) {
            let starting = Running(child(CHURNING, "churn", state));
            let started = Instant::now();
            while started.elapsed() < Duration::from_micros(microseconds) {
                thread::yield_now();
            }
            drop(starting);
        }
        let (last, _output, path) = churning(state);
        let lived_since = Instant::now();
        while lived_since.elapsed() < Duration::from_millis(300) {
            thread::yield_now();
        }
        drop(last);
        // This process is the next one, and runs the same program: it has the names.
        let agent = start(state);
        let previous = &agent.predecessors()[0];
        assert_eq!((previous.end, &previous.path), (End::Signal, &path));
        let memory: serde_json::Value = serde_json::from_slice(&get(agent.admin_addr(), "/memory").1).expect("JSON");
        let previous_memory = &memory["previous"];
        assert_eq!((&previous_memory["end"], &previous_memory["verdict"]), (&"signal".into(), &"warming_up".into()));
        let heap = profile(&agent, "/debug/pprof/heap?process=previous");
        let last_profile = previous_memory["last_profile"].as_str().expect("where it is");
        assert!(last_profile.starts_with("/profiles/") && last_profile.ends_with("-end"), "{last_profile}");
        assert_eq!(profile(&agent, last_profile).samples.len(), heap.samples.len());
        let names: Vec<_> = heap.samples.iter().flat_map(|sample| heap.functions(sample)).collect();
        assert!(names.contains(&"black_box::churn::by_own_stack"), "{names:?}");
        assert_eq!(heap.sample_types.len(), 4);
        let live: i64 = heap.samples.iter().map(|sample| sample.values[3]).sum();
        assert!((live as f64 / previous.totals.live_bytes - 1.0).abs() < 1e-3);
        let peak = profile(&agent, "/debug/pprof/heap?process=previous&at=peak");
        assert!(!peak.samples.is_empty());
        // Its file goes: the answer is an error, and no crash.
        fs::remove_file(&path).expect("removes");
        assert_eq!(get(agent.admin_addr(), "/debug/pprof/heap?process=previous").0, 404);
    });
}

#[test]
fn two_processes_share_a_state_directory() {
    let state = tempfile::tempdir().expect("a directory");
    let (first, _first_output, first_path) = churning(state.path());
    let (second, _second_output, second_path) = churning(state.path());
    assert_ne!(first_path, second_path);
    assert!(first_path.exists(), "the second left the first's table alone");
    drop((first, second));
    for path in [&first_path, &second_path] {
        assert!(livetable::read(path).expect("a whole table").totals.sampled > 0);
    }
    let _third = churning(state.path());
    assert!(first_path.exists() && second_path.exists(), "both are kept for who asks");
}

/// Counts warnings; everything else is of no interest.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The words of a table's header that a test damages.
const VERSION_WORD: usize = 1;
const CLOCK_WORD: usize = 32;

#[test]
fn what_is_no_table_costs_one_line_in_the_log() {
    alone("what_is_no_table_costs_one_line_in_the_log", |state| {
        let (killed, _output, path) = churning(state);
        drop(killed);
        let whole = fs::read(&path).expect("a table");
        let put = |name: &str, bytes: &[u8]| fs::write(state.join(name), bytes).expect("writes");
        let with_word = |word: usize, value: u64| {
            let mut bytes = whole.clone();
            bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_ne_bytes());
            bytes
        };
        put("live-2-a.table", b"");
        put("live-3-a.table", &whole[..whole.len() / 2]);
        put("live-4-a.table", &whole[..4095]);
        put("live-5-a.table", &vec![0xa5; whole.len()]);
        put("live-6-a.table", &with_word(VERSION_WORD, 99));
        put("live-7-a.table", &with_word(CLOCK_WORD, u64::MAX));
        let mut shredded = whole.clone();
        // The header whole, all else noise.
        let mut seed = 5;
        shredded[4096..].fill_with(|| random(&mut seed) as u8);
        put("live-8-a.table", &shredded);
        let huge = fs::File::create(state.join("live-9-a.table")).expect("creates");
        huge.set_len(1 << 40).expect("a sparse file");
        fs::create_dir(state.join("live-10-a.table")).expect("makes");
        symlink("/proc/self/maps", state.join("live-11-a.table")).expect("links");
        symlink("nowhere", state.join("live-12-a.table")).expect("links");
        let pipe = Command::new("mkfifo").arg(state.join("live-13-a.table")).status().expect("mkfifo");
        assert!(pipe.success());
        let of_others = ["notes.txt", "live-14-a.tablet", "table"];
        of_others.iter().for_each(|name| put(name, b"not ours"));

        let warnings = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::set_global_default(Warnings(warnings.clone())).expect("none before");
        let agent = start(state);
        assert_eq!(warnings.load(Ordering::Relaxed), 12, "one a file");
        let adopted: Vec<_> = agent.predecessors().iter().map(|adopted| &adopted.path).collect();
        assert_eq!(adopted, [&path]);
        assert_eq!(profile(&agent, "/debug/pprof/heap?process=previous").sample_types.len(), 4);
        assert!(of_others.iter().all(|name| state.join(name).exists()), "other files are left alone");
        assert!(state.join("live-10-a.table").is_dir() && state.join("live-11-a.table").is_symlink());

        let damage = |bytes: &[u8]| livetable::check(bytes).expect_err("damaged");
        assert_eq!(damage(b""), Damage::NoTable);
        assert_eq!(damage(&whole[..whole.len() / 2]), Damage::Length);
        assert_eq!(damage(&with_word(VERSION_WORD, 99)), Damage::Version { found: 99 });
        assert_eq!(damage(&with_word(CLOCK_WORD, u64::MAX)), Damage::Clock);
        assert_eq!(damage(&with_word(5, 7)), Damage::Header);
        assert!(matches!(damage(&shredded), Damage::Contents(_)));
    });
}
