//! The chain that watches from outside: Prometheus with the repository's rules, Alertmanager, a webhook.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::alertmanager::{self, Alertmanager};
use crate::part::{self, Missing};
use crate::process::LaunchError;
use crate::prometheus::{self, Prometheus, Settings, Target};
use crate::webhook::{Delivery, Webhook};

/// How often targets are scraped and rules evaluated: short, since a drill lasts minutes.
const SCRAPE_EVERY_SECONDS: u32 = 2;
const EVALUATE_EVERY_SECONDS: u32 = 2;

/// The programs of the chain.
#[derive(Debug, Clone)]
pub struct Installation {
    prometheus: prometheus::Installation,
    alertmanager: alertmanager::Installation,
}

impl Installation {
    pub fn find() -> Result<Self, Missing> {
        let (prometheus, alertmanager) = (prometheus::Installation::find()?, alertmanager::Installation::find()?);
        Ok(Self { prometheus, alertmanager })
    }
}

/// The running chain. Services are told apart by their label `service`.
#[derive(Debug)]
pub struct Watch {
    prometheus: Prometheus,
    _alertmanager: Alertmanager,
    webhook: Webhook,
}

impl Watch {
    pub fn start(installation: &Installation, targets: &[Target]) -> Result<Self, LaunchError> {
        let listening = |source| LaunchError::Spawn { name: "webhook".to_owned(), source };
        let webhook = Webhook::start().map_err(listening)?;
        let alertmanager = Alertmanager::start(&installation.alertmanager, &webhook.url())?;
        let settings = Settings {
            targets,
            rule_files: &rule_files(),
            alertmanager: Some(alertmanager.address()),
            scrape_every_seconds: SCRAPE_EVERY_SECONDS,
            evaluate_every_seconds: EVALUATE_EVERY_SECONDS,
        };
        let prometheus = Prometheus::start(&installation.prometheus, &settings)?;
        Ok(Self { prometheus, _alertmanager: alertmanager, webhook })
    }

    pub fn prometheus(&self) -> &Prometheus {
        &self.prometheus
    }

    /// The names of the alerts that fire for a service in Prometheus now.
    pub fn firing(&self, service: &str) -> io::Result<Vec<String>> {
        let alerts = self.prometheus.alerts()?;
        let of_service = alerts.iter().filter(|alert| alert["labels"]["service"] == service);
        let firing = of_service.filter(|alert| alert["state"] == "firing");
        let mut names: Vec<_> =
            firing.filter_map(|alert| alert["labels"]["alertname"].as_str()).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The firing alerts that arrived for a service, the oldest first.
    pub fn delivered(&self, service: &str) -> Vec<Delivery> {
        let mut deliveries = self.webhook.deliveries();
        deliveries.retain(|delivery| delivery.is_firing() && delivery.label("service") == service);
        deliveries
    }

    /// When the first alert for a service arrived.
    pub fn first_delivery(&self, service: &str) -> Option<Instant> {
        self.delivered(service).first().map(|delivery| delivery.at)
    }
}

/// The repository's own recording and alert rules.
pub fn rule_files() -> [PathBuf; 2] {
    let rules = part::repository().join("dashboards/prometheus");
    [rules.join("rules.yml"), rules.join("alerts.yml")]
}
