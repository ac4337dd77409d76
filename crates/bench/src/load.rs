//! A closed loop of uploads over keep-alive connections: blocking sockets, a thread a connection, one shared body.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

const BOUNDARY: &str = "----heapline-bench-7f3a9c51d2e84b60";
/// An answer's head and body must fit in this.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// No answer within this time is an error of the run.
const ANSWER_SECONDS_MAX: u64 = 60;

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
    /// Keep-alive connections, a thread each
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Bytes of each file
    #[arg(long, default_value_t = 1_363_149)]
    pub bytes: usize,
    /// Files to send in all
    #[arg(long, default_value_t = 2_000)]
    pub uploads: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// `POST /upload`, multipart/form-data
    Multipart,
    /// `PUT /files/<name>`, the bytes alone
    Put,
}

/// What a run took.
pub(crate) struct Outcome {
    pub uploads: u64,
    pub file_bytes: u64,
    pub elapsed: Duration,
    /// Every upload's time, sorted.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        (self.uploads * self.file_bytes) as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} uploads in {:.2} s, {:.0} MB/s, {:.0} uploads/s, p50 {:.1} ms, p99 {:.1} ms",
            self.uploads,
            self.elapsed.as_secs_f64(),
            self.megabytes_per_second(),
            self.uploads as f64 / self.elapsed.as_secs_f64(),
            self.quantile(0.5).as_secs_f64() * 1e3,
            self.quantile(0.99).as_secs_f64() * 1e3,
        )
    }
}

/// Sends all uploads and waits for every answer; any answer but 201 fails the run.
pub(crate) fn run(options: &Options) -> io::Result<Outcome> {
    let request = Arc::new(Request::new(options));
    let left = Arc::new(AtomicU64::new(options.uploads));
    let started = Instant::now();
    let workers: Vec<_> = (0..options.connections)
        .map(|_| {
            let (request, left, to) = (Arc::clone(&request), Arc::clone(&left), options.to);
            thread::spawn(move || upload_until_done(to, &request, &left))
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        let worker = worker.join().map_err(|_| io::Error::other("a connection's thread panicked"))?;
        latencies.extend(worker?);
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    Ok(Outcome { uploads: options.uploads, file_bytes: options.bytes as u64, elapsed, latencies })
}

fn upload_until_done(to: SocketAddr, request: &Request, left: &AtomicU64) -> io::Result<Vec<Duration>> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut latencies = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
        let sent = Instant::now();
        request.write_to(&mut connection)?;
        read_created(&mut connection, &mut answer)?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

struct Request {
    head: Vec<u8>,
    file: Vec<u8>,
    tail: Vec<u8>,
}

impl Request {
    fn new(options: &Options) -> Self {
        // Bytes that hold no boundary and do not compress.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let file: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .flatten()
        .take(options.bytes)
        .collect();
        let (line, content_type, opening, tail) = match options.form {
            Form::Put => ("PUT /files/bench.bin", "application/octet-stream".to_owned(), String::new(), String::new()),
            Form::Multipart => (
                "POST /upload",
                format!("multipart/form-data; boundary={BOUNDARY}"),
                format!(
                    "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"bench.bin\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                ),
                format!("\r\n--{BOUNDARY}--\r\n"),
            ),
        };
        let length = opening.len() + file.len() + tail.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n{opening}",
            options.to, options.token
        );
        Self { head: head.into_bytes(), file, tail: tail.into_bytes() }
    }

    fn write_to(&self, connection: &mut TcpStream) -> io::Result<()> {
        let mut slices = [IoSlice::new(&self.head), IoSlice::new(&self.file), IoSlice::new(&self.tail)];
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = connection.write_vectored(slices)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }
}

fn read_created(connection: &mut TcpStream, answer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let read = connection.read(&mut answer[filled..])?;
        if read == 0 {
            return Err(io::Error::other("the connection ended, or the answer is too long"));
        }
        filled += read;
        let Some(head) = answer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..head]);
        if !text.starts_with("HTTP/1.1 201") {
            return Err(io::Error::other(format!("answered {}", text.lines().next().unwrap_or_default())));
        }
        let length: usize = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .ok_or_else(|| io::Error::other("an answer without Content-Length"))?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}
