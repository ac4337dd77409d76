//! The public port from outside: raw sockets against a server on a free port, and the binary itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod client;
mod command_line;
mod connections;
mod drain;
mod files;
mod limits;
mod memory;
mod memory_bound;
mod refusals;
mod repeats;
mod serving;
mod together;
mod uploads;
