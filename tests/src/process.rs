//! A child process: its log, its readiness, its end.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{io, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline;

/// How long a process may take to end after TERM before KILL follows.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often [`retried`] starts a part whose port was taken in between.
const START_ATTEMPTS: usize = 3;
/// How much of a log an error shows.
const LOG_TAIL_BYTES: usize = 2048;

/// Why a part did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("{name} could not be started")]
    Spawn { name: String, source: io::Error },
    #[error("{name} ended before it was ready ({status}); its log ends:\n{log}")]
    Ended { name: String, status: ExitStatus, log: String },
    #[error("{name} was not ready within {limit:?}; its log ends:\n{log}")]
    NotReady { name: String, limit: Duration, log: String },
    #[error("preparing {name}")]
    Prepare { name: String, source: io::Error },
}

/// A running child. Dropping it sends TERM, and KILL when that does not help.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in the file `log`, which begins empty.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self, LaunchError> {
        let spawned = File::create(log).and_then(|out| {
            let err = out.try_clone()?;
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn()
        });
        match spawned {
            Ok(child) => Ok(Self { name: name.to_owned(), child, log: log.to_owned() }),
            Err(source) => Err(LaunchError::Spawn { name: name.to_owned(), source }),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the process has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` says yes, of the log's text.
    pub fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut(&str) -> bool) -> Result<(), LaunchError> {
        let outcome = deadline::poll(limit, || {
            // First: what answers on a dead process's port is somebody else.
            if let Some(status) = self.ended() {
                return Some(Some(status));
            }
            ready(&self.log()).then_some(None)
        });
        let (name, log) = (self.name.clone(), || tail(&self.log()));
        match outcome {
            Some(None) => Ok(()),
            Some(Some(status)) => Err(LaunchError::Ended { name, status, log: log() }),
            None => Err(LaunchError::NotReady { name, limit, log: log() }),
        }
    }

    /// How the process ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal; a process that is gone is no error.
    pub fn signal(&mut self, signal: Signal) {
        // Reaped first, so that the id cannot be another process's.
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// TERM, and KILL after 15 seconds; how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        // A stopped process ends only when it runs again.
        self.signal(Signal::CONT);
        match deadline::poll(STOP_LIMIT, || self.ended()) {
            Some(status) => status,
            None => self.kill(),
        }
    }

    /// KILL; how it ended.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.child.wait().unwrap_or_else(|_| ExitStatus::from_raw(Signal::KILL.as_raw()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            eprintln!("--- the end of {}'s log:\n{}", self.name, tail(&self.log()));
        }
    }
}

/// Runs `start` again when what it started ended at once: a port that was free may have been taken in between.
pub fn retried<T>(mut start: impl FnMut() -> Result<T, LaunchError>) -> Result<T, LaunchError> {
    let mut attempt = 1;
    loop {
        match start() {
            Err(LaunchError::Ended { .. }) if attempt < START_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// The resident set of a process, in bytes, as `/proc/<id>/statm` has it.
pub fn resident_bytes(id: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{id}/statm"))?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "statm"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Processor time that a process has used, user and system.
pub fn processor_time(id: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
    let ticks =
        fields.and_then(|fields| Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?));
    let ticks = ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The most that was resident at once, in bytes.
pub fn peak_resident_bytes(id: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "status"))
}

fn tail(log: &str) -> String {
    let start = log.len().saturating_sub(LOG_TAIL_BYTES);
    String::from_utf8_lossy(&log.as_bytes()[start..]).into_owned()
}
