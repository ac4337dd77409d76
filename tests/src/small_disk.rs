//! A disk that is small on purpose: a tmpfs of so many bytes and names, which can be filled, and made read-only.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::part::Missing;

/// The file that takes up the room.
const FILLER: &str = "filler";
/// How much of it is written at once, down to single pages at the end.
const STEPS_BYTES: [usize; 2] = [64 << 10, 4 << 10];

/// A mounted disk; it goes, with all that is on it, when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _directory: Option<TempDir>,
}

impl SmallDisk {
    /// A disk at a place of its own.
    pub fn new(bytes: u64, names: u64) -> Result<Self, Missing> {
        let directory = TempDir::with_prefix("heapline-disk-").map_err(|error| missing(&error.to_string()))?;
        let path = directory.path().to_owned();
        mount(&path, bytes, names)?;
        Ok(Self { path, _directory: Some(directory) })
    }

    /// A disk at `path`, which is made.
    pub fn at(path: &Path, bytes: u64, names: u64) -> Result<Self, Missing> {
        fs::create_dir_all(path).map_err(|error| missing(&error.to_string()))?;
        mount(path, bytes, names)?;
        Ok(Self { path: path.to_owned(), _directory: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes up all the room that is left, to the last page.
    pub fn fill(&self) -> io::Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.path.join(FILLER))?;
        for step_bytes in STEPS_BYTES {
            loop {
                match filler.write(&vec![0xf1; step_bytes]) {
                    Ok(written) if written == step_bytes => {}
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Gives back so many bytes of what [`fill`](Self::fill) took.
    pub fn give_back(&self, bytes: u64) -> io::Result<()> {
        let filler = File::options().write(true).open(self.path.join(FILLER))?;
        let left = filler.metadata()?.len().saturating_sub(bytes);
        filler.set_len(left)
    }

    /// Ends [`fill`](Self::fill).
    pub fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(FILLER))
    }

    /// Nobody may have a file on it open for writing.
    pub fn set_read_only(&self, read_only: bool) -> io::Result<()> {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        run(Command::new("mount").args(["-o", how]).arg(&self.path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.path)) {
            eprintln!("{} stays mounted: {error}", self.path.display());
        }
    }
}

fn mount(path: &Path, bytes: u64, names: u64) -> Result<(), Missing> {
    let options = format!("size={bytes},nr_inodes={names},mode=0700");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &options, "heapline-test"]).arg(path);
    run(&mut command).map_err(|error| missing(&error.to_string()))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn missing(why: &str) -> Missing {
    Missing { part: "a small tmpfs".to_owned(), why: why.to_owned() }
}
