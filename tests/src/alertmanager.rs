//! A real Alertmanager on a free port that sends everything to one webhook.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use tempfile::TempDir;

use crate::part::{self, Missing};
use crate::process::{self, LaunchError, Process};
use crate::{http, port};

const START_LIMIT: Duration = Duration::from_secs(30);

/// The program, which Debian calls `prometheus-alertmanager` and others `alertmanager`.
#[derive(Debug, Clone)]
pub struct Installation(PathBuf);

impl Installation {
    pub fn find() -> Result<Self, Missing> {
        part::program("prometheus-alertmanager").or_else(|_| part::program("alertmanager")).map(Self)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Alertmanager {
    // Ends before its data go.
    _process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Alertmanager {
    pub fn start(installation: &Installation, webhook_url: &str) -> Result<Self, LaunchError> {
        process::retried(|| {
            let preparing = |source: io::Error| LaunchError::Prepare { name: "alertmanager".to_owned(), source };
            let directory = TempDir::with_prefix("heapline-alertmanager-").map_err(preparing)?;
            let address = port::free().map_err(preparing)?;
            let config = directory.path().join("alertmanager.yml");
            fs::write(&config, configuration(webhook_url)).map_err(preparing)?;
            let mut command = Command::new(&installation.0);
            command.arg(format!("--config.file={}", config.display()));
            command.arg(format!("--storage.path={}", directory.path().join("data").display()));
            command.arg(format!("--web.listen-address={address}")).arg("--cluster.listen-address=");
            let mut process = Process::spawn("alertmanager", command, &directory.path().join("alertmanager.log"))?;
            process
                .wait_ready(START_LIMIT, |_| http::get(address, "/-/ready").is_ok_and(|answer| answer.status == 200))?;
            Ok(Self { _process: process, address, _directory: directory })
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Groups are by alert and service, and waits are short: a delivery's delay is then the chain's own.
fn configuration(webhook_url: &str) -> String {
    format!(
        "route:\n  receiver: webhook\n  group_by: [alertname, service]\n  group_wait: 1s\n  group_interval: 5s\n  \
         repeat_interval: 1h\nreceivers:\n  - name: webhook\n    webhook_configs:\n      - url: {webhook_url}\n        \
         send_resolved: true\n"
    )
}
