//! A memory cgroup (v1) of one's own, where the machine allows one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::part::Missing;

const HIERARCHY: &str = "/sys/fs/cgroup/memory";

/// A cgroup below this process's; it is removed when dropped, if it is empty by then.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// With a limit in bytes.
    pub fn make(name: &str, limit_bytes: u64) -> Result<Self, Missing> {
        let made = own().and_then(|own| {
            let directory = own.join(format!("{name}-{}", std::process::id()));
            fs::create_dir(&directory)?;
            let made = Self { directory };
            made.limit(limit_bytes)?;
            Ok(made)
        });
        made.map_err(|error| Missing { part: "a memory cgroup (v1)".to_owned(), why: error.to_string() })
    }

    /// A new limit, in bytes.
    pub fn limit(&self, bytes: u64) -> io::Result<()> {
        fs::write(self.directory.join("memory.limit_in_bytes"), bytes.to_string())
    }

    /// Bytes charged to it now, the page cache included.
    pub fn usage_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(self.directory.join("memory.usage_in_bytes"))?;
        text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// A command that runs `program` in it from its first instruction.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        let procs = self.directory.join("cgroup.procs");
        command.args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"]).arg(procs).arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // One that still has a process stays.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// The memory cgroup of this process.
fn own() -> io::Result<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let path = cgroups.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path.to_owned());
    let path = path.ok_or_else(|| io::Error::other("no memory controller of version 1"))?;
    let directory = Path::new(HIERARCHY).join(path.trim_start_matches('/'));
    // In a container the hierarchy shows only what is below its own cgroup.
    Ok(if directory.is_dir() { directory } else { HIERARCHY.into() })
}
