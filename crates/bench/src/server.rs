//! A server under test: started, measured through /proc, ended.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The token that the upload server is started with.
pub(crate) const TOKEN: &str = "bench-token";

pub(crate) struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// The floor: this program's own `floor` command.
    pub(crate) fn floor(dir: &Path, sync: bool) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor").arg("--dir").arg(dir);
        if sync {
            command.arg("--sync");
        }
        Self::spawn(command, |line| line.parse().ok())
    }

    /// The upload server beside this program, on free ports.
    pub(crate) fn upload(dir: &Path, durability: &str, digest: &str) -> io::Result<Self> {
        let mut command = Command::new(beside("heapline-upload")?);
        command
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--durability", durability, "--digest", digest])
            .arg("--store")
            .arg(dir)
            .env("HEAPLINE_TOKEN", TOKEN);
        Self::spawn(command, |line| {
            let (_, rest) = line.split_once(" on http://")?;
            rest.split(',').next()?.parse().ok()
        })
    }

    /// CPU seconds, user and system, since the start.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok());
        let total = ticks.next().unwrap_or(0) + ticks.next().unwrap_or(0);
        Ok(total as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in MB: the highest so far, and now.
    pub(crate) fn rss_megabytes(&self) -> io::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0 / 1e6
        };
        Ok((field("VmHWM:"), field("VmRSS:")))
    }

    fn spawn(mut command: Command, address: impl Fn(&str) -> Option<SocketAddr>) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next().transpose()? {
            if let Some(address) = address(&line) {
                // Keep reading, so that the server never blocks on a full pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, address });
            }
        }
        let status = child.wait()?;
        Err(io::Error::other(format!("{command:?} ended before it listened: {status}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(io::Error::other(format!("{} is not built: make bench builds it", path.display())))
}
