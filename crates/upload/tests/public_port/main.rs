//! The public port from outside: raw sockets against a server on a free port, and the binary itself.

mod client;
mod command_line;
mod connections;
mod drain;
mod files;
mod limits;
mod refusals;
mod serving;
mod uploads;
