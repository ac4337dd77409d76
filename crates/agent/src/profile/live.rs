//! A profile by way of the live table.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::compact::Compact;
use super::maps;
use super::model::Mapping;
use crate::livetable::walk::Found;
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
pub(super) fn capture(live: &LiveTable, view: View) -> Option<Compact> {
    live.tick();
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let table = live.table();
    let tally = table.tally();
    let taken_unix_nanos = i64::try_from(taken.as_nanos()).unwrap_or(i64::MAX);
    let mut profile = Compact::new(table.period_bytes(), taken_unix_nanos);
    profile.has_allocations = view == View::Now;
    profile.reserve(tally.stacks_used as usize, tally.frames_used as usize);
    let keep = |found: Found<'_>| {
        if !found.is_nothing() {
            profile.push(found.stack, found.inuse, found.alloc);
        }
    };
    match view {
        View::Now => table.visit(keep),
        View::Survivors { min_age_seconds } => table.visit_survivors(min_age_seconds, keep),
        View::Peak => table.visit_peak(keep)?.0,
        View::Previous { at_peak } => return live.predecessors().first()?.profile(at_peak).map(Compact::from),
    };
    profile.mappings = own_mappings();
    // A library that was loaded since the last time: its names are wanted after a kill, too.
    table.set_maps(&livetable::maps_text(&profile.mappings));
    let lost = table.tally().lost();
    if lost > 0 {
        profile.comments.push(format!("{lost} samples are missing: the live table was full, see /doctor"));
    }
    Some(profile)
}

/// The executable mappings of this process, the program first, with their build ids.
///
/// Files' headers are read when something was mapped or unmapped since the last time, or where one could not be read.
pub(crate) fn own_mappings() -> Vec<Mapping> {
    static KNOWN: Mutex<Known> = Mutex::new(Known { found: Vec::new(), identified: Vec::new() });
    let found = maps::parse(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.found != found || known.identified.iter().any(is_unread) {
        let mut identified = found.clone();
        resolve::identify(&mut identified);
        *known = Known { found, identified };
    }
    known.identified.clone()
}

/// Mappings as they stand in `/proc/self/maps`, and the same with what their files say.
struct Known {
    found: Vec<Mapping>,
    identified: Vec<Mapping>,
}

fn is_unread(mapping: &Mapping) -> bool {
    mapping.build_id.is_empty() && mapping.filename.starts_with('/') && !mapping.is_deleted
}
