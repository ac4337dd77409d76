//! Every interleaving of a few threads on a small table, weak memory included, up to a bound of preemptions.

#![cfg(test)]
// The agent uses more of these files than the checks do.
#![expect(dead_code, reason = "files of the agent, included for the parts that are checked")]

/// The files of the table, as they are in the agent.
mod livetable {
    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    }
    #[path = "../../../src/livetable/layout.rs"]
    pub(crate) mod layout;
    #[path = "../../../src/livetable/prefetch.rs"]
    pub(crate) mod prefetch;
    #[path = "../../../src/livetable/samples.rs"]
    pub(crate) mod samples;
    #[path = "../../../src/livetable/stacks.rs"]
    pub(crate) mod stacks;
    #[path = "../../../src/livetable/weight.rs"]
    pub(crate) mod weight;

    pub(crate) const TABLE_BYTES: usize = layout::Sizes::AGENT.bytes();

    mod checks;
}
