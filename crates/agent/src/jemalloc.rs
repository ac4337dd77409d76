//! The only place that knows `mallctl`; all `unsafe` of the agent is below this module.

pub mod conf;
pub(crate) mod prof;
pub(crate) mod settings;
pub(crate) mod stats;
