//! A real S3-compatible server: versitygw over a temporary directory, where the bucket's objects are files to look at.

mod faults;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::part::{self, Missing};
use crate::port;
use crate::process::{self, LaunchError, Process};

pub use self::faults::{Fault, Faults};

pub const BUCKET: &str = "files";
pub const KEY: &str = "a-key-for-tests";
pub const SECRET: &str = "a-secret-for-tests-only";
const START_LIMIT: Duration = Duration::from_secs(30);

/// versitygw.
#[derive(Debug, Clone)]
pub struct Installation {
    program: PathBuf,
}

impl Installation {
    pub fn find() -> Result<Self, Missing> {
        Ok(Self { program: part::program("versitygw")? })
    }
}

/// A running store with one bucket.
#[derive(Debug)]
pub struct S3 {
    // Before the directory, so that it ends before its data go.
    process: Option<Process>,
    installation: Installation,
    address: SocketAddr,
    directory: TempDir,
}

impl S3 {
    pub fn start(installation: &Installation) -> Result<Self, LaunchError> {
        let preparing = |source: io::Error| LaunchError::Prepare { name: "versitygw".to_owned(), source };
        process::retried(|| {
            let directory = TempDir::with_prefix("heapline-s3-").map_err(preparing)?;
            fs::create_dir_all(directory.path().join("data").join(BUCKET)).map_err(preparing)?;
            let address = port::free().map_err(preparing)?;
            let mut s3 = Self { process: None, installation: installation.clone(), address, directory };
            s3.start_again()?;
            Ok(s3)
        })
    }

    /// Starts with the data and the address of before.
    pub fn start_again(&mut self) -> Result<(), LaunchError> {
        let mut command = Command::new(&self.installation.program);
        command.args(["--port", &self.address.to_string(), "--access", KEY, "--secret", SECRET, "--quiet", "posix"]);
        command.arg(self.directory.path().join("data"));
        let mut process = Process::spawn("versitygw", command, &self.directory.path().join("log"))?;
        let address = self.address;
        process.wait_ready(START_LIMIT, |_| TcpStream::connect(address).is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills with KILL; its data stay.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// A hung store: connections stay, nothing answers.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every object's key.
    pub fn keys(&self) -> io::Result<Vec<String>> {
        let bucket = self.bucket();
        let mut keys: Vec<String> = files_below(&bucket)?
            .iter()
            .filter_map(|path| path.strip_prefix(&bucket).ok())
            .map(|path| path.to_string_lossy().into_owned())
            .filter(|key| !key.starts_with(".sgwtmp"))
            .collect();
        keys.sort();
        Ok(keys)
    }

    pub fn object(&self, key: &str) -> io::Result<Vec<u8>> {
        fs::read(self.bucket().join(key))
    }

    /// The parts of unfinished uploads, below the store's own directory for them.
    pub fn unfinished_parts(&self) -> io::Result<Vec<String>> {
        let staged = self.bucket().join(".sgwtmp/multipart");
        let parts = files_below(&staged)?;
        Ok(parts
            .iter()
            .filter_map(|part| Some(part.strip_prefix(&staged).ok()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn bucket(&self) -> PathBuf {
        self.directory.path().join("data").join(BUCKET)
    }
}

/// What a server needs in its environment.
pub fn credentials() -> [(&'static str, &'static str); 2] {
    [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)]
}

/// Files, however deep; a directory that goes away meanwhile is none.
fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
