//! A real Prometheus on a free port, its data in a temporary directory.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::part::{self, Missing};
use crate::process::{self, LaunchError, Process};
use crate::{http, port};

const START_LIMIT: Duration = Duration::from_secs(30);

/// The programs `prometheus` and `promtool`.
#[derive(Debug, Clone)]
pub struct Installation {
    prometheus: PathBuf,
    promtool: PathBuf,
}

impl Installation {
    pub fn find() -> Result<Self, Missing> {
        Ok(Self { prometheus: part::program("prometheus")?, promtool: part::program("promtool")? })
    }

    /// `promtool check metrics` on an exposition: what it complains of, empty when it is content.
    pub fn check_metrics(&self, exposition: &[u8]) -> io::Result<String> {
        let mut promtool = Command::new(&self.promtool);
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = promtool.spawn()?;
        // It reads everything before it writes.
        child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(exposition)?;
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if said.is_empty() && !output.status.success() {
            return Err(io::Error::other(format!("promtool ended with {} and said nothing", output.status)));
        }
        Ok(said)
    }
}

/// A target to scrape, under a `service` label.
#[derive(Debug, Clone)]
pub struct Target {
    pub service: String,
    pub admin: SocketAddr,
}

/// What one Prometheus watches, and how often.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    pub targets: &'a [Target],
    pub rule_files: &'a [PathBuf],
    pub alertmanager: Option<SocketAddr>,
    pub scrape_every_seconds: u32,
    pub evaluate_every_seconds: u32,
}

/// A running server.
#[derive(Debug)]
pub struct Prometheus {
    // Ends before its data go.
    _process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    pub fn start(installation: &Installation, settings: &Settings<'_>) -> Result<Self, LaunchError> {
        process::retried(|| {
            let preparing = |source: io::Error| LaunchError::Prepare { name: "prometheus".to_owned(), source };
            let directory = TempDir::with_prefix("heapline-prometheus-").map_err(preparing)?;
            let address = port::free().map_err(preparing)?;
            let config = directory.path().join("prometheus.yml");
            fs::write(&config, configuration(settings)).map_err(preparing)?;
            let mut command = Command::new(&installation.prometheus);
            command.arg(flag("--config.file", &config));
            command.arg(flag("--storage.tsdb.path", &directory.path().join("data")));
            command.arg(format!("--web.listen-address={address}")).arg("--web.enable-lifecycle");
            let mut process = Process::spawn("prometheus", command, &directory.path().join("prometheus.log"))?;
            process
                .wait_ready(START_LIMIT, |_| http::get(address, "/-/ready").is_ok_and(|answer| answer.status == 200))?;
            Ok(Self { _process: process, address, _directory: directory })
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The result of an instant query: the `result` of Prometheus' answer, or its error's text.
    pub fn query(&self, expression: &str) -> io::Result<Value> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let mut answer = http::get(self.address, &path)?.json()?;
        if answer["status"] != "success" {
            return Err(io::Error::other(format!("{expression}: {}", answer["error"])));
        }
        Ok(answer["data"]["result"].take())
    }

    /// Alerts that are pending or firing, as `/api/v1/alerts` has them.
    pub fn alerts(&self) -> io::Result<Vec<Value>> {
        let mut answer = http::get(self.address, "/api/v1/alerts")?.json()?;
        match answer["data"]["alerts"].take() {
            Value::Array(alerts) => Ok(alerts),
            other => Err(io::Error::other(format!("alerts: {other}"))),
        }
    }
}

fn configuration(settings: &Settings<'_>) -> String {
    let (scrape, evaluate) = (settings.scrape_every_seconds, settings.evaluate_every_seconds);
    let mut text = format!("global:\n  scrape_interval: {scrape}s\n  scrape_timeout: {scrape}s\n");
    text.push_str(&format!("  evaluation_interval: {evaluate}s\nrule_files:\n"));
    for file in settings.rule_files {
        text.push_str(&format!("  - {}\n", file.display()));
    }
    if let Some(alertmanager) = settings.alertmanager {
        text.push_str("alerting:\n  alertmanagers:\n    - static_configs:\n");
        text.push_str(&format!("        - targets: ['{alertmanager}']\n"));
    }
    text.push_str("scrape_configs:\n  - job_name: heapline\n    static_configs:\n");
    for target in settings.targets {
        text.push_str(&format!("      - targets: ['{}']\n", target.admin));
        text.push_str(&format!("        labels: {{service: '{}'}}\n", target.service));
    }
    text
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
