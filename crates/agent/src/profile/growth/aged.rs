//! What grew and has lived for a given time: growth up to so long ago, of which only what lives still is counted.

use std::time::{Duration, Instant};

use super::{AGE_MIN, WINDOW_MIN, Walked, cohort, keep, name, see, survivors};
use crate::culprit::{Moment, Patience, Ranking, Report, rank};
use crate::jemalloc::prof;
use crate::profile::profiler::{Profiler, Workshop};
use crate::profile::refusal::ProfileError;

impl Profiler {
    /// What grew over the last `since` and has lived for `min_age`. The window ends `min_age` ago. There is no wait: whoever
    /// sets an age has set what is too young.
    ///
    /// # Errors
    ///
    /// As [`Profiler::culprits`]; `NeedsLiveTable` where ages are not known.
    pub(crate) async fn culprits_of_age(&self, since: Duration, min_age: Duration) -> Result<Report, ProfileError> {
        if !prof::active() {
            return Err(ProfileError::Disabled);
        }
        self.work(move |shop| {
            let now = Instant::now();
            name(shop);
            let (_, moment) = see(shop, now)?;
            let report = aged(shop, moment.seconds, since, min_age);
            keep(&mut shop.growth, now, moment);
            report
        })
        .await
    }
}

fn aged(shop: &mut Workshop, seconds: f64, since: Duration, min_age: Duration) -> Result<Report, ProfileError> {
    let Workshop { resolver, growth, .. } = shop;
    let is_old_enough = |moment: &&Moment| seconds - moment.seconds + AGE_MIN.as_secs_f64() >= min_age.as_secs_f64();
    let mut series: Vec<&Moment> =
        growth.ring.since(seconds, since.as_secs_f64()).iter().filter(is_old_enough).collect();
    let end = series.pop();
    let age_seconds = end.map_or(min_age.as_secs_f64(), |end| seconds - end.seconds + AGE_MIN.as_secs_f64());
    let mut survivors =
        survivors(Duration::from_secs_f64(age_seconds.max(0.0)), Walked::Live).ok_or(ProfileError::NeedsLiveTable)?;
    let symbols = resolver.resolve_revealed(&mut survivors);
    let grouped = growth.sites.group(&survivors, symbols);
    let window = series.first().zip(end).map(|(first, end)| (end, end.seconds - first.seconds));
    let ranking = match window {
        Some((end, whole_seconds)) if whole_seconds >= WINDOW_MIN.as_secs_f64() => {
            let end = end.still(grouped.held.clone());
            series.push(&end);
            let sites = &mut growth.sites;
            rank(&series, Patience::NONE, &mut |then| cohort(sites, resolver, seconds - then.seconds))
        }
        window => Ranking::nothing(window.map_or(0.0, |(_, whole_seconds)| whole_seconds)),
    };
    Ok(Report::new(&ranking, &grouped))
}
