//! Which call site grows: growth between heap profiles with the error that their sampling leaves.
//!
//! A profile is grouped by `site` (the frame that is the user's), a series of such `Moment`s is compared by
//! `growth`, and `report` is what `/culprits` and `heapline diff` say. Everything here is pure.

mod growth;
mod held;
mod report;
mod ring;
mod site;

use std::io::Read;

pub use crate::profile::decode::DecodeError;
pub(crate) use growth::{Cohort, Patience, Ranking, rank};
pub(crate) use held::{Held, Moment};
pub use report::{Culprit, Report, StackFrame};
pub(crate) use ring::{MOMENTS_BYTES_MAX, MOMENTS_MAX, Ring};
pub(crate) use site::{Grouped, SITES_MAX, Sites};

use crate::profile::decode;

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

/// Ranks the call sites that grew from one profile file to the other: pprof, gzipped or not, or jemalloc's text.
///
/// The two may be of different processes: sites are compared by name. Memory: both profiles, decoded.
///
/// # Errors
///
/// One of them is no heap profile, or is larger than the bounds of [`DecodeError`].
pub fn diff(mut before: impl Read, mut after: impl Read) -> Result<Report, DecodeError> {
    let mut sites = Sites::default();
    let mut group = |input: &mut dyn Read| -> Result<(Grouped, Moment), DecodeError> {
        let decoded = decode::read(input)?;
        let grouped = sites.group(&decoded.profile, &decoded.symbols);
        let seconds = decoded.profile.taken_unix_nanos as f64 / 1e9;
        let moment = Moment::new(seconds, None, grouped.held.clone());
        Ok((grouped, moment))
    };
    let (_, before) = group(&mut before)?;
    let (newest, after) = group(&mut after)?;
    Ok(Report::new(&rank(&[&before, &after], Patience::NONE, &mut |_| None), &newest))
}
