//! The service of the story: it takes forms and announces them on Kafka, and its memory climbs.
//!
//! Two leaks, each to be switched off: forms whose parts stay in memory up to a threshold and are never given back,
//! and a Kafka producer made for each request and never closed. The agent is inside, as in any other service.

mod form;
mod status;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::status::{Announcer, ProducerChoice};

heapline::use_jemalloc!();

/// The largest form that is taken.
const MAX_FORM_BYTES: usize = 1 << 30;

#[derive(Debug, Parser)]
#[command(name = "leaky", about = "The story's leaky upload service, for the drill and the tests")]
struct Flags {
    /// Address of POST /upload (no token is asked for).
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Parts up to this size, in MB of 2^20 bytes, stay in memory for ever; larger ones go to a temporary file.
    #[arg(long, env = "LEAKY_THRESHOLD_MB", default_value_t = 32)]
    threshold_mb: usize,
    /// Who announces a stored form: nobody, one producer for the process, or one made for each request and leaked.
    #[arg(long, env = "LEAKY_PRODUCER", value_enum, default_value_t = ProducerChoice::None)]
    producer: ProducerChoice,
    /// Kafka's bootstrap servers, for --producer.
    #[arg(long, env = "LEAKY_KAFKA", default_value = "127.0.0.1:9092")]
    kafka: String,
}

struct App {
    threshold_bytes: usize,
    announcer: Announcer,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _agent = heapline::Agent::start(heapline::Config::default())?;
    tracing_subscriber::fmt().init();
    let flags = Flags::parse();
    raise_open_files();
    let announcer = Announcer::new(flags.producer, &flags.kafka)?;
    let app = Arc::new(App { threshold_bytes: flags.threshold_mb << 20, announcer });
    let routes = axum::Router::new()
        .route("/upload", axum::routing::post(upload))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .with_state(Arc::clone(&app));
    let listener = tokio::net::TcpListener::bind(flags.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    app.announcer.close();
    Ok(())
}

async fn upload(State(app): State<Arc<App>>, multipart: Multipart) -> Response {
    let parsed = match form::parse(multipart, app.threshold_bytes).await {
        Ok(parsed) => parsed,
        Err(error) => return json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })),
    };
    let files = json!({ "files": parsed.describe(), "status": "stored" });
    form::keep(parsed);
    match tokio::task::block_in_place(|| app.announcer.announce(&files.to_string())) {
        Ok(()) => json(StatusCode::CREATED, &files),
        Err(error) => json(StatusCode::BAD_GATEWAY, &json!({ "error": error.to_string() })),
    }
}

fn json(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Each leaked producer holds some four descriptors, and the usual limit of 1,024 would end the story early.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("leaky: the limit of open files stays at {:?}: {error}", limit.current);
    }
}
