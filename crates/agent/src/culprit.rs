//! Which call site grows: growth between heap profiles with the error that their sampling leaves.
//!
//! A profile is grouped by `site` (the frame that is the user's), a series of such `Moment`s is compared by
//! `growth`, and `report` is what `/culprits` and `heapline diff` say. Everything here is pure.

pub mod diff;
mod growth;
mod held;
mod report;
mod ring;
mod site;

pub use diff::diff;
pub(crate) use growth::{Cohort, Patience, Ranking, rank};
pub(crate) use held::{Held, Moment};
pub use report::{Culprit, Report, StackFrame};
pub(crate) use ring::{MOMENTS_BYTES_MAX, MOMENTS_MAX, Ring};
pub(crate) use site::{Grouped, SITES_MAX, Sites};

/// What can be said of growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At least one call site grows beyond doubt.
    Ok,
    /// Nothing grows.
    Flat,
    /// Too little time or too few samples to tell.
    NotEnoughEvidence,
}

impl State {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Flat => "flat",
            Self::NotEnoughEvidence => "not_enough_evidence",
        }
    }
}
