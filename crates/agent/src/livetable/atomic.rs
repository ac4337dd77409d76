//! The atomics of the tables. The model checker (`crates/agent/loom`) puts its own in their place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
