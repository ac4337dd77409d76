//! A host, asked every other second.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::Host;
use crate::process::{self, LaunchError, Process};
use crate::{binary, deadline, exposition, http, port};

const START_LIMIT: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The same question once more, of what has lived for half a minute.
const ASK_BY_AGE: &str = "/culprits?min_age=30s";

/// What was told of a host.
#[derive(Debug)]
pub struct Outcome {
    pub host: Host,
    /// When a culprit was named first, after the leak's begin.
    pub told_after: Option<Duration>,
    /// When the last of its culprits was.
    pub all_told_after: Option<Duration>,
    /// What was named first then, with file and line.
    pub named: String,
    /// Names at the first place that are none of its culprits, each once.
    pub wrong: Vec<String>,
    /// Names at other places that are none of its culprits, each once.
    pub besides: Vec<String>,
    /// Growth told by growth leaked over the same window: when it was told first, and at the end.
    pub growth_ratios: Option<(f64, f64)>,
    /// The same of bytes a second.
    pub rate_ratios: Option<(f64, f64)>,
    /// How often it was asked, and was told `ok`.
    pub asked: usize,
    pub told: usize,
    /// The last answer.
    pub last: Value,
    /// Whether one of its culprits was first among what had lived for a while, when all had been told.
    pub is_named_by_age: Option<bool>,
}

impl Outcome {
    fn new(host: Host) -> Self {
        Self {
            host,
            told_after: None,
            all_told_after: None,
            named: String::new(),
            wrong: Vec::new(),
            besides: Vec::new(),
            growth_ratios: None,
            rate_ratios: None,
            asked: 0,
            told: 0,
            last: Value::Null,
            is_named_by_age: None,
        }
    }

    /// What is not as it should be; empty when all is.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.naming_faults();
        let off = self.growth_error().filter(|error| *error > super::GROWTH_TOLERANCE);
        faults.extend(off.map(|error| format!("growth is {:.0}% off", error * 100.0)));
        faults
    }

    /// The same of names alone.
    pub fn naming_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.wrong.is_empty() {
            faults.push(format!("names {}", self.wrong.join(", ")));
        }
        if self.asked == 0 {
            faults.push("gives no answer".to_owned());
        }
        if !self.host.culprits.is_empty() && self.all_told_after.is_none() {
            faults.push("does not name all that leaks".to_owned());
        }
        faults
    }

    fn hear_of_age(&mut self, answer: &Value) {
        let first = &answer["culprits"][0];
        let text = |key: &str| first[key].as_str().unwrap_or_default();
        self.is_named_by_age = Some(self.host.is_culprit(text("function"), text("file")));
    }

    /// The largest of the errors of growth and rate, at first and at the end, as a share of the truth; `None` where that
    /// cannot be told, or nothing was.
    pub fn growth_error(&self) -> Option<f64> {
        let ratios = [self.growth_ratios, self.rate_ratios].into_iter().flatten().filter(|_| self.host.has_growth);
        let errors = ratios.flat_map(|(first, last)| [first, last]).map(|ratio| (ratio - 1.0).abs());
        errors.max_by(f64::total_cmp)
    }

    fn hear(&mut self, answer: &Value, seconds: f64, leaked_bytes: impl Fn(f64) -> f64) {
        self.asked += 1;
        self.last = answer.clone();
        let culprits = answer["culprits"].as_array().map(Vec::as_slice).unwrap_or_default();
        if culprits.is_empty() {
            return;
        }
        self.told += 1;
        let text = |culprit: &Value, key: &str| culprit[key].as_str().unwrap_or_default().to_owned();
        let (mut found, mut growth_bytes, mut rate) = (0, 0.0, 0.0);
        for (place, culprit) in culprits.iter().enumerate() {
            let (function, file) = (text(culprit, "function"), text(culprit, "file"));
            let source = file.rsplit('/').next().unwrap_or_default();
            let named = format!("`{function}` {source}:{}", culprit["line"]);
            if self.host.is_culprit(&function, &file) && culprit["line"].as_u64() > Some(0) {
                found += 1;
                growth_bytes += culprit["growth_bytes"].as_f64().unwrap_or(0.0);
                rate += culprit["growth_bytes_per_second"].as_f64().unwrap_or(0.0);
            } else {
                let list = if place == 0 { &mut self.wrong } else { &mut self.besides };
                if !list.contains(&named) {
                    list.push(named.clone());
                }
            }
            if place == 0 && self.named.is_empty() {
                self.named = named;
            }
        }
        let after = Duration::from_secs_f64((seconds - self.host.onset_seconds).max(0.0));
        self.told_after.get_or_insert(after);
        if found < self.host.culprits.len() {
            return;
        }
        self.all_told_after.get_or_insert(after);
        let window_seconds = answer["window_seconds"].as_f64().unwrap_or(0.0);
        let true_bytes = leaked_bytes(seconds) - leaked_bytes(seconds - window_seconds);
        let keep = |ratios: &mut Option<(f64, f64)>, ratio: f64| {
            ratios.get_or_insert((ratio, ratio)).1 = ratio;
        };
        keep(&mut self.growth_ratios, growth_bytes / true_bytes.max(1.0));
        keep(&mut self.rate_ratios, rate / self.host.bytes_per_second / self.host.culprits.len() as f64);
    }
}

/// Runs a host for `limit` after its leak's begin and asks what grows; `until_told`: ends as soon as all is told.
///
/// # Errors
///
/// It does not start, or ends.
pub fn observe(host: &Host, limit: Duration, until_told: bool) -> Result<Outcome, LaunchError> {
    let preparing = |source| LaunchError::Prepare { name: host.name.to_owned(), source };
    let program = binary::path(host.binary).map_err(preparing)?;
    let directory = TempDir::with_prefix("hosts-").map_err(preparing)?;
    let (mut process, admin) = process::retried(|| {
        let admin = port::free().map_err(preparing)?;
        let mut command = Command::new(&program);
        command.arg(host.name).env("HEAPLINE_ADMIN", admin.to_string());
        command.env("HEAPLINE_STATE", directory.path().join("state"));
        let mut process = Process::spawn(host.name, command, &directory.path().join("log"))?;
        process.wait_ready(START_LIMIT, |_| http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200))?;
        Ok((process, admin))
    })?;
    let begun = Instant::now();
    let limit = limit + Duration::from_secs_f64(host.onset_seconds);
    let mut outcome = Outcome::new(*host);
    let mut leaked: Vec<(f64, f64)> = vec![(0.0, 0.0)];
    let mut next = begun;
    while deadline::pace(next, || false) && begun.elapsed() < limit {
        next += ASK_EVERY;
        if let Some(status) = process.ended() {
            let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            return Err(LaunchError::Ended { name: host.name.to_owned(), status, log });
        }
        // A machine that is busy answers late: what counts is when it was asked.
        let Some((answer, bytes)) = ask(admin) else { continue };
        let seconds = begun.elapsed().as_secs_f64();
        leaked.push((seconds, bytes));
        outcome.hear(&answer, seconds, |at| at_time(&leaked, at));
        if outcome.all_told_after.is_some()
            && outcome.is_named_by_age.is_none()
            && let Ok(Ok(answer)) = http::get(admin, ASK_BY_AGE).map(|answer| answer.json())
        {
            outcome.hear_of_age(&answer);
        }
        if until_told && outcome.all_told_after.is_some() {
            break;
        }
    }
    process.kill();
    Ok(outcome)
}

fn ask(admin: SocketAddr) -> Option<(Value, f64)> {
    let answer = http::get(admin, "/culprits").ok().filter(|answer| answer.status == 200)?.json().ok()?;
    let metrics = http::get(admin, "/metrics").ok()?.text();
    Some((answer, exposition::value(&metrics, "host_leaked_bytes_total").unwrap_or(0.0)))
}

/// Between the two looks around it.
fn at_time(leaked: &[(f64, f64)], seconds: f64) -> f64 {
    let after = leaked.partition_point(|(at, _)| *at <= seconds);
    let (Some(before), Some(next)) = (leaked.get(after.saturating_sub(1)), leaked.get(after)) else {
        return leaked.last().map_or(0.0, |(_, bytes)| *bytes);
    };
    let share = if next.0 > before.0 { ((seconds - before.0) / (next.0 - before.0)).clamp(0.0, 1.0) } else { 0.0 };
    before.1 + share * (next.1 - before.1)
}
