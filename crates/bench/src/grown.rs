//! What the agent takes of a program, against how large the program is: `bench-agent`'s two subjects, with the agent and
//! without, at each size, and what they tell of themselves.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};

use crate::contender::MALLOC_CONF_OUT;
use crate::server::beside;

/// Free memory that must be there for each MiB of heap: the program's, and as much for everybody else.
const FREE_SHARE: u64 = 2;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    Heap,
    Stacks,
    Threads,
}

impl Axis {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Heap => "The agent's cost by live heap",
            Self::Stacks => "The agent's cost by live stacks",
            Self::Threads => "The agent's cost by threads",
        }
    }

    /// What a row is called, and what the others have of it.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Heap => "MiB of 64 KiB blocks, touched, from 100 places",
            Self::Stacks => "stacks of 40 frames, with a sampled block of 4 MiB each that is never touched",
            Self::Threads => "threads, each with a block of 64 KiB, at rest",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Stacks => "stacks",
            Self::Threads => "threads",
        }
    }

    fn sizes(self) -> &'static [u64] {
        match self {
            Self::Heap => &[10, 100, 1_000, 8_000],
            Self::Stacks => &[10, 100, 1_000, 10_000, 20_000],
            Self::Threads => &[2, 16, 128, 512],
        }
    }
}

/// Values by name, in the order in which they were told.
pub(crate) type Told = BTreeMap<String, Vec<f64>>;

/// A size, with what was told with the agent and without.
pub(crate) struct Step {
    pub size: u64,
    pub told: io::Result<(Told, Told)>,
}

pub(crate) fn measure(axis: Axis) -> Vec<Step> {
    let step = |&size: &u64| {
        eprintln!("{}: {size} {}", axis.title(), axis.unit());
        Step { size, told: both(axis, size) }
    };
    axis.sizes().iter().map(step).collect()
}

fn both(axis: Axis, size: u64) -> io::Result<(Told, Told)> {
    if axis == Axis::Heap && FREE_SHARE * size > available_mib()? {
        return Err(io::Error::other("not enough memory is free"));
    }
    Ok((tell(axis, size, "agent-on")?, tell(axis, size, "agent-out")?))
}

fn tell(axis: Axis, size: u64, program: &str) -> io::Result<Told> {
    let mut command = Command::new(beside(program)?);
    command.args(["grown", axis.name(), &size.to_string()]).stderr(Stdio::inherit());
    command.env_remove("MALLOC_CONF").env_remove("PPROF");
    if program == "agent-out" {
        command.env("MALLOC_CONF", MALLOC_CONF_OUT);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{program}: {}", output.status)));
    }
    let mut told = Told::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((name, value)) = line.split_once(' ')
            && let Ok(value) = value.parse()
        {
            told.entry(name.to_owned()).or_default().push(value);
        }
    }
    Ok(told)
}

fn available_mib() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib / 1024).ok_or_else(|| io::Error::other("/proc/meminfo has no MemAvailable"))
}
