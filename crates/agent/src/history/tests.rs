use super::*;

fn live(seconds: f64, bytes: i64) -> Observation {
    Observation { seconds, live_bytes: Some(bytes), ..Observation::default() }
}

fn values(history: &History, tier: usize, statistic: Statistic) -> Vec<(f64, f64)> {
    let points = history.points(tier, Series::Live, statistic, 0.0);
    points.map(|point| (point.seconds, point.bytes)).collect()
}

#[test]
fn a_bucket_keeps_its_least_value_and_its_median() {
    let mut history = History::new();
    for (seconds, bytes) in [(0.0, 50), (4.0, 20), (9.9, 70)] {
        assert!(!history.observe(&live(seconds, bytes)));
    }
    assert!(history.observe(&live(10.0, 90)));
    assert_eq!(values(&history, 0, Statistic::Floor), [(5.0, 20.0)]);
    assert_eq!(values(&history, 0, Statistic::Middle), [(5.0, 50.0)]);
    assert_eq!(history.floor_bytes(Series::Live), Some(20));
    assert_eq!(history.floor_bytes(Series::Rss), None);
}

#[test]
fn coarser_tiers_keep_floors_and_medians_of_medians() {
    let mut history = History::new();
    for step in 0..14 {
        let spike = if step == 3 { 1_000 } else { 0 };
        history.observe(&live(f64::from(step) * 10.0, 100 + i64::from(step) + spike));
    }
    assert_eq!(values(&history, 1, Statistic::Floor)[0], (30.0, 100.0));
    assert_eq!(values(&history, 1, Statistic::Middle)[0], (30.0, 104.0));
}

#[test]
fn looks_that_are_far_apart_are_complete_at_once() {
    let mut history = History::new();
    history.observe(&live(0.0, 10));
    assert!(history.observe(&live(300.0, 20)));
    assert_eq!(values(&history, 0, Statistic::Middle).last(), Some(&(305.0, 20.0)));
}

#[test]
fn gaps_leave_no_points_and_rows_out_of_order_are_ignored() {
    let mut history = History::new();
    for (seconds, bytes) in [(1.0, 10), (2.0, 10), (500.0, 20), (490.0, 1), (501.0, 25), (f64::NAN, 0)] {
        history.observe(&live(seconds, bytes));
    }
    history.observe(&live(511.0, 30));
    assert!(values(&history, 0, Statistic::Floor).iter().all(|(_, bytes)| *bytes >= 10.0));
    assert!(values(&history, 0, Statistic::Floor).iter().all(|(seconds, _)| *seconds < 10.0 || *seconds > 500.0));
}

#[test]
fn a_clock_that_is_set_back_goes_on() {
    let mut history = History::new();
    for step in 0..100 {
        history.observe(&live(1e6 + f64::from(step), 1));
    }
    for step in 0..100 {
        history.observe(&live(f64::from(step), 2));
    }
    assert_eq!(history.now_seconds(), 1e6 + 199.0);
    assert_eq!(history.floor_bytes(Series::Live), Some(2));
}

#[test]
fn a_value_far_below_all_of_a_life_is_a_new_life() {
    let lives = |bytes: &dyn Fn(f64) -> f64| {
        let mut history = History::new();
        for second in 0..4_000 {
            let seconds = f64::from(second);
            history.observe(&live(seconds, bytes(seconds) as i64));
        }
        let mut born: Vec<f64> =
            history.points(0, Series::Live, Statistic::Middle, 0.0).map(|point| point.born_seconds).collect();
        born.dedup();
        born
    };
    assert_eq!(lives(&|t| if t < 2_000.0 { 100e6 + t * 1e4 } else { 20e6 + t * 1e4 }), [0.0, 2_000.0]);
    // A cache's flush, a sawtooth, a slow fall.
    assert_eq!(lives(&|t| if t < 300.0 { 100e6 + t * 1e6 } else { 100e6 }), [0.0]);
    assert_eq!(lives(&|t| 20e6 + (t % 130.0) * 1e6), [0.0]);
    assert_eq!(lives(&|t| 100e6 - t * 2e4), [0.0]);
}

#[test]
fn work_in_flight_is_taken_off_once_memory_follows_it() {
    let mut history = History::new();
    for second in 0..3_600_u32 {
        let work = u64::from((second / 7) * 31 % 50);
        let observation =
            Observation { in_flight: Some(work), ..live(f64::from(second), 50_000 + 1_000 * work as i64) };
        history.observe(&observation);
    }
    let bytes = history.bytes_per_work(Series::Live).expect("certain by now");
    assert!((bytes - 1_000.0).abs() < 50.0, "{bytes}");
    for (seconds, bytes) in values(&history, 0, Statistic::Floor) {
        assert!((bytes - 50_000.0).abs() < 5_000.0, "{seconds} {bytes}");
    }
}

#[test]
fn memory_is_fixed_whatever_the_uptime() {
    const { assert!(MEMORY_BYTES <= 2 << 20) };
    let mut history = History::new();
    let capacities = history.tiers.each_ref().map(|tier| (tier.closed.capacity(), tier.pending.capacity()));
    for step in 0..500_000 {
        history.observe(&live(f64::from(step) * 10.0, 1));
    }
    assert_eq!(history.tiers.each_ref().map(|tier| (tier.closed.capacity(), tier.pending.capacity())), capacities);
    for (tier, (_, buckets_max)) in TIERS.iter().enumerate() {
        assert_eq!(history.points(tier, Series::Live, Statistic::Floor, 0.0).count(), *buckets_max);
    }
}

#[test]
fn a_day_of_ten_looks_a_second_stays_within_the_published_memory() {
    let mut history = History::new();
    let mut held_max = 0;
    for look in 0..864_000 {
        history.observe(&Observation { in_flight: Some(3), ..live(f64::from(look) * 0.1, 1_000) });
        if look % 1_000 == 0 {
            let tiers = history.tiers.iter();
            let held: usize = tiers
                .map(|tier| {
                    tier.closed.capacity() * size_of::<Bucket>() + tier.pending.capacity() * size_of::<[Middle; 4]>()
                })
                .sum();
            held_max = held_max.max(held + size_of::<History>());
        }
    }
    assert!(held_max <= MEMORY_BYTES, "{held_max} of {MEMORY_BYTES}");
    assert!(history.points(1, Series::Live, Statistic::Floor, 0.0).count() >= 1_439);
}
