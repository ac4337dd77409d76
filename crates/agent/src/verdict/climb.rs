//! What makes a slope a climb.

use crate::trend::{Slope, Trend};

/// A climb must gain at least this share of the limit in the length of its window: the short window tells rockets
/// (the whole limit in four hours), the day's window tells a creeping leak.
const LIMIT_SHARE_MIN: f64 = 0.02;

/// The rise over the window, in standard deviations of the noise around it.
const NOISE_MULTIPLE_MIN: f64 = 4.0;

/// The rise over the window, in multiples of the largest fall ever seen: what has come down before may do so again.
const FALL_MULTIPLE_MIN: f64 = 1.5;

/// See [`crate::trend::Estimate::evenness`]: no quarter of the window may be level.
const EVENNESS_MIN: f64 = 0.4;

/// See [`crate::trend::Estimate::persistence`]: the rise may not be slackening.
const PERSISTENCE_MIN: f64 = 0.6;

/// A climb is over when the slope of its window is below this share of what raised it, and none is told when the
/// next shorter window is below this share of it already.
const CLEAR_SHARE: f64 = 1.0 / 3.0;

/// A climb that was told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Alarm {
    /// Of its window, as it is now.
    pub(super) slope: Slope,
    raised_bytes_per_second: f64,
}

/// The climb in a trend, by the shortest window that shows one.
pub(super) fn raise(trend: &Trend, limit_bytes: f64) -> Option<Alarm> {
    let mut recent = None;
    for slope in &trend.slopes {
        let bytes_per_second = slope.estimate.bytes_per_second;
        let lasts = recent.is_none_or(|recent| recent >= CLEAR_SHARE * bytes_per_second);
        if lasts && is_climb(slope, trend.fall_bytes, limit_bytes) {
            return Some(Alarm { slope: *slope, raised_bytes_per_second: bytes_per_second });
        }
        recent = Some(bytes_per_second);
    }
    None
}

impl Alarm {
    /// The climb as it stands in a later trend; `None` when it is over.
    pub(super) fn go_on(&self, trend: &Trend) -> Option<Self> {
        let slope = *trend.slopes.iter().find(|slope| slope.window == self.slope.window)?;
        let goes_on = slope.estimate.bytes_per_second >= CLEAR_SHARE * self.raised_bytes_per_second;
        goes_on.then_some(Self { slope, ..*self })
    }
}

fn is_climb(slope: &Slope, fall_bytes: f64, limit_bytes: f64) -> bool {
    let estimate = &slope.estimate;
    let rise = estimate.bytes_per_second * estimate.span_seconds;
    estimate.low > 0.0
        && estimate.bytes_per_second * slope.window.seconds >= LIMIT_SHARE_MIN * limit_bytes
        && rise >= NOISE_MULTIPLE_MIN * estimate.residual_bytes
        && rise >= FALL_MULTIPLE_MIN * fall_bytes
        && estimate.evenness >= EVENNESS_MIN
        && estimate.persistence >= PERSISTENCE_MIN
}
