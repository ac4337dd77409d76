mod ages;

use std::collections::HashMap;

use super::*;
use crate::profile::model::Count;

const PERIOD_BYTES: u64 = 512 << 10;
const MIB: f64 = 1_048_576.0;

/// Live objects of one size, sampled as jemalloc does.
#[derive(Clone)]
struct Site {
    object_bytes: f64,
    sampled: u64,
}

impl Site {
    fn new(object_bytes: f64) -> Site {
        Site { object_bytes, sampled: 0 }
    }

    fn chance(&self) -> f64 {
        -(-self.object_bytes / PERIOD_BYTES as f64).exp_m1()
    }

    fn allocate(&mut self, random: &mut Random, bytes: f64) {
        self.sampled += random.poisson(bytes / self.object_bytes * self.chance());
    }

    fn held(&self) -> Held {
        let mut held = Held::default();
        let sampled =
            Count { objects: self.sampled as f64, bytes: self.sampled as f64 * self.object_bytes, ..Count::default() };
        held.add(Count::unbiased(sampled, PERIOD_BYTES), None, PERIOD_BYTES);
        held
    }
}

/// xorshift64*, so that the tests need no crate and are the same every time.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        let (mut count, mut left) = (0, mean);
        loop {
            left += self.uniform().max(1e-300).ln();
            if left < 0.0 {
                return count;
            }
            count += 1;
        }
    }
}

fn moment(seconds: f64, sites: &[Held]) -> Moment {
    Moment::new(seconds, None, (0..).zip(sites.iter().copied()).collect::<HashMap<_, _>>())
}

/// As two files, or a time that a person asks for, without ages.
fn compared(series: &[&Moment]) -> Ranking {
    rank(series, Patience::NONE, &mut |_| None)
}

fn ranked(series: &[Moment]) -> Ranking {
    compared(&series.iter().collect::<Vec<_>>())
}

#[test]
fn the_variance_is_the_samplers() {
    for (object_bytes, bytes) in [(64.0, 8.0 * MIB), (65_536.0, 8.0 * MIB), (MIB, 32.0 * MIB)] {
        let mut random = Random(7);
        let (mut squares, mut told) = (0.0, 0.0);
        const TRIALS: usize = 4_000;
        for _ in 0..TRIALS {
            let mut site = Site::new(object_bytes);
            // The number of objects is fixed, which the chance of each decides on: binomial.
            let objects = (bytes / object_bytes) as u64;
            if objects > 10_000 {
                site.allocate(&mut random, bytes);
            } else {
                site.sampled = (0..objects).filter(|_| random.uniform() < site.chance()).count() as u64;
            }
            squares += (site.held().bytes - bytes).powi(2) / TRIALS as f64;
            told += site.held().variance / TRIALS as f64;
        }
        assert!((told / squares - 1.0).abs() < 0.15, "{object_bytes}: {told} told, {squares} true");
    }
}

#[test]
fn sites_that_only_churn_are_not_named() {
    let mut named = 0;
    for seed in 1..=60 {
        let mut random = Random(seed * 977);
        let series: Vec<Moment> = (0..20)
            .map(|step| {
                let held: Vec<Held> = (0..60)
                    .map(|_| {
                        let mut site = Site::new(4096.0);
                        site.allocate(&mut random, 8.0 * MIB);
                        site.held()
                    })
                    .collect();
                moment(f64::from(step) * 10.0, &held)
            })
            .collect();
        named += ranked(&series).culprits.len();
        named += ranked(&series[18..]).culprits.len();
    }
    assert!(named <= 1, "{named} of 7,200 comparisons");
}

/// The reading that a plain difference would believe.
#[test]
fn six_megabytes_of_noise_are_not_growth() {
    let held = |samples: u64| Held { ..Site { object_bytes: 4096.0, sampled: samples }.held() };
    let ranking = ranked(&[moment(0.0, &[held(12)]), moment(60.0, &[held(23)])]);
    assert!(ranking.culprits.is_empty() && ranking.state != State::Ok, "{ranking:?}");
}

fn leak(seed: u64, leaks: &[(f64, f64, f64)], seconds: u32) -> Vec<Moment> {
    let mut random = Random(seed);
    let mut sites: Vec<Site> = leaks.iter().map(|&(object_bytes, _, _)| Site::new(object_bytes)).collect();
    (0..=seconds / 10)
        .map(|step| {
            let now = f64::from(step) * 10.0;
            for (site, &(_, rate, from)) in sites.iter_mut().zip(leaks) {
                if now > from {
                    site.allocate(&mut random, rate * 10.0);
                }
            }
            let churn = (0..40).map(|_| {
                let mut site = Site::new(16_384.0);
                site.allocate(&mut random, 4.0 * MIB);
                site.held()
            });
            let churn: Vec<Held> = churn.collect();
            moment(now, &sites.iter().map(Site::held).chain(churn).collect::<Vec<_>>())
        })
        .collect()
}

#[test]
fn leaks_are_first_within_their_bounds() {
    let (mut first, mut covered, mut others) = (0, 0, 0);
    const TRIALS: u64 = 100;
    for seed in 1..=TRIALS {
        let ranking = ranked(&leak(seed * 31, &[(256.0, 2e5, 0.0)], 240));
        if ranking.state == State::Ok && ranking.culprits[0].site == 0 {
            first += 1;
            let growth = ranking.culprits[0];
            covered += u64::from((growth.low..growth.high).contains(&48e6));
            others += ranking.culprits.len() - 1;
        }
    }
    assert_eq!(first, TRIALS);
    assert!(covered >= 88, "{covered} of {TRIALS} intervals hold the truth");
    assert!(others <= 1, "{others}");
}

#[test]
fn two_leaks_at_once_and_one_that_starts_later_are_all_there() {
    for seed in 1..=20 {
        let leaks = [(1024.0, 2e5, 0.0), (2.0 * MIB, 3e5, 0.0), (8192.0, 3e5, 120.0)];
        let ranking = ranked(&leak(seed * 13, &leaks, 240));
        let mut named: Vec<u32> = ranking.culprits.iter().map(|growth| growth.site).collect();
        named.sort_unstable();
        assert_eq!(named, [0, 1, 2], "{ranking:?}");
    }
}

fn exact(bytes: f64) -> Held {
    // Objects of 64 MiB are always sampled: no noise.
    let mut held = Held::default();
    let object_bytes = 64.0 * MIB;
    held.add(Count { objects: bytes / object_bytes, bytes, ..Count::default() }, None, PERIOD_BYTES);
    held
}

fn shaped(shape: impl Fn(f64) -> Vec<f64>) -> Ranking {
    let at = |step: u32| {
        let held: Vec<Held> = shape(f64::from(step) / 24.0).into_iter().map(exact).collect();
        moment(f64::from(step) * 10.0, &held)
    };
    ranked(&(0..=24).map(at).collect::<Vec<_>>())
}

/// Beside 20 MB that come and go every half minute, which are missing at the end: a leak was once told by that much more.
#[test]
fn growth_of_what_lives_still_is_its_own() {
    let leaked = |step: u32| exact(f64::from(step) * 2e6);
    let at = |step: u32| {
        let held = HashMap::from([(0, leaked(step)), (1, exact(20e6))]);
        Moment::new(f64::from(step) * 10.0, Some(20_000_000 + u64::from(step) * 2_000_000), held)
    };
    let series: Vec<Moment> = (0..=12).map(at).collect();
    let end = series[12].still(HashMap::from([(0, leaked(12))]));
    let looked: Vec<&Moment> = series[..12].iter().chain([&end]).collect();
    let mut cohort = |then: &Moment| Some(HashMap::from([(0, leaked((then.seconds / 10.0) as u32))]));
    let ranking = rank(&looked, Patience::NONE, &mut cohort);
    assert_eq!(ranking.culprits.len(), 1, "{ranking:?}");
    assert!((ranking.culprits[0].bytes / 24e6 - 1.0).abs() < 0.01, "{ranking:?}");
}

#[test]
fn bytes_that_move_from_one_site_to_another_are_no_leak() {
    let ranking = shaped(|part| vec![part * 50e6, 60e6 - part * 50e6]);
    assert_eq!((ranking.state, ranking.culprits.len()), (State::Flat, 0));
}

#[test]
fn what_filled_up_and_stopped_or_grew_once_is_no_culprit() {
    for shape in [|part: f64| (part * 4.0).min(1.0) * 50e6, |part: f64| if part > 0.7 { 50e6 } else { 0.0 }] {
        let ranking = shaped(|part| vec![shape(part)]);
        assert_eq!((ranking.state, ranking.culprits.len()), (State::Flat, 0));
    }
    assert_eq!(shaped(|part| vec![part * 50e6]).state, State::Ok);
}

#[test]
fn a_load_that_comes_and_goes_is_no_growth() {
    // Ten connections' buffers more or less from look to look.
    let mut random = Random(5);
    let noise: Vec<f64> = (0..=24).map(|_| random.uniform() * 20e6).collect();
    let ranking = shaped(|part| vec![30e6 + noise[(part * 24.0).round() as usize]]);
    assert_eq!(ranking.culprits.len(), 0, "{ranking:?}");
}

#[test]
fn a_heap_that_grows_by_what_cannot_be_named_yet_has_too_little_evidence() {
    let held = |samples: u64| Site { object_bytes: 256.0, sampled: samples }.held();
    let ranking = ranked(&[moment(0.0, &[held(0)]), moment(30.0, &[held(8)])]);
    assert_eq!((ranking.state, ranking.culprits.len()), (State::NotEnoughEvidence, 0));
    assert_eq!(ranked(&[moment(0.0, &[])]).state, State::NotEnoughEvidence);
    assert_eq!(ranked(&[]).state, State::NotEnoughEvidence);
}

#[test]
fn counted_allocations_tell_a_quiet_site_from_a_churning_one() {
    // 200 MB held all along; 20 MB more were allocated and nothing freed.
    let held = |inuse: f64, alloc: f64| {
        let mut held = Held::default();
        let count = |bytes: f64| Count { objects: bytes / 1024.0, bytes, ..Count::default() };
        held.add(count(inuse), Some(count(alloc)), PERIOD_BYTES);
        held
    };
    let churning = ranked(&[moment(0.0, &[held(200e6, 9e9)]), moment(60.0, &[held(220e6, 9.5e9)])]);
    assert!(churning.culprits.is_empty());
    let quiet = ranked(&[moment(0.0, &[held(200e6, 200e6)]), moment(60.0, &[held(220e6, 220e6)])]);
    assert_eq!(quiet.culprits.len(), 1);
}
