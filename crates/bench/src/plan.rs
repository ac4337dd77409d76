//! What `make bench` and `make bench-quick` run.

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::compare::{self, Scenario};
use crate::contender::{Contender, Promise};
use crate::{report, slow};

#[derive(Args)]
pub(crate) struct Options {
    /// Three minutes: the floor, Heapline and the peers of one table
    #[arg(long)]
    quick: bool,
    /// Rounds; each runs every contender once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Uploads of 1.36 MB a contender a round; other sizes in proportion
    #[arg(long, default_value_t = 1_500)]
    uploads: u64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only the tables whose titles contain this
    #[arg(long)]
    only: Option<String>,
    /// Only the floor and Heapline
    #[arg(long)]
    alone: bool,
    /// A directory in memory, under which files are written, and removed
    #[arg(long, default_value = "/dev/shm")]
    memory_dir: PathBuf,
    /// The same on a disk
    #[arg(long, default_value = "/tmp")]
    disk_dir: PathBuf,
    /// Replace the tables between this file's markers
    #[arg(long)]
    write: Option<PathBuf>,
}

/// The size of the story's files.
const FILE_BYTES: u64 = 1_363_149;
const SMALL_FILE_BYTES: u64 = 4 << 10;
const LARGE_FILE_BYTES: u64 = 1 << 30;
const SLOW_UPLOADS: usize = 500;

pub(crate) fn run(options: &Options) -> io::Result<()> {
    let mut text = report::machine();
    for scenario in scenarios(options).into_iter().filter(|scenario| wanted(options, &scenario.title)) {
        let table = report::table(&compare::run(scenario)?);
        println!("{table}");
        text.push_str(&table);
    }
    let title = format!("{SLOW_UPLOADS} uploads that stand half-way");
    if !options.quick && wanted(options, &title) {
        let table = slow_table(options, &title);
        println!("{table}");
        text.push_str(&table);
    }
    match &options.write {
        Some(path) => report::replace(path, &text),
        None => Ok(()),
    }
}

fn wanted(options: &Options, title: &str) -> bool {
    options.only.as_ref().is_none_or(|only| title.contains(only))
}

fn scenarios(options: &Options) -> Vec<Scenario> {
    let (in_memory, on_disk) = (&options.memory_dir, &options.disk_dir);
    let scenario = |title: &str, dir: &PathBuf, bytes: u64, sync: bool, digest: bool| Scenario {
        title: title.to_owned(),
        contenders: contenders(options),
        rounds: options.rounds,
        uploads: options.uploads,
        connections: options.connections,
        bytes,
        dir: dir.clone(),
        promise: Promise { sync, digest },
        rate: None,
    };
    let first = scenario("1.36 MB files to memory", in_memory, FILE_BYTES, false, false);
    if options.quick {
        return vec![Scenario { rounds: 3, uploads: options.uploads / 2, ..first }];
    }
    let small = scenario("4 KiB files to memory", in_memory, SMALL_FILE_BYTES, false, false);
    let large = scenario("1 GiB files to memory", in_memory, LARGE_FILE_BYTES, false, false);
    vec![
        first,
        scenario("1.36 MB files to disk", on_disk, FILE_BYTES, false, false),
        scenario("1.36 MB files to memory, with SHA-256", in_memory, FILE_BYTES, false, true),
        Scenario {
            uploads: options.uploads / 2,
            ..scenario("1.36 MB files to disk, synced", on_disk, FILE_BYTES, true, false)
        },
        Scenario { uploads: options.uploads * 10, ..small },
        Scenario { uploads: 4, connections: 2, rounds: options.rounds.min(3), ..large },
    ]
}

fn contenders(options: &Options) -> Vec<Contender> {
    let ours = |contender: &Contender| {
        use Contender::{Floor, FloorAgain, UploadMultipart, UploadPut};
        matches!(contender, Floor | FloorAgain | UploadPut | UploadMultipart)
    };
    Contender::ALL.into_iter().filter(|contender| !options.alone || ours(contender)).collect()
}

fn slow_table(options: &Options, title: &str) -> String {
    let rows = contenders(options)
        .into_iter()
        .filter(|contender| !matches!(contender, Contender::Floor | Contender::FloorAgain | Contender::Null));
    let rows = rows.map(|contender| {
        eprintln!("{title}: {}", contender.name());
        (contender, slow::measure(contender, SLOW_UPLOADS, FILE_BYTES, &options.memory_dir))
    });
    report::slow_table(title, SLOW_UPLOADS, &rows.collect::<Vec<_>>())
}
