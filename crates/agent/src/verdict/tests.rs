//! Shapes of memory, second by second, and what is said of them.

use super::*;
use crate::history::Observation;
use crate::memory::LimitSource;
use crate::watch::Watch;

const MIB: f64 = 1_048_576.0;
const LIMIT: Limit = Limit { bytes: 2 << 30, source: LimitSource::Configured };

#[derive(Clone, Copy, Default)]
struct Shape {
    live: f64,
    slack: f64,
    outside: f64,
    dirty: f64,
}

/// The work in hand of a busy service.
const LOAD: f64 = 60.0 * MIB;

/// Runs a shape, looked at so many times a second, and returns each change of verdict with its second.
fn run(seconds_max: f64, looks_per_second: f64, shape: impl Fn(f64) -> Shape) -> Vec<(f64, Verdict)> {
    run_under(LOAD, seconds_max, looks_per_second, shape)
}

fn run_under(
    load_max: f64,
    seconds_max: f64,
    looks_per_second: f64,
    shape: impl Fn(f64) -> Shape,
) -> Vec<(f64, Verdict)> {
    let mut watch = Watch::new(Series::Live);
    let mut said = Vec::new();
    let mut noise = 1_u32;
    let mut look = 0.0;
    while look / looks_per_second < seconds_max {
        let seconds = look / looks_per_second;
        look += 1.0;
        let shape = shape(seconds);
        // The work in hand rides on top of the floor: at most so many bytes of buffers, and some moments nearly none.
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let load = f64::from(noise >> 8) / f64::from(1_u32 << 24) * load_max;
        let equation = Equation {
            live_heap_bytes: (shape.live + load) as i64,
            allocator_overhead_bytes: shape.slack as i64,
            retained_dirty_bytes: shape.dirty as i64,
            outside_allocator_bytes: shape.outside as i64,
        };
        let complete = watch.observe(&Observation {
            seconds,
            live_bytes: Some(equation.live_heap_bytes),
            slack_bytes: Some(equation.allocator_overhead_bytes),
            outside_bytes: Some(equation.outside_allocator_bytes),
            rss_bytes: Some(equation.rss_bytes()),
            in_flight: None,
        });
        if !complete {
            continue;
        }
        let verdict = watch.look(seconds, equation, LIMIT);
        if said.last().is_some_and(|(_, last)| *last == verdict) {
            continue;
        }
        let judgement = watch.outlook(seconds, equation, LIMIT).judgement;
        assert!(!judgement.evidence.is_empty());
        assert_eq!(judgement.verdict, verdict);
        assert!(verdict == Verdict::WarmingUp || judgement.since_seconds == seconds);
        assert_eq!(judgement.time_to_limit.is_some(), verdict.is_climb());
        if verdict == Verdict::Climbing {
            assert!(judgement.trajectory_degrees > 0.0, "{judgement:?}");
        }
        said.push((seconds, verdict));
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
fn a_rocket_from_the_start_is_told_in_two_and_a_half_minutes_by_the_agent() {
    let said = run(400.0, 5.0, |t| live(20.0 * MIB + 450_000.0 * t));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Climbing), "{said:?}");
    assert!(said.last().is_some_and(|(seconds, _)| *seconds <= 160.0), "{said:?}");
}

/// A service leaked 3.9 MB/s in pieces of 1.3 MB from its first second on, towards 2 GiB, and was called flat at two
/// minutes and three hundred MiB: the rocket's window wanted eight minutes, and an exponential that settles far above
/// the limit fitted as well as the line.
#[test]
fn nothing_is_flat_while_it_rises_and_a_live_rocket_is_told_at_once() {
    let leak = |t: f64| live(2.0 * MIB + 1.3e6 * (3.0 * t).floor());
    let said = run(600.0, 5.0, leak);
    assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Climbing], "{said:?}");
    assert!(said[1].0 <= 150.0, "{said:?}");
}

/// With a tenth of the usual load: under all of it, the warm-up is called a climb for four minutes, since its bend is lost in it.
#[test]
fn what_is_healthy_is_no_climb_at_five_looks_a_second_either() {
    type Named = (&'static str, fn(f64) -> Shape);
    let shapes: [Named; 6] = [
        ("sawtooth", |t| live(20.0 * MIB + 200.0 * MIB * (t % 125.0) / 125.0)),
        ("long sawtooth", |t| live(20.0 * MIB + 30.0 * MIB * (t % 1_000.0) / 1_000.0)),
        ("warm-up that settles", |t| live(20.0 * MIB + 400.0 * MIB * (1.0 - (-t / 100.0).exp()))),
        ("a batch that ramps", |t| live(400.0 * MIB + 60.0 * MIB * ((t % 900.0 - 600.0) / 100.0).clamp(0.0, 1.0))),
        ("steps", |t| live(20.0 * MIB + 100.0 * MIB * (t / 400.0).floor().min(2.0))),
        ("a load by stages", |t| live(20.0 * MIB + 150.0 * MIB * ((t / 60.0).floor() / 2.0).min(1.0))),
    ];
    for (name, shape) in shapes {
        let said = run_under(LOAD / 10.0, 4_000.0, 5.0, shape);
        assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Flat], "{name}: {said:?}");
    }
}

#[test]
fn a_rocket_that_starts_later_is_told_and_cleared_when_it_stops() {
    let said = run(4_000.0, 1.0, |t| live(20.0 * MIB + 450_000.0 * (t - 1_000.0).clamp(0.0, 1_000.0)));
    assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Flat, Verdict::Climbing, Verdict::Flat], "{said:?}");
    assert!((1_000.0..1_400.0).contains(&said[2].0), "{said:?}");
    assert!((2_000.0..2_400.0).contains(&said[3].0), "{said:?}");
}

#[test]
fn a_creeping_leak_is_told_by_the_time_a_tenth_is_gone() {
    let said = run(1.3 * 86_400.0, 0.1, |t| live(20.0 * MIB + 0.08 * LIMIT.bytes as f64 * t / 86_400.0));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Climbing), "{said:?}");
}

#[test]
fn what_does_not_leak_is_never_a_climb() {
    type Named = (&'static str, fn(f64) -> Shape);
    let shapes: [Named; 8] = [
        ("steady", |_| live(20.0 * MIB)),
        ("warm-up of a minute", |t| live(20.0 * MIB + 80.0 * MIB * (t / 55.0).min(1.0))),
        ("a step", |t| live(if t < 1_500.0 { 20.0 * MIB } else { 300.0 * MIB })),
        ("sawtooth", |t| live(20.0 * MIB + 200.0 * MIB * (t % 130.0) / 130.0)),
        ("a burst given back", |t| live(if (900.0..1_000.0).contains(&t) { 800.0 * MIB } else { 20.0 * MIB })),
        ("a slow trickle", |t| live(20.0 * MIB + 200.0 * t)),
        ("warm-up of hours", |t| live(20.0 * MIB + 500.0 * MIB * (1.0 - (-t / 7_200.0).exp()))),
        ("a daily wave", |t| live(200.0 * MIB - 150.0 * MIB * (t / 86_400.0 * std::f64::consts::TAU).cos())),
    ];
    for (name, shape) in shapes {
        let said = run(30_000.0, 0.2, shape);
        assert_eq!(verdicts(&said), [Verdict::WarmingUp, Verdict::Flat], "{name}: {said:?}");
    }
}

#[test]
fn climbs_have_their_class() {
    let climbing = |t: f64| 20.0 * MIB + 450_000.0 * t;
    let said = run(600.0, 1.0, |t| Shape { outside: climbing(t), ..live(20.0 * MIB) });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::ClimbingOutsideAllocator), "{said:?}");
    let said = run(600.0, 1.0, |t| Shape { slack: climbing(t), ..live(20.0 * MIB) });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Fragmenting), "{said:?}");
}

#[test]
fn a_service_that_is_killed_every_two_hours_is_still_seen_climbing() {
    let said = run(18.0 * 3_600.0, 0.1, |t| {
        let age = t % 7_200.0;
        live(60.0 * MIB * (1.0 - (-age / 60.0).exp()) + 0.5 * LIMIT.bytes as f64 * age / 86_400.0)
    });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Climbing), "{said:?}");
}

#[test]
fn levels_without_a_climb() {
    let said = run(600.0, 1.0, |_| live(1_960.0 * MIB));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::NearLimit), "{said:?}");
    let said = run(600.0, 1.0, |_| Shape { dirty: 1_500.0 * MIB, ..live(400.0 * MIB) });
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Retaining), "{said:?}");
}

#[test]
fn a_climb_stays_a_climb_near_the_limit() {
    let said = run(4_400.0, 1.0, |t| live(20.0 * MIB + 450_000.0 * t));
    assert_eq!(said.last().map(|(_, verdict)| *verdict), Some(Verdict::Climbing), "{said:?}");
}
