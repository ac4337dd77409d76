//! Wires the line together; nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use prometheus::Registry;

use crate::admin::{Routes, Server};
use crate::alert::{Alerts, Origin};
use crate::config::{Config, ConfigError, Settings, program};
use crate::in_flight::WorkInFlight;
use crate::jemalloc::{prof, unwind};
use crate::livetable::{self, Adopted, LiveTable};
use crate::metrics;
use crate::profile::live::own_mappings;
use crate::profile::profiler::Profiler;
use crate::readiness::Readiness;
use crate::recorder::{Recorder, attend::attend};
use crate::sampler::Sampler;
use crate::state::State;

/// The running agent. It stops when this is dropped, so keep it for as long as the program runs.
#[must_use = "the agent stops when it is dropped"]
pub struct Agent {
    admin_addr: SocketAddr,
    registry: Registry,
    state: Arc<State>,
    // Stopped in this order: the server first, since it answers from the rest.
    _server: Server,
    _sampler: Sampler,
    live: Option<&'static LiveTable>,
    recorder: Arc<Recorder>,
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error("the agent's configuration is invalid")]
    Config(#[from] ConfigError),
    /// The admin address cannot be listened on.
    #[error("the admin server cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// /proc cannot be read.
    #[error("the memory of the process cannot be watched")]
    Watch(#[source] io::Error),
    /// A thread or its runtime cannot be had.
    #[error("a thread of the agent cannot be started")]
    Thread(#[source] io::Error),
    /// The agent's metrics do not fit together.
    #[error("the agent's metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
}

impl Agent {
    /// Starts the agent's threads: one that watches memory, one that answers on the admin address, one that takes
    /// profiles. Needs no async runtime. Where the host does not say [`use_jemalloc!`](crate::use_jemalloc), profiles
    /// are not available; where another allocator serves its Rust code, verdicts rest on RSS.
    ///
    /// Cost: less than a tenth of a percent of a core while idle.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let settings = config.resolve()?;
        let address = settings.admin;
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let admin_addr = listener.local_addr().map_err(listen)?;

        if prof::is_compiled_in()
            && let Err(error) = prof::set_active(settings.pprof)
        {
            tracing::warn!(%error, active = settings.pprof, "allocation sampling could not be switched");
        }
        let live = if settings.pprof && prof::is_compiled_in() { live_table(&settings) } else { None };
        if live.is_some()
            && let Err(reason) = unwind::install()
        {
            tracing::info!(%reason, "stacks come from jemalloc's own unwinder");
        }
        let (sampler, state) = Sampler::start(&settings).map_err(StartError::Watch)?;
        let profiler = Arc::new(Profiler::start().map_err(StartError::Thread)?);
        let recorder = Recorder::start(&settings, live.and_then(LiveTable::path)).map_err(StartError::Metrics)?;
        let alerts = settings.webhook.clone().map(|webhook| Alerts::new(webhook, origin(&settings, admin_addr)));
        let alerts = alerts.transpose().map_err(StartError::Metrics)?;

        let registry = Registry::new();
        metrics::register(&registry, state.clone(), &settings.service_version).map_err(StartError::Metrics)?;
        let alerting = alerts.iter().map(Alerts::collector);
        for collector in profiler.collectors().into_iter().chain(recorder.collectors()).chain(alerting) {
            registry.register(collector).map_err(StartError::Metrics)?;
        }
        let attending = attend(recorder.clone(), profiler.clone(), state.clone(), alerts);
        let routes = Routes { state: state.clone(), registry: registry.clone(), profiler, recorder: recorder.clone() };
        let server = Server::start(listener, routes, attending).map_err(StartError::Thread)?;
        tracing::info!(address = %admin_addr, pprof = settings.pprof, "heapline admin server listens");
        Ok(Self { admin_addr, registry, state, _server: server, _sampler: sampler, live, recorder })
    }

    /// Where the admin server listens; with port 0 configured, the port taken.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// What `/metrics` gathers; the host's own metrics may be registered here.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What earlier processes left in the state directory that ended without a word, the newest first: at most
    /// [`PREDECESSORS_MAX`](livetable::PREDECESSORS_MAX).
    pub fn predecessors(&self) -> &[Adopted] {
        self.live.map_or(&[], LiveTable::predecessors)
    }

    /// The file that holds the live table of this process. `None` where it does not outlive the process.
    pub fn live_table_path(&self) -> Option<&Path> {
        self.live.and_then(LiveTable::path)
    }

    /// Whether `/readyz` answers 200.
    pub fn readiness(&self) -> &Readiness {
        &self.state.readiness
    }

    /// A gauge of the work in hand, sampled five times a second (at rest once): memory that belongs to it is no leak.
    pub fn work_in_flight(&self) -> WorkInFlight {
        self.state.work.clone()
    }
}

fn origin(settings: &Settings, admin: SocketAddr) -> Origin {
    Origin { service: program().to_string_lossy().into_owned(), version: settings.service_version.clone(), admin }
}

/// Profiles come from jemalloc's dumps where it cannot be had.
fn live_table(settings: &Settings) -> Option<&'static LiveTable> {
    match livetable::start(settings.state_dir.as_deref(), &own_mappings()) {
        Ok(live) => {
            live.bound_samples(settings.samples_per_second_max);
            Some(live)
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "no live table: profiles are made from jemalloc's dumps, without allocations and ages"
            );
            None
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(live) = self.live {
            live.end();
        }
        self.recorder.end(self.state.uptime_seconds());
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Agent").field("admin_addr", &self.admin_addr).finish_non_exhaustive()
    }
}
