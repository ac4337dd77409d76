//! The upload server without the agent: the library of `heapline-upload`, put together as its `main` does it, with the
//! same flags and the same allocator. `heapline-bench` gives the allocator the agent's settings but for the profiler's
//! (`MALLOC_CONF`). Prints its address; has no admin port and no drain.

use std::env;
use std::error::Error;
use std::future;
use std::sync::Arc;

use heapline::prometheus::Registry;
use heapline::{Readiness, WorkInFlight};
use heapline_upload::auth::Token;
use heapline_upload::config::{Access, Config, TOKEN_VARIABLE};
use heapline_upload::health::Watch;
use heapline_upload::http::Service;
use heapline_upload::ledger::Ledger;
use heapline_upload::metrics::{self, Metrics};
use heapline_upload::server;
use heapline_upload::spool::Threshold;
use heapline_upload::store::{self, Opened, Options};
use tikv_jemallocator::Jemalloc;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load(env::args_os())?;
    let Access::Given(token) = Access::resolve(&config, env::var_os(TOKEN_VARIABLE))? else {
        return Err("upload-out needs a token".into());
    };
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new("info")).with_writer(std::io::stderr).init();
    serve(&config, token)
}

fn serve(config: &Config, token: Token) -> Result<(), Box<dyn Error>> {
    let runtime = server::runtime()?;
    let registry = Registry::new();
    let ledger = Ledger::with_parts(config.memory_budget, config.parts_budget());
    let threshold = Threshold::new(config.threshold());
    let options = Options { dir: config.local_dir().to_owned(), durability: config.durability, kafka: config.kafka()? };
    let Opened { store, committer, outbox } = store::open(options)?;
    outbox.register(&registry)?;
    metrics::register_memory(&registry, &ledger, &threshold)?;
    let health = outbox.health();
    // Ends with the runtime.
    drop(runtime.spawn(Watch::new(health.clone(), &registry)?.follow()));
    let service = Arc::new(Service {
        store: store.limited(config.room()),
        committer,
        token,
        limits: config.limits(),
        digest: config.digest,
        metrics: Metrics::register(&registry, WorkInFlight::default())?,
        readiness: Readiness::default(),
        health,
        ledger,
        threshold,
    });
    runtime.block_on(async {
        let listener = server::listen(config.listen)?;
        println!("{}", listener.local_addr()?);
        server::serve(listener, service, future::pending(), config.drain).await;
        Ok(())
    })
}
