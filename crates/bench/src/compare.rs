//! Alternating runs: each contender in turn, round after round, every figure beside the floor's of the same round.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::contender::{Contender, Promise};
use crate::load::{self, Outcome, sleep};
use crate::server::{Server, TOKEN};

/// Before anything is counted, one in so many of a run's uploads: threads, buffers, caches, and what a program does in
/// its first moments.
const WARM_UP_SHARE: u64 = 3;

/// How long a server is left alone before its memory "after" is read.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// One table.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub title: String,
    pub contenders: Vec<Contender>,
    pub rounds: usize,
    pub uploads: u64,
    pub connections: usize,
    pub bytes: u64,
    pub dir: PathBuf,
    pub promise: Promise,
    /// Arrivals at this share of what the contender's closed loop takes just before; `None`: the closed loop alone.
    pub share_of_saturation: Option<f64>,
    /// No further round is begun that would not end within this.
    pub time_max: Duration,
    /// Whether the memory after a while of rest is wanted.
    pub rests: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub megabytes_per_second: f64,
    pub uploads_per_second: f64,
    pub cpu_seconds_per_gigabyte: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub rss_peak_megabytes: f64,
    /// Of the last round only.
    pub rss_after_megabytes: f64,
    pub ready_ms: f64,
}

/// A contender and its figures, a round each.
pub(crate) struct Row {
    pub contender: Contender,
    pub figures: Vec<Figures>,
}

/// What came of a scenario, and who did not take part.
pub(crate) struct Table {
    pub scenario: Scenario,
    pub rows: Vec<Row>,
    pub missing: Vec<(Contender, String)>,
}

/// A server that had its load, with its files.
struct Run {
    server: Server,
    _dir: TempDir,
}

pub(crate) fn run(scenario: Scenario) -> io::Result<Table> {
    let able = scenario.contenders.iter().filter(|contender| contender.can(scenario.promise));
    let mut rows: Vec<Row> = able.map(|&contender| Row { contender, figures: Vec::new() }).collect();
    let mut missing = Vec::new();
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    for round in 1..=scenario.rounds {
        let round_began = Instant::now();
        let is_last = round == scenario.rounds || began.elapsed() + 2 * longest + IDLE_TIME > scenario.time_max;
        let mut resting = Vec::new();
        rows.retain_mut(|row| match measure(&scenario, row.contender) {
            Ok((figures, run)) => {
                let (name, mb, each) = (row.contender.name(), figures.megabytes_per_second, figures.uploads_per_second);
                eprintln!("{}, round {round}: {name}: {mb:.0} MB/s, {each:.0} uploads/s", scenario.title);
                row.figures.push(figures);
                if is_last && scenario.rests {
                    resting.push((row.contender, run, Instant::now()));
                }
                true
            }
            Err(error) => {
                eprintln!("{}: {} is left out: {error}", scenario.title, row.contender.name());
                missing.push((row.contender, error.to_string()));
                false
            }
        });
        for (contender, run, since) in resting {
            sleep(IDLE_TIME.saturating_sub(since.elapsed()));
            let (_, after) = run.server.rss_megabytes()?;
            let row = rows.iter_mut().find(|row| row.contender == contender);
            if let Some(last) = row.and_then(|row| row.figures.last_mut()) {
                last.rss_after_megabytes = after;
            }
        }
        longest = longest.max(round_began.elapsed());
        if is_last {
            break;
        }
    }
    Ok(Table { scenario, rows, missing })
}

fn measure(scenario: &Scenario, contender: Contender) -> io::Result<(Figures, Run)> {
    let dir = tempfile::tempdir_in(&scenario.dir)?;
    let server = contender.start(dir.path(), scenario.promise)?;
    let uploads = scenario.uploads;
    load(scenario, contender, &server, 0..(uploads / WARM_UP_SHARE).max(1), None)?;
    let rate = match scenario.share_of_saturation {
        Some(share) => {
            let saturated = load(scenario, contender, &server, uploads..2 * uploads, None)?;
            Some(share * saturated.uploads_per_second())
        }
        None => None,
    };
    let cpu_before = server.cpu_seconds()?;
    let outcome = load(scenario, contender, &server, 2 * uploads..3 * uploads, rate)?;
    let cpu_seconds = server.cpu_seconds()? - cpu_before;
    let (rss_peak_megabytes, rss_after_megabytes) = server.rss_megabytes()?;
    let figures = Figures {
        megabytes_per_second: outcome.megabytes_per_second(),
        uploads_per_second: outcome.uploads_per_second(),
        cpu_seconds_per_gigabyte: cpu_seconds / ((outcome.uploads * outcome.file_bytes) as f64 / 1e9),
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        rss_peak_megabytes,
        rss_after_megabytes,
        ready_ms: server.ready_after.as_secs_f64() * 1e3,
    };
    Ok((figures, Run { server, _dir: dir }))
}

fn load(
    scenario: &Scenario,
    contender: Contender,
    server: &Server,
    numbers: Range<u64>,
    rate: Option<f64>,
) -> io::Result<Outcome> {
    load::run(&load::Options {
        to: server.address,
        token: TOKEN.to_owned(),
        form: contender.form(),
        connections: scenario.connections,
        bytes: scenario.bytes,
        uploads: numbers.end - numbers.start,
        first: numbers.start,
        rate,
        close: false,
        slow: None,
    })
}
