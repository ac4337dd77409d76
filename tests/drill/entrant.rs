//! One service of the drill: how it is started, loaded and read.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use heapline_tests::gopprof::GoPprof;
use heapline_tests::load::{Curl, Load};
use heapline_tests::process::LaunchError;
use heapline_tests::prometheus::Target;
use heapline_tests::service::Service;
use heapline_tests::watch::Watch;
use serde_json::Value;

/// The memory limit of each service: what a slope is measured against.
const LIMIT: &str = "2GiB";

/// Makes pprof count a stack's bytes for the innermost frame of the leaky service itself.
const OWN_FRAMES_ONLY: &str = "-show=^leaky::";

/// A service under load.
#[derive(Debug)]
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    // Ends before the service that it loads.
    load: Option<Load>,
    service: Service,
    start_bytes: u64,
}

/// What was measured of one service.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) stored: u64,
    pub(crate) failed: u64,
    pub(crate) start_bytes: u64,
    pub(crate) end_bytes: u64,
    /// Absent while the agent has too little data.
    pub(crate) slope: Option<Slope>,
    pub(crate) degrees: Option<f64>,
    pub(crate) verdict: String,
    pub(crate) seconds_to_limit: Option<f64>,
    pub(crate) firing: Vec<String>,
    pub(crate) delivered_after: Option<Duration>,
    /// The function that holds most, of a service that climbs.
    pub(crate) culprit: Option<String>,
}

/// Bytes a second with their interval, over the shortest window that the agent tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slope {
    pub(crate) bytes_per_second: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Outcome {
    pub(crate) fn climbs(&self) -> bool {
        self.verdict.starts_with("climbing")
    }
}

/// The four services, in the order of the story.
pub(crate) fn start_all(kafka: &str) -> Result<Vec<Entrant>, LaunchError> {
    let leaky = |name, arguments: &[&str]| {
        let arguments = [arguments, &["--kafka", kafka]].concat();
        Entrant::new(name, Service::leaky(&arguments, &[("HEAPLINE_MEMORY_LIMIT", LIMIT)])?)
    };
    Ok(vec![
        leaky("as it is", &["--threshold-mb", "32", "--producer", "per-request"])?,
        leaky("threshold 0", &["--threshold-mb", "0", "--producer", "per-request"])?,
        leaky("threshold 0, shared producer", &["--threshold-mb", "0", "--producer", "shared"])?,
        Entrant::new("heapline-upload", Service::upload(&["--kafka", kafka, "--memory-limit", LIMIT])?)?,
    ])
}

impl Entrant {
    fn new(name: &'static str, service: Service) -> Result<Self, LaunchError> {
        Ok(Self { name, load: None, service, start_bytes: 0 })
    }

    pub(crate) fn target(&self) -> Target {
        Target { service: self.name.to_owned(), admin: self.service.admin() }
    }

    pub(crate) fn load(&mut self, curl: &Curl, form: &Path, every: Duration) -> io::Result<()> {
        self.start_bytes = self.service.resident_bytes()?;
        self.load = Some(Load::start(curl, self.service.listen(), form, every)?);
        Ok(())
    }

    /// One line's worth, for people who wait.
    pub(crate) fn progress(&self) -> String {
        let resident = self.service.resident_bytes().map_or(0, |bytes| bytes >> 20);
        let memory = self.service.memory().unwrap_or_default();
        format!("{}: {resident} MiB, {}", self.name, memory["verdict"].as_str().unwrap_or("no answer"))
    }

    /// Everything measured, while the load is still on; then the load ends.
    pub(crate) fn outcome(
        &mut self,
        watch: &Watch,
        begin: Instant,
        pprof: Option<&GoPprof>,
    ) -> Result<Outcome, Box<dyn Error>> {
        let memory = self.service.memory()?;
        let mut outcome = Outcome {
            name: self.name,
            stored: 0,
            failed: 0,
            start_bytes: self.start_bytes,
            end_bytes: self.service.resident_bytes()?,
            slope: slope(&memory),
            degrees: memory["trajectory_degrees"].as_f64(),
            verdict: memory["verdict"].as_str().unwrap_or_default().to_owned(),
            seconds_to_limit: memory["time_to_limit_seconds"].as_f64(),
            firing: watch.firing(self.name)?,
            delivered_after: watch.first_delivery(self.name).map(|at| at.duration_since(begin)),
            culprit: None,
        };
        if outcome.climbs()
            && let Some(pprof) = pprof
        {
            outcome.culprit = Some(culprit(pprof, &self.service.admin_url("/debug/pprof/heap"))?);
        }
        if let Some(load) = &mut self.load {
            load.stop();
            (outcome.stored, outcome.failed) = (load.stored(), load.failed());
        }
        Ok(outcome)
    }
}

/// The function that holds most; of a C library's, with the service's own function that called it.
fn culprit(pprof: &GoPprof, url: &str) -> io::Result<String> {
    let first = |options: &[&str]| {
        let rows = pprof.top(options, url)?;
        io::Result::Ok(rows.into_iter().next().map(|row| row.function).unwrap_or_default())
    };
    let (function, own) = (first(&[])?, first(&[OWN_FRAMES_ONLY])?);
    Ok(if function == own || own.is_empty() { function } else { format!("{own} > {function}") })
}

fn slope(memory: &Value) -> Option<Slope> {
    let slope = memory["slopes"].as_array()?.first()?;
    let number = |name: &str| slope[name].as_f64();
    Some(Slope { bytes_per_second: number("bytes_per_second")?, low: number("low")?, high: number("high")? })
}
