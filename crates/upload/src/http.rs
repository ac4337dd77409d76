//! The public port: requests in, answers out.

mod answer;
mod conditional;
pub(crate) mod direct;
mod disposition;
mod files;
mod range;
mod refusal;
mod reply;
mod routes;
mod uploads;

use heapline::Readiness;

use crate::admission::Limits;
use crate::auth::Token;
use crate::health::Health;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::spool::Threshold;
use crate::store::{Committer, Store};

pub(crate) use disposition::attachment;
pub(crate) use range::Range;
pub use refusal::Refusal;
pub use reply::{Reply, ReplyBody};

/// All that a request needs. Shared by the connections.
#[derive(Debug)]
pub struct Service {
    pub store: Store,
    pub committer: Committer,
    pub token: Token,
    pub limits: Limits,
    /// Whether files get a SHA-256.
    pub digest: bool,
    pub metrics: Metrics,
    /// Not ready, nothing but the probes is served, and `/readyz` says no.
    pub readiness: Readiness,
    /// In bad health `/readyz` says no, and uploads are tried all the same.
    pub health: Health,
    pub ledger: Ledger,
    pub threshold: Threshold,
}
