//! Host programs whose culprits are known: `hosts NAME`, what `/culprits` should say of it, and what it said.

mod observe;
mod outsiders;

use std::time::Duration;

pub use observe::{Outcome, observe};
pub use outsiders::OUTSIDERS;

/// What `hosts` leaks a second unless [`Host::bytes_per_second`] says otherwise.
const USUAL_BYTES_PER_SECOND: f64 = 200_000.0;
/// How far the growth told may be from the truth.
pub const GROWTH_TOLERANCE: f64 = 0.25;
/// How long a leak may take to be told.
pub const TELL_LIMIT: Duration = Duration::from_secs(240);

/// A program and what it is to be told.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// The binary that it is a part of.
    pub binary: &'static str,
    pub name: &'static str,
    /// The functions that leak, in any order, and the file that each is in. Empty: it does not leak.
    pub culprits: &'static [(&'static str, &'static str)],
    /// Of each of its leaks.
    pub bytes_per_second: f64,
    /// Whether the growth can be told: not of what is allocated ahead by doubling, nor where nobody knows the truth.
    pub has_growth: bool,
    /// How long after its start a leak begins, seconds.
    pub onset_seconds: f64,
}

const fn leak(name: &'static str, culprits: &'static [(&'static str, &'static str)]) -> Host {
    Host {
        binary: "hosts",
        name,
        culprits,
        bytes_per_second: USUAL_BYTES_PER_SECOND,
        has_growth: true,
        onset_seconds: 0.0,
    }
}

const fn level(name: &'static str) -> Host {
    leak(name, &[])
}

/// The programs of `hosts`, those of `make test` first.
pub const HOSTS: [Host; 47] = [
    leak("static_vector", &[("hosts::kept::static_vector::{{closure}}", "kept.rs")]),
    leak("tiny_objects", &[("hosts::kept::note", "kept.rs")]),
    leak("arc_cycles", &[("hosts::shared::marry", "shared.rs")]),
    leak("async_channel", &[("hosts::shared::announce", "shared.rs")]),
    leak("slices_of_buffers", &[("hosts::shared::read_frame", "shared.rs")]),
    leak("tasks_without_end", &[("hosts::tasks::serve", "tasks.rs")]),
    leak("deep_async", &[("hosts::tasks::fourth::{{closure}}", "tasks.rs")]),
    leak("generics", &[("hosts::shapes::Registry::register", "shapes.rs")]),
    leak("json", &[("hosts::foreign::parse_event", "foreign.rs")]),
    Host { has_growth: false, ..leak("kafka_producers", &[("hosts::foreign::connect", "foreign.rs")]) },
    leak("two_at_once", &[("hosts::later::leak_one", "later.rs"), ("hosts::later::leak_other", "later.rs")]),
    leak("leak_within_churn", &[("hosts::shapes::receive", "shapes.rs")]),
    level("mapped_memory"),
    level("churn_only"),
    level("cache_that_fills"),
    level("bytes_that_move"),
    level("load_up_and_down"),
    level("sessions_that_end"),
    leak("cache", &[("hosts::kept::Cache::put", "kept.rs")]),
    leak("ordered_map", &[("hosts::kept::index", "kept.rs")]),
    Host { bytes_per_second: 3_355_443.2, ..leak("huge_objects", &[("hosts::kept::reserve_block", "kept.rs")]) },
    leak("odd_large_objects", &[("hosts::kept::store_image", "kept.rs")]),
    Host { has_growth: false, ..leak("one_buffer_that_doubles", &[("hosts::kept::append_to_log", "kept.rs")]) },
    Host { has_growth: false, ..leak("small_entries", &[("hosts::kept::count_visit", "kept.rs")]) },
    leak("formatted_strings", &[("hosts::kept::label", "kept.rs")]),
    leak("channel", &[("hosts::shared::publish", "shared.rs")]),
    leak("callbacks", &[("hosts::shared::subscribe", "shared.rs")]),
    leak("task_closure_of_main", &[("hosts::tasks::closure_of_main::{{closure}}", "tasks.rs")]),
    leak("boxed_futures", &[("hosts::tasks::queue_work", "tasks.rs")]),
    leak("closure", &[("hosts::shapes::closure::{{closure}}", "shapes.rs")]),
    leak("trait_objects", &[("<hosts::shapes::Audit as hosts::shapes::Stage>::apply", "shapes.rs")]),
    leak("inlined_helper", &[("hosts::shapes::copy_of", "shapes.rs")]),
    leak("many_callers", &[("hosts::shapes::descend", "shapes.rs")]),
    leak("header_maps", &[("hosts::foreign::annotate", "foreign.rs")]),
    leak("c_configurations", &[("hosts::foreign::configure", "foreign.rs")]),
    leak("threads_with_buffers", &[("hosts::threads::fill_buffer", "threads.rs")]),
    leak("thread_locals", &[("hosts::threads::prepare_scratch::{{closure}}", "threads.rs")]),
    Host { onset_seconds: 60.0, ..leak("later", &[("hosts::later::leak_one", "later.rs")]) },
    Host { onset_seconds: 30.0, ..leak("after_warm_up", &[("hosts::later::leak_one", "later.rs")]) },
    Host {
        onset_seconds: 60.0,
        ..leak(
            "one_after_the_other",
            &[("hosts::later::leak_one", "later.rs"), ("hosts::later::leak_other", "later.rs")],
        )
    },
    leak("under_a_wave", &[("hosts::later::leak_one", "later.rs")]),
    level("thread_stacks"),
    level("cache_of_random_keys"),
    level("warm_up"),
    level("long_wave"),
    level("batches"),
    level("step"),
];

/// How many of [`HOSTS`] `make test` runs: one of each kind.
pub const IN_TESTS: usize = 18;

impl Host {
    /// Whether a function and file, as told, are one of those that leak.
    pub fn is_culprit(&self, function: &str, file: &str) -> bool {
        self.culprits.iter().any(|(name, place)| function == *name && file.ends_with(place))
    }
}
