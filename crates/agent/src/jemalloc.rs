//! The only place that knows `mallctl`; with `livetable`, all `unsafe` of the agent.

pub mod conf;
pub(crate) mod hooks;
pub(crate) mod interval;
pub(crate) mod prof;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod unwind;
