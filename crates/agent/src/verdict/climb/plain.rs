//! What needs no weighing: three things that a person would say at once, whatever the weights have learned.

use super::signs::{NAMES, Signs};

/// A rocket in a process that was level before: as much again as all that was there, far above its noise, even in all its
/// parts, and not slackening.
pub(super) fn is_rocket(signs: &Signs) -> bool {
    let of = |name: &str| value(signs, name);
    of("newborn") == 0.0
        && of("plain_rise") >= 0.06
        && of("rise_of_level") >= 1.0
        && of("ln_noise_multiple") >= 10_f32.ln()
        && of("line_low") >= 0.9
        && of("steadiness") >= 4.0
        && of("largest_part") <= 1.8
        && of("late_share") >= 0.8
        && of("fill_20") >= 1.0
}

/// Three tenths of the limit in a line so straight that nothing that settles comes near it, and far above all that fell
/// before. No trace that was learned from is so plain, and what is beyond them is weighed by chance.
pub(super) fn is_straight(signs: &Signs) -> bool {
    let of = |name: &str| value(signs, name);
    of("plain_rise") >= 0.3
        && of("fill_40") >= 10.0
        && of("late_share") >= 0.9
        && of("early_share") >= 0.9
        && of("line_low") >= 0.9
        && of("ln_noise_multiple") >= 10_f32.ln()
        && of("ln_fall_multiple") >= 8_f32.ln()
}

/// Until a whole day was seen, what begins to rise in the middle of it, for as long as a day may rise, is first of all the
/// day. Slack and what is outside the allocator follow no traffic.
pub(super) fn may_be_a_day(signs: &Signs) -> bool {
    const UNSEEN_SECONDS: f32 = 26.0 * 3_600.0;
    const RISE_SECONDS: f32 = 2.0 * 3_600.0;
    let of = |name: &str| value(signs, name);
    let follows_traffic = of("series") == 0.0 || of("series") == 3.0;
    follows_traffic && of("newborn") == 0.0 && of("ln_age") < UNSEEN_SECONDS.ln() && of("ln_window") > RISE_SECONDS.ln()
}

fn value(signs: &Signs, name: &str) -> f32 {
    NAMES.iter().position(|known| *known == name).map_or(f32::NAN, |place| signs[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known() {
        let names = [
            "newborn",
            "plain_rise",
            "ln_noise_multiple",
            "line_low",
            "steadiness",
            "largest_part",
            "late_share",
            "rise_of_level",
        ];
        let names = names.iter().chain(&["fill_20", "series", "ln_age", "ln_window"]);
        let names = names.chain(&["fill_40", "early_share", "ln_fall_multiple"]);
        names.for_each(|name| assert!(!value(&[0.0; NAMES.len()], name).is_nan(), "{name}"));
    }
}
