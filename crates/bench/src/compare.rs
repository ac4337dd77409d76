//! Alternating runs: each contender in turn, round after round, every figure beside the floor's of the same round.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::contender::{Contender, Promise};
use crate::load::{self, sleep};
use crate::server::TOKEN;

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
    /// Arrivals a second; `None`: a closed loop.
    pub rate: Option<f64>,
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

pub(crate) fn run(scenario: Scenario) -> io::Result<Table> {
    let able = scenario.contenders.iter().filter(|contender| contender.can(scenario.promise));
    let mut rows: Vec<Row> = able.map(|&contender| Row { contender, figures: Vec::new() }).collect();
    let mut missing = Vec::new();
    for round in 1..=scenario.rounds {
        rows.retain_mut(|row| match measure(&scenario, row.contender, round == scenario.rounds) {
            Ok(figures) => {
                let name = row.contender.name();
                eprintln!("{}, round {round}: {name}: {:.0} MB/s", scenario.title, figures.megabytes_per_second);
                row.figures.push(figures);
                true
            }
            Err(error) => {
                eprintln!("{}: {} is left out: {error}", scenario.title, row.contender.name());
                missing.push((row.contender, error.to_string()));
                false
            }
        });
    }
    Ok(Table { scenario, rows, missing })
}

fn measure(scenario: &Scenario, contender: Contender, is_last: bool) -> io::Result<Figures> {
    let dir = tempfile::tempdir_in(&scenario.dir)?;
    let server = contender.start(dir.path(), scenario.promise)?;
    let cpu_before = server.cpu_seconds()?;
    let outcome = load::run(&load::Options {
        to: server.address,
        token: TOKEN.to_owned(),
        form: contender.form(),
        connections: scenario.connections,
        bytes: scenario.bytes,
        uploads: scenario.uploads,
        rate: scenario.rate,
        close: false,
        slow: None,
    })?;
    let cpu_seconds = server.cpu_seconds()? - cpu_before;
    if is_last {
        sleep(IDLE_TIME);
    }
    let (rss_peak_megabytes, rss_after_megabytes) = server.rss_megabytes()?;
    Ok(Figures {
        megabytes_per_second: outcome.megabytes_per_second(),
        uploads_per_second: outcome.uploads_per_second(),
        cpu_seconds_per_gigabyte: cpu_seconds / ((outcome.uploads * outcome.file_bytes) as f64 / 1e9),
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        rss_peak_megabytes,
        rss_after_megabytes,
    })
}
