//! The load of the story: real curl processes that upload one file at a fixed rate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::deadline;
use crate::part::{self, Missing};
use crate::service::TOKEN;

/// The most curl processes at once for one service. When they are all busy a turn is skipped, and counted.
const MAX_CURLS: usize = 16;
/// How long one upload may take.
const UPLOAD_LIMIT_SECONDS: &str = "30";
/// The forms of the story.
pub const FORM_BYTES: usize = 1_300_000;

/// The program.
#[derive(Debug, Clone)]
pub struct Curl(PathBuf);

impl Curl {
    pub fn find() -> Result<Self, Missing> {
        part::program("curl").map(Self)
    }

    fn upload(&self, target: SocketAddr, file: &Path) -> io::Result<Child> {
        let mut curl = Command::new(&self.0);
        curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", UPLOAD_LIMIT_SECONDS]);
        curl.arg("--form").arg(format!("file=@{}", file.display()));
        curl.arg("--header").arg(format!("Authorization: Bearer {TOKEN}"));
        curl.arg(format!("http://{target}/upload")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        curl.spawn()
    }
}

/// A load that runs until it is dropped or stopped.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stored: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

impl Load {
    /// Uploads `file` to `target` every `every`.
    pub fn start(curl: &Curl, target: SocketAddr, file: &Path, every: Duration) -> io::Result<Self> {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let thread = thread::Builder::new().name("load".to_owned()).spawn({
            let (curl, file, counts, stop) = (curl.clone(), file.to_owned(), Arc::clone(&counts), Arc::clone(&stop));
            move || keep_uploading(&curl, target, &file, every, &counts, &stop)
        })?;
        Ok(Self { counts, stop, thread: Some(thread) })
    }

    /// Uploads that were answered with success.
    pub fn stored(&self) -> u64 {
        self.counts.stored.load(Ordering::Relaxed)
    }

    /// Uploads that failed, or were not tried because too many were under way.
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed) + self.counts.skipped.load(Ordering::Relaxed)
    }

    /// Ends the load and waits for the uploads under way.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes a file of [`FORM_BYTES`] that does not compress and is the same in each run.
pub fn write_form_file(path: &Path) -> io::Result<()> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let content: Vec<u8> = (0..FORM_BYTES)
        .map(|_| {
            // xorshift64, Marsaglia 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    fs::write(path, content)
}

fn keep_uploading(curl: &Curl, target: SocketAddr, file: &Path, every: Duration, counts: &Counts, stop: &AtomicBool) {
    let mut curls: Vec<Child> = Vec::new();
    let mut next = Instant::now();
    while deadline::pace(next, || stop.load(Ordering::Relaxed)) {
        next += every;
        reap(&mut curls, counts);
        if curls.len() >= MAX_CURLS {
            counts.skipped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match curl.upload(target, file) {
            Ok(child) => curls.push(child),
            Err(_) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    // Each ends by its own time limit.
    for mut child in curls {
        count(counts, child.wait().is_ok_and(|status| status.success()));
    }
}

fn reap(curls: &mut Vec<Child>, counts: &Counts) {
    curls.retain_mut(|child| match child.try_wait() {
        Ok(None) => true,
        Ok(Some(status)) => {
            count(counts, status.success());
            false
        }
        Err(_) => {
            count(counts, false);
            false
        }
    });
}

fn count(counts: &Counts, stored: bool) {
    let counter = if stored { &counts.stored } else { &counts.failed };
    counter.fetch_add(1, Ordering::Relaxed);
}
