//! Heap profiles: what is live, by the stack that allocated it, in the forms that `go tool pprof` reads.
//!
//! [`model`] is the heap at one moment, wherever its samples came from, and [`compact`] the same by numbers; [`jeheap`],
//! [`maps`], [`strip`], [`encode`] and [`text`] are pure steps to and from it. Only [`live`] (which walks the live table), [`dump`] (which asks jemalloc),
//! [`recorded`] (which looks for names) and [`profiler`] (the thread) do any I/O.

pub(crate) mod base;
mod compact;
pub(crate) mod decode;
mod dump;
pub(crate) mod encode;
pub(crate) mod flamegraph;
mod growth;
mod jeheap;
mod kind;
pub(crate) mod live;
pub(crate) mod maps;
pub(crate) mod model;
pub(crate) mod profiler;
mod query;
mod recorded;
mod refusal;
mod strip;
mod text;

pub(crate) use maps::parse as parse_maps;
