//! A profile by way of the live table.

use std::time::{SystemTime, UNIX_EPOCH};

use super::maps;
use super::model::{Mapping, Profile};
use crate::livetable::{self, LiveTable};
use crate::symbols::resolve;

/// Which of the samples to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    /// What lives, and what was ever allocated.
    #[default]
    Now,
    /// What has lived for so long already.
    Survivors { min_age_seconds: u64 },
    /// What lived when live bytes were at their highest.
    Peak,
    /// What the last process left that ended without a word, at its end or at its peak.
    Previous { at_peak: bool },
}

/// The table's samples now. `None` before the first peak, and where no process left anything.
pub(super) fn capture(live: &LiveTable, view: View) -> Option<Profile> {
    live.tick();
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let table = live.table();
    let walk = match view {
        View::Now => table.walk(),
        View::Survivors { min_age_seconds } => table.survivors(min_age_seconds),
        View::Peak => table.at_peak()?.0,
        View::Previous { at_peak } => return live.predecessors().first()?.profile(at_peak),
    };
    let mappings = own_mappings();
    // A library that was loaded since the last time: its names are wanted after a kill, too.
    table.set_maps(&livetable::maps_text(&mappings));
    let mut profile = Profile {
        period_bytes: table.period_bytes(),
        taken_unix_nanos: i64::try_from(taken.as_nanos()).unwrap_or(i64::MAX),
        duration_nanos: 0,
        mappings,
        samples: walk.samples,
        has_allocations: view == View::Now,
        comments: Vec::new(),
    };
    let lost = table.tally().lost();
    if lost > 0 {
        profile.comments.push(format!("{lost} samples are missing: the live table was full, see /doctor"));
    }
    profile.samples.retain(|sample| !sample.is_nothing());
    Some(profile)
}

/// The executable mappings of this process, the program first, with their build ids.
pub(crate) fn own_mappings() -> Vec<Mapping> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut mappings = maps::parse(&text);
    resolve::identify(&mut mappings);
    mappings
}
