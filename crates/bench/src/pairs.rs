//! What the agent costs an upload server under load: servers with the agent and one that was built without it take the
//! same uploads in short slices, in turn, all of them running throughout.

use std::io;
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::pulls::Puller;
use crate::slices::{Load, Subject};

/// How often somebody asks, where somebody does: in each round about once.
const PULL_INTERVAL: Duration = Duration::from_secs(1);
/// Of each server in a round, whose figures are of all of them together: what comes once a second is in each.
pub(crate) const SLICES: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Without,
    WithoutAgain,
    With,
    Profiled,
    Scraped,
}

impl Turn {
    const ALL: [Self; 5] = [Self::Without, Self::With, Self::Profiled, Self::Scraped, Self::WithoutAgain];

    /// What it is, and beside which it is measured.
    pub(crate) fn beside(self) -> Option<(&'static str, Self)> {
        match self {
            Self::Without => None,
            Self::WithoutAgain => Some(("without the agent / without it (A/A)", Self::Without)),
            Self::With => Some(("with the agent / without it", Self::Without)),
            Self::Profiled => Some(("a profile pulled each second / with the agent", Self::With)),
            Self::Scraped => Some(("`/metrics` scraped each second / with the agent", Self::With)),
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|&other| other == self).unwrap_or(0)
    }

    fn contender(self) -> Contender {
        match self {
            Self::Without | Self::WithoutAgain => Contender::UploadOut,
            Self::With | Self::Profiled | Self::Scraped => Contender::UploadMultipart,
        }
    }

    fn target(self) -> Option<&'static str> {
        match self {
            Self::Profiled => Some("/debug/pprof/heap"),
            Self::Scraped => Some("/metrics"),
            Self::Without | Self::WithoutAgain | Self::With => None,
        }
    }
}

/// A turn's figures, a round each.
pub(crate) struct Row {
    pub turn: Turn,
    pub uploads_per_second: Vec<f64>,
    pub cpu_ms_per_upload: Vec<f64>,
    pub puller: Option<Puller>,
}

pub(crate) struct Pairs {
    pub title: String,
    pub load: Load,
    /// Uploads of a slice.
    pub uploads: u64,
    pub rows: Vec<Row>,
}

pub(crate) fn run(title: &str, load: Load) -> io::Result<Pairs> {
    let began = Instant::now();
    let mut turns = Vec::new();
    for turn in Turn::ALL {
        let mut subject = Subject::start(turn.contender(), &load)?;
        let uploads = subject.uploads_per_slice()?;
        let asked = turn.target().zip(subject.server.admin);
        let puller = asked.map(|(target, admin)| Puller::new(admin, &[target], PULL_INTERVAL));
        if turn.target().is_some() != puller.is_some() {
            return Err(io::Error::other("the server does not say where its admin port is"));
        }
        puller.iter().try_for_each(Puller::warm_up)?;
        let row = Row { turn, uploads_per_second: Vec::new(), cpu_ms_per_upload: Vec::new(), puller };
        turns.push((subject, uploads, row));
    }
    // The same work for each.
    let mut speeds: Vec<u64> = turns.iter().map(|(_, uploads, _)| *uploads).collect();
    speeds.sort_unstable();
    let uploads = speeds[speeds.len() / 2];
    let mut longest = Duration::ZERO;
    for round in 1.. {
        let round_began = Instant::now();
        let mut sums = [(Duration::ZERO, 0.0); Turn::ALL.len()];
        for slice in 0..SLICES {
            // Whoever comes first meets another machine: each in turn, and every other time backwards.
            turns.rotate_left(1);
            if slice % 2 == 1 {
                turns.reverse();
            }
            for (subject, _, row) in &mut turns {
                let slice = match &mut row.puller {
                    Some(puller) => puller.beside(|| subject.slice(uploads, None))?,
                    None => subject.slice(uploads, None)?,
                };
                let (elapsed, cpu_seconds) = &mut sums[row.turn.place()];
                *elapsed += slice.outcome.elapsed;
                *cpu_seconds += slice.cpu_seconds;
            }
        }
        for (_, _, row) in &mut turns {
            let (elapsed, cpu_seconds) = sums[row.turn.place()];
            let uploads = (uploads * u64::from(SLICES)) as f64;
            row.uploads_per_second.push(uploads / elapsed.as_secs_f64());
            row.cpu_ms_per_upload.push(cpu_seconds * 1e3 / uploads);
        }
        longest = longest.max(round_began.elapsed());
        eprintln!("{title}: round {round}, {:.0} s", began.elapsed().as_secs_f64());
        if began.elapsed() + longest > load.time_max {
            break;
        }
    }
    let mut rows: Vec<Row> = turns.into_iter().map(|(_, _, row)| row).collect();
    rows.sort_by_key(|row| row.turn.place());
    Ok(Pairs { title: title.to_owned(), load, uploads, rows })
}
