//! A server that has its load in short slices for as long as a table takes. The files of a slice are removed behind it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::contender::{Contender, Promise};
use crate::load::{self, Outcome};
use crate::server::{Server, TOKEN};

/// A slice of a closed loop lasts about so long. Slices of two servers, one behind the other, meet the same machine, and
/// files that take the memory that those of the slice before gave back meet no page that is new to a virtual machine.
pub(crate) const SLICE_TIME: Duration = Duration::from_millis(250);
/// The files of a slice are no more than this, whatever memory holds them.
const SLICE_BYTES_MAX: u64 = 1 << 30;
/// Slices before any is counted.
const WARM_UPS: usize = 4;
/// The first slice, whose only use is its speed.
const FIRST_UPLOADS: u64 = 300;

/// What is sent, and where it is kept.
#[derive(Clone)]
pub(crate) struct Load {
    pub bytes: u64,
    pub connections: usize,
    pub dir: PathBuf,
    /// No further round is begun that would not end within this.
    pub time_max: Duration,
}

pub(crate) struct Subject {
    pub server: Server,
    contender: Contender,
    load: Load,
    dir: TempDir,
    next: u64,
}

/// One slice.
pub(crate) struct Slice {
    pub outcome: Outcome,
    pub cpu_seconds: f64,
}

impl Subject {
    pub(crate) fn start(contender: Contender, load: &Load) -> io::Result<Self> {
        let dir = tempfile::tempdir_in(&load.dir)?;
        let server = contender.start(dir.path(), Promise { sync: false, digest: false })?;
        Ok(Self { server, contender, load: load.clone(), dir, next: 0 })
    }

    /// Warms it up. How many uploads it takes in a slice.
    pub(crate) fn uploads_per_slice(&mut self) -> io::Result<u64> {
        let mut uploads = FIRST_UPLOADS;
        for _ in 0..WARM_UPS {
            let a_second = self.slice(uploads, None)?.outcome.uploads_per_second();
            let most = (SLICE_BYTES_MAX / self.load.bytes).max(1);
            uploads = ((a_second * SLICE_TIME.as_secs_f64()) as u64).clamp(1, most);
        }
        Ok(uploads)
    }

    /// Sends so many uploads, at a rate or as fast as they are answered.
    pub(crate) fn slice(&mut self, uploads: u64, rate: Option<f64>) -> io::Result<Slice> {
        let before = self.server.cpu_seconds()?;
        let outcome = load::run(&load::Options {
            to: self.server.address,
            token: TOKEN.to_owned(),
            form: self.contender.form(),
            connections: self.load.connections,
            bytes: self.load.bytes,
            uploads,
            first: self.next,
            rate,
            close: false,
            slow: None,
        })?;
        let cpu_seconds = self.server.cpu_seconds()? - before;
        self.next += uploads;
        remove_files(&self.dir.path().join("files"))?;
        Ok(Slice { outcome, cpu_seconds })
    }
}

fn remove_files(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
