//! The journal of processes that are gone: each is found once, judged once, counted once.
//!
//! `ended.json` has the totals and the newest few. It is replaced as a whole, before the records that went into it are
//! removed: a process that is killed in between leaves records that the journal knows already.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use serde::{Deserialize, Serialize};

use super::run::{self, FINISHED, Run, UNFINISHED};
use crate::livetable::End;
use crate::memory::oom_kills::{self, Counted};

/// Processes that are remembered by name, the newest ones; the totals have all.
pub const ENDED_MAX: usize = 16;
/// Entries of the state directory that are looked at.
const ENTRIES_MAX: usize = 1_000;
/// The longest journal that is read.
const JOURNAL_BYTES_MAX: u64 = 1 << 20;
/// A record that never got its name is an accident's after this time.
const UNFINISHED_MAX: Duration = Duration::from_secs(3_600);
/// The share of its cgroup's limit from which a process that was last seen there is taken for killed by the kernel,
/// where its cgroup went with it and nothing else can be asked: a container's.
const NEAR_LIMIT_SHARE: f64 = 0.95;

const JOURNAL: &str = "ended.json";
const LOCK: &str = "ended.lock";

/// How processes ended, since the state directory is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    clean: u64,
    oom: u64,
    signal: u64,
    unknown: u64,
}

/// A process that is gone, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    #[serde(with = "end_name")]
    pub(crate) end: End,
    #[serde(flatten)]
    pub(crate) run: Run,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u32,
    pub(crate) totals: Totals,
    /// The newest first.
    pub(crate) ended: Vec<Ended>,
}

/// What a look at the state directory gave.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) journal: Journal,
    /// Processes that live and share the directory.
    pub(crate) living: Vec<String>,
}

/// What is known of this machine now.
pub(super) struct Here<'a> {
    pub(super) boot_id: &'a str,
    pub(super) oom: &'a dyn Fn(&Run) -> Counted,
}

impl Totals {
    pub(crate) fn of(&self, end: End) -> u64 {
        match end {
            End::Clean => self.clean,
            End::Oom => self.oom,
            End::Signal => self.signal,
            End::Unknown => self.unknown,
        }
    }

    fn count(&mut self, end: End) {
        let total = match end {
            End::Clean => &mut self.clean,
            End::Oom => &mut self.oom,
            End::Signal => &mut self.signal,
            End::Unknown => &mut self.unknown,
        };
        *total += 1;
    }
}

/// Finds processes that have ended since the last look, and keeps them. `own` is this process's token.
///
/// # Errors
///
/// The directory cannot be written, or another process is looking.
pub(super) fn adopt(directory: &Path, own: &str) -> io::Result<Found> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))?;
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let boot_id = super::boot_id();
    adopt_here(directory, own, &Here { boot_id: &boot_id, oom: &|run| oom_kills::since(&run.oom_kills) })
}

fn adopt_here(directory: &Path, own: &str, here: &Here<'_>) -> io::Result<Found> {
    let mut found = Found { journal: read(directory), living: Vec::new() };
    let mut gone = Vec::new();
    for entry in fs::read_dir(directory)?.flatten().take(ENTRIES_MAX) {
        let path = entry.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let Some(token) = stem.strip_prefix("run-").filter(|token| *token != own).map(str::to_owned) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(FINISHED) => match examine(&path) {
                Examined::Lives => found.living.push(token),
                Examined::Gone(run) => gone.push((path, run.filter(|run| run.token == token))),
            },
            Some(UNFINISHED) => {
                let modified = entry.metadata().and_then(|data| data.modified());
                if modified.is_ok_and(|time| time.elapsed().unwrap_or_default() > UNFINISHED_MAX) {
                    remove(&path);
                }
            }
            _ => {}
        }
    }
    if gone.is_empty() {
        return Ok(found);
    }
    let journal = &mut found.journal;
    for (path, run) in &gone {
        match run {
            Some(run) if journal.ended.iter().all(|ended| ended.run.token != run.token) => {
                let end = end_of(run, here);
                journal.totals.count(end);
                journal.ended.push(Ended { end, run: Run::clone(run) });
            }
            Some(_) => {}
            None => tracing::warn!(path = %path.display(), "a record of an earlier process is damaged, and is removed"),
        }
    }
    journal.version = run::VERSION;
    journal.ended.sort_by(|one, other| other.run.started_unix_seconds.total_cmp(&one.run.started_unix_seconds));
    journal.ended.truncate(ENDED_MAX);
    replace(&directory.join(JOURNAL), &serde_json::to_vec_pretty(journal)?)?;
    gone.iter().for_each(|(path, _)| remove(path));
    Ok(found)
}

enum Examined {
    Lives,
    /// `None`: the record is none.
    Gone(Option<Box<Run>>),
}

fn examine(path: &Path) -> Examined {
    let options =
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    let Ok(file) = options else { return Examined::Gone(None) };
    if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Examined::Lives;
    }
    let mut text = Vec::new();
    let is_read = file.take(run::RECORD_BYTES as u64 * 2).read_to_end(&mut text).is_ok();
    Examined::Gone(run::parse(&text).filter(|_| is_read).map(Box::new))
}

/// See [`End`].
fn end_of(run: &Run, here: &Here<'_>) -> End {
    if run.has_ended {
        return End::Clean;
    }
    if run.boot_id.is_empty() || run.boot_id != here.boot_id {
        return End::Unknown;
    }
    let pulse = &run.pulse;
    let was_near_limit =
        pulse.limit_source == "cgroup" && pulse.rss_bytes as f64 >= NEAR_LIMIT_SHARE * pulse.limit_bytes as f64;
    match (here.oom)(run) {
        Counted::Killed | Counted::KilledNearby => End::Oom,
        Counted::Unknown if was_near_limit => End::Oom,
        Counted::Unknown if !run.oom_kills.is_empty() => End::Unknown,
        Counted::NotKilled | Counted::Unknown => End::Signal,
    }
}

fn read(directory: &Path) -> Journal {
    let path = directory.join(JOURNAL);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(JOURNAL_BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Journal::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the journal of earlier processes cannot be read");
            return Journal::default();
        }
    }
    let journal = serde_json::from_slice(&text).ok().filter(|journal: &Journal| journal.version == run::VERSION);
    journal.unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "the journal of earlier processes is damaged, and begins anew");
        Journal::default()
    })
}

/// Puts a file in place of another, or neither.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    })();
    if written.is_err() {
        // Left behind, it is removed at a later start.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(super::TEMPORARY);
    name.into()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a file of an earlier process cannot be removed");
    }
}

mod end_name {
    use super::{Deserialize, End};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(end: &End, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(end.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<End, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(super::super::ENDS.into_iter().find(|end| end.name() == name).unwrap_or(End::Unknown))
    }
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
