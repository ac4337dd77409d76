//! What the subjects of `bench-agent` do: the same work with the agent in the program and without.
//!
//! Nothing here refers to the agent, so that `agent-out` is built without it.

pub mod figures;
pub mod grown;
pub mod http;
pub mod json;
pub mod service;
pub mod stacks;
pub mod threads;
pub mod turns;
