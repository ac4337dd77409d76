//! An upload server whose memory line stays flat.
//!
//! One way through: accept (a permit, time-outs) → auth → admission → body → multipart or raw → writer (file calls and
//! SHA-256 off the async workers) → commit → 201. [`server::serve`] takes a bound listener, a [`http::Service`] and
//! a shutdown future; `main` wires it to the configuration, the store and the agent.

pub mod admission;
pub mod auth;
mod body;
pub mod config;
mod connection;
pub mod digest;
pub mod event;
pub mod filename;
pub mod flags;
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod multipart;
pub mod outbox;
mod pace;
pub mod server;
pub mod signals;
mod sink;
pub mod spool;
pub mod store;
mod writer;
