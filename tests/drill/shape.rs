//! Whether a run told the story: steep, less steep, flat, flat; and alerts for those that climb, and only for them.

use crate::entrant::Outcome;

/// A service is flat when its slope is below this share of the lesser leak's.
const FLAT_SHARE: f64 = 0.1;

/// What is not as the story has it; empty when all is. `outcomes` are in the story's order.
pub(crate) fn faults(outcomes: &[Outcome]) -> Vec<String> {
    let [steep, less_steep, flat @ ..] = outcomes else { return vec!["fewer than two services ran".to_owned()] };
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    match (steep.slope, less_steep.slope) {
        (Some(steep), Some(less)) => {
            expect(steep.low > less.high, "the first is not surely steeper than the second".to_owned());
            expect(less.low > 0.0, "the second does not surely climb".to_owned());
        }
        _ => expect(false, "a climbing service has no slope yet: give it more seconds".to_owned()),
    }
    let lesser_slope = less_steep.slope.map_or(0.0, |slope| slope.bytes_per_second);
    for leaking in [steep, less_steep] {
        expect(leaking.climbs(), format!("{}: the verdict is {}", leaking.name, leaking.verdict));
        expect(!leaking.firing.is_empty(), format!("{}: no alert fires", leaking.name));
        expect(leaking.delivered_after.is_some(), format!("{}: no alert reached the webhook", leaking.name));
    }
    for flat in flat {
        expect(!flat.climbs(), format!("{}: the verdict is {}", flat.name, flat.verdict));
        let level = flat.slope.is_none_or(|slope| slope.bytes_per_second < FLAT_SHARE * lesser_slope);
        expect(level, format!("{}: it climbs", flat.name));
        expect(flat.firing.is_empty(), format!("{}: {} fires", flat.name, flat.firing.join(", ")));
        expect(flat.delivered_after.is_none(), format!("{}: an alert reached the webhook", flat.name));
    }
    for outcome in outcomes {
        expect(outcome.stored > 0, format!("{}: nothing was stored", outcome.name));
        expect(outcome.failed == 0, format!("{}: {} uploads failed", outcome.name, outcome.failed));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entrant::Slope;

    fn outcome(name: &'static str, bytes_per_second: f64) -> Outcome {
        let climbs = bytes_per_second > 0.0;
        Outcome {
            name,
            stored: 500,
            failed: 0,
            start_bytes: 0,
            end_bytes: 0,
            slope: Some(Slope { bytes_per_second, low: bytes_per_second * 0.9, high: bytes_per_second * 1.1 }),
            degrees: None,
            verdict: if climbs { "climbing" } else { "flat" }.to_owned(),
            seconds_to_limit: None,
            firing: if climbs { vec!["Rocket".to_owned()] } else { Vec::new() },
            delivered_after: climbs.then_some(Duration::from_secs(200)),
            culprit: None,
        }
    }

    fn story() -> Vec<Outcome> {
        vec![outcome("a", 3e6), outcome("b", 1e6), outcome("c", 0.0), outcome("d", 0.0)]
    }

    #[test]
    fn the_story_has_no_fault() {
        assert_eq!(faults(&story()), Vec::<String>::new());
    }

    #[test]
    fn each_departure_is_a_fault() {
        let departures: [fn(&mut Vec<Outcome>); 7] = [
            |story| story.swap(0, 1),
            |story| story[1].delivered_after = None,
            |story| story[0].firing.clear(),
            |story| story[2].verdict = "climbing_outside_allocator".to_owned(),
            |story| story[3].firing.push("Rocket".to_owned()),
            |story| story[3].slope = Some(Slope { bytes_per_second: 5e5, low: -1.0, high: 1e6 }),
            |story| story[2].failed = 1,
        ];
        for (number, depart) in departures.into_iter().enumerate() {
            let mut story = story();
            depart(&mut story);
            assert_ne!(faults(&story), Vec::<String>::new(), "departure {number}");
        }
    }
}
