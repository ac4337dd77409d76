//! Uploads over blocking sockets, a thread a connection: in a closed loop, each connection sending when it was answered,
//! or in an open one, at a fixed rate of arrivals, where a late answer delays no clock: latency is from the moment at
//! which an upload was due.

mod histogram;
mod request;
mod s3;

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

pub(crate) use histogram::Histogram;
pub(crate) use request::{Form, Request};
pub(crate) use s3::{ACCESS_KEY, REGION};

/// An answer's head and body must fit in this.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// No answer within this time is an error of the run.
const ANSWER_SECONDS_MAX: u64 = 120;
/// A slow client sends pieces of this size.
const SLOW_PIECE_BYTES: u64 = 4 * 1024;
/// A thousand threads need little each.
const STACK_BYTES: usize = 256 * 1024;

#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Address of the server
    #[arg(long)]
    pub to: SocketAddr,
    /// Bearer token
    #[arg(long, env = "HEAPLINE_TOKEN", default_value = "")]
    pub token: String,
    /// How a file is sent
    #[arg(long, value_enum, default_value_t = Form::Multipart)]
    pub form: Form,
    /// Connections, a thread each
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Bytes of each file
    #[arg(long, default_value_t = 1_363_149)]
    pub bytes: u64,
    /// Files to send in all
    #[arg(long, default_value_t = 2_000)]
    pub uploads: u64,
    /// Number of the first, which is part of its name: a second run beside the first overwrites nothing
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Arrivals a second, however late the answers are; without it, a connection sends when it was answered
    #[arg(long)]
    pub rate: Option<f64>,
    /// A new connection for every upload
    #[arg(long)]
    pub close: bool,
    /// Bytes a second and connection that a slow client sends
    #[arg(long)]
    pub slow: Option<u64>,
}

/// What a run took.
pub(crate) struct Outcome {
    pub uploads: u64,
    pub file_bytes: u64,
    pub elapsed: Duration,
    pub latencies: Histogram,
}

impl Outcome {
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        (self.uploads * self.file_bytes) as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn uploads_per_second(&self) -> f64 {
        self.uploads as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        self.latencies.quantile(share).as_secs_f64() * 1e3
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} uploads in {:.2} s, {:.0} MB/s, {:.0} uploads/s, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
            self.uploads,
            self.elapsed.as_secs_f64(),
            self.megabytes_per_second(),
            self.uploads_per_second(),
            self.quantile_ms(0.5),
            self.quantile_ms(0.99),
            self.quantile_ms(0.999),
        )
    }
}

/// Sends all uploads and waits for every answer; any answer but 201, or S3's 200, fails the run.
pub(crate) fn run(options: &Options) -> io::Result<Outcome> {
    let request = Arc::new(Request::new(options));
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let workers: Vec<_> = (0..options.connections)
        .map(|_| {
            let worker = Worker { options: options.clone(), request: Arc::clone(&request), started };
            let next = Arc::clone(&next);
            thread::Builder::new().stack_size(STACK_BYTES).spawn(move || worker.run(&next))
        })
        .collect::<io::Result<_>>()?;
    let mut latencies = Histogram::new();
    for worker in workers {
        let worker = worker.join().map_err(|_| io::Error::other("a connection's thread panicked"))?;
        latencies.add(&worker?);
    }
    let elapsed = started.elapsed();
    Ok(Outcome { uploads: options.uploads, file_bytes: options.bytes, elapsed, latencies })
}

/// A connection, with what it needs.
pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
    Ok(connection)
}

struct Worker {
    options: Options,
    request: Arc<Request>,
    started: Instant,
}

impl Worker {
    fn run(&self, next: &AtomicU64) -> io::Result<Histogram> {
        let mut latencies = Histogram::new();
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let mut kept = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.uploads {
                return Ok(latencies);
            }
            let due = self.wait_until_due(number);
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => connect(self.options.to)?,
            };
            let piece_bytes = if self.options.slow.is_some() { SLOW_PIECE_BYTES } else { u64::MAX };
            self.request
                .write_to(&mut connection, self.options.first + number, piece_bytes, |sent| self.dawdle(sent))?;
            read_created(&mut connection, &mut answer)?;
            latencies.record(due.elapsed());
            kept = (!self.options.close).then_some(connection);
        }
    }

    /// In an open loop, the moment at which the upload of this number arrives.
    fn wait_until_due(&self, number: u64) -> Instant {
        let Some(rate) = self.options.rate else { return Instant::now() };
        let due = self.started + Duration::from_secs_f64(number as f64 / rate);
        sleep(due.saturating_duration_since(Instant::now()));
        due
    }

    fn dawdle(&self, sent_bytes: u64) {
        if let Some(bytes_per_second) = self.options.slow {
            sleep(Duration::from_secs_f64(sent_bytes as f64 / bytes_per_second.max(1) as f64));
        }
    }
}

/// Reads an answer to its end, which must be a 201 or a 200.
pub(crate) fn read_created(connection: &mut TcpStream, answer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let read = connection.read(&mut answer[filled..])?;
        if read == 0 {
            return Err(io::Error::other("the connection ended, or the answer is too long"));
        }
        filled += read;
        let Some(head) = answer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..head]);
        if !["HTTP/1.1 201", "HTTP/1.1 200"].iter().any(|status| text.starts_with(status)) {
            return Err(io::Error::other(format!("answered {}", text.lines().next().unwrap_or_default())));
        }
        let field = |name: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
        let whole = match length {
            Some(length) => filled >= head + 4 + length,
            None => answer[..filled].ends_with(b"0\r\n\r\n"),
        };
        if whole {
            return Ok(());
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a rate is a matter of time")]
pub(crate) fn sleep(time: Duration) {
    thread::sleep(time);
}
