//! `heapline-upload`: configuration → agent → store → listener → serve → drain.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heapline::Agent;
use heapline_upload::auth::Token;
use heapline_upload::config::{Access, Config, EXIT_USAGE, Stop, TOKEN_VARIABLE};
use heapline_upload::flags::{self, Flags};
use heapline_upload::health::Watch;
use heapline_upload::http::Service;
use heapline_upload::ledger::Ledger;
use heapline_upload::metrics::{self, Metrics};
use heapline_upload::signals::Signals;
use heapline_upload::spool::Threshold;
use heapline_upload::store::{self, Opened};
use heapline_upload::{server, store::Options};
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

heapline::use_jemalloc!();

/// What the outbox gets of the drain when uploads used all of it.
const FLUSH_TIME_MIN: Duration = Duration::from_secs(1);

/// A flush that delivers nothing for so long is given up: events are durable.
const FLUSH_STALL_MAX: Duration = Duration::from_secs(5);

/// How long file calls in progress may hold up the exit.
const LAST_CALLS_TIME_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let (config, access) = match settings() {
        Ok((config, _)) if config.check => return ExitCode::SUCCESS,
        Ok(settings) => settings,
        Err(Stop::Print(text)) => {
            print(&text);
            return ExitCode::SUCCESS;
        }
        Err(refusal) => {
            eprintln!("heapline-upload: {refusal}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,object_store=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&config, access) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heapline-upload: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<(Config, Access), Stop> {
    let config = Config::load(std::env::args_os())?;
    let access = Access::resolve(&config, std::env::var_os(TOKEN_VARIABLE))?;
    if config.check {
        config.check_store()?;
    }
    config.flags()?;
    config.bucket()?;
    config.kafka()?;
    Ok((config, access))
}

fn run(config: &Config, access: Access) -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit();
    let agent = Agent::start(heapline::Config {
        admin: config.admin,
        memory_limit_bytes: config.memory_limit,
        // The agent's own variable beats the store.
        state_dir: std::env::var_os("HEAPLINE_STATE").is_none().then(|| config.local_dir().join("heapline")),
        service_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..heapline::Config::default()
    })?;
    let runtime = server::runtime()?;
    let ledger = Ledger::with_parts(config.memory_budget, config.parts_budget());
    let threshold = Threshold::new(config.threshold());
    let options = Options { dir: config.local_dir().to_owned(), durability: config.durability, kafka: config.kafka()? };
    let Opened { store, committer, outbox } = match config.bucket()? {
        None => store::open(options)?,
        Some(bucket) => store::open_bucket(options, bucket, &ledger)?,
    };
    let store = store.limited(config.room());
    outbox.register(agent.registry())?;
    metrics::register_memory(agent.registry(), &ledger, &threshold)?;
    if let Some(origin) = config.flags()? {
        let flags = Flags::new(origin, config.attributes(), threshold.clone(), agent.registry())?;
        // Ends with the runtime.
        drop(runtime.spawn(flags.follow(flags::Pace::default())));
    }
    let (token, made_secret) = token(access)?;
    let health = outbox.health();
    // Ends with the runtime.
    drop(runtime.spawn(Watch::new(health.clone(), agent.registry())?.follow()));
    let service = Arc::new(Service {
        store,
        committer,
        token,
        limits: config.limits(),
        digest: config.digest,
        metrics: Metrics::register(agent.registry(), agent.work_in_flight())?,
        readiness: agent.readiness().clone(),
        health,
        ledger,
        threshold,
    });

    let drained_by = runtime.block_on(async {
        let signals = Signals::new()?;
        let bind = |error| format!("cannot listen on {}: {error}", config.listen);
        let listener = server::listen(config.listen).map_err(bind)?;
        announce(config, listener.local_addr()?, agent.admin_addr(), made_secret);
        let (told, mut when_told) = tokio::sync::oneshot::channel();
        let shutdown = async {
            signals.first().await;
            // The receiver is below, and lives.
            let _ = told.send(Instant::now());
        };
        let cut = server::serve(listener, service, shutdown, config.drain).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut at the end of the drain");
        }
        let began = when_told.try_recv().unwrap_or_else(|_| Instant::now());
        Ok::<_, Box<dyn Error>>(began + config.drain)
    })?;

    let flush_time = drained_by.saturating_duration_since(Instant::now()).max(FLUSH_TIME_MIN);
    let undelivered = outbox.flush_while_moving(flush_time, FLUSH_STALL_MAX);
    if undelivered > 0 {
        tracing::warn!(events = undelivered, "not delivered yet; they wait in the outbox for the next start");
    }
    // File calls in progress end, and with them the spool files of uploads that were cut.
    runtime.shutdown_timeout(LAST_CALLS_TIME_MAX);
    outbox.shutdown();
    tracing::info!("drained");
    Ok(())
}

/// An upload holds a socket and a file, and the usual soft limit of 1,024 is meant for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The token, and its secret where it was made here and must be shown.
fn token(access: Access) -> Result<(Token, Option<String>), Box<dyn Error>> {
    match access {
        Access::Given(token) => Ok((token, None)),
        Access::LoopbackOnly => {
            let secret = Token::random_secret()?;
            let token = Token::new(&secret).ok_or("an empty random token")?;
            Ok((token, Some(secret)))
        }
    }
}

/// Says where everything is and how to use it. A token that was given is not shown.
fn announce(config: &Config, public: SocketAddr, admin: SocketAddr, made_secret: Option<String>) {
    let authorization = match (made_secret, &config.token_file) {
        (Some(secret), _) => format!("'Authorization: Bearer {secret}'"),
        (None, Some(path)) => format!("\"Authorization: Bearer $(cat '{}')\"", path.display()),
        (None, None) => format!("\"Authorization: Bearer ${TOKEN_VARIABLE}\""),
    };
    print(&format!(
        "heapline-upload {version} on http://{public}, admin on http://{admin}, files in {store}\n\
         curl --form file=@FILE -H {authorization} http://{public}/upload\n",
        version = env!("CARGO_PKG_VERSION"),
        store = config.store,
    ));
}

/// To stdout; that nobody reads it is no reason to stop.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
