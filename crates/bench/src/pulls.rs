//! Somebody who asks a server's admin port at an interval while it has its load, as Prometheus and profilers do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Histogram;

/// What was asked for, and how long each answer took, connection included.
pub(crate) struct Pulled {
    pub target: &'static str,
    pub times: Histogram,
}

/// Asks for its targets in turn. The interval goes on over pauses: what counts is time under load.
pub(crate) struct Puller {
    admin: SocketAddr,
    pub pulled: Vec<Pulled>,
    every: Duration,
    left: Duration,
    next: usize,
}

impl Puller {
    pub(crate) fn new(admin: SocketAddr, targets: &[&'static str], every: Duration) -> Self {
        let pulled = targets.iter().map(|&target| Pulled { target, times: Histogram::new() }).collect();
        Self { admin, pulled, every, left: every / 2, next: 0 }
    }

    /// Asks once for each target, and counts it not: the first profile finds names.
    pub(crate) fn warm_up(&self) -> io::Result<()> {
        self.pulled.iter().try_for_each(|pulled| get(self.admin, pulled.target))
    }

    /// Does some work and asks meanwhile.
    pub(crate) fn beside<T>(&mut self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (end, ended) = mpsc::channel();
        thread::scope(|scope| {
            let pulling = scope.spawn(|| self.until(ended));
            let outcome = work();
            drop(end);
            pulling.join().map_err(|_| io::Error::other("the thread that asks panicked"))??;
            outcome
        })
    }

    fn until(&mut self, ended: Receiver<()>) -> io::Result<()> {
        let mut began = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(self.left) {
            began = Instant::now();
            let turn = self.next % self.pulled.len();
            get(self.admin, self.pulled[turn].target)?;
            self.pulled[turn].times.record(began.elapsed());
            self.next += 1;
            self.left = self.every.saturating_sub(began.elapsed());
            began = Instant::now();
        }
        self.left = self.left.saturating_sub(began.elapsed());
        Ok(())
    }
}

fn get(admin: SocketAddr, target: &str) -> io::Result<()> {
    let mut connection = TcpStream::connect(admin)?;
    write!(connection, "GET {target} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(io::Error::other(format!("{target} was not answered with 200")))
}
