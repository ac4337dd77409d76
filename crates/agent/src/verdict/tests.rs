//! Shapes of memory, second by second, and what is said of them.

use super::*;
use crate::history::{History, Observation, Series};
use crate::memory::LimitSource;
use crate::trend::trend;

const MIB: f64 = 1_048_576.0;
const LIMIT_BYTES: u64 = 2 << 30;

#[derive(Clone, Copy, Default)]
struct Shape {
    live: f64,
    slack: f64,
    outside: f64,
    dirty: f64,
}

/// Runs a shape and returns each change of verdict with its second.
fn run(seconds_max: u32, shape: impl Fn(f64) -> Shape) -> Vec<(f64, Verdict)> {
    let (mut history, mut judge) = (History::new(), Judge::new());
    let mut said = vec![(0.0, Verdict::WarmingUp)];
    let mut noise = 1_u32;
    for second in 0..seconds_max {
        let seconds = f64::from(second);
        let shape = shape(seconds);
        // The work in hand rides on top of the floor: up to 60 MiB of buffers, and some seconds it is nearly none.
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let load = f64::from(noise >> 8) / f64::from(1_u32 << 24) * 60.0 * MIB;
        let live_bytes = (shape.live + load) as i64;
        let rss = shape.live + load + shape.slack + shape.outside + shape.dirty;
        let complete = history.observe(&Observation {
            seconds,
            live_bytes: Some(live_bytes),
            slack_bytes: Some(shape.slack as i64),
            outside_bytes: Some(shape.outside as i64),
            rss_bytes: Some(rss as i64),
            in_flight: None,
        });
        if !complete {
            continue;
        }
        let judgement = judge.judge(&Evidence {
            seconds,
            equation: Equation {
                live_heap_bytes: live_bytes,
                allocator_overhead_bytes: shape.slack as i64,
                retained_dirty_bytes: shape.dirty as i64,
                outside_allocator_bytes: shape.outside as i64,
            },
            limit: Limit { bytes: LIMIT_BYTES, source: LimitSource::Configured },
            live: &trend(&history, Series::Live, seconds),
            slack: &trend(&history, Series::Slack, seconds),
            outside: &trend(&history, Series::Outside, seconds),
        });
        assert!(!judgement.evidence.is_empty());
        assert_eq!(judgement.time_to_limit.is_some(), judgement.verdict.is_climb());
        if judgement.verdict == Verdict::Climbing {
            assert!(judgement.trajectory_degrees > 0.0, "{judgement:?}");
        }
        if said.last().is_none_or(|(_, verdict)| *verdict != judgement.verdict) {
            said.push((judgement.since_seconds, judgement.verdict));
        }
    }
    said
}

fn live(bytes: f64) -> Shape {
    Shape { live: bytes, ..Shape::default() }
}

fn verdicts(said: &[(f64, Verdict)]) -> Vec<Verdict> {
    said.iter().map(|(_, verdict)| *verdict).collect()
}

#[test]
fn a_rocket_is_told_within_three_minutes_of_the_start() {
    let said = run(600, |t| live(20.0 * MIB + 450_000.0 * t));
    assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Flat, Verdict::Climbing], "{said:?}");
    assert!(said[2].0 <= 180.0, "{said:?}");
}

#[test]
fn a_rocket_that_starts_later_is_told_and_cleared_when_it_stops() {
    let said = run(4_000, |t| live(20.0 * MIB + 450_000.0 * (t - 1_000.0).clamp(0.0, 1_000.0)));
    assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Flat, Verdict::Climbing, Verdict::Flat], "{said:?}");
    assert!((1_000.0..1_400.0).contains(&said[2].0), "{said:?}");
    assert!((2_000.0..2_400.0).contains(&said[3].0), "{said:?}");
}

#[test]
fn a_creeping_leak_is_told_within_two_days() {
    let said = run(2 * 86_400, |t| live(20.0 * MIB + 0.08 * LIMIT_BYTES as f64 * t / 86_400.0));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Climbing), "{said:?}");
}

#[test]
fn what_does_not_leak_is_never_a_climb() {
    type Named = (&'static str, fn(f64) -> Shape);
    let shapes: [Named; 6] = [
        ("steady", |_| live(20.0 * MIB)),
        ("warm-up of a minute", |t| live(20.0 * MIB + 80.0 * MIB * (t / 55.0).min(1.0))),
        ("a step", |t| live(if t < 1_500.0 { 20.0 * MIB } else { 300.0 * MIB })),
        ("sawtooth", |t| live(20.0 * MIB + 200.0 * MIB * (t % 130.0) / 130.0)),
        ("a burst given back", |t| live(if (900.0..1_000.0).contains(&t) { 800.0 * MIB } else { 20.0 * MIB })),
        ("a slow trickle", |t| live(20.0 * MIB + 200.0 * t)),
    ];
    for (name, shape) in shapes {
        let said = run(7_200, shape);
        assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Flat], "{name}: {said:?}");
    }
}

#[test]
fn climbs_have_their_class() {
    let climbing = |t: f64| 20.0 * MIB + 450_000.0 * t;
    let said = run(600, |t| Shape { outside: climbing(t), ..live(20.0 * MIB) });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::ClimbingOutsideAllocator), "{said:?}");
    let said = run(600, |t| Shape { slack: climbing(t), ..live(20.0 * MIB) });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Fragmenting), "{said:?}");
}

#[test]
fn levels_without_a_climb() {
    let said = run(600, |_| live(1_960.0 * MIB));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::NearLimit), "{said:?}");
    let said = run(600, |_| Shape { dirty: 1_500.0 * MIB, ..live(400.0 * MIB) });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Retaining), "{said:?}");
}

#[test]
fn a_climb_stays_a_climb_near_the_limit() {
    let said = run(4_400, |t| live(20.0 * MIB + 450_000.0 * t));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Climbing), "{said:?}");
}
