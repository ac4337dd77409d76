//! Memory observability for a Rust service, embedded in two lines: whether memory climbs, how long until the
//! limit, and which call site does it.
//!
//! ```no_run
//! heapline::use_jemalloc!(); // at the crate root: allocator and profiling settings
//!
//! fn main() -> Result<(), heapline::StartError> {
//!     let agent = heapline::Agent::start(heapline::Config::default())?;
//!     println!("admin on http://{}/", agent.admin_addr());
//!     Ok(())
//! }
//! ```
//!
//! The agent runs on threads of its own and needs no async runtime in the host. It answers on the admin address
//! (default 127.0.0.1:6060): `/`, `/metrics`, `/memory`, `/culprits`, `/profiles`, `/debug/pprof/`, `/doctor`, `/livez`, `/readyz`.
//!
//! What it keeps is bounded: [`history::MEMORY_BYTES`] of history, [`admin::CONNECTIONS_MAX`] connections. It never
//! panics the host, never blocks the host's runtime, and sets `#[global_allocator]` only where the host says
//! [`use_jemalloc!`]. Linking the agent does put jemalloc behind C's `malloc`, so that a host that sets no global
//! allocator uses it too, without profiling.
//!
//! [`history`], [`trend`] and [`verdict`] are pure: they take time and bytes as arguments and know no clock, no file
//! and no network, so that a recorded trace gets exactly the answers the live agent would have given.

pub mod admin;
mod agent;
pub mod alert;
mod config;
pub mod culprit;
mod doctor;
pub mod history;
mod in_flight;
mod jemalloc;
pub mod livetable;
pub mod memory;
mod metrics;
mod profile;
pub mod quantity;
mod readiness;
pub mod recorder;
mod sampler;
mod state;
mod symbols;
pub mod trend;
pub mod verdict;
pub mod watch;

pub use agent::{Agent, StartError};
pub use config::{ADMIN_DEFAULT, Config, ConfigError};
pub use in_flight::{WorkGuard, WorkInFlight};
pub use prometheus;
pub use readiness::Readiness;

#[doc(hidden)]
pub use jemalloc::conf as __jemalloc;
