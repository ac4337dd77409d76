//! The table: each contender in turn, round after round, every figure beside the floor's of the same round.

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::load::{self, Form};
use crate::server::{Server, TOKEN};

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each runs every contender once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Uploads a contender a round
    #[arg(long, default_value_t = 2_000)]
    uploads: u64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Bytes of each file
    #[arg(long, default_value_t = 1_363_149)]
    bytes: usize,
    /// Directory under which the files are written, and removed
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// Make every contender sync before it answers
    #[arg(long)]
    sync: bool,
    /// Hash in heapline-upload; the floor never does
    #[arg(long)]
    digest: bool,
}

#[derive(Clone, Copy)]
enum Contender {
    Floor,
    FloorAgain,
    Put,
    Multipart,
}

const CONTENDERS: [(Contender, &str); 4] = [
    (Contender::Floor, "floor, PUT"),
    (Contender::FloorAgain, "floor again (A/A)"),
    (Contender::Put, "heapline-upload, PUT"),
    (Contender::Multipart, "heapline-upload, multipart"),
];

#[derive(Clone, Copy)]
struct Figures {
    megabytes_per_second: f64,
    cpu_seconds_per_gigabyte: f64,
    p50_ms: f64,
    p99_ms: f64,
    rss_peak_megabytes: f64,
    rss_after_megabytes: f64,
}

/// Runs all rounds and prints a row a contender: medians, and the ratios to the floor with minimum and maximum.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let mut rounds = vec![Vec::new(); CONTENDERS.len()];
    for round in 0..options.rounds {
        for (figures, (contender, name)) in rounds.iter_mut().zip(CONTENDERS) {
            let measured = measure(options, contender)?;
            eprintln!("round {}: {name}: {:.0} MB/s", round + 1, measured.megabytes_per_second);
            figures.push(measured);
        }
    }
    print_table(options, &rounds);
    Ok(())
}

fn measure(options: &Options, contender: Contender) -> io::Result<Figures> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let durability = if options.sync { "fsync" } else { "none" };
    let digest = if options.digest { "sha256" } else { "none" };
    let (server, form) = match contender {
        Contender::Floor | Contender::FloorAgain => (Server::floor(dir.path(), options.sync)?, Form::Put),
        Contender::Put => (Server::upload(dir.path(), durability, digest)?, Form::Put),
        Contender::Multipart => (Server::upload(dir.path(), durability, digest)?, Form::Multipart),
    };
    let cpu_before = server.cpu_seconds()?;
    let outcome = load::run(&load::Options {
        to: server.address,
        token: TOKEN.to_owned(),
        form,
        connections: options.connections,
        bytes: options.bytes,
        uploads: options.uploads,
    })?;
    let gigabytes = (outcome.uploads * outcome.file_bytes) as f64 / 1e9;
    let (peak, after) = server.rss_megabytes()?;
    Ok(Figures {
        megabytes_per_second: outcome.megabytes_per_second(),
        cpu_seconds_per_gigabyte: (server.cpu_seconds()? - cpu_before) / gigabytes,
        p50_ms: outcome.quantile(0.5).as_secs_f64() * 1e3,
        p99_ms: outcome.quantile(0.99).as_secs_f64() * 1e3,
        rss_peak_megabytes: peak,
        rss_after_megabytes: after,
    })
}

fn print_table(options: &Options, rounds: &[Vec<Figures>]) {
    println!(
        "{} uploads of {} bytes, {} connections, {} rounds, {}, {}",
        options.uploads,
        options.bytes,
        options.connections,
        options.rounds,
        options.dir.display(),
        if options.sync { "synced" } else { "not synced" },
    );
    println!(
        "| | MB/s | of the floor (min–median–max) | CPU s/GB | of the floor | p50 ms | p99 ms | RSS peak / after, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let Some(floor) = rounds.first() else { return };
    for (figures, (_, name)) in rounds.iter().zip(CONTENDERS) {
        let column = |of: fn(&Figures) -> f64| median(figures.iter().map(of).collect());
        let ratios = |of: fn(&Figures) -> f64| {
            let mut ratios: Vec<f64> = figures.iter().zip(floor).map(|(a, b)| of(a) / of(b)).collect();
            ratios.sort_by(f64::total_cmp);
            let (low, high) = (ratios.first().copied(), ratios.last().copied());
            format!("{:.2}–{:.2}–{:.2}", low.unwrap_or(f64::NAN), median(ratios), high.unwrap_or(f64::NAN))
        };
        println!(
            "| {name} | {:.0} | {} | {:.2} | {} | {:.0} | {:.0} | {:.0} / {:.0} |",
            column(|f| f.megabytes_per_second),
            ratios(|f| f.megabytes_per_second),
            column(|f| f.cpu_seconds_per_gigabyte),
            ratios(|f| f.cpu_seconds_per_gigabyte),
            column(|f| f.p50_ms),
            column(|f| f.p99_ms),
            column(|f| f.rss_peak_megabytes),
            column(|f| f.rss_after_megabytes),
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
