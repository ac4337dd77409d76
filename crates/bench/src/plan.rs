//! What `make bench` and `make bench-quick` run: parts, each of which has a name, a bound in time and one table.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::compare::{self, Scenario, Table};
use crate::contender::{Contender, Promise};
use crate::grown::{self, Axis};
use crate::slices::Load;
use crate::{pairs, report, scrapes, slow};

#[derive(Args)]
pub(crate) struct Options {
    /// Less than three minutes: the first table, with fewer uploads and rounds
    #[arg(long)]
    quick: bool,
    /// Rounds at most; each runs every contender once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Uploads of 1.36 MB a contender a round; other sizes in proportion
    #[arg(long, default_value_t = 500)]
    uploads: u64,
    /// Seconds for a part: further rounds are left out, on a busy machine above all
    #[arg(long, default_value_t = 240)]
    seconds: u64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Only the floor and Heapline
    #[arg(long)]
    alone: bool,
    /// A directory in memory, under which files are written, and removed
    #[arg(long, default_value = "/dev/shm")]
    memory_dir: PathBuf,
    /// The same on a disk
    #[arg(long, default_value = "/tmp")]
    disk_dir: PathBuf,
    /// Put the tables between this file's markers, each in the place of the one with its title
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// 1.36 MB files to memory
    Memory,
    /// The same to a disk, not synced
    Disk,
    /// The same to memory, with SHA-256
    Sha256,
    /// The same to a disk, synced
    Synced,
    /// 4 KiB files to memory
    Small,
    /// 1 GiB files to memory
    Large,
    /// Latency at 70% of each contender's own saturation, in an open loop
    Latency,
    /// Memory at 500 uploads that stand half-way
    Paused,
    /// Start to the first connection taken
    Start,
    /// Cost against connections, 1 to 1,000
    Connections,
    /// Cost against the size of the files, 1 KiB to 256 MiB
    Sizes,
    /// The upload server with the agent, without it, with a profile and a scrape each second: 1.36 MB files
    Agent,
    /// The same with 4 KiB files
    AgentSmall,
    /// How long a scrape takes at rest, at 70% of saturation, and at saturation
    Scrapes,
    /// The agent's cost against live heap, 10 MB to 8 GB
    Heap,
    /// The agent's cost against live stacks, 10 to 20,000
    Stacks,
    /// The agent's cost against threads, 2 to 512
    Threads,
}

/// The size of the story's files.
const FILE_BYTES: u64 = 1_363_149;
const SMALL_FILE_BYTES: u64 = 4 << 10;
const LARGE_FILE_BYTES: u64 = 1 << 30;
const SLOW_UPLOADS: usize = 500;
const SHARE_OF_SATURATION: f64 = 0.7;
const QUICK_ROUNDS: usize = 5;
const QUICK_TIME_MAX: Duration = Duration::from_secs(140);
const CONNECTIONS: [usize; 5] = [1, 8, 64, 256, 1_000];
const SIZES: [u64; 6] = [1 << 10, 16 << 10, 256 << 10, 4 << 20, 32 << 20, 256 << 20];
const SIZES_UPLOADS_MAX: u64 = 5_000;

pub(crate) fn run(options: &Options) -> io::Result<()> {
    let parts = match (options.only, options.quick) {
        (Some(part), _) => vec![part],
        (None, true) => vec![Part::Memory],
        (None, false) => Part::value_variants().to_vec(),
    };
    let mut left_out = Vec::new();
    for (number, &part) in parts.iter().enumerate() {
        let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("part {} of {}: {name}", number + 1, parts.len());
        match options.measure(part) {
            Ok(text) => {
                println!("{text}");
                if let Some(path) = &options.write {
                    report::replace(path, &report::machine(), &text)?;
                }
            }
            Err(error) => {
                eprintln!("{name} is left out: {error}");
                left_out.push(name);
            }
        }
    }
    if left_out.is_empty() { Ok(()) } else { Err(io::Error::other(format!("left out: {}", left_out.join(", ")))) }
}

impl Options {
    fn measure(&self, part: Part) -> io::Result<String> {
        let (uploads, rounds) = (self.uploads, self.rounds);
        let memory = self.scenario("1.36 MB files to memory", &self.memory_dir);
        let scenario = match part {
            Part::Memory if self.quick => {
                Scenario { rounds: rounds.min(QUICK_ROUNDS), time_max: QUICK_TIME_MAX, ..memory }
            }
            Part::Memory => memory,
            Part::Disk => self.scenario("1.36 MB files to disk", &self.disk_dir),
            Part::Sha256 => Scenario {
                promise: Promise { sync: false, digest: true },
                ..self.scenario("1.36 MB files to memory, with SHA-256", &self.memory_dir)
            },
            Part::Synced => Scenario {
                promise: Promise { sync: true, digest: false },
                uploads: uploads / 2,
                ..self.scenario("1.36 MB files to disk, synced", &self.disk_dir)
            },
            Part::Small => Scenario {
                bytes: SMALL_FILE_BYTES,
                uploads: uploads * 16,
                ..self.scenario("4 KiB files to memory", &self.memory_dir)
            },
            Part::Large => Scenario {
                bytes: LARGE_FILE_BYTES,
                uploads: 3,
                connections: 2,
                contenders: self.few(),
                ..self.scenario("1 GiB files to memory", &self.memory_dir)
            },
            Part::Latency => Scenario {
                share_of_saturation: Some(SHARE_OF_SATURATION),
                rests: false,
                ..self.scenario("1.36 MB files to memory, at 70% of each one's own saturation", &self.memory_dir)
            },
            Part::Start => {
                let scenario = self.scenario("Start to the first connection taken", &self.memory_dir);
                let scenario =
                    Scenario { uploads: 1, connections: 1, bytes: SMALL_FILE_BYTES, rests: false, ..scenario };
                return Ok(report::start_table(&compare::run(scenario)?));
            }
            Part::Paused => return self.paused(),
            Part::Connections => {
                let of = |&connections: &usize| {
                    let scenario = self.step(format!("{connections} connections"), CONNECTIONS.len());
                    Scenario { connections, uploads: uploads.max(connections as u64), ..scenario }
                };
                return growth("1.36 MB files to memory, by connections", CONNECTIONS.iter().map(of));
            }
            Part::Sizes => {
                let of = |&bytes: &u64| {
                    let scenario = self.step(format!("{} KiB", bytes >> 10), SIZES.len());
                    let uploads = (uploads * FILE_BYTES / bytes).clamp(2, SIZES_UPLOADS_MAX);
                    Scenario { bytes, uploads, connections: self.connections.min(uploads as usize), ..scenario }
                };
                return growth("Files to memory, by size", SIZES.iter().map(of));
            }
            Part::Agent => {
                let pairs = pairs::run("The agent under load, 1.36 MB files", self.load(FILE_BYTES))?;
                return Ok(report::agent::pairs_table(&pairs));
            }
            Part::AgentSmall => {
                let pairs = pairs::run("The agent under load, 4 KiB files", self.load(SMALL_FILE_BYTES))?;
                return Ok(report::agent::pairs_table(&pairs));
            }
            Part::Scrapes => {
                let scrapes = scrapes::run("A scrape of `/metrics` beside uploads", self.load(FILE_BYTES))?;
                return Ok(report::agent::scrapes_table(&scrapes));
            }
            Part::Heap => return Ok(grown(Axis::Heap)),
            Part::Stacks => return Ok(grown(Axis::Stacks)),
            Part::Threads => return Ok(grown(Axis::Threads)),
        };
        Ok(report::table(&compare::run(scenario)?))
    }

    fn scenario(&self, title: &str, dir: &Path) -> Scenario {
        Scenario {
            title: title.to_owned(),
            contenders: self.contenders(),
            rounds: self.rounds,
            uploads: self.uploads,
            connections: self.connections,
            bytes: FILE_BYTES,
            dir: dir.to_owned(),
            promise: Promise { sync: false, digest: false },
            share_of_saturation: None,
            time_max: Duration::from_secs(self.seconds),
            rests: true,
        }
    }

    fn load(&self, bytes: u64) -> Load {
        let time_max = Duration::from_secs(self.seconds);
        Load { bytes, connections: self.connections, dir: self.memory_dir.clone(), time_max }
    }

    /// One of so many rows of a table of growth.
    fn step(&self, title: String, steps: usize) -> Scenario {
        let scenario = self.scenario(&title, &self.memory_dir);
        let time_max = scenario.time_max / u32::try_from(steps).unwrap_or(u32::MAX);
        Scenario { contenders: self.few(), rounds: self.rounds.min(3), rests: false, time_max, ..scenario }
    }

    fn contenders(&self) -> Vec<Contender> {
        let ours = |contender: &Contender| {
            use Contender::{Floor, FloorAgain, UploadMultipart, UploadPut};
            matches!(contender, Floor | FloorAgain | UploadPut | UploadMultipart)
        };
        Contender::ALL.into_iter().filter(|contender| !self.alone || ours(contender)).collect()
    }

    /// Where a table has many rows, or a row takes long.
    fn few(&self) -> Vec<Contender> {
        use Contender::{Floor, Nginx, UploadMultipart, UploadPut};
        self.contenders().into_iter().filter(|one| matches!(one, Floor | Nginx | UploadMultipart | UploadPut)).collect()
    }

    fn paused(&self) -> io::Result<String> {
        let title = format!("{SLOW_UPLOADS} uploads that stand half-way");
        let servers = self.contenders().into_iter();
        let servers = servers.filter(|one| !matches!(one, Contender::Floor | Contender::FloorAgain | Contender::Null));
        let servers: Vec<_> = servers.collect();
        let rows = slow::measure(&title, &servers, SLOW_UPLOADS, FILE_BYTES, &self.memory_dir);
        Ok(report::slow_table(&title, SLOW_UPLOADS, &rows))
    }
}

fn growth(title: &str, steps: impl Iterator<Item = Scenario>) -> io::Result<String> {
    let tables = steps.map(compare::run).collect::<io::Result<Vec<Table>>>()?;
    Ok(report::growth_table(title, &tables))
}

fn grown(axis: Axis) -> String {
    report::agent::grown_table(axis, &grown::measure(axis))
}
