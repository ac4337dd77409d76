//! The services under watch: `heapline-upload` and the leaky one, each a process of its own with the agent inside.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
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
    directory: TempDir,
}

impl Service {
    /// `heapline-upload` with further arguments.
    pub fn upload(arguments: &[&str]) -> Result<Self, LaunchError> {
        Self::start("heapline-upload", arguments, &[], None, |service| {
            let store = service.store().to_string_lossy().into_owned();
            let admin = service.admin.to_string();
            vec!["--store".to_owned(), store, "--admin".to_owned(), admin]
        })
    }

    /// The leaky service with arguments, and variables for the agent in it.
    pub fn leaky(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self, LaunchError> {
        Self::start("leaky", arguments, environment, None, |_| Vec::new())
    }

    /// The same in a cgroup.
    pub fn leaky_within(
        cgroup: &Arc<Cgroup>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, LaunchError> {
        Self::start("leaky", arguments, environment, Some(Arc::clone(cgroup)), |_| Vec::new())
    }

    fn start(
        name: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        cgroup: Option<Arc<Cgroup>>,
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
                arguments: arguments.iter().map(ToString::to_string).collect(),
                environment: environment.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                cgroup: cgroup.clone(),
                listen,
                admin,
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
        self.directory.path().join("store")
    }

    /// Everything that this run of the process has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
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
