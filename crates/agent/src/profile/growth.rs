//! Looks at the heap on a schedule, so that `/culprits` can say what has grown since.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::base::Base;
use super::decode::Decoded;
use super::live::own_mappings;
use super::model::Profile;
use super::profiler::{Profiler, Workshop};
use super::refusal::ProfileError;
use crate::culprit::{Cohort, Grouped, Held, Moment, Patience, Ranking, Report, Ring, Sites, rank};
use crate::jemalloc::{prof, stats::HeapReader};
use crate::livetable;
use crate::symbols::resolve::Resolver;
use unnamed::Unnamed;

mod aged;
mod unnamed;

/// Between two looks, at first.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Between two looks of a process that has run for hours.
const INTERVAL_MAX: Duration = Duration::from_secs(600);
/// Looks that the whole time is divided into, at least: [`Ring`] keeps about as many.
const LOOKS: u32 = 32;
/// Looks may take this share of a core, 1 of so many.
const COST_SHARE: u32 = 500;
/// The longest that the cost of one look puts the next off: the first finds all names, those after it few.
const COST_WAIT_MAX: Duration = Duration::from_secs(60);
/// What is younger is work in flight and no site's: the first look is as long after the start.
const AGE_MIN: Duration = INTERVAL_MIN;
/// The first moment kept: what a program loads as it starts has its age by then, and comes into no window.
const SETTLED_SECONDS: f64 = 20.0;
/// The time without which nothing is said.
const WINDOW_MIN: Duration = Duration::from_secs(30);
/// A look that is closer to the one before than this is not kept.
const SPACING_MIN: Duration = Duration::from_secs(5);

/// Moments that wait for names; then all get theirs.
const UNNAMED_MAX: usize = 64;
/// Memory that they may take together.
const UNNAMED_BYTES_MAX: usize = 1 << 20;

/// The moments seen, and when to look again.
pub(super) struct GrowthWatch {
    started: Instant,
    due: Instant,
    newest: Option<Instant>,
    sites: Sites,
    ring: Ring,
    /// Later than all in the ring.
    unnamed: Vec<Unnamed>,
    heap: Option<HeapReader>,
}

impl GrowthWatch {
    pub(super) fn new(now: Instant) -> GrowthWatch {
        GrowthWatch {
            started: now,
            due: now + INTERVAL_MIN,
            newest: None,
            sites: Sites::default(),
            ring: Ring::default(),
            unnamed: Vec::new(),
            heap: HeapReader::new(),
        }
    }

    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    fn schedule(&mut self, began: Instant, now: Instant) {
        let interval = (now.duration_since(self.started) / LOOKS).clamp(INTERVAL_MIN, INTERVAL_MAX);
        let cost = now.duration_since(began);
        self.due = now + interval.max((cost * COST_SHARE).min(COST_WAIT_MAX));
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.duration_since(self.started).as_secs_f64()
    }

    /// Whether a moment is to be kept that was seen now.
    fn wants(&self, now: Instant) -> bool {
        self.seconds(now) >= SETTLED_SECONDS
            && self.newest.is_none_or(|newest| now.duration_since(newest) >= SPACING_MIN)
    }

    fn unnamed_is_full(&self) -> bool {
        self.unnamed.len() >= UNNAMED_MAX
            || self.unnamed.iter().map(Unnamed::memory_bytes).sum::<usize>() > UNNAMED_BYTES_MAX
    }
}

impl Profiler {
    /// What grows, as far as it can be told over the last `since` at most. What has grown for less than two minutes
    /// since the start, or 80 seconds later on, waits.
    ///
    /// # Errors
    ///
    /// `Disabled` where nothing is sampled; see [`Profiler::profile`].
    pub(crate) async fn culprits(&self, since: Duration) -> Result<Report, ProfileError> {
        self.grown(since, Patience::USUAL).await
    }

    /// The same without the wait: somebody asks for this very time.
    ///
    /// # Errors
    ///
    /// As [`Profiler::culprits`].
    pub(crate) async fn culprits_since(&self, since: Duration) -> Result<Report, ProfileError> {
        self.grown(since, Patience::NONE).await
    }

    /// What has grown since a recorded profile, at once.
    ///
    /// # Errors
    ///
    /// As [`Profiler::culprits`], and where the recorded profile cannot be read.
    pub(crate) async fn culprits_against(&self, base: Base) -> Result<Report, ProfileError> {
        if !prof::active() {
            return Err(ProfileError::Disabled);
        }
        self.work(move |shop| {
            let (grouped, moment) = see_all(shop, Instant::now())?;
            against(shop, &base, (&grouped, &moment))
        })
        .await
    }

    async fn grown(&self, since: Duration, patience: Patience) -> Result<Report, ProfileError> {
        if !prof::active() {
            return Err(ProfileError::Disabled);
        }
        self.work(move |shop| {
            let now = Instant::now();
            name(shop);
            let (grouped, moment) = see(shop, now)?;
            let seconds = moment.seconds;
            let Workshop { resolver, growth, .. } = shop;
            let kept = growth.ring.since(seconds, since.as_secs_f64());
            let series: Vec<&Moment> = kept.iter().chain([&moment]).collect();
            let whole_seconds = seconds - series[0].seconds;
            let ranking = if whole_seconds < WINDOW_MIN.as_secs_f64() {
                Ranking::nothing(whole_seconds)
            } else {
                let sites = &mut growth.sites;
                rank(&series, patience, &mut |then| cohort(sites, resolver, seconds - then.seconds))
            };
            let report = Report::new(&ranking, &grouped);
            keep(growth, now, moment);
            Ok(report)
        })
        .await
    }
}

/// What has grown since a recorded profile: one heap against the other, whatever the age of what lives.
fn against(shop: &mut Workshop, base: &Base, now: (&Grouped, &Moment)) -> Result<Report, ProfileError> {
    let Workshop { resolver, growth, .. } = shop;
    let (taken_unix_nanos, held) = if base.is_own() {
        let mut profile = base.by_address()?;
        profile.mappings = own_mappings();
        let symbols = resolver.resolve_revealed(&mut profile);
        (profile.taken_unix_nanos, growth.sites.group(&profile, symbols).held)
    } else {
        let Decoded { mut profile, symbols } = base.named()?;
        // What another process ever allocated says nothing of this one.
        profile.samples.iter_mut().for_each(|sample| sample.alloc = None);
        (profile.taken_unix_nanos, growth.sites.group(&profile, &symbols).held)
    };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age_seconds = (since_epoch.as_secs_f64() - taken_unix_nanos as f64 / 1e9).max(0.0);
    let (grouped, moment) = now;
    let first = Moment::new(moment.seconds - age_seconds, None, held);
    Ok(Report::new(&rank(&[&first, moment], Patience::NONE, &mut |_| None), grouped))
}

/// One look on schedule.
pub(super) fn look(shop: &mut Workshop) {
    let began = Instant::now();
    if prof::active() && shop.growth.wants(began) {
        let growth = &mut shop.growth;
        if let Some(unnamed) = Unnamed::see(growth.seconds(began), live_bytes(growth), AGE_MIN) {
            growth.newest = Some(began);
            growth.unnamed.push(unnamed);
            if growth.unnamed_is_full() {
                name(shop);
            }
        } else if let Ok((_, moment)) = see_all(shop, began) {
            // A failure was counted and logged where it happened; the next look may do better.
            keep(&mut shop.growth, began, moment);
        }
    }
    shop.growth.schedule(began, Instant::now());
}

/// Finds the names for the looks that have none yet.
fn name(shop: &mut Workshop) {
    let Workshop { resolver, growth, .. } = shop;
    for unnamed in std::mem::take(&mut growth.unnamed) {
        let moment = unnamed.named(&mut growth.sites, resolver);
        growth.ring.push(moment);
    }
}

/// The whole heap, the youngest included.
fn see_all(shop: &mut Workshop, now: Instant) -> Result<(Grouped, Moment), ProfileError> {
    let (seconds, live_bytes) = (shop.growth.seconds(now), live_bytes(&shop.growth));
    let mut profile = shop.capture()?;
    let symbols = shop.resolver.resolve_revealed(&mut profile);
    let grouped = shop.growth.sites.group(&profile, symbols);
    let moment = Moment::new(seconds, live_bytes, grouped.held.clone());
    Ok((grouped, moment))
}

/// Exact, of the part of the heap that profiles see.
fn live_bytes(growth: &GrowthWatch) -> Option<u64> {
    let heap = growth.heap.and_then(|reader| reader.read().ok())?;
    Some(heap.allocated.saturating_sub(prof::unprofiled_bytes()))
}

/// What has lived for a while.
fn see(shop: &mut Workshop, now: Instant) -> Result<(Grouped, Moment), ProfileError> {
    let (seconds, live_bytes) = (shop.growth.seconds(now), live_bytes(&shop.growth));
    let Some((all, mut survivors)) = survivors(Duration::ZERO, Walked::Live).zip(survivors(AGE_MIN, Walked::Allocated))
    else {
        return see_all(shop, now);
    };
    let symbols = shop.resolver.resolve_revealed(&mut survivors);
    let grouped = shop.growth.sites.group(&survivors, symbols);
    let moment = Moment::new(seconds, live_bytes, grouped.held.clone()).of_survivors(Held::of_all(&all));
    Ok((grouped, moment))
}

/// What lives now of what the sites held so many seconds ago. `None` where there is no live table.
fn cohort(sites: &mut Sites, resolver: &mut Resolver, seconds: f64) -> Option<Cohort> {
    let mut survivors = survivors(AGE_MIN + Duration::from_secs_f64(seconds.max(0.0)), Walked::Live)?;
    let symbols = resolver.resolve_revealed(&mut survivors);
    Some(sites.group(&survivors, symbols).held)
}

#[derive(Clone, Copy)]
enum Walked {
    Live,
    /// And what the same stacks ever allocated.
    Allocated,
}

/// What has lived for so long already.
fn survivors(age: Duration, walked: Walked) -> Option<Profile> {
    let live = livetable::current()?;
    live.tick();
    let table = live.table();
    let age_seconds = age.as_secs_f64().round() as u64;
    let walk = match walked {
        Walked::Live => table.survivors(age_seconds),
        Walked::Allocated => table.survivors_and_allocations(age_seconds),
    };
    let samples = walk.samples;
    Some(Profile { period_bytes: table.period_bytes(), mappings: own_mappings(), samples, ..Profile::default() })
}

fn keep(growth: &mut GrowthWatch, now: Instant, moment: Moment) {
    if growth.wants(now) {
        growth.newest = Some(now);
        growth.ring.push(moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_get_rarer_with_time_and_with_their_cost() {
        let started = Instant::now();
        let mut growth = GrowthWatch::new(started);
        assert_eq!(growth.due_in(started), INTERVAL_MIN);
        let mut next = |after: u64, cost: u64| {
            let now = started + Duration::from_secs(after);
            growth.schedule(now, now + Duration::from_millis(cost));
            growth.due_in(now + Duration::from_millis(cost))
        };
        assert_eq!(next(10, 1), INTERVAL_MIN);
        assert_eq!(next(10, 40), Duration::from_secs(20));
        assert_eq!(next(10, 900), COST_WAIT_MAX);
        assert_eq!(next(3_200, 0), Duration::from_secs(100));
        assert_eq!(next(1_000_000, 0), INTERVAL_MAX);
    }
}
