//! What a process that is gone suffered from, by the profiles that it left. Pure.

use crate::culprit::{Grouped, Moment, Patience, Report, Sites, rank};
use crate::profile::decode;

/// Profiles that are compared at most: the first, the last, and some in between.
const PROFILES_MAX: usize = 12;
/// Where the first profile is of this part of the life or later, growth is counted from the start.
const EARLY_SHARE: f64 = 0.5;

/// What grew over the life of a process, by its profiles in pprof's form, the oldest first. `None` without any.
///
/// `started_unix_seconds` stands for an empty heap. `must_name` is for a process that died of want of memory: where no
/// site grew beyond doubt, whatever held most at the end is named.
pub(super) fn culprits(profiles: &[Vec<u8>], started_unix_seconds: f64, must_name: bool) -> Option<Report> {
    let mut sites = Sites::default();
    let mut newest = Grouped::default();
    let empty = Moment::new(started_unix_seconds, None, Default::default());
    let mut moments: Vec<(f64, Moment)> = Vec::new();
    for content in profiles {
        let Ok(decoded) = decode::read(content.as_slice()) else { continue };
        let grouped = sites.group(&decoded.profile, &decoded.symbols);
        let seconds = decoded.profile.taken_unix_nanos as f64 / 1e9;
        moments.push((seconds, Moment::new(seconds, None, grouped.held.clone())));
        newest = grouped;
    }
    let (last_seconds, last) = moments.last()?;
    let life_seconds = last_seconds - started_unix_seconds;
    let is_early = moments[0].0 - started_unix_seconds < EARLY_SHARE * life_seconds;
    let mut whole: Vec<&Moment> = moments.iter().map(|(_, moment)| moment).collect();
    if !is_early {
        whole.insert(0, &empty);
    }
    let ends = [whole[0], last];
    let all = [&empty, last];
    let mut series: Vec<&[&Moment]> = vec![&whole];
    if must_name {
        series.extend([ends.as_slice(), all.as_slice()]);
    }
    let mut reports =
        series.into_iter().map(|series| Report::new(&rank(series, Patience::NONE, &mut |_| None), &newest));
    let first = reports.next()?;
    if !first.culprits.is_empty() {
        return Some(first);
    }
    Some(reports.find(|report| !report.culprits.is_empty()).unwrap_or(first))
}

/// Those of a life that are compared: both ends, and evenly from what lies between.
pub(super) fn chosen<T>(profiles: &[T]) -> impl Iterator<Item = &T> {
    let count = profiles.len().min(PROFILES_MAX);
    (0..count).map(move |place| &profiles[place * (profiles.len() - 1) / (count - 1).max(1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::encode;
    use crate::profile::model::{Count, Profile, Sample};
    use crate::profile::profiler::Kind;
    use crate::symbols::{Frame, Location, Symbols};

    const START: f64 = 1_700_000_000.0;
    const MIB: f64 = 1_048_576.0;

    /// A heap after so many seconds: what the cache and the leak hold, in MiB.
    fn profile(seconds: f64, cache: f64, leak: f64) -> Vec<u8> {
        let mut symbols = Symbols::default();
        for (address, function) in [(1, "shop::cache"), (2, "shop::leak")] {
            let frame = Frame { function: function.into(), file: "src/shop.rs".into(), line: 3 };
            symbols.insert(address, Location { frames: [frame].into(), function_start: None });
        }
        let sample = |address: u64, mib: f64| Sample {
            stack: [address + 1].into(),
            inuse: Count { objects: mib * 64.0, bytes: mib * MIB, ..Count::default() },
            alloc: None,
        };
        let profile = Profile {
            period_bytes: 512 << 10,
            taken_unix_nanos: ((START + seconds) * 1e9) as i64,
            samples: vec![sample(1, cache), sample(2, leak)],
            ..Profile::default()
        };
        encode::pprof(&profile.into(), &symbols, Kind::Heap)
    }

    fn named(profiles: &[Vec<u8>], must_name: bool) -> Vec<String> {
        let chosen: Vec<Vec<u8>> = chosen(profiles).cloned().collect();
        let report = culprits(&chosen, START, must_name).expect("profiles");
        report.culprits.into_iter().map(|culprit| culprit.function).collect()
    }

    #[test]
    fn growth_since_the_first_profile_is_named() {
        let life: Vec<_> =
            (0..20).map(|step| profile(30.0 + 60.0 * f64::from(step), 300.0, 20.0 * f64::from(step))).collect();
        assert_eq!(named(&life, true), ["shop::leak"]);
    }

    #[test]
    fn a_life_without_an_early_profile_is_counted_from_its_start() {
        assert_eq!(named(&[profile(12.0, 0.0, 200.0)], true), ["shop::leak"]);
        let late = [profile(30.0, 10.0, 100.0), profile(40.0, 10.0, 250.0)];
        assert_eq!(named(&late, true), ["shop::leak", "shop::cache"]);
    }

    #[test]
    fn what_killed_a_process_is_named_even_where_it_came_in_one_step() {
        let mut life: Vec<_> = (0..8).map(|step| profile(30.0 + 60.0 * f64::from(step), 50.0, 1.0)).collect();
        life.push(profile(600.0, 50.0, 900.0));
        assert_eq!(named(&life, true), ["shop::leak"]);
        assert!(named(&life, false).is_empty(), "one step is no climb");
        assert!(culprits(&[b"no profile".to_vec()], START, true).is_none());
    }
}
