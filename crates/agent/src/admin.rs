//! HTTP over all of it, on a thread and a small runtime of its own, so that it answers while the host's is stuck.

mod answer;
mod culprits;
mod doctor;
mod flamegraph;
mod page;
mod pprof;
mod profiles;
mod query;
mod report;
mod routes;
mod server;
mod status;
mod style;

pub(crate) use routes::Routes;
pub(crate) use server::Server;
pub use server::{CONNECTIONS_MAX, HEADER_TIMEOUT};
