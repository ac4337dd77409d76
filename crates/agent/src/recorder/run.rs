//! The record of this process: what it is and how it does, written over and over, for the process after it.
//!
//! `run-<token>.json` in the state directory. A write goes to the kernel's page cache, which outlives the process,
//! however that ends; it does not outlive the machine. The process holds a lock on the file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use serde::{Deserialize, Serialize};

use crate::livetable::{self, exit};
use crate::memory::oom_kills::Level;

/// Raised when a field changes its meaning.
pub(super) const VERSION: u32 = 1;
/// Length of the file: the record, padded with blanks, so that each write is one of a single page.
pub(super) const RECORD_BYTES: usize = 4096;
/// The evidence in words is cut to so many bytes.
const EVIDENCE_BYTES_MAX: usize = 400;
pub(super) const FINISHED: &str = "json";
pub(super) const UNFINISHED: &str = "new";

/// A process, as its successor finds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) version: u32,
    /// Tells processes apart that have the same number: their start in nanoseconds since 1970, in hex.
    pub(crate) token: String,
    pub(crate) pid: u32,
    pub(crate) started_unix_seconds: f64,
    pub(crate) boot_id: String,
    pub(crate) service_version: String,
    pub(crate) oom_kills: Vec<Level>,
    /// File name of its live table.
    pub(crate) live_table: Option<String>,
    /// It ended by itself.
    pub(crate) has_ended: bool,
    pub(crate) pulse: Pulse,
}

/// What changes while it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pulse {
    pub(crate) uptime_seconds: f64,
    /// The name of a verdict.
    pub(crate) verdict: String,
    pub(crate) evidence: String,
    pub(crate) rss_bytes: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) limit_source: String,
    pub(crate) floor_bytes: i64,
    /// The newest on the shelf.
    pub(crate) last_profile: Option<String>,
}

/// The file of this process.
#[derive(Debug)]
pub(crate) struct RunFile {
    /// Closing it ends the lock.
    file: File,
    run: Mutex<Run>,
}

/// The newest run of the process, for when it exits without a word to the agent.
static CURRENT: Mutex<Weak<RunFile>> = Mutex::new(Weak::new());

impl RunFile {
    /// # Errors
    ///
    /// The directory cannot be written.
    pub(super) fn create(directory: &Path, run: Run) -> io::Result<Arc<RunFile>> {
        let finished = path(directory, &run.token);
        let unfinished = finished.with_extension(UNFINISHED);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&unfinished)?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let made = Arc::new(RunFile { file, run: Mutex::new(run) });
        made.change(|_| {})?;
        fs::rename(&unfinished, &finished)?;
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&made);
        exit::at_exit(ended_by_itself);
        Ok(made)
    }

    /// Changes the record and writes it: about 5 µs.
    ///
    /// # Errors
    ///
    /// The file cannot be written: the disk is full and the page is not there yet.
    pub(super) fn change(&self, change: impl FnOnce(&mut Run)) -> io::Result<()> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut run);
        write(&self.file, &run)
    }

    /// Says that the process ended as it should.
    pub(super) fn end(&self, uptime_seconds: f64) {
        // Left unsaid, it counts as an end without a word; there is nobody else to tell.
        let _ = self.change(|run| {
            run.has_ended = true;
            run.pulse.uptime_seconds = uptime_seconds;
        });
    }
}

/// The name of a record; `token` is made of hex digits.
pub(super) fn path(directory: &Path, token: &str) -> PathBuf {
    directory.join(format!("run-{token}.{FINISHED}"))
}

/// `None` where the text is no record.
pub(super) fn parse(text: &[u8]) -> Option<Run> {
    let run: Run = serde_json::from_slice(text.trim_ascii_end()).ok()?;
    let is_token = !run.token.is_empty() && run.token.len() <= 16 && run.token.bytes().all(|b| b.is_ascii_hexdigit());
    (run.version == VERSION && is_token && run.pulse.uptime_seconds.is_finite()).then_some(run)
}

/// Called by `exit`. No panic, and no wait for a lock that a thread which is no more may hold.
extern "C" fn ended_by_itself() {
    let current = match CURRENT.try_lock() {
        Ok(current) => current.upgrade(),
        Err(TryLockError::Poisoned(current)) => current.into_inner().upgrade(),
        Err(TryLockError::WouldBlock) => None,
    };
    let Some(current) = current else { return };
    let Ok(mut run) = current.run.try_lock() else { return };
    // A child made by `fork` exits, too, and its parent lives on.
    if run.pid != std::process::id() {
        return;
    }
    run.has_ended = true;
    let _ = write(&current.file, &run);
    if let Some(live) = livetable::current() {
        live.end();
    }
}

fn write(file: &File, run: &Run) -> io::Result<()> {
    let mut text = serde_json::to_vec(run)?;
    if text.len() >= RECORD_BYTES {
        let mut short = run.clone();
        short.oom_kills.truncate(1);
        short.pulse.evidence.clear();
        text = serde_json::to_vec(&short)?;
    }
    text.resize(text.len().max(RECORD_BYTES - 1), b' ');
    text.push(b'\n');
    file.write_all_at(&text, 0)
}

/// Cut at a character's end.
pub(super) fn short_evidence(text: &str) -> String {
    let ends = (0..=EVIDENCE_BYTES_MAX.min(text.len())).rev();
    text[..ends.into_iter().find(|&end| text.is_char_boundary(end)).unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run { version: VERSION, token: "18ab".to_owned(), pid: std::process::id(), ..Run::default() }
    }

    #[test]
    fn a_record_is_read_back_also_after_a_shorter_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = RunFile::create(directory.path(), run()).expect("written");
        for evidence in ["a long text of evidence", "short", ""] {
            file.change(|run| run.pulse.evidence = evidence.to_owned()).expect("written");
            let text = fs::read(path(directory.path(), "18ab")).expect("there");
            assert_eq!(text.len(), RECORD_BYTES);
            assert_eq!(parse(&text).expect("a record").pulse.evidence, evidence);
        }
        file.end(2.5);
        let last = parse(&fs::read(path(directory.path(), "18ab")).expect("there")).expect("a record");
        assert!(last.has_ended && last.pulse.uptime_seconds == 2.5);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = serde_json::to_vec(&run()).expect("JSON");
        assert!(parse(&good).is_some());
        for length in 0..good.len() {
            assert!(parse(&good[..length]).is_none());
        }
        for token in ["", "../x", "0123456789abcdef0", "xyz"] {
            let text = serde_json::to_vec(&Run { token: token.to_owned(), ..run() }).expect("JSON");
            assert!(parse(&text).is_none(), "{token}");
        }
        let newer = Run { version: VERSION + 1, ..run() };
        assert!(parse(&serde_json::to_vec(&newer).expect("JSON")).is_none());
    }

    #[test]
    fn a_record_that_would_be_too_long_is_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let level = Level { file: "d/".repeat(700).into(), inode: 1, kills: 2 };
        let long = Run { oom_kills: vec![level; 6], ..run() };
        RunFile::create(directory.path(), long).expect("written");
        let text = fs::read(path(directory.path(), "18ab")).expect("there");
        assert_eq!((text.len(), parse(&text).expect("a record").oom_kills.len()), (RECORD_BYTES, 1));
    }
}
