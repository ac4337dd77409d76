//! Why there is no profile.

use super::dump::CaptureError;

/// In words for clients.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("nothing is sampled: PPROF is false, or jemalloc was not started with prof:true (see /doctor)")]
    Disabled,
    #[error("another heap profile is being taken, try again")]
    Busy,
    #[error("this view of the heap needs the live table, which is not in use: see /doctor")]
    NeedsLiveTable,
    #[error("there is none: no peak yet, or no earlier process that left a profile")]
    Nothing,
    #[error("{0}")]
    Failed(String),
}

/// Why a job ended without a profile.
pub(super) enum NotTaken {
    /// The client asked for what is not there.
    Refused(ProfileError),
    Failed(CaptureError),
}
