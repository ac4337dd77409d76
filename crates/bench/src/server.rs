//! A server under test: started, measured through /proc with its children, ended.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::sleep;

/// The token that the upload server is started with.
pub(crate) const TOKEN: &str = "bench-token";

/// No server takes longer to start.
const START_TIME_MAX: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(1);

/// How to learn where it listens.
pub(crate) enum Listening {
    /// It prints a line.
    Line(fn(&str) -> Option<SocketAddr>),
    /// It was told.
    At(SocketAddr),
}

pub(crate) struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Of a server that says so in its line.
    pub admin: Option<SocketAddr>,
    pub ready_after: Duration,
}

impl Server {
    pub(crate) fn spawn(mut command: Command, listening: Listening) -> io::Result<Self> {
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let (address, admin) = match listening {
            Listening::At(address) => (Some(address), None),
            Listening::Line(read) => {
                let said = |line: String| Some((read(&line)?, admin(&line)));
                lines.by_ref().map_while(Result::ok).find_map(said).unzip()
            }
        };
        // Keep reading, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        // From here on it is ended whatever happens.
        let unknown = (Ipv4Addr::LOCALHOST, 0).into();
        let mut server = Self { child, address: unknown, admin: admin.flatten(), ready_after: Duration::ZERO };
        let Some(address) = address else {
            let status = server.child.wait()?;
            return Err(io::Error::other(format!("{command:?} ended before it listened: {status}")));
        };
        server.address = address;
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > START_TIME_MAX {
                return Err(io::Error::other(format!("{command:?} does not listen")));
            }
            sleep(START_POLL);
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    /// A port for those that cannot choose one themselves.
    pub(crate) fn free_address() -> io::Result<SocketAddr> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
    }

    /// CPU seconds, user and system, since the start.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let mut ticks = 0;
        for process in self.processes()? {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            ticks += after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in MB: the highest so far, and now.
    pub(crate) fn rss_megabytes(&self) -> io::Result<(f64, f64)> {
        let (mut peak, mut now) = (0.0, 0.0);
        for process in self.processes()? {
            let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name));
                line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0 / 1e6
            };
            peak += field("VmHWM:");
            now += field("VmRSS:");
        }
        Ok((peak, now))
    }

    fn processes(&self) -> io::Result<Vec<u32>> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        Ok(std::iter::once(id).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: nginx' master ends its workers. The others get the same chance, and no more.
        if let Some(id) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(2) && matches!(self.child.try_wait(), Ok(None)) {
            sleep(START_POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn admin(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("admin on http://")?;
    rest.split(',').next()?.parse().ok()
}

/// A program beside this one.
pub(crate) fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(io::Error::other(format!("{} is not built: make bench builds it", path.display())))
}
