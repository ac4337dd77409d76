//! Heap profiles.

pub(crate) mod profiler;
