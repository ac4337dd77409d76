//! The services under watch: `heapline-upload` and the leaky one, each a process of its own with the agent inside.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::process::{self, LaunchError, Process};
use crate::{binary, http, port};

/// The token of every service started here.
pub const TOKEN: &str = "a-token-for-tests-only";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A service with its files in a temporary directory. It ends with TERM when dropped.
#[derive(Debug)]
pub struct Service {
    // Ends before its files go.
    process: Option<Process>,
    name: &'static str,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    cgroup: Option<Arc<Cgroup>>,
    listen: SocketAddr,
    admin: SocketAddr,
    store: PathBuf,
    directory: TempDir,
}

/// How to start a service otherwise than by default.
#[derive(Debug, Default, Clone, Copy)]
pub struct Setup<'a> {
    pub arguments: &'a [&'a str],
    pub environment: &'a [(&'a str, &'a str)],
    /// Where `heapline-upload` keeps its files (default: in the service's own temporary directory).
    pub store: Option<&'a Path>,
    /// Where the process is put.
    pub cgroup: Option<&'a Arc<Cgroup>>,
}

impl Service {
    /// `heapline-upload` with further arguments.
    pub fn upload(arguments: &[&str]) -> Result<Self, LaunchError> {
        Self::upload_with(Setup { arguments, ..Setup::default() })
    }

    /// `heapline-upload` as `setup` has it.
    pub fn upload_with(setup: Setup<'_>) -> Result<Self, LaunchError> {
        Self::start("heapline-upload", setup, |service| {
            let store = service.store().to_string_lossy().into_owned();
            let admin = service.admin.to_string();
            vec!["--store".to_owned(), store, "--admin".to_owned(), admin]
        })
    }

    /// `heapline-upload` with its files in a bucket, further arguments, and variables. [`store`](Self::store) is its
    /// spool directory.
    pub fn upload_to_bucket(
        bucket: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, LaunchError> {
        Self::start("heapline-upload", Setup { arguments, environment, ..Setup::default() }, |service| {
            let spool = service.store().to_string_lossy().into_owned();
            let admin = service.admin.to_string();
            let bucket = bucket.to_owned();
            vec!["--store".to_owned(), bucket, "--spool-dir".to_owned(), spool, "--admin".to_owned(), admin]
        })
    }

    /// The leaky service with arguments, and variables for the agent in it.
    pub fn leaky(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self, LaunchError> {
        Self::start("leaky", Setup { arguments, environment, ..Setup::default() }, |_| Vec::new())
    }

    /// The same in a cgroup.
    pub fn leaky_within(
        cgroup: &Arc<Cgroup>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, LaunchError> {
        Self::start("leaky", Setup { arguments, environment, cgroup: Some(cgroup), ..Setup::default() }, |_| Vec::new())
    }

    fn start(
        name: &'static str,
        setup: Setup<'_>,
        own_arguments: impl Fn(&Self) -> Vec<String>,
    ) -> Result<Self, LaunchError> {
        let preparing = |source: io::Error| LaunchError::Prepare { name: name.to_owned(), source };
        let binary = binary::path(name).map_err(preparing)?;
        process::retried(|| {
            let directory = TempDir::with_prefix(format!("{name}-")).map_err(preparing)?;
            let (listen, admin) = (port::free().map_err(preparing)?, port::free().map_err(preparing)?);
            let mut service = Self {
                process: None,
                name,
                binary: binary.clone(),
                arguments: setup.arguments.iter().map(ToString::to_string).collect(),
                environment: setup
                    .environment
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
                cgroup: setup.cgroup.cloned(),
                listen,
                admin,
                store: setup.store.map_or_else(|| directory.path().join("store"), Path::to_owned),
                directory,
            };
            service.arguments.extend(own_arguments(&service));
            service.start_again()?;
            Ok(service)
        })
    }

    /// Starts with the addresses, the arguments and the files of before.
    pub fn start_again(&mut self) -> Result<(), LaunchError> {
        let cgroup = self.cgroup.as_ref();
        let mut command = cgroup.map_or_else(|| Command::new(&self.binary), |cgroup| cgroup.command(&self.binary));
        command.arg("--listen").arg(self.listen.to_string()).args(&self.arguments);
        command.env("HEAPLINE_ADMIN", self.admin.to_string()).env("HEAPLINE_TOKEN", TOKEN);
        command.env("HEAPLINE_STATE", self.directory.path().join("state")).env("TMPDIR", self.directory.path());
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        let mut process = Process::spawn(self.name, command, &self.directory.path().join("log"))?;
        let (listen, admin) = (self.listen, self.admin);
        process.wait_ready(START_LIMIT, |_| {
            let admin = http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200);
            admin && TcpStream::connect(listen).is_ok()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends with TERM; its files stay.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|mut process| process.stop())
    }

    /// Ends with KILL; its files stay.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|mut process| process.kill())
    }

    /// Ends with KILL, and takes its files along: a machine that is lost.
    pub fn lose(&mut self) -> io::Result<()> {
        self.kill();
        fs::remove_dir_all(self.store())
    }

    /// How it ended, when it has ended by itself or by somebody else.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::ended)
    }

    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// The process id; of a stopped service, an error.
    pub fn id(&self) -> io::Result<u32> {
        let gone = || io::Error::other(format!("{} is not running", self.name));
        self.process.as_ref().map(Process::id).ok_or_else(gone)
    }

    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where `heapline-upload` keeps its files.
    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// Everything that this run of the process has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// `PUT /files/<name>`.
    pub fn put(&self, name: &str, content: &[u8]) -> io::Result<http::Response> {
        self.ask("PUT", &format!("/files/{name}"), content)
    }

    /// A request with the token.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<http::Response> {
        http::request(self.listen, method, path, &[("Authorization", &format!("Bearer {TOKEN}"))], body)
    }

    /// `POST /upload` of one file.
    pub fn post(&self, name: &str, content: &[u8]) -> io::Result<http::Response> {
        http::post_file(self.listen, "/upload", TOKEN, name, content)
    }

    /// `GET /memory` of the agent.
    pub fn memory(&self) -> io::Result<Value> {
        http::get(self.admin, "/memory")?.json()
    }

    /// The resident set as the kernel has it.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        process::resident_bytes(self.id()?)
    }

    /// The URL of a path on the admin port.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }
}
