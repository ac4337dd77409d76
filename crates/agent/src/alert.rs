//! Alerting from inside: a message to a webhook when memory begins to climb, and when it has stopped.
//!
//! The message is Alertmanager's (webhook version 4), with a `text` beside it for chat rooms, and `heapline` with every
//! number. It is sent by the admin server's runtime: a host that is stuck still tells.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use prometheus::{IntCounterVec, Opts, core::Collector};
use tokio::task::JoinSet;

use crate::culprit::Culprit;
use crate::profile::profiler::Profiler;
use crate::state::Report;
use crate::verdict::Verdict;

mod message;
mod webhook;

pub use webhook::{ATTEMPT_TIMEOUT, PAUSES, Webhook, WebhookError};

/// Between two messages that memory climbs.
pub const SPACING: Duration = Duration::from_secs(300);
/// Messages on their way at a time.
pub const DELIVERIES_MAX: usize = 4;
/// Where no slope says how far to look back for the culprit.
const WINDOW_DEFAULT: Duration = Duration::from_secs(3_600);

/// Sends messages; dropping it gives up what is on its way.
#[derive(Debug)]
pub(crate) struct Alerts {
    webhook: Webhook,
    origin: Origin,
    outcomes: IntCounterVec,
    deliveries: JoinSet<()>,
    /// The climb that was told and has not ended.
    open: Option<Open>,
    last_firing: Option<Instant>,
}

/// Who tells.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The program.
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) admin: SocketAddr,
}

/// A verdict that changed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) from: Verdict,
    pub(crate) report: Report,
    /// The path of the profile taken at this moment.
    pub(crate) profile: Option<String>,
}

/// A climb, while it lasts.
#[derive(Clone, Debug)]
struct Open {
    verdict: Verdict,
    since: SystemTime,
}

impl Alerts {
    /// # Errors
    ///
    /// The metric is malformed.
    pub(crate) fn new(webhook: Webhook, origin: Origin) -> Result<Alerts, prometheus::Error> {
        let outcomes = Opts::new(
            "memory_alerts_total",
            "Messages to the webhook: delivered, failed after all attempts, or suppressed since the last was near.",
        );
        let outcomes = IntCounterVec::new(outcomes, &["outcome"])?;
        for outcome in ["delivered", "failed", "suppressed"] {
            outcomes.with_label_values(&[outcome]);
        }
        Ok(Alerts { webhook, origin, outcomes, deliveries: JoinSet::new(), open: None, last_firing: None })
    }

    pub(crate) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.outcomes.clone())
    }

    /// Tells of a climb that began, and of one that ended. Waits for the culprit, not for the receiver. Within a tokio
    /// runtime.
    pub(crate) async fn changed(&mut self, change: Change, profiler: &Profiler) {
        let verdict = change.report.outlook.judgement.verdict;
        if change.from.is_climb()
            && let Some(open) = self.open.take()
        {
            self.send(message::resolved(&self.origin, open.verdict, open.since, &change.report));
        }
        if !verdict.is_climb() {
            return;
        }
        let now = Instant::now();
        if self.last_firing.is_some_and(|last| now.duration_since(last) < SPACING) {
            self.outcomes.with_label_values(&["suppressed"]).inc();
            return;
        }
        let culprit = culprit(profiler, &change.report).await;
        let since = SystemTime::now();
        self.last_firing = Some(now);
        self.open = Some(Open { verdict, since });
        self.send(message::firing(&self.origin, &change, culprit.as_ref(), since));
    }

    fn send(&mut self, message: serde_json::Value) {
        while self.deliveries.try_join_next().is_some() {}
        if self.deliveries.len() >= DELIVERIES_MAX {
            self.outcomes.with_label_values(&["suppressed"]).inc();
            return;
        }
        let (webhook, outcomes) = (self.webhook.clone(), self.outcomes.clone());
        self.deliveries.spawn(async move {
            let outcome = match webhook.deliver(message.to_string()).await {
                Ok(()) => "delivered",
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(receiver = %webhook, error, "an alert could not be delivered");
                    "failed"
                }
            };
            outcomes.with_label_values(&[outcome]).inc();
        });
    }
}

/// What grows most, if anything can be said.
async fn culprit(profiler: &Profiler, report: &Report) -> Option<Culprit> {
    let window = report.outlook.judgement.slope.map(|slope| Duration::from_secs_f64(slope.window.seconds));
    let report = profiler.culprits_since(window.unwrap_or(WINDOW_DEFAULT)).await.ok()?;
    report.culprits.into_iter().next()
}
