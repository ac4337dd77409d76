//! A real Apache Kafka: one KRaft node, its data in a temporary directory.

mod records;
mod security;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::part::{self, Missing};
use crate::port;
use crate::process::{self, LaunchError, Process};

pub use self::records::Record;
pub use self::security::Security;

/// How long a start may take on a busy machine (2-4 s on an idle one; 6 s after a kill).
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long the storage tool may take to format the data directory.
const FORMAT_LIMIT: Duration = Duration::from_secs(60);
/// Any valid id will do for a cluster of one.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
/// What the log says when the broker serves.
const STARTED: &str = "Kafka Server started";

/// Java and Kafka's jars.
#[derive(Debug, Clone)]
pub struct Installation {
    java: PathBuf,
    jars: PathBuf,
}

impl Installation {
    pub fn find() -> Result<Self, Missing> {
        Ok(Self { java: part::program("java")?, jars: part::installed("kafka", "kafka/lib")? })
    }

    fn java(&self, options: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.java);
        command.args(options).arg("-cp").arg(self.jars.join("*")).args(arguments);
        command
    }
}

/// A broker. Topics that are asked for come to be with six partitions.
#[derive(Debug)]
pub struct Kafka {
    // Before the directory, so that it ends before its data go.
    process: Option<Process>,
    installation: Installation,
    address: SocketAddr,
    secured: Option<SocketAddr>,
    directory: TempDir,
}

impl Kafka {
    pub fn start(installation: &Installation) -> Result<Self, LaunchError> {
        Self::start_with(installation, "")
    }

    /// With further lines of properties.
    pub fn start_with(installation: &Installation, properties: &str) -> Result<Self, LaunchError> {
        Self::start_as(installation, properties, None)
    }

    /// With a second listener that asks for something.
    pub fn start_secured(installation: &Installation, security: &Security) -> Result<Self, LaunchError> {
        Self::start_as(installation, "", Some(security))
    }

    fn start_as(
        installation: &Installation,
        properties: &str,
        security: Option<&Security>,
    ) -> Result<Self, LaunchError> {
        process::retried(|| {
            let (directory, address, secured) = prepare(installation, properties, security)?;
            let mut kafka = Self { process: None, installation: installation.clone(), address, secured, directory };
            kafka.start_again()?;
            Ok(kafka)
        })
    }

    /// `HOST:PORT`, for `bootstrap.servers`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The same of the listener that asks for something; empty where there is none.
    pub fn secured_address(&self) -> String {
        self.secured.map(|address| address.to_string()).unwrap_or_default()
    }

    /// Stops with TERM; its data stay.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|mut process| process.stop())
    }

    /// Kills with KILL; its data stay.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|mut process| process.kill())
    }

    /// Starts with the data and the address of before.
    pub fn start_again(&mut self) -> Result<(), LaunchError> {
        let options = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        let properties = self.directory.path().join("server.properties");
        let command = self.installation.java(&options, &["kafka.Kafka", &properties.to_string_lossy()]);
        let mut process = Process::spawn("kafka", command, &self.directory.path().join("kafka.log"))?;
        process.wait_ready(START_LIMIT, |log| log.contains(STARTED))?;
        self.process = Some(process);
        Ok(())
    }

    /// A hung broker: connections stay, nothing answers.
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
}

/// A formatted data directory with its properties, and the broker's address.
fn prepare(
    installation: &Installation,
    more: &str,
    security: Option<&Security>,
) -> Result<(TempDir, SocketAddr, Option<SocketAddr>), LaunchError> {
    let preparing = |source: io::Error| LaunchError::Prepare { name: "kafka".to_owned(), source };
    let directory = TempDir::with_prefix("heapline-kafka-").map_err(preparing)?;
    let (address, controller) = (port::free().map_err(preparing)?, port::free().map_err(preparing)?);
    let path = directory.path().join("server.properties");
    let mut properties = properties(address, controller, &directory.path().join("data")) + more;
    let secured = security.map(|_| port::free()).transpose().map_err(preparing)?;
    if let (Some(security), Some(secured)) = (security, secured) {
        properties += &security.properties(address, controller, secured);
    }
    fs::write(&path, properties).map_err(preparing)?;
    let arguments = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", &path.to_string_lossy()];
    let format = installation.java(&["-Xmx128m", "-XX:TieredStopAtLevel=1"], &arguments);
    let mut format = Process::spawn("kafka's storage tool", format, &directory.path().join("format.log"))?;
    match format.wait_ready(FORMAT_LIMIT, |_| false) {
        Err(LaunchError::Ended { status, .. }) if status.success() => Ok((directory, address, secured)),
        Err(error) => Err(error),
        Ok(()) => unreachable!("never ready: it ends"),
    }
}

fn properties(address: SocketAddr, controller: SocketAddr, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@{controller}\n\
         listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{address}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\n\
         num.partitions=6\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.session.timeout.ms=2000\n\
         broker.heartbeat.interval.ms=500\n\
         controlled.shutdown.max.retries=1\n\
         initial.broker.registration.timeout.ms=60000\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         background.threads=2\n\
         log.cleaner.enable=false\n",
        data.display()
    )
}
